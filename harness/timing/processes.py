"""Where a session runs: in a fresh process, or in this one; both are told what to do alike."""

import json
import os
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch

import harness
from harness.models.loading import LoadedModel
from harness.signals import describe_exit, was_killed
from harness.timing.points import Build, Point
from harness.timing.session import PointError
from harness.timing.worker import Worker


class ProcessDiedError(PointError):
    """The process ended by itself; it takes no further command."""


class Host(ABC):
    """A session somewhere, which ends with the context. Every method raises PointError."""

    def __enter__(self) -> "Host":
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None:
        """Free what the session held."""

    def start(self, build: Build, number: int) -> dict[str, Any]:
        """Load model and arms; return what `worker.describe_session` says of them."""
        answer: dict[str, Any] = self._ask(
            do="start", build=build.to_json(), process=number, threads=torch.get_num_threads()
        )
        return answer

    def open(self, point: Point, tolerance: float, max_seconds: float) -> dict[str, Any]:
        """Warm up; return the fields of a `session.Opening`."""
        answer: dict[str, Any] = self._ask(
            do="open", point=point.to_json(), tolerance=tolerance, max_seconds=max_seconds
        )
        return answer

    def run_round(self) -> dict[str, Any]:
        """Time every arm once; return the fields of a `session.Round`."""
        answer: dict[str, Any] = self._ask(do="round")
        return answer

    def measure_memory(self) -> list[dict[str, Any]]:
        """Return the fields of an `arms.Operation` for each arm."""
        answer: list[dict[str, Any]] = self._ask(do="memory")
        return answer

    def close(self) -> None:
        """Leave the point."""
        self._ask(do="close")

    def _ask(self, **command: Any) -> Any:
        answer = self._answer(command)
        if "error" in answer:
            raise PointError(answer["error"]["message"], answer["error"]["is_out_of_memory"])
        return answer["ok"]

    @abstractmethod
    def _answer(self, command: dict[str, Any]) -> dict[str, Any]: ...


class SameProcess(Host):
    """No start to wait for, and no other processes to compare; `loaded` spares it the loading."""

    def __init__(self, loaded: LoadedModel | None = None) -> None:
        self._worker = Worker(loaded)

    def __exit__(self, *_: object) -> None:
        self._worker.end()

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        return self._worker.answer(command)


class FreshProcess(Host):
    """Its own memory layout, allocator and thread pool: what differs from start to start."""

    def __init__(self) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed at exit)
        # The package may lie where the command was started, off the interpreter's own path.
        package = str(Path(harness.__file__).resolve().parent.parent)
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.timing.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:  # a dead process's pipe cannot be flushed
                continue

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        # Half a line is the last word of a process that was killed while it wrote.
        if not line.endswith("\n"):
            raise self._explain_death()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _explain_death(self) -> ProcessDiedError:
        status = self._process.wait()
        message = f"the timing process {describe_exit(status)}"
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        if status > 0 and lines:
            message += f": {lines[-1]}"
        return ProcessDiedError(message, was_killed(status))


def choose_host(is_fresh: bool, loaded: LoadedModel | None = None) -> Callable[[], Host]:
    """What opens a session: in a fresh process, or in this one, with the model if it is loaded."""
    return FreshProcess if is_fresh else partial(SameProcess, loaded)
