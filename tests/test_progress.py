import pytest

from harness.progress import Progress, format_seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (90, "2 min"), (3600, "60 min"), (9000, "2.5 h")],
)
def test_durations_read_as_a_person_would_say_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


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


def test_time_left_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 planned seconds took 80, so the 60 that are left will take 120."""
    clock = iter([0.0, 0.0, 0.0, 80.0, 80.0, 80.0])
    monkeypatch.setattr("harness.progress.time.perf_counter", lambda: next(clock))
    progress = Progress(planned_seconds=100.0)
    with progress.stage("a", 1, planned_seconds=40.0):
        pass
    assert progress.time_left() == "about 2 min left"


def test_the_end_is_announced_as_such() -> None:
    assert Progress(planned_seconds=0.0).time_left() == "last stage"
