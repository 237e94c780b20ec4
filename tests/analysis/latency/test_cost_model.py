"""The cost model of roles, on simulated rounds whose additive truth is known."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.analysis.latency.additivity import find_p_values
from harness.analysis.latency.cost_model import CostModel, check_predictions, fit_cost_model
from harness.analysis.latency.ratios import paired_ratio
from harness.analysis.latency.resampling import SPENT
from harness.config.target_sets import parse_target_set
from harness.errors import UserError

COSTS = {"q": 0.02, "k": 0.015, "v": 0.018, "o": 0.028, "fc1": 0.06, "fc2": 0.027}
STANDARD = tuple(COSTS)
SINGLES = [*COSTS]
HELD_OUT = ["qkv", "o_proj+fc2", "all"]
PUBLISHED = ["qkv", "o_proj", "qkv+o_proj", "o_proj+fc2", "all"]


def simulate(
    sets: Sequence[str],
    *,
    seed: int = 0,
    processes: int = 4,
    rounds: int = 10,
    noise: float = 0.01,
    between: float = 0.3,
    interaction: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Calls of one point: a shared round effect, heavy tails, and processes that differ."""
    rng = np.random.default_rng(seed)
    truth = {name: add_up(name) + (interaction or {}).get(name, 0.0) for name in sets}
    keys = list(itertools.product(range(processes), range(rounds)))
    process = np.array([key[0] for key in keys])
    machine = rng.normal(0.0, 0.2, len(keys))
    frames = []
    for name, ratio in {"base": 1.0, **truth}.items():
        scatter = rng.standard_t(3, len(keys)) + between * rng.normal(size=processes)[process]
        seconds = 0.5 * ratio * np.exp(machine + noise * scatter)
        arm = "base" if name == "base" else "unmerged"
        column = {"point": 0, "process": process, "round": [key[1] for key in keys], "arm": arm}
        frames.append(pd.DataFrame({**column, "variant": name, "end_to_end_seconds": seconds}))
    return pd.concat(frames, ignore_index=True)


def _list_roles(name: str) -> tuple[str, ...]:
    return STANDARD if name == "all" else parse_target_set(name).roles


def add_up(name: str) -> float:
    return 1 + sum(COSTS[role] for role in _list_roles(name))


@pytest.fixture(scope="module", params=[30, pytest.param(120, marks=pytest.mark.slow)])
def additive(request: pytest.FixtureRequest) -> list[CostModel]:
    calls = (simulate([*SINGLES, *HELD_OUT], seed=seed) for seed in range(request.param))
    return [fit_cost_model(each) for each in calls]


def test_terms_and_predictions_cover_the_truth(additive: list[CostModel]) -> None:
    terms, predictions = [], []
    for model in additive:
        costs = model.terms["role"].map(COSTS)
        terms.append(costs.between(model.terms["share_low"], model.terms["share_high"]))
        ratios = model.predictions["target_set"].map(add_up)
        low, high = model.predictions["ratio_low"], model.predictions["ratio_high"]
        predictions.append(ratios.between(low, high))
    assert np.mean(terms) >= 0.93
    assert np.mean(predictions) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("additive", [120], indirect=True)
def test_terms_are_known_within_three_percent(additive: list[CostModel]) -> None:
    """Too wide would be no virtue either: one set alone is known to about 1% here."""
    widths = [(each.terms["share_high"] - each.terms["share_low"]).median() for each in additive]
    assert np.median(widths) < 0.03


def test_additive_costs_are_rarely_called_otherwise(additive: list[CostModel]) -> None:
    alarms = [model.additivity.holds is False for model in additive]
    assert np.mean(alarms) <= 0.05


def test_six_single_roles_predict_63_sets(additive: list[CostModel]) -> None:
    model = additive[0]
    table = model.predictions.set_index("target_set")
    assert len(table) == 63
    assert table.index.is_unique
    assert list(table.index[table["fitted_on"]]) == ["q", "k", "v", "o_proj", "fc1", "fc2"]
    assert set(table.index[table["excess"].notna()]) == set(HELD_OUT) == {*model.additivity.sets}
    assert table.loc["all", "role_count"] == 6
    share = model.terms.set_index("role")["share"]
    assert table.loc["q+fc1", "ratio"] == pytest.approx(1 + share["q"] + share["fc1"])
    assert (table.loc["all", "measured"] - table.loc["all", "ratio"]) == pytest.approx(
        table.loc["all", "excess"]
    )
    untimed = table.loc["q+fc1", ["measured", "measured_low", "excess", "adjusted_p_value"]]
    assert untimed.isna().all()


def test_measured_ratios_are_the_paired_ratios_of_the_study() -> None:
    calls = simulate([*SINGLES, "all"])
    table = fit_cost_model(calls).predictions.set_index("target_set")
    ratio = paired_ratio(calls, "end_to_end_seconds", "unmerged", variant="all")
    assert table.loc["all", "measured"] == pytest.approx(ratio.estimate)
    width = table.loc["all", "measured_high"] - table.loc["all", "measured_low"]
    assert width / 2 == pytest.approx(ratio.half_width, rel=0.15)


def test_seconds_are_shares_of_the_bases_time() -> None:
    calls = simulate(SINGLES, noise=1e-6)
    model = fit_cost_model(calls)
    base = calls.loc[calls["arm"] == "base", "end_to_end_seconds"].median()
    assert model.base_seconds == pytest.approx(base)
    assert model.terms["share"].tolist() == pytest.approx([*COSTS.values()], abs=1e-5)
    assert model.terms["seconds"].tolist() == pytest.approx(
        [cost * base for cost in COSTS.values()], abs=1e-5
    )


@pytest.mark.parametrize(
    ("errors", "degrees", "expected"),
    [
        ([[0.01]], [[29]], stats.t.sf(3, 29)),
        ([[0.01], [0.003]], [[29], [2]], stats.t.sf(10, 2)),  # agree by chance, and still decide
        ([[0.01], [0.02]], [[29], [2]], stats.t.sf(1.5, 2)),
        ([[0.01], [math.nan]], [[29], [math.nan]], math.nan),
    ],
)
def test_a_p_value_is_that_of_the_part_that_doubts_most(
    errors: list[list[float]], degrees: list[list[float]], expected: float
) -> None:
    (found,) = find_p_values(np.array([0.03]), np.array(errors), np.array(degrees))
    assert found == pytest.approx(min(2 * expected / SPENT, 1), nan_ok=True)


@pytest.mark.parametrize("between", [1.0, 5.0])
@pytest.mark.parametrize("count", [10, pytest.param(40, marks=pytest.mark.slow)])
def test_twenty_sets_of_three_processes_are_rarely_called_otherwise(
    between: float, count: int
) -> None:
    """Few processes that differ much: some agree by chance, and resamples know few directions."""
    pairs = ["+".join(each) for each in itertools.combinations(SINGLES, 2)]
    sets = [*SINGLES, *pairs, "qkv", "q+k+o", "q+fc1+fc2", "v+o+fc2", "all"]
    alarms = [
        fit_cost_model(simulate(sets, seed=seed, processes=3, between=between)).additivity.holds
        is False
        for seed in range(count)
    ]
    assert np.sum(alarms) <= max(1, 0.05 * count)


def test_a_planted_interaction_is_found_and_named() -> None:
    found = []
    for seed in range(20):
        calls = simulate(
            [*SINGLES, *HELD_OUT], seed=seed, processes=5, interaction={"o_proj+fc2": 0.04}
        )
        found.append(fit_cost_model(calls).additivity)
    assert np.mean([each.departing == ("o_proj+fc2",) for each in found]) >= 0.85
    assert all(each.p_value is not None for each in found)
    sentence = next(each.sentence for each in found if each.departing)
    assert "do not add up" in sentence
    assert "o_proj+fc2 +4" in sentence or "o_proj+fc2 +3" in sentence


def test_the_p_value_counts_how_many_sets_were_looked_at() -> None:
    more = ["q+k", "q+v", "k+v", "qkv", "q+o", "k+o", "v+o"]
    calls = simulate(["q", "k", "v", "o", *more], interaction={"qkv": 0.012})
    alone = calls[~calls["variant"].isin(more) | (calls["variant"] == "qkv")]
    (own,) = fit_cost_model(alone).predictions["adjusted_p_value"].dropna()
    adjusted = fit_cost_model(calls).predictions.set_index("target_set")["adjusted_p_value"]
    # Bonferroni bounds what a correction for 7 correlated tests can cost.
    assert own < adjusted["qkv"] <= 7 * own + 0.01


def test_roles_measured_only_together_are_one_term() -> None:
    calls = simulate(["qkv", "o_proj", "fc1", "fc2", "all"], noise=1e-5)
    model = fit_cost_model(calls)
    assert model.terms["role"].tolist() == ["qkv", "o", "fc1", "fc2"]
    assert len(model.predictions) == 15
    assert model.terms["share"].iloc[0] == pytest.approx(0.053, abs=1e-4)
    assert model.additivity.sets == ("all",)
    assert model.additivity.holds


def test_least_squares_where_a_role_was_never_alone() -> None:
    # The default sweep: fc1 and fc2 appear only beside others, and qkv+o_proj checks the sum.
    model = fit_cost_model(simulate(PUBLISHED, noise=1e-5))
    costs = dict(zip(model.terms["role"], model.terms["share"], strict=True))
    expected = {"qkv": 0.053, "o": 0.028, "fc1": 0.06, "fc2": 0.027}
    assert costs == pytest.approx(expected, abs=1e-4)
    assert model.additivity.sets == ("o_proj", "qkv", "qkv+o_proj")
    assert model.additivity.holds
    assert model.additivity.alternatives == ()


def test_a_departure_in_least_squares_has_its_full_size_and_no_single_culprit() -> None:
    """One check of three sets: each of them alone, by 3%, would look just like this."""
    planted = simulate(PUBLISHED, noise=0.002, interaction={"qkv+o_proj": 0.03})
    model = fit_cost_model(planted)
    table = model.predictions.set_index("target_set")
    one_of = ("o_proj", "qkv", "qkv+o_proj")
    sizes = table.loc[list(one_of), "excess"].tolist()
    assert sizes == pytest.approx([-0.03, -0.03, 0.03], abs=0.004)
    assert table.loc["qkv+o_proj", "excess_low"] > 0.015
    assert model.additivity.departing == one_of
    assert model.additivity.alternatives == (one_of,)
    assert "or qkv+o_proj +" in model.additivity.sentence
    assert "the data cannot tell which" in model.additivity.sentence


def test_excess_is_over_the_fit_without_the_set() -> None:
    """Against numpy's fit of the other sets; their excesses differ by a factor of -2 here."""
    sets = ["q+k", "k+v", "q+v", "qkv", "q+o"]
    model = fit_cost_model(simulate(sets, seed=3))
    table = model.predictions.set_index("target_set")
    assert model.additivity.sets == ("q+k", "q+v", "k+v", "qkv")
    roles = ["q", "k", "v", "o"]
    present = np.array([[role in _list_roles(each) for role in roles] for each in sets])
    measured = table.loc[[name.replace("o", "o_proj") for name in sets], "measured"] - 1
    for row, name in enumerate(sets[:4]):
        others = np.arange(5) != row
        shares, *_ = np.linalg.lstsq(present[others].astype(float), measured[others])
        excess = measured.iloc[row] - present[row] @ shares
        assert table.loc[name, "excess"] == pytest.approx(excess)
    assert table.loc["q+k", "excess"] == pytest.approx(-2 * table.loc["qkv", "excess"])
    same = table.loc[list(model.additivity.sets), "adjusted_p_value"]
    assert same.tolist() == pytest.approx([same.iloc[0]] * 4)


def test_least_squares_agrees_with_numpy() -> None:
    sets = ["q+k", "k+v", "q+v", "qkv"]
    calls = simulate(sets, seed=3)
    ratios = [
        paired_ratio(calls, "end_to_end_seconds", "unmerged", variant=name).estimate
        for name in sets
    ]
    present = np.array([[role in _list_roles(name) for role in "qkv"] for name in sets])
    solution, *_ = np.linalg.lstsq(present.astype(float), np.array(ratios) - 1)
    assert fit_cost_model(calls).terms["share"].tolist() == pytest.approx(solution.tolist())


def test_nothing_held_out_is_untested() -> None:
    additivity = fit_cost_model(simulate(["q", "o"])).additivity
    assert (additivity.p_value, additivity.holds, additivity.sets) == (None, None, ())
    assert "such as q+o_proj" in additivity.sentence


def test_sets_that_leave_a_role_open_are_told_which_to_add() -> None:
    calls = simulate(["q+k", "k+v", "v+o", "q+o"])
    with pytest.raises(UserError, match="also time q") as raised:
        fit_cost_model(calls)
    assert "\n" not in str(raised.value)
    fit_cost_model(simulate(["q+k", "k+v", "v+o", "q+o", "q"]))


def test_times_of_one_output_token_are_undefined() -> None:
    calls = simulate(SINGLES).assign(tpot_seconds=math.nan)
    with pytest.raises(UserError, match="one output token") as raised:
        fit_cost_model(calls, time="tpot")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({}, {"arm": "merged"}, "'merged'"),
        ({}, {"time": "e2e"}, "ttft, tpot and end_to_end"),
        ({"point": range(70)}, {}, "70 points"),
        ({"variant": "o_poj"}, {}, "'o_poj'"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(
    changed: dict[str, object], options: dict[str, str], message: str
) -> None:
    calls = simulate(SINGLES, processes=1).assign(**changed)
    with pytest.raises(UserError, match=message) as raised:
        fit_cost_model(calls, **options)
    assert "\n" not in str(raised.value)


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(UserError, match="5 rounds"):
        fit_cost_model(simulate(SINGLES, processes=1, rounds=5))


def test_spelling_and_order_of_rows_do_not_matter() -> None:
    calls = simulate([*SINGLES, "qkv", "q+o_proj"])
    spelled = calls.replace({"variant": {"o": "o_proj", "qkv": "v+q+k", "q+o_proj": "o+q_proj"}})
    shuffled = spelled.sample(frac=1, random_state=1, ignore_index=True)
    pd.testing.assert_frame_equal(
        fit_cost_model(calls).predictions, fit_cost_model(shuffled).predictions
    )


def test_two_spellings_of_one_set_are_one_set() -> None:
    calls = simulate(["q", "o", "q+o"])
    again = calls[calls["variant"] == "q+o"].assign(variant="o_proj+q")
    twice = fit_cost_model(pd.concat([calls, again]))
    pd.testing.assert_frame_equal(twice.predictions, fit_cost_model(calls).predictions)


def simulate_later(sets: Sequence[str], seed: int, **options: Any) -> pd.DataFrame:
    """A point of its own, in later processes."""
    calls = simulate(sets, seed=100_000 + seed, **options)
    return calls.assign(point=7, process=calls["process"] + 50)


def test_sets_timed_afterwards_are_set_against_the_prediction() -> None:
    model = fit_cost_model(simulate(SINGLES, seed=1))
    later = simulate_later(["q+o", "all"], 1)
    later["end_to_end_seconds"] *= 10  # another day: each has its own base
    table = check_predictions(model, {7: later}).set_index("target_set")
    assert table.index.tolist() == ["q+o_proj", "all"]
    assert set(table["point"]) == {7}
    assert set(table["rounds"]) == {40}
    assert set(table["processes"]) == {4}
    ratio = paired_ratio(later, "end_to_end_seconds", "unmerged", variant="all")
    own, predicted = table.loc["all"], model.predictions.set_index("target_set").loc["all"]
    assert own["measured"] == pytest.approx(ratio.estimate)
    bounds = ["ratio", "ratio_low", "ratio_high"]
    assert own[bounds].tolist() == predicted[bounds].tolist()
    assert own["excess"] == pytest.approx(own["measured"] - own["ratio"])
    # Wider than either alone, narrower than both end to end.
    widths = [own[f"{name}_high"] - own[f"{name}_low"] for name in ("measured", "ratio", "excess")]
    assert max(widths[:2]) < widths[2] < sum(widths[:2])


def test_later_sets_that_add_up_are_covered_and_rarely_called_otherwise() -> None:
    covered, alarms = [], []
    for seed in range(30):
        model = fit_cost_model(simulate(SINGLES, seed=seed, processes=3, between=1.0))
        later = {
            number: simulate_later(sets, seed + 1000 * number, processes=3, between=1.0)
            for number, sets in enumerate((["qkv", "all"], ["q+fc1", "o_proj+fc2"]))
        }
        table = check_predictions(model, later)
        covered.append((table["excess_low"] <= 0) & (table["excess_high"] >= 0))
        alarms.append((table["adjusted_p_value"] < 0.05).any())
    assert np.mean(covered) >= 0.94
    assert np.mean(alarms) <= 0.05


def test_a_later_set_that_departs_is_found() -> None:
    model = fit_cost_model(simulate(SINGLES, processes=5))
    later = simulate_later(["qkv", "o_proj+fc2"], 0, processes=5, interaction={"qkv": 0.05})
    table = check_predictions(model, {7: later}).set_index("target_set")
    assert table.loc["qkv", "adjusted_p_value"] < 0.05 < table.loc["o_proj+fc2", "adjusted_p_value"]
    assert table.loc["qkv", "excess_low"] > 0
    assert table.loc["qkv", "excess"] == pytest.approx(0.05, abs=0.02)


def test_later_sets_without_prediction_or_rounds_have_no_row() -> None:
    model = fit_cost_model(simulate(["qkv", "o_proj"]))
    unknown = simulate_later(["q", "q+fc1", "qkv+o_proj"], 0)
    short = simulate_later(["qkv+o_proj"], 0, processes=1, rounds=5)
    table = check_predictions(model, {3: unknown, 4: short})
    assert list(zip(table["target_set"], table["point"], strict=True)) == [("qkv+o_proj", 3)]
    strange = simulate_later(["q", "q+fc1"], 0)
    assert check_predictions(model, {4: short, 5: strange}).empty
    assert check_predictions(model, {}).columns.tolist() == table.columns.tolist()


def test_a_later_point_of_too_unlike_processes_is_not_tested() -> None:
    model = fit_cost_model(simulate(SINGLES))
    later = simulate_later(["qkv"], 0, processes=2)
    table = check_predictions(model, {7: later[(later["process"] == 50) | (later["round"] == 0)]})
    assert table["measured"].notna().all()
    assert table[["excess_low", "adjusted_p_value"]].isna().all(axis=None)


def test_a_set_that_failed_early_does_not_take_the_others_rounds() -> None:
    calls = simulate([*SINGLES, "all"])
    kept = calls[(calls["variant"] != "all") | (calls["process"] == 0)]
    model = fit_cost_model(kept)
    assert model.left_out == ("all",)
    assert model.rounds == 40
    without = fit_cost_model(calls[calls["variant"] != "all"])
    pd.testing.assert_frame_equal(model.terms, without.terms)


def test_rounds_are_paired_inside_their_process() -> None:
    calls = simulate(SINGLES, noise=1e-6)
    # One process on a machine ten times slower: any pairing across processes would be far off.
    calls.loc[calls["process"] == 1, "end_to_end_seconds"] *= 10
    shares = fit_cost_model(calls).terms["share"]
    assert shares.tolist() == pytest.approx([*COSTS.values()], abs=1e-4)


def test_old_files_without_processes_still_work() -> None:
    calls = simulate(SINGLES, processes=1, rounds=20)
    model = fit_cost_model(calls.drop(columns=["process", "point"]))
    assert model.processes == 1
    assert np.isfinite(model.terms[["share_low", "share_high"]].to_numpy()).all()


def test_noise_free_times_divide_by_nothing() -> None:
    model = fit_cost_model(simulate([*SINGLES, "all"], noise=0.0))
    assert model.additivity.holds
    assert model.terms["share"].tolist() == pytest.approx([*COSTS.values()])


def test_layers_cost_their_share_of_a_role() -> None:
    """A quarter of a role's blocks is planted at a quarter of its cost, half at half."""
    covered = {
        "o_proj@0-7": {"o": 0.25},
        "fc2@last16": {"fc2": 0.5},
        "o_proj": {"o": 1.0},
        "all": {"o": 1.0, "fc2": 1.0},
    }
    shares = {name: sum(COSTS[r] * s for r, s in of.items()) for name, of in covered.items()}
    calls = simulate(["q"], noise=1e-6)
    base = calls[calls["arm"] == "base"]
    frames = [base]
    for name, share in shares.items():
        rows = base.assign(arm="unmerged", variant=name)
        frames.append(rows.assign(end_to_end_seconds=rows["end_to_end_seconds"] * (1 + share)))
    model = fit_cost_model(pd.concat(frames, ignore_index=True), covered=covered)
    costs = model.terms.set_index("role")["share"]
    assert costs.to_dict() == pytest.approx({"o": COSTS["o"], "fc2": COSTS["fc2"]}, abs=1e-9)
    predicted = model.predictions.set_index("target_set")["ratio"]
    assert predicted["fc2"] == pytest.approx(1 + COSTS["fc2"])
    assert predicted["all"] == pytest.approx(1 + COSTS["o"] + COSTS["fc2"])
    assert predicted["fc2@last16"] == pytest.approx(1 + COSTS["fc2"] / 2)


def test_layers_of_unknown_share_are_refused() -> None:
    calls = simulate(["q"])
    calls["variant"] = calls["variant"].replace("q", "q@0-3")
    with pytest.raises(UserError, match="of how many blocks"):
        fit_cost_model(calls)
