"""How fast a machine is, as measured on a few blocks: the line over depths, not the clock."""

from collections.abc import Callable

import pytest

from harness.config.schema import Config
from harness.data.batching import count_common_tokens
from harness.sweep import speed
from harness.sweep.plan import plan_sweep
from harness.sweep.speed import Costs, Trial, can_be_measured, measure_speed

ConfigMaker = Callable[..., Config]


def make_trial(config: Config, workers: int) -> Trial:
    plan = plan_sweep([config]).variants[0]
    adapters = [(plan.adapter, plan.projections)]
    return Trial(config.model, adapters, 12, 4, 2, 64, workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_cost_of_a_pack_is_measured(untimed_config: ConfigMaker, workers: int) -> None:
    """The threads meet before each measurement: one that waited alone would never end."""
    measured = measure_speed(make_trial(untimed_config(), workers))
    assert measured.is_measured
    assert (measured.dtype, measured.workers) == ("float32", workers)
    assert measured.costs.train > 0
    assert measured.costs.prompt > 0
    assert measured.costs.step + measured.costs.row > 0


def test_no_row_of_the_trial_shares_its_beginning_with_another(
    untimed_config: ConfigMaker,
) -> None:
    """Training computes a common beginning once; rows that were all alike would seem fast."""
    examples = speed._make_examples(make_trial(untimed_config(), 1), rows=4)
    assert count_common_tokens([each.prompt_ids for each in examples]) == 0


def test_two_depths_are_extended_to_all_blocks(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block costs 2 and all else 5, so that thirty blocks cost 65."""
    monkeypatch.setattr(speed, "count_blocks", lambda _: 30)
    monkeypatch.setattr(speed, "load_shallow", lambda *_: None)
    monkeypatch.setattr(speed, "_make_pack", lambda trial, model, depth: depth)

    def measure(trial: Trial, depth: int, meeting: object) -> Costs:
        return Costs(*[5.0 + 2.0 * depth] * 3, row=0.0)

    monkeypatch.setattr(speed, "_measure", measure)
    monkeypatch.setattr(speed, "count_bytes", lambda depth, tokens: 70.0 + 30.0 * depth)
    found = measure_speed(make_trial(untimed_config(), 1))
    costs, kept = found.costs, found.activations
    assert (costs.train, costs.prompt, costs.step, costs.row) == pytest.approx((65, 65, 65, 0))
    assert kept.count(30, checkpointing=False, hidden_bytes=4) == pytest.approx(70 + 900)
    # All of one block, the inputs of all.
    assert kept.count(30, checkpointing=True, hidden_bytes=4) == pytest.approx(70 + 30 + 120)


def test_a_model_that_would_fill_the_memory_is_not_measured(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = untimed_config().model
    assert can_be_measured(model)
    monkeypatch.setattr(speed, "read_free_memory", lambda _: 2**10)
    assert not can_be_measured(model)
