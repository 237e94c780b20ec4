"""The folder of a latency study: what it has measured so far, and how more is added to it.

    latency.json         the rule, the points, the machine, processes and failures
    latency.parquet      one row a timed call
    operations.parquet   loading, switching, merging, unmerging, cold calls, memory
    adapters/            the timed adapters

A study grows: a later run adds axes as points, and target sets as further points of the same axes,
each with a base and controls of its own. What may not change is what makes its numbers one
comparison: model, machine, versions, rule and seed.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.latency.latency_results import AXES, SCHEMA_VERSION
from harness.config.schema import Config
from harness.errors import UserError
from harness.records.files import read_table, write_json, write_table
from harness.records.machine import describe_difference
from harness.timing.budget import Budget
from harness.timing.controller import (
    PREREGISTERED_TIME,
    Earlier,
    Measurement,
    PointState,
    Series,
    preregister,
)
from harness.timing.points import Point, list_mixed_sets


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
    def earlier(self) -> Earlier:
        """What there is already: each number is one process of the whole study."""
        rows = (*self.calls, *self.operations, *self.facts["processes"])
        return Earlier(self.calls, 1 + max((int(row["process"]) for row in rows), default=-1))

    def find_points(self, axes: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The points of these axes: one a session that measured target sets there."""
        return [point for point in self.points if all(point[key] == axes[key] for key in AXES)]

    def list_measured(self, axes: Mapping[str, Any]) -> set[str]:
        """Target sets that have been measured to their end at these axes."""
        done = {p["point"] for p in self.find_points(axes) if p["status"] == "done"}
        return {
            row["variant"]
            for row in self.calls
            if row["arm"] == "unmerged" and row["point"] in done
        }

    def add_point(
        self, axes: Mapping[str, Any], covered: Mapping[str, Mapping[str, float]]
    ) -> dict[str, Any]:
        """Begin a point; it is open until it was measured.

        `covered` has the share of each role's blocks that each target set adapts.
        """
        earlier = self.find_points(axes)
        point = {
            "point": len(self.points),
            **axes,
            "added_to": earlier[0]["point"] if earlier else None,
            "target_sets": list(covered),
            "covered": covered,
            "mixed_sets": None,
            "preregistered": [],
            "status": "open",
            "message": None,
            "stopped": None,
            "seconds": 0.0,
        }
        self.points.append(point)
        return point

    def resume(self, number: int, point: Point) -> PointState:
        """How far a point had come: one that was cut off goes on, any other begins anew."""
        entry = self.points[number]
        if entry["status"] != "interrupted":
            return PointState(point)
        rounds = Counter(process for process, _ in self._list_rounds(number))
        return PointState(
            point,
            seconds=entry["seconds"],
            rounds=rounds.total(),
            processes=len(rounds),
            rounds_a_process=max(rounds.values(), default=0),
        )

    def _list_rounds(self, number: int) -> set[tuple[int, int]]:
        return {(r["process"], r["round"]) for r in self.calls if r["point"] == number}

    def save(self) -> None:
        """Write all three files, each atomically.

        The rows first: a point may not be called done before its rows are on the disk.
        """
        write_table(self.path / "latency.parquet", self._with_axes())
        write_table(self.path / "operations.parquet", self.operations)
        write_json(self.path / "latency.json", self.facts)

    def _with_axes(self) -> pd.DataFrame:
        """Calls with what their point came to, so that a row stands by itself."""
        ran = {
            point["point"]: {**{key: point[key] for key in AXES}, **point.get("ran", {})}
            for point in self.points
        }
        return pd.DataFrame([{**ran[row["point"]], **row} for row in self.calls])


@dataclass(frozen=True)
class StudyFacts:
    """What makes the numbers of a study one comparison."""

    model: str
    model_settings: Mapping[str, Any]
    device: str
    seed: int
    rule: Mapping[str, Any]
    machine: Mapping[str, Any]
    versions: Mapping[str, Any]


def open_folder(path: Path, study: StudyFacts) -> LatencyFolder:
    """Open a study's folder, or begin one.

    Raises UserError where it holds a study of another model, machine, rule or seed, or of other
    versions, and where its files cannot be read.
    """
    file = path / "latency.json"
    if not file.exists():
        facts = {
            "schema_version": SCHEMA_VERSION,
            **dataclasses.asdict(study),
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
        known = StudyFacts(**{each.name: facts[each.name] for each in fields(StudyFacts)})
        _check_same(path, known, study)
        _check_rows(path, facts, tables[0])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: its latency study cannot be read ({error}); move it elsewhere or use another "
            "study=name"
        ) from error
    # The axes are written beside every call; here they stand at the point.
    calls = [{k: v for k, v in row.items() if k not in AXES[3:]} for row in tables[0]]
    return LatencyFolder(path, facts, calls, tables[1])


def _read_rows(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    try:
        rows: list[dict[str, Any]] = read_table(file).to_dict("records")
    except UserError as error:
        raise UserError(f"{error}; move it away or use another study=name") from error
    return rows


def _check_same(path: Path, known: StudyFacts, now: StudyFacts) -> None:
    difference = describe_difference(known.machine, now.machine)
    if difference is not None:
        raise UserError(
            f"{path}: measured on another machine ({difference}); one study cannot mix machines: "
            "use another study=name"
        )
    before = _list_fixed(known)
    for name, value in _list_fixed(now).items():
        if before.get(name) != value:
            raise UserError(
                f"{path}: this study has {name} {before.get(name)!r}, now {value!r}; use another "
                "study=name"
            )
    for name, value in now.rule.items():
        if known.rule.get(name) != value:
            raise UserError(
                f"{path}: started with latency.{name}={known.rule.get(name)}, now {value}; the "
                "rule cannot change after the first call: use another study=name"
            )


def _list_fixed(study: StudyFacts) -> dict[str, Any]:
    settings = {f"model.{name}": value for name, value in study.model_settings.items()}
    return {"model": study.model, "seed": study.seed, **study.versions, **settings}


def _check_rows(path: Path, facts: Mapping[str, Any], calls: Sequence[Mapping[str, Any]]) -> None:
    timed = {row["point"] for row in calls}
    for point in facts["points"]:
        if point["status"] == "done" and point["point"] not in timed:
            raise ValueError(f"latency.parquet has no rows of point {point['point']}")


class Recorder:
    """Adds what one series measures to the folder, as it comes."""

    def __init__(self, folder: LatencyFolder, series: Series) -> None:
        self._folder = folder
        facts = folder.facts
        numbers = {state.point.number for state in series.states}
        # What went wrong when a point was tried before is over once it is tried again.
        facts["failures"] = [each for each in facts["failures"] if each["point"] not in numbers]
        self._before = {
            "calls": folder.calls,
            "operations": folder.operations,
            "processes": facts["processes"],
            "failures": facts["failures"],
        }
        # What is going to be compared is written down before the first call.
        for state in series.states:
            point = folder.points[state.point.number]
            point["preregistered"] = [list(ratio) for ratio in preregister(series.build)]
            point["mixed_sets"] = list_mixed_sets(series.build, state.point.batch_size)
            point["status"] = "open"
        folder.save()

    def keep(self, measurement: Measurement) -> None:
        """Write everything measured so far."""
        folder, before = self._folder, self._before
        folder.calls = before["calls"] + measurement.calls
        folder.operations = before["operations"] + measurement.operations
        folder.facts["processes"] = before["processes"] + measurement.processes
        folder.facts["failures"] = before["failures"] + measurement.failures
        for state in measurement.states:
            point = folder.points[state.point.number]
            point |= {
                key: getattr(state, key) for key in ("status", "message", "stopped", "seconds")
            }
            if state.settings:
                point["ran"] = state.settings
        folder.save()


def describe_rule(config: Config, budget: Budget) -> dict[str, Any]:
    """What is decided before the first call, as `latency.json` keeps it."""
    return dataclasses.asdict(budget.rule) | {
        "max_seconds": budget.max_seconds,
        "max_rounds": budget.max_rounds,
        "fresh_processes": budget.is_fresh,
        "merged": config.latency.merged,
        "mixed": config.latency.mixed,
        "time": PREREGISTERED_TIME,
    }
