"""Progress on a terminal: what is running, how far it is, and how long the whole sweep has left.

Quiet where standard error is no terminal: there, one line a finished stage is printed instead. A
process that works for another sends what it would show there, and the other shows it.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

Send = Callable[[tuple[Any, ...]], None]

_send: Send | None = None


def send_announcements(send: Send | None) -> None:
    """Let `announce` hand its lines to another process (None: print them again)."""
    global _send
    _send = send


class Stage:
    """One stage of work on the terminal."""

    def __init__(
        self, title: str, total: float, planned_seconds: float, shown: str, position: int
    ) -> None:
        self.title = title
        self.planned_seconds = planned_seconds
        self.started = time.perf_counter()
        self._bar: tqdm[Any] = tqdm(
            total=total,
            desc=shown,
            disable=not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
            position=position,
        )

    def advance(self, units: float = 1, doing: str = "", **shown: float) -> None:
        """Move the bar on; what it is `doing` and `shown` values stand behind it (loss=0.53)."""
        values = [f"{key}={value:.3f}" for key, value in shown.items()]
        if doing or values:
            self._bar.set_postfix_str(", ".join([doing] * bool(doing) + values))
        self._bar.update(units)

    def close(self) -> float:
        """Clear the bar; return the seconds since it began."""
        self._bar.close()
        return time.perf_counter() - self.started


class Progress:
    """Counts planned seconds against real ones, so that the time left follows this machine."""

    def __init__(self, planned_seconds: float = 0.0) -> None:
        self._planned_left = planned_seconds
        self._planned_done = 0.0
        self._started = time.perf_counter()

    def open(
        self, title: str, total: float, planned_seconds: float = 0.0, position: int = 0
    ) -> Any:
        """Begin a stage of `total` units, on its own line of the terminal."""
        shown = f"{title} · {self.time_left()}"
        return Stage(title, total, planned_seconds, shown, position)

    def close(self, stage: Any, *, is_done: bool = True) -> None:
        """End a stage, and say how long it took."""
        seconds = stage.close()
        self._planned_done += stage.planned_seconds
        self._planned_left = max(0.0, self._planned_left - stage.planned_seconds)
        if is_done:
            announce(f"{stage.title}: {seconds:.1f} s · {self.time_left()}")

    @contextmanager
    def stage(self, title: str, total: float, planned_seconds: float = 0.0) -> Iterator[Any]:
        """Show one stage of work of `total` units while the block runs."""
        stage = self.open(title, total, planned_seconds)
        is_done = False
        try:
            yield stage
            is_done = True
        finally:
            self.close(stage, is_done=is_done)

    def time_left(self) -> str:
        """Estimated time left for all that was planned."""
        if self._planned_left <= 0:
            return "last stage"
        # The plan's own pace until there is a real one to go by.
        elapsed = time.perf_counter() - self._started
        pace = elapsed / self._planned_done if self._planned_done else 1.0
        return f"about {format_seconds(pace * self._planned_left)} left"


class SentStage:
    """A stage whose bar is another process's."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def advance(self, units: float = 1, doing: str = "", **shown: float) -> None:
        self._send(("advance", units, doing, shown))


class SentProgress(Progress):
    """Progress of a process that works for another; what it shows is sent as messages."""

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def open(
        self, title: str, total: float, planned_seconds: float = 0.0, position: int = 0
    ) -> SentStage:
        self._send(("open", title, total, planned_seconds))
        return SentStage(self._send)

    def close(self, stage: Any, *, is_done: bool = True) -> None:
        self._send(("close", is_done))


class Board:
    """Shows what several processes send, each on a line of its own."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stages: dict[int, Any] = {}

    def show(self, line: int, message: tuple[Any, ...]) -> None:
        """Show one message of the process that has this line."""
        match message:
            case ("open", title, total, planned_seconds):
                self._stages[line] = self._progress.open(title, total, planned_seconds, line)
            case ("advance", units, doing, shown) if line in self._stages:
                self._stages[line].advance(units, doing, **shown)
            case ("close", is_done) if line in self._stages:
                self._progress.close(self._stages.pop(line), is_done=is_done)
            case ("announce", text):
                announce(text)

    def clear(self, line: int) -> None:
        """Close what a process left open that is no more."""
        if line in self._stages:
            self._progress.close(self._stages.pop(line), is_done=False)


def announce(line: str) -> None:
    """Print a line without tearing a bar."""
    if _send is not None:
        _send(("announce", line))
        return
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


def format_seconds(seconds: float) -> str:
    """Format a duration as a person would say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
