from itertools import pairwise

import pytest

from harness.formatting import format_duration
from harness.progress import Progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (90, "2 min"), (3600, "60 min"), (9000, "2.5 h")],
)
def test_durations_read_as_a_person_would_say_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_no_bar_but_one_line_a_stage_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress(planned_seconds=100.0)
    with progress.stage("medmcqa · all · training", 3, planned_seconds=40.0) as stage:
        stage.advance(loss=0.5)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("medmcqa · all · training: 0.0 s")
    assert printed.err.count("\n") == 1
    assert "\r" not in printed.err


class Clock:
    """A clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("harness.progress.time.perf_counter", lambda: self.now)


def read_seconds(progress: Progress) -> float:
    """The time left, as it is shown."""
    _, number, unit, _ = progress.time_left().split()
    return float(number) * {"s": 1, "min": 60, "h": 3600}[unit]


def test_time_left_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of half the planned speed: what is left takes up to twice as long as planned."""
    clock = Clock(monkeypatch)
    progress = Progress(planned_seconds=4000.0)
    with progress.stage("a", 1, planned_seconds=3000.0):
        clock.now = 6000.0
    assert 1000 < read_seconds(progress) <= 2000


def test_time_left_counts_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    progress = Progress(planned_seconds=1000.0)
    stage = progress.open("a", 10, planned_seconds=1000.0)
    clock.now = 800.0
    stage.advance(8)
    assert read_seconds(progress) == pytest.approx(200, abs=60)
    clock.now = 5000.0
    # Without progress nothing is known that was not known before.
    assert read_seconds(progress) == pytest.approx(200, abs=60)


@pytest.mark.parametrize("pace", [0.4, 1.0, 2.0])
def test_time_left_never_doubles(monkeypatch: pytest.MonkeyPatch, pace: float) -> None:
    """Two workers in stages of unlike length, at a machine's pace that the plan did not foresee."""
    clock = Clock(monkeypatch)
    progress = Progress(planned_seconds=2000.0)
    progress.stages_at_a_time = 2.0
    shown = [read_seconds(progress)]
    open_stages = [progress.open(name, 20, planned_seconds=400.0) for name in ("a", "b")]
    for number in range(8):
        for step in range(20):
            # Real stages take unlike times: the first ones half as long again as the last ones.
            clock.now += pace * 10 * (1.25 - number / 14)
            open_stages[number % 2].advance()
            if step % 5 == 0:
                shown.append(read_seconds(progress))
        progress.close(open_stages[number % 2])
        if number < 6:
            open_stages[number % 2] = progress.open("c", 20, planned_seconds=400.0)
    assert all(later < 2 * earlier for earlier, later in pairwise(shown))


def test_a_log_gets_a_line_a_minute_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.progress.HEARTBEAT_SECONDS", 0.01)
    clock = Clock(monkeypatch)
    progress = Progress(planned_seconds=100.0)
    with progress.heartbeat():
        stage = progress.open("medmcqa · all · training", 4, planned_seconds=100.0)
        clock.now = 25.0
        stage.advance(1)
        printed = ""
        while "done" not in printed:
            printed += capsys.readouterr().err
        progress.close(stage, is_done=False)
    assert "medmcqa · all · training: 25% done · about 75 s left" in printed


def test_the_end_is_announced_as_such() -> None:
    assert Progress(planned_seconds=0.0).time_left() == "last stage"
