"""A fresh process that times: reads one command a line as JSON, and answers each in one line.

    {"do": "start", "build": ..., "process": 0, "threads": 2}
    {"do": "open", "point": ..., "tolerance": 0.02, "max_seconds": 25}
    {"do": "round"}    {"do": "memory"}    {"do": "close"}

An answer is {"ok": ...} or {"error": {"message": ..., "is_out_of_memory": ...}}. Between commands
the process waits, so that what its parent does disturbs no call. It ends with its standard input.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import IO, Any

import torch

from harness.errors import UserError
from harness.models.loading import LoadedModel
from harness.models.memory import is_out_of_memory
from harness.timing.arms import describe_error
from harness.timing.points import Build, Point
from harness.timing.session import PointError, Session


class Worker:
    """Carries out commands with a session; `loaded` spares the first the loading."""

    def __init__(self, loaded: LoadedModel | None = None) -> None:
        self._loaded = loaded
        self._session: Session | None = None

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry a command out; its error becomes part of the answer."""
        try:
            return {"ok": self._do(command)}
        except PointError as error:
            return _refuse(str(error), error.is_out_of_memory)
        except UserError as error:
            return _refuse(str(error))
        except Exception as error:
            return _refuse(describe_error(error), is_out_of_memory(error))

    def _do(self, command: dict[str, Any]) -> Any:
        match command["do"]:
            case "start":
                torch.set_num_threads(command["threads"])
                build = Build.from_json(command["build"])
                session = Session(build, command["process"], self._loaded)
                self._session = session
                return describe_session(session)
        assert self._session is not None
        match command["do"]:
            case "open":
                point = Point.from_json(command["point"])
                limits = command["tolerance"], command["max_seconds"]
                return dataclasses.asdict(self._session.open(point, *limits))
            case "round":
                return dataclasses.asdict(self._session.run_round())
            case "memory":
                return [dataclasses.asdict(each) for each in self._session.measure_memory()]
            case "close":
                return self._session.close()
            case other:
                raise ValueError(f"unknown command {other!r}")

    def end(self) -> None:
        """Free what the session holds."""
        if self._session is not None:
            self._session.close()
        self._session = None


def describe_session(session: Session) -> dict[str, Any]:
    """What a process says of itself once it is ready."""
    return {
        "environment": session.environment,
        "dtype": session.dtype,
        "adapter_dtype": session.adapter_dtype,
        "attention": session.attention,
        "operations": [dataclasses.asdict(each) for each in session.operations],
        "failures": [dataclasses.asdict(each) for each in session.failures],
    }


def _refuse(message: str, out_of_memory: bool = False) -> dict[str, Any]:
    return {"error": {"message": message, "is_out_of_memory": out_of_memory}}


def _volunteer_for_the_oom_killer() -> None:
    """Where memory runs out, this process is to go, not the one that keeps the measurements."""
    path = Path("/proc/self/oom_score_adj")
    if path.exists():
        try:
            path.write_text("900", encoding="ascii")
        except OSError:
            return


def _take_standard_output() -> IO[str]:
    """Answers go where standard output went; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def main() -> None:
    answers = _take_standard_output()
    _volunteer_for_the_oom_killer()
    worker = Worker()
    for line in sys.stdin:
        answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
