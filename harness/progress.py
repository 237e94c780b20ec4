"""Progress: what is running, how far it is, and how long the whole sweep has left.

A bar on a terminal. Elsewhere (a log of CI or of a batch job) a line a finished stage, and a line a
minute. A process that works for another sends what it would show, and the other shows it.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from harness.formatting import format_duration

HEARTBEAT_SECONDS = 60.0
PLAN_WEIGHT = 0.3
"""How much of the plan's own time its pace counts for, beside the pace that is seen."""

Send = Callable[[tuple[Any, ...]], None]

_send: Send | None = None


def send_announcements(send: Send | None) -> None:
    """Let `announce` hand its lines to another process (None: print them again)."""
    global _send
    _send = send


class Stage:
    """One stage of work on the terminal."""

    def __init__(
        self,
        title: str,
        total: float,
        planned_seconds: float,
        time_left: Callable[[], str],
        position: int = 0,
    ) -> None:
        self.title = title
        self.planned_seconds = planned_seconds
        self.started = time.perf_counter()
        self._total = total
        self._done = 0.0
        self._time_left = time_left
        self._bar: tqdm[Any] = tqdm(
            total=total,
            desc=f"{title} · {time_left()}",
            disable=not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
            position=position,
        )

    @property
    def share_done(self) -> float:
        """How much of the stage is done, from 0 to 1."""
        return min(1.0, self._done / self._total) if self._total else 0.0

    def advance(self, units: float = 1, doing: str = "", **shown: float) -> None:
        """Move the bar on; what it is `doing` and `shown` values stand behind it (loss=0.53)."""
        self._done += units
        values = [f"{key}={value:.3f}" for key, value in shown.items()]
        if doing or values:
            self._bar.set_postfix_str(", ".join([doing] * bool(doing) + values), refresh=False)
        self._bar.set_description_str(f"{self.title} · {self._time_left()}", refresh=False)
        self._bar.update(units)

    def close(self) -> float:
        """Clear the bar; return the seconds since it began."""
        self._bar.close()
        return time.perf_counter() - self.started


class Progress:
    """Counts planned seconds against real ones, so that the time left follows this machine.

    `planned_seconds` is the wall time of all that was planned.
    """

    def __init__(self, planned_seconds: float = 0.0) -> None:
        self.stages_at_a_time = 1.0
        """Planned seconds of stages that pass in one second; more than 1 where workers share."""
        self._planned = planned_seconds
        self._closed = 0.0
        self._started = time.perf_counter()
        self._seen = 0.0
        """Seconds from the start to the last progress."""
        self._open: list[Stage] = []

    def open(
        self, title: str, total: float, planned_seconds: float = 0.0, position: int = 0
    ) -> Any:
        """Begin a stage of `total` units, on its own line of the terminal."""
        seconds = planned_seconds / self.stages_at_a_time
        stage = Stage(title, total, seconds, self._look, position)
        self._open.append(stage)
        return stage

    def close(self, stage: Any, *, is_done: bool = True) -> None:
        """End a stage, and say how long it took."""
        seconds = stage.close()
        self._open.remove(stage)
        self._closed += stage.planned_seconds
        time_left = self._look()
        if is_done:
            announce(f"{stage.title}: {seconds:.1f} s · {time_left}")

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
        done = self._closed + sum(each.planned_seconds * each.share_done for each in self._open)
        left = self._planned - done
        if left <= 0:
            return "last stage"
        # The plan counts as so much experience, lest the first minute's pace decide alone.
        prior = PLAN_WEIGHT * self._planned
        return f"about {format_duration((prior + self._seen) / (prior + done) * left)} left"

    def _look(self) -> str:
        """Note how long the progress that was just made has taken; return the time left."""
        self._seen = time.perf_counter() - self._started
        return self.time_left()

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Print what is running once a minute while the block runs, where there is no terminal."""
        if sys.stderr.isatty():
            yield
            return
        end = threading.Event()

        def beat() -> None:
            while not end.wait(HEARTBEAT_SECONDS):
                for stage in list(self._open):
                    announce(f"{stage.title}: {stage.share_done:.0%} done · {self.time_left()}")

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


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
