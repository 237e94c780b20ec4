"""Processes of their own: ends of every kind, pinning, progress, and no orphans."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
import torch

from harness.progress import Progress, announce
from harness.sweep.workers import Job, run_apart, run_here, share_cores


def leave(path: str, text: str, progress: Progress) -> None:
    Path(path).write_text(text)


def crash(how: str, progress: Progress) -> None:
    match how:
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "aborted":
            os.abort()
        case "exit":
            sys.exit(7)
        case "error":
            raise ValueError("planted")


def report_place(path: str, progress: Progress) -> None:
    cores = sorted(os.sched_getaffinity(0))
    Path(path).write_text(f"{cores} {torch.get_num_threads()}")
    time.sleep(0.5)


def show(progress: Progress) -> None:
    announce("a line")
    with progress.stage("work", 3, 1.0) as stage:
        stage.advance(2, loss=0.5)


def jobs_of(*works: tuple[object, ...]) -> list[Job]:
    return [Job(str(i), work, tuple(rest)) for i, (work, *rest) in enumerate(works)]  # type: ignore[arg-type]


def test_a_process_that_ends_badly_takes_only_its_own_job(tmp_path: Path) -> None:
    ways = ("killed", "aborted", "exit", "error")
    works = [(crash, way) for way in ways] + [(leave, str(tmp_path / "ok"), "done")]
    reasons = run_apart(jobs_of(*works), 2, Progress())
    assert "signal 9), probably out of memory" in str(reasons[0])
    assert "crashed (signal 6" in str(reasons[1])
    assert "exit status 7" in str(reasons[2])
    assert reasons[3] == "ValueError: planted"
    assert reasons[4] is None
    assert (tmp_path / "ok").read_text() == "done"


def test_jobs_here_and_apart_do_the_same(tmp_path: Path) -> None:
    for number, run in enumerate(
        (lambda jobs: run_here(jobs, 1, Progress()), lambda jobs: run_apart(jobs, 3, Progress()))
    ):
        works = [(leave, str(tmp_path / f"{number}-{i}"), str(i)) for i in range(4)]
        assert run(jobs_of(*works)) == [None] * 4
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == sorted("00112233")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no pinning on this system")
def test_processes_are_pinned_to_cores_of_their_own(tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    works = [(report_place, str(tmp_path / name)) for name in ("a", "b")]
    run_apart(jobs_of(*works), 2, Progress())
    places = [(tmp_path / name).read_text() for name in ("a", "b")]
    shares = share_cores(2)
    assert not set(shares[0]) & set(shares[1])
    assert sorted(place.rsplit(" ", 1)[0] for place in places) == sorted(map(str, shares))
    assert all(int(place.rsplit(" ", 1)[1]) <= len(shares[0]) for place in places)


def test_what_processes_show_is_shown_here(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(planned_seconds=1.0)
    run_apart(jobs_of((show,), (show,)), 1, progress)
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("a line") == 2
    assert sum(line.startswith("work: ") for line in lines) == 2
    assert progress.time_left() == "last stage"


SLEEP_SECONDS = 120
SCRIPT = """
    import sys, time
    from pathlib import Path
    from harness.progress import Progress
    from harness.sweep.workers import Job, run_apart

    def wait(folder, progress):
        import os
        Path(folder, str(os.getpid())).touch()
        try:
            time.sleep(120)
        except KeyboardInterrupt:
            if STUBBORN:
                time.sleep(120)
            raise

    if __name__ == "__main__":
        run_apart([Job("a", wait, (sys.argv[1],)), Job("b", wait, (sys.argv[1],))], 2, Progress())
"""


@pytest.mark.parametrize(
    ("number", "stubborn"),
    [
        (signal.SIGINT, False),
        pytest.param(signal.SIGINT, True, marks=pytest.mark.slow),
        (signal.SIGKILL, False),
    ],
)
def test_no_process_outlives_its_parent(
    tmp_path: Path, number: signal.Signals, stubborn: bool
) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("STUBBORN", str(stubborn)))
    folder = tmp_path / "pids"
    folder.mkdir()
    parent = subprocess.Popen(
        [sys.executable, str(script), str(folder)], stderr=subprocess.DEVNULL, cwd=Path.cwd(),
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    children = [psutil.Process(int(path.name)) for path in folder.iterdir()]
    assert len(children) == 2
    parent.send_signal(number)
    # Less than the children would sleep, and no limit on how fast a machine ends processes.
    parent.wait(timeout=SLEEP_SECONDS / 2)
    _, left = psutil.wait_procs(children, timeout=SLEEP_SECONDS / 2)
    assert not left
