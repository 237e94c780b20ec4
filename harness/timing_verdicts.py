"""What an interval of a timing ratio allows one to say, and whether a study may say anything.

A verdict is about a ratio's whole interval, never about the leader of the moment. The gate times
the base against itself: a study that tells the base from the base cannot be trusted on adapters.
"""

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from harness.ratios import Interval, paired_ratio

Verdict = Literal["equivalent", "slower", "faster", "unresolved"]


@dataclass(frozen=True)
class Rule:
    """Decided before anything is timed."""

    half_width: float
    """Half-width that a ratio's interval has to reach; 0.02 is 2% of the reference's time."""
    margin: float
    """Ratios within 1 / (1 + margin) .. 1 + margin are equivalent."""
    min_rounds: int
    """Rounds, over all processes, that a publishable ratio needs."""
    min_processes: int
    """Fresh processes that a publishable ratio needs."""


@dataclass(frozen=True)
class Gate:
    """Whether the timing of one point can be trusted, by the A/A control."""

    is_trusted: bool
    reasons: tuple[str, ...]
    """Why not, and what the machine was doing meanwhile; empty where trusted."""
    ratio: Interval
    """base_again / base, end to end."""


def judge(interval: Interval, rule: Rule) -> Verdict:
    """Return what `interval` says of its ratio; `unresolved` where a bound is unknown."""
    if interval.low >= 1 / (1 + rule.margin) and interval.high <= 1 + rule.margin:
        return "equivalent"
    if interval.low > 1:
        return "slower"
    if interval.high < 1:
        return "faster"
    return "unresolved"


def is_resolved(interval: Interval, rule: Rule) -> bool:
    """Whether the interval is as narrow as the rule wants."""
    return interval.half_width <= rule.half_width


def is_publishable(interval: Interval, rule: Rule) -> bool:
    """Whether enough rounds and processes stand behind the interval."""
    return interval.rounds >= rule.min_rounds and interval.processes >= rule.min_processes


def check_gate(calls: pd.DataFrame, rule: Rule) -> Gate:
    """Return whether one point's calls can be trusted, and if not, why in words.

    Untrusted: the interval of base_again / base (end to end) excludes 1, is wider than the rule's
    half-width, or there are too few rounds or processes for it.
    """
    ratio = paired_ratio(calls, "end_to_end_seconds", "base_again")
    trusted = (
        not math.isnan(ratio.low) and ratio.low <= 1 <= ratio.high and is_resolved(ratio, rule)
    )
    return Gate(trusted, () if trusted else ("provisional",), ratio)
