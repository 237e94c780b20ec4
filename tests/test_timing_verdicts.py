"""Verdicts at their borders, and the A/A gate on planted rounds."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.ratios import UNKNOWN, Interval
from harness.timing_verdicts import Rule, check_gate, is_publishable, is_resolved, judge

RULE = Rule(half_width=0.02, margin=0.03, min_rounds=15, min_processes=3)


def make_interval(low: float, high: float, rounds: int = 30, processes: int = 3) -> Interval:
    return Interval((low + high) / 2, low, high, 0.95, rounds, processes)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.99, 1.02, "equivalent"),
        (1.005, 1.02, "equivalent"),  # surely slower, by less than matters
        (1 / 1.03, 1.03, "equivalent"),
        (0.9700, 1.02, "unresolved"),  # 1 / 1.03 is 0.9709
        (1.01, 1.04, "slower"),
        (1.0, 1.04, "unresolved"),
        (0.9, 0.99, "faster"),
        (0.9, 1.0, "unresolved"),
        (0.9, 1.1, "unresolved"),
        (math.nan, math.nan, "unresolved"),
    ],
)
def test_verdict_is_of_the_whole_interval(low: float, high: float, verdict: str) -> None:
    assert judge(make_interval(low, high), RULE) == verdict


def test_an_unknown_interval_is_nothing() -> None:
    assert judge(UNKNOWN, RULE) == "unresolved"
    assert not is_resolved(UNKNOWN, RULE)
    assert not is_publishable(UNKNOWN, RULE)


def test_resolved_is_of_the_width_and_publishable_of_the_counts() -> None:
    assert is_resolved(make_interval(0.98, 1.0199), RULE)
    assert not is_resolved(make_interval(0.98, 1.03), RULE)
    assert is_publishable(make_interval(0.5, 2, rounds=15, processes=3), RULE)
    assert not is_publishable(make_interval(1, 1, rounds=14, processes=3), RULE)
    assert not is_publishable(make_interval(1, 1, rounds=90, processes=2), RULE)


def make_calls(
    ratio: float = 1.0, noise: float = 0.005, processes: int = 3, rounds: int = 10, **columns: Any
) -> pd.DataFrame:
    """Base and base again, calls of about a second, with the same noise columns in every row."""
    rng = np.random.default_rng(1)
    rows = [
        {"process": process, "round": number, "arm": arm, "variant": "base"}
        | {"end_to_end_seconds": truth * math.exp(rng.normal(0, noise))}
        | columns
        for process in range(processes)
        for number in range(rounds)
        for arm, truth in (("base", 1.0), ("base_again", ratio))
    ]
    return pd.DataFrame(rows)


QUIET = {"steal_seconds": 0.0, "other_cpu_seconds": 0.0, "load_average": 1.0, "gpu_throttle": ""}


def test_base_that_equals_itself_is_trusted_without_words() -> None:
    gate = check_gate(make_calls(other_cpu_seconds=1.0), RULE)
    assert gate.is_trusted
    assert gate.reasons == ()
    assert gate.ratio.low <= 1 <= gate.ratio.high


def test_base_that_differs_from_itself_is_untrusted() -> None:
    gate = check_gate(make_calls(ratio=0.74, **QUIET), RULE)
    assert not gate.is_trusted
    assert "excludes 1" in gate.reasons[0]
    assert "0.74" in gate.reasons[0]


def test_wide_control_is_untrusted_and_the_machine_is_named() -> None:
    noise = {"steal_seconds": 0.1, "other_cpu_seconds": 0.8, "load_average": 4.2}
    gate = check_gate(make_calls(noise=0.1, **noise), RULE)
    assert not gate.is_trusted
    told = "; ".join(gate.reasons)
    assert "not to the target of 2.00%" in told
    assert "0.8 cores" in told
    assert "10" in told
    assert "steal" in told
    assert "load average was 4.2" in told


def test_throttled_gpu_is_named_once_a_reason() -> None:
    calls = make_calls(noise=0.1, gpu_throttle="sw power cap, hw slowdown")
    calls.loc[::2, "gpu_throttle"] = ""
    throttling = check_gate(calls, RULE).reasons[-1]
    assert throttling == "the GPU was throttled in 50.0% of the calls (hw slowdown, sw power cap)"


def test_unknown_noise_is_passed_over() -> None:
    unknown = dict.fromkeys(("steal_seconds", "other_cpu_seconds", "load_average"), math.nan)
    gate = check_gate(make_calls(noise=0.1, gpu_throttle=None, **unknown), RULE)
    assert len(gate.reasons) == 1


def test_without_a_control_nothing_is_trusted() -> None:
    calls = make_calls()
    gate = check_gate(calls[calls["arm"] == "base"], RULE)
    assert not gate.is_trusted
    assert gate.reasons[0] == "the base was not timed against itself"


def test_too_few_rounds_for_an_interval_are_untrusted() -> None:
    gate = check_gate(make_calls(noise=0.0001, processes=1, rounds=5), RULE)
    assert not gate.is_trusted
    assert "5 rounds of one process are too few" in gate.reasons[0]
