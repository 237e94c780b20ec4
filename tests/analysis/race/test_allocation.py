"""What a race runs next: predicted bounds against what more data really gives."""

import numpy as np
import pytest
from score_tables import draw_binary, make_tables

from harness.analysis.comparison import compare
from harness.analysis.differences import Scores
from harness.analysis.race.allocation import Outlook, Step, _Forecast, plan_round
from harness.analysis.verdict.decision import BALANCED, apply_rule
from harness.records.record import BASE

MEANS = {BASE: 0.3, "o_proj": 0.45, "qkv": 0.6, "all": 0.61}
SEEDS = [Step("seed", name, 1.0) for name in ("o_proj", "qkv", "all")]


def plan(
    means: dict[str, float], steps: list[Step], *, examples: int = 300, seeds: int = 1
) -> Outlook | None:
    rng = np.random.default_rng(3)
    tables = make_tables({"task": draw_binary(rng, means, examples, seeds)})
    comparison = compare(*tables)
    return plan_round(comparison, apply_rule(comparison, 0.02, BALANCED), 0.02, steps)


def test_without_steps_there_is_no_plan() -> None:
    assert plan(MEANS, []) is None


def test_a_second_seed_goes_to_the_leader_first() -> None:
    outlook = plan(MEANS, SEEDS)
    assert outlook is not None
    names = [step.name for step in outlook.steps]
    assert outlook.leader in ("all", "qkv")
    assert outlook.leader in names


def test_the_cheaper_of_two_ways_is_taken() -> None:
    for seed_cost, example_cost, kind in ((1.0, 1000.0, "seed"), (1000.0, 1.0, "examples")):
        steps = [Step("seed", name, seed_cost) for name in ("o_proj", "qkv", "all")]
        outlook = plan(MEANS, [*steps, Step("examples", "task", example_cost)], seeds=3)
        assert outlook is not None
        assert outlook.steps[0].kind == kind


def test_what_is_predicted_of_twice_the_examples_comes_true() -> None:
    """How far bounds reach, predicted from half of the examples, is what all of them give."""
    scores = draw_binary(np.random.default_rng(0), MEANS, 2000, 3)
    half = {name: own[:, ::2] for name, own in scores.items()}
    few, many = (compare(*make_tables({"task": each})).scores for each in (half, scores))
    predicted = find_reach(few, [Step("examples", "task", 1.0)])
    assert predicted == pytest.approx(find_reach(many, []), rel=0.2)
    assert predicted < 0.9 * find_reach(few, [])


def test_what_is_predicted_of_more_seeds_comes_true() -> None:
    """On average: four seeds say little of how far bounds of eight will reach."""
    ratios = []
    for number in range(12):
        rng = np.random.default_rng(number)
        scores = draw_binary(rng, MEANS, 1000, 8, exact=False)
        moved = {
            name: np.where(rng.random(own.shape) < 0.15 * rng.random((len(own), 1)), 0.0, own)
            for name, own in scores.items()
        }
        few = compare(*make_tables({"task": {n: own[:4] for n, own in moved.items()}})).scores
        many = compare(*make_tables({"task": moved})).scores
        # Four more seeds of each set.
        predicted = find_reach(few, [step for step in SEEDS for _ in range(4)])
        ratios.append(predicted / find_reach(many, []))
    assert np.median(ratios) == pytest.approx(1.0, rel=0.2)


def find_reach(scores: Scores, steps: list[Step]) -> float:
    """How far the leader's bounds lie above its estimates, summed over rivals."""
    return float(_Forecast(scores, "all", 0.02, 0.04).predict(steps)[1].sum())


def test_a_predicted_chance_is_not_more_than_how_often_it_comes_true() -> None:
    rng = np.random.default_rng(5)
    chances, decided = [], []
    for _ in range(160):
        means = {name: 0.6 + rng.normal(0, 0.012) for name in ("o_proj", "qkv", "all")}
        scores = draw_binary(rng, {BASE: 0.3} | means, 1500, 3, exact=False)
        first = {name: own[:2] for name, own in scores.items()}
        comparison = compare(*make_tables({"task": first}))
        ruling = apply_rule(comparison, 0.02, BALANCED)
        outlook = None if ruling.choice else plan_round(comparison, ruling, 0.02, SEEDS)
        if outlook is None:
            continue
        seeded = {step.name for step in outlook.steps}
        then = {n: own if n in seeded else first[n] for n, own in scores.items()}
        after = compare(*make_tables({"task": then}), look=2)
        chances.append(outlook.chance)
        decided.append(apply_rule(after, 0.02, BALANCED).choice is not None)
    assert len(chances) > 20
    assert 0.01 < np.mean(chances) < np.mean(decided) + 0.1
