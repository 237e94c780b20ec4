"""The folder of a latency study: what it has measured so far, and how more is added to it.

    latency.json         the rule, the points, the machine, processes and failures
    latency.parquet      one row a timed call
    operations.parquet   loading, switching, merging, unmerging, cold calls, memory
    adapters/            the timed adapters

A study grows: another run with other axes or target sets adds to it. What may not change is what
makes its numbers one comparison: model, machine, rule and seed.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import UserError
from harness.latency_analysis.results import AXES, SCHEMA_VERSION
from harness.machine import describe_difference
from harness.records import write_json, write_table
from harness.timing.budget import Budget
from harness.timing.controller import PREREGISTERED_TIME, Measurement, PointState, preregister
from harness.timing.plan import Build


@dataclass
class LatencyFolder:
    """A study's folder and what is in it."""

    path: Path
    facts: dict[str, Any]
    """`latency.json`."""
    calls: list[dict[str, Any]] = field(default_factory=list)
    operations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def points(self) -> list[dict[str, Any]]:
        points: list[dict[str, Any]] = self.facts["points"]
        return points

    @property
    def next_process(self) -> int:
        """Number of the next process: each number is one process of the whole study."""
        return 1 + max((int(row["process"]) for row in self.calls), default=-1)

    def find_point(self, axes: Mapping[str, Any]) -> dict[str, Any] | None:
        """The point of these axes, if the study has it."""
        return next((p for p in self.points if all(p[key] == axes[key] for key in AXES)), None)

    def add_point(self, axes: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a point; it is open until it was measured."""
        point = {
            "point": len(self.points),
            **axes,
            "target_sets": [],
            "preregistered": [],
            "status": "open",
            "message": None,
            "stopped": None,
            "seconds": 0.0,
        }
        self.points.append(point)
        return point

    def save(self) -> None:
        """Write all three files, each atomically."""
        write_json(self.path / "latency.json", self.facts)
        write_table(self.path / "latency.parquet", self._with_axes())
        write_table(self.path / "operations.parquet", self.operations)

    def _with_axes(self) -> pd.DataFrame:
        """Calls with what their point came to, so that a row stands by itself."""
        ran = {
            point["point"]: {**{key: point[key] for key in AXES}, **point.get("ran", {})}
            for point in self.points
        }
        return pd.DataFrame([{**ran[row["point"]], **row} for row in self.calls])


def open_folder(
    path: Path,
    *,
    model: str,
    machine: Mapping[str, Any],
    device: str,
    rule: Mapping[str, Any],
    seed: int,
) -> LatencyFolder:
    """Open a study's folder, or begin one.

    Raises UserError where it holds a study of another model, machine, rule or seed, and where its
    files cannot be read.
    """
    file = path / "latency.json"
    if not file.exists():
        facts = {
            "schema_version": SCHEMA_VERSION,
            "model": model,
            "device": device,
            "seed": seed,
            "rule": dict(rule),
            "machine": dict(machine),
            "points": [],
            "processes": [],
            "failures": [],
        }
        return LatencyFolder(path, facts)
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        version = facts["schema_version"]
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {version}, expected {SCHEMA_VERSION}")
        tables = [_read_rows(path / f"{name}.parquet") for name in ("latency", "operations")]
        _check_same(path, facts, model=model, machine=machine, rule=rule, seed=seed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: its latency study cannot be read ({error}); move it away or use another "
            "study=name"
        ) from error
    # The axes are written beside every call; here they stand at the point.
    calls = [{k: v for k, v in row.items() if k not in AXES[3:]} for row in tables[0]]
    return LatencyFolder(path, facts, calls, tables[1])


def _read_rows(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    rows: list[dict[str, Any]] = pd.read_parquet(file).to_dict("records")
    return rows


def _check_same(
    path: Path,
    facts: Mapping[str, Any],
    *,
    model: str,
    machine: Mapping[str, Any],
    rule: Mapping[str, Any],
    seed: int,
) -> None:
    difference = describe_difference(facts["machine"], machine)
    if difference is not None:
        raise UserError(
            f"{path}: measured on another machine ({difference}); timings of two machines are "
            "never put into one study: use another study=name"
        )
    for name, now in {"model": model, "seed": seed}.items():
        if facts[name] != now:
            raise UserError(
                f"{path}: a study of {name} {facts[name]!r}, now {now!r}; use another study=name"
            )
    for name, now in rule.items():
        if facts["rule"].get(name) != now:
            raise UserError(
                f"{path}: begun with latency.{name}={facts['rule'].get(name)}, now {now}; the rule "
                "is fixed before the first call: use another study=name"
            )


class Recorder:
    """Adds what one build measures to the folder, as it comes."""

    def __init__(self, folder: LatencyFolder, build: Build) -> None:
        self._folder = folder
        self._build = build
        self._before = {
            name: list(rows)
            for name, rows in {
                "calls": folder.calls,
                "operations": folder.operations,
                "processes": folder.facts["processes"],
                "failures": folder.facts["failures"],
            }.items()
        }
        self._seconds = {point["point"]: point["seconds"] for point in folder.points}

    def begin(self, states: Sequence[PointState]) -> None:
        """Write down, before the first call, what is going to be compared."""
        sets = [adapter.variant for adapter in self._build.adapters]
        for state in states:
            point = self._folder.points[state.point.number]
            point["target_sets"] += [name for name in sets if name not in point["target_sets"]]
            ratios = [list(ratio) for ratio in preregister(self._build)]
            known = point["preregistered"]
            point["preregistered"] = known + [each for each in ratios if each not in known]
            point["status"] = "open"
        self._folder.save()

    def keep(self, measurement: Measurement) -> None:
        """Write everything measured so far."""
        folder, before = self._folder, self._before
        folder.calls = before["calls"] + measurement.calls
        folder.operations = before["operations"] + measurement.operations
        folder.facts["processes"] = before["processes"] + measurement.processes
        folder.facts["failures"] = before["failures"] + measurement.failures
        for state in measurement.states:
            point = folder.points[state.point.number]
            point["seconds"] = self._seconds[state.point.number] + state.seconds
            point |= {key: getattr(state, key) for key in ("status", "message", "stopped")}
            if state.settings:
                point["ran"] = state.settings
        folder.save()


def describe_rule(budget: Budget) -> dict[str, Any]:
    """The rule as `latency.json` keeps it."""
    fixed = {"max_seconds": budget.max_seconds, "time": PREREGISTERED_TIME}
    return dataclasses.asdict(budget.rule) | fixed
