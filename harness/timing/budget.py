"""When a point has been measured enough: the rule and the budget, from a configuration."""

from dataclasses import dataclass

import torch

from harness.analysis.latency.timing_verdicts import Rule
from harness.config.schema import Config


@dataclass(frozen=True)
class Budget:
    """When a point has been measured enough."""

    rule: Rule
    max_seconds: float
    """Time a point may take, start of its processes included."""
    max_rounds: int | None = None
    """Most rounds of a point, over all its processes."""
    is_fresh: bool = True
    """Measure in fresh processes; else in this one, which says nothing of how processes differ."""


def make_budget(config: Config, device: torch.device) -> Budget:
    """How well ratios have to be known - to 1% on a GPU, 2% elsewhere, unless told - and when to
    stop."""
    latency = config.latency
    half_width = latency.half_width or (0.01 if device.type == "cuda" else 0.02)
    return Budget(
        rule=Rule(
            half_width=half_width,
            margin=latency.margin or half_width + 0.01,
            min_rounds=latency.min_rounds,
            min_processes=latency.min_processes,
        ),
        max_seconds=latency.max_seconds,
        max_rounds=latency.max_rounds,
        is_fresh=latency.fresh_processes,
    )
