"""A latency study's files, read and checked: the one door from them to tables, plots and page.

    import harness
    study = harness.load_latency_study("results/latency")
    study.calls.groupby(["arm", "variant"])["end_to_end_seconds"].median()

A study's folder holds `latency.parquet` (one row a timed call), `operations.parquet` (one row a
load, switch, merge, unmerge, cold call or memory pass) and `latency.json` (what was asked for, how
each point ended, on what machine). All else in it is derived from these three.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.latency.run_times import TIMES
from harness.analysis.latency.timing_verdicts import Rule
from harness.errors import UserError
from harness.records.files import read_table, require_columns

SCHEMA_VERSION = 1
AXES = (
    *("batch_size", "prompt_tokens", "output_tokens", "dtype", "adapter_dtype", "rank"),
    *("attention", "cache", "compile"),
)
"""What a point is one combination of."""

NOISE = (
    *("cpu_seconds", "steal_seconds", "other_cpu_seconds", "involuntary_switches", "load_average"),
    *("gpu_clock_mhz", "gpu_temperature_celsius", "gpu_power_watts"),
)
"""What the machine did during a call; NaN where it was not read."""

VERSIONS = ("target-module-harness", "torch", "transformers", "peft", "git_commit", "git_dirty")

KEYS = ("point", "process", "round", "position", "arm", "variant")
SECONDS = tuple(f"{time}_seconds" for time in TIMES)
OPERATIONS = ("load", "switch", "merge", "unmerge", "cold_call", "memory")
OPERATION_COLUMNS = ("point", "process", "variant", "arm", "operation", "seconds", "bytes")


@dataclass(frozen=True)
class Point:
    number: int
    axes: Mapping[str, Any]
    """Value of each of AXES, as it ran: `auto` only where nothing ran."""
    added_to: int | None
    """Number of the first point of these axes, where this one was added by a later run; it has a
    base, controls and a gate of its own."""
    target_sets: tuple[str, ...]
    covered: Mapping[str, Mapping[str, float]]
    """Target set -> role -> share of the role's blocks that it adapts; empty in older studies."""
    mixed_sets: tuple[str, ...]
    """Target sets that take turns in the rows of the mixed batch; empty without such a batch."""
    preregistered: frozenset[tuple[str, str]]
    """(arm, variant) whose end-to-end ratios to the base had to become narrow."""
    status: str
    """`done`, `open` (not finished), `out of memory`, `failed` or `interrupted`."""
    message: str | None
    """Why it is not done, in one line."""
    stopped: str | None
    """What ended its rounds: `target reached`, `time budget` or `rounds limit`."""
    seconds: float
    """Time spent on it."""


@dataclass(frozen=True)
class Facts:
    """What `latency.json` holds."""

    model: str
    device: str
    points: tuple[Point, ...]
    rule: Rule
    max_seconds: float
    """Time budget of a point."""
    machine: Mapping[str, Any]
    """What must agree for two studies to be compared."""
    versions: Mapping[str, str]
    """Of the packages that may not change while a study grows."""
    processes: tuple[Mapping[str, Any], ...]
    """Warm-up, start-up time and environment of each process, at each point that it served."""
    failures: tuple[Mapping[str, Any], ...]
    """Variants that could not be measured: point, variant, arm, message."""
    seed: int


@dataclass(frozen=True)
class LatencyStudy:
    name: str
    calls: pd.DataFrame
    """One row a timed call: KEYS, AXES, times, tokens_per_second, NOISE, gpu_throttle."""
    operations: pd.DataFrame
    """One row an operation: OPERATION_COLUMNS."""
    facts: Facts

    def calls_of(self, point: int) -> pd.DataFrame:
        """Return the timed calls of one point; empty if it was never timed."""
        return self.calls[self.calls["point"] == point]


def load_latency_study(path: str | Path) -> LatencyStudy:
    """Load the latency study in folder `path`.

    Raises UserError if a file is missing, damaged or of another layout.
    """
    folder = Path(path)
    facts = _read_facts(folder / "latency.json")
    # A study of which nothing could be timed has no tables, and still has a page.
    is_timed = any(point.status == "done" for point in facts.points)
    calls = _read_calls(folder / "latency.parquet", is_timed)
    unlisted = set(calls["point"]) - {point.number for point in facts.points}
    if unlisted:
        raise UserError(
            f"{folder}: latency.parquet has calls of point {min(unlisted)}, which latency.json "
            "does not list; the two files belong to different studies: time the study again"
        )
    operations = _read_operations(folder / "operations.parquet", is_timed)
    return LatencyStudy(folder.resolve().name, calls, operations, facts)


def find_versions(study: LatencyStudy) -> dict[str, str]:
    """Return each of VERSIONS as the study's processes recorded it; several values are joined."""
    facts = study.facts
    environments = [process.get("environment", {}) for process in facts.processes]
    versions = {}
    for name in VERSIONS:
        values = {str(each[name]) for each in environments if each.get(name) is not None}
        # Where no process came to record any, the study's own file has those it was begun with.
        versions[name] = "; ".join(sorted(values)) or facts.versions.get(name, "")
    return versions


def _read_facts(path: Path) -> Facts:
    try:
        return _parse_facts(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); pass a folder that "
            "`python -m harness.latency` wrote, such as results/latency"
        ) from error
    except KeyError as error:
        raise UserError(f"{path}: key {error} is missing; time the study again") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a latency study's latency.json ({error})") from error


def _parse_facts(fields: Mapping[str, Any]) -> Facts:
    version = fields["schema_version"]
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema_version is {version!r}, expected {SCHEMA_VERSION}")
    rule = fields["rule"]
    return Facts(
        model=str(fields["model"]),
        device=str(fields["device"]),
        points=tuple(_parse_point(point) for point in fields["points"]),
        rule=Rule(
            half_width=float(rule["half_width"]),
            margin=float(rule["margin"]),
            min_rounds=int(rule["min_rounds"]),
            min_processes=int(rule["min_processes"]),
        ),
        max_seconds=float(rule["max_seconds"]),
        machine=dict(fields["machine"]),
        versions={name: str(value) for name, value in fields.get("versions", {}).items()},
        processes=tuple(dict(process) for process in fields["processes"]),
        failures=tuple(dict(failure) for failure in fields["failures"]),
        seed=int(fields["seed"]),
    )


def _parse_point(fields: Mapping[str, Any]) -> Point:
    seconds, added_to = fields["seconds"], fields.get("added_to")
    return Point(
        number=int(fields["point"]),
        axes={name: fields.get("ran", {}).get(name, fields[name]) for name in AXES},
        added_to=None if added_to is None else int(added_to),
        target_sets=tuple(fields["target_sets"]),
        covered=fields.get("covered", {}),
        # The file has one a row of the batch.
        mixed_sets=tuple(dict.fromkeys(fields.get("mixed_sets") or ())),
        preregistered=frozenset((arm, variant) for arm, variant in fields["preregistered"]),
        status=str(fields["status"]),
        message=fields["message"],
        stopped=fields["stopped"],
        seconds=math.nan if seconds is None else float(seconds),
    )


def _read_calls(path: Path, is_needed: bool) -> pd.DataFrame:
    needed = (*KEYS, *AXES, *SECONDS)
    calls = _read_rows(path, needed, is_needed)
    if calls.empty:
        return pd.DataFrame(columns=[*needed, "tokens_per_second", *NOISE, "gpu_throttle"])
    numeric = (*SECONDS, "tokens_per_second", *NOISE)
    calls = calls.assign(**{name: _as_number(path, calls, name) for name in numeric})
    return calls if "gpu_throttle" in calls else calls.assign(gpu_throttle=None)


def _read_operations(path: Path, is_needed: bool) -> pd.DataFrame:
    operations = _read_rows(path, OPERATION_COLUMNS, is_needed)
    if operations.empty:
        return pd.DataFrame(columns=list(OPERATION_COLUMNS))
    numbers = {name: _as_number(path, operations, name) for name in ("seconds", "bytes")}
    return operations.assign(**numbers)


def _read_rows(path: Path, needed: Sequence[str], is_needed: bool) -> pd.DataFrame:
    """All rows; none, and no columns, of a file that need not be there."""
    if not (is_needed or path.exists()):
        return pd.DataFrame()
    try:
        table = read_table(path)
        if not table.empty:
            require_columns(path, table, needed)
    except UserError as error:
        raise UserError(f"{error}; time the study again") from error
    return table


def _as_number(path: Path, table: pd.DataFrame, column: str) -> Any:
    """A column as floats, null as NaN; NaN where there is no such column."""
    if column not in table:
        return math.nan
    try:
        return pd.to_numeric(table[column]).astype(float)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: column {column} is not numeric ({error})") from error
