"""Verdicts at their borders, and the A/A gate on planted rounds."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.analysis.latency.ratios import UNKNOWN, Interval, median_interval
from harness.analysis.latency.timing_verdicts import (
    Rule,
    check_gate,
    is_publishable,
    is_resolved,
    judge,
)

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


@pytest.mark.parametrize("rounds", [1, 5])
def test_too_few_rounds_resolve_nothing_however_alike(rounds: int) -> None:
    """Of one round the range has no width at all."""
    alike = median_interval([1.1 + 0.001 * number for number in range(rounds)])
    assert alike.half_width < 0.01
    assert judge(alike, RULE) == "unresolved"
    assert not is_resolved(alike, RULE)
    six = median_interval([1.1 + 0.001 * number for number in range(6)])
    assert judge(six, RULE) == "slower"
    assert is_resolved(six, RULE)


def test_an_interval_of_unknown_coverage_resolves_nothing() -> None:
    unknown = replace(make_interval(1.1, 1.11), coverage=math.nan)
    assert judge(unknown, RULE) == "unresolved"
    assert not is_resolved(unknown, RULE)


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


def test_a_lax_rule_makes_nothing_publishable_that_is_not() -> None:
    lax = Rule(half_width=0.5, margin=0.5, min_rounds=1, min_processes=1)
    assert is_publishable(make_interval(1, 1, rounds=15, processes=3), lax)
    assert not is_publishable(make_interval(1, 1, rounds=14, processes=3), lax)
    assert not is_publishable(make_interval(1, 1, rounds=90, processes=2), lax)
    strict = Rule(half_width=0.02, margin=0.03, min_rounds=20, min_processes=4)
    assert not is_publishable(make_interval(1, 1, rounds=19, processes=4), strict)
    assert not is_publishable(make_interval(1, 1, rounds=90, processes=3), strict)


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
    noise = {
        "steal_seconds": 0.1,
        "other_cpu_seconds": 0.8,
        "load_average": 4.2,
        "throttled_seconds": 0.2,
    }
    gate = check_gate(make_calls(noise=0.1, **noise), RULE)
    assert not gate.is_trusted
    told = "; ".join(gate.reasons)
    assert "wider than the target of ±2.00%" in told
    assert "0.8 cores" in told
    assert "10" in told
    assert "steal" in told
    assert "the CPU quota throttled the process for 20.0%" in told
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


def test_each_time_has_a_gate_of_its_own() -> None:
    calls = make_calls()
    again = calls["arm"] == "base_again"
    calls["ttft_seconds"] = calls["end_to_end_seconds"].where(~again, lambda x: 1.2 * x)
    assert check_gate(calls, RULE).is_trusted
    first_token = check_gate(calls, RULE, "ttft")
    assert not first_token.is_trusted
    assert "the TTFT of the base against itself is 1." in first_token.reasons[0]
    assert first_token.ratio.estimate == pytest.approx(1.2, rel=0.01)


def test_a_process_of_hardly_any_rounds_is_untrusted_and_told() -> None:
    calls = make_calls(processes=2, rounds=20)
    calls = calls[(calls["process"] == 0) | (calls["round"] == 0)]
    gate = check_gate(calls, RULE)
    assert not gate.is_trusted
    assert "too uneven for an interval" in gate.reasons[0]


def test_too_few_rounds_for_an_interval_are_untrusted() -> None:
    for rounds, words in ((5, "5 rounds of one process are"), (1, "1 round of one process is")):
        gate = check_gate(make_calls(noise=0.0001, processes=1, rounds=rounds), RULE)
        assert not gate.is_trusted
        assert gate.reasons[0].startswith(f"{words} too few for a 95% interval")
