"""Progress on a terminal: what is running, how far it is, and how long the whole sweep has left.

Quiet where standard error is no terminal: there, one line a finished stage is printed instead.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


class Progress:
    """Counts planned seconds against real ones, so that the time left follows this machine."""

    def __init__(self, planned_seconds: float = 0.0) -> None:
        self._planned_left = planned_seconds
        self._planned_done = 0.0
        self._started = time.perf_counter()

    @contextmanager
    def stage(self, title: str, total: float, planned_seconds: float = 0.0) -> Iterator["Stage"]:
        """Show one stage of work of `total` units while the block runs."""
        bar: tqdm[Any] = tqdm(
            total=total,
            desc=f"{title} · {self.time_left()}",
            disable=not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
        )
        started = time.perf_counter()
        try:
            yield Stage(bar)
        finally:
            bar.close()
            self._planned_done += planned_seconds
            self._planned_left = max(0.0, self._planned_left - planned_seconds)
        announce(f"{title}: {time.perf_counter() - started:.1f} s · {self.time_left()}")

    def time_left(self) -> str:
        """Estimated time left for all that was planned."""
        if self._planned_left <= 0:
            return "last stage"
        # The plan's own pace until there is a real one to go by.
        elapsed = time.perf_counter() - self._started
        pace = elapsed / self._planned_done if self._planned_done else 1.0
        return f"about {format_seconds(pace * self._planned_left)} left"


class Stage:
    def __init__(self, bar: "tqdm[Any]") -> None:
        self._bar = bar

    def advance(self, units: float = 1, doing: str = "", **shown: float) -> None:
        """Move the bar on; what it is `doing` and `shown` values stand behind it (loss=0.53)."""
        values = [f"{key}={value:.3f}" for key, value in shown.items()]
        if doing or values:
            self._bar.set_postfix_str(", ".join([doing] * bool(doing) + values))
        self._bar.update(units)


def announce(line: str) -> None:
    """Print a line without tearing a bar."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


def format_seconds(seconds: float) -> str:
    """Format a duration as a person would say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
