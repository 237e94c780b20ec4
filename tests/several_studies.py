"""Writes small studies to be put side by side, and changes what their records say."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthetic_study import write_run

from harness.records.record import BASE

TASKS = ("fincot", "medmcqa")
GAINS = {"qkv": 0.05, "o_proj": 0.12, "all": 0.2}
TURNED = {"qkv": 0.2, "o_proj": 0.12, "all": 0.05}


def write_side(
    folder: Path,
    gains: Mapping[str, float] = GAINS,
    tasks: Sequence[str] = TASKS,
    *,
    seconds: float = 12.0,
    rounds: int = 0,
    base: bool = True,
    scored: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """A study; `seconds` of scoring tell it from another of the same configuration."""
    for task in tasks:
        for name, gain in (({BASE: 0.0} if base else {}) | dict(gains)).items():
            write_run(
                folder,
                name,
                task,
                gain=gain,
                rounds=rounds,
                scored={"seconds": seconds, **(scored or {})},
                **options,
            )
    return folder


def edit_records(folder: Path, runs: str = "*", **facts: Any) -> Path:
    """Change facts of the environment in the records of some runs."""
    for path in folder.glob(f"runs/{runs}/record.json"):
        record = json.loads(path.read_text())
        record["environment"] |= facts
        path.write_text(json.dumps(record))
    return folder
