"""Finds the runs of a study, leaves out what cannot be read, and names every run's variant.

A reader meets studies that are still running, were cut off, or were edited by hand; so each
record is checked on its own, and what is wrong with one becomes a line in `problems`.
"""

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import pandas as pd

from harness.errors import UserError
from harness.records.files import read_table
from harness.records.record import BASE, RUN_ID, SECTIONS, Record, read_record

Paths = str | Path | Sequence[str | Path]
"""A study's folder, a folder of studies, or a sequence of either."""

RECIPE_KEYS = ("adapter.method", "adapter.rank", "adapter.alpha", "train.learning_rate")
"""Settings that tell variants of one target set apart, tried in this order before any other."""

SHORT_NAMES = {"adapter.method": "", "train.learning_rate": "lr "}
"""How a setting is written in a variant's name, where not by the last part of its key."""

Cell = tuple[str, str, str, str, int]


@dataclass(frozen=True)
class Run:
    study: str
    """The end of its study's path that no other study read with it has: `quickstart`."""
    folder: Path
    """The run's folder."""
    record: Record
    variant: str = ""
    """Target set, and the settings that vary beside it: `qkv, rank 16`."""
    content: str = ""
    """What tells its model from others of that name in its study: the digest of its files."""

    @property
    def model(self) -> str:
        return f"{self._named('model')}{f'@{self.content}' if self.content else ''}"

    @property
    def task(self) -> str:
        return self._named("task")

    @property
    def target_set(self) -> str:
        if self.record.adapter is not None:
            return self.record.adapter.target_set
        modules = self.record.config.get("target_modules")
        label = modules.get("label") if isinstance(modules, Mapping) else None
        # A base's record also holds a config, whose target set is of no consequence.
        from_id = self._part_of_id("target_set")
        return BASE if from_id == BASE else str(label or from_id)

    @property
    def method(self) -> str:
        if self.record.adapter is not None:
            return self.record.adapter.method
        return self._part_of_id("method")

    @property
    def seed(self) -> int:
        seed = self.setting("seed")
        from_id = self._part_of_id("seed")
        return seed if isinstance(seed, int) else int(from_id) if from_id.isdecimal() else -1

    def setting(self, key: str) -> Any:
        """Return a value of the config by dotted key, None where it is absent."""
        value: Any = self.record.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    @property
    def settings(self) -> dict[str, Any]:
        """The config's values by dotted key."""
        return dict(_flatten(self.record.config))

    def _named(self, section: str) -> str:
        return str(self.setting(f"{section}.name") or self._part_of_id(section))

    def _part_of_id(self, part: str) -> str:
        match = RUN_ID.fullmatch(self.record.run_id)
        return match[part] if match else "unknown"


@dataclass(frozen=True)
class Runs:
    runs: tuple[Run, ...]
    """Every readable run, ordered by study and run id."""
    problems: tuple[str, ...]
    """One line for each run that was left out."""


def read_runs(path: Paths) -> Runs:
    """Read every run under `path`; raises UserError where there is no study at all."""
    runs: list[Run] = []
    problems: list[str] = []
    studies = _drop_repeats(find_studies(path), problems)
    for study, name in zip(studies, _name_studies(studies), strict=True):
        seen: set[str] = set()
        for folder in sorted(each for each in (study / "runs").iterdir() if each.is_dir()):
            try:
                record = _read_checked(folder)
            except UserError as error:
                problems.append(str(error))
                continue
            if record.run_id in seen:
                problems.append(f"{folder}: a copy of run {record.run_id}; ignored")
                continue
            seen.add(record.run_id)
            runs.append(Run(name, folder, record))
    runs = _drop_untimed(runs, problems)
    return Runs(_name_variants(_name_contents(runs)), tuple(problems))


def _drop_untimed(runs: Sequence[Run], problems: list[str]) -> list[Run]:
    """Leave out runs that stand there timed as well: how a run is timed makes no other variant."""
    timed = {_name_training(run) for run in runs if run.record.latency is not None}
    kept = []
    for run in runs:
        if run.record.latency is None and _name_training(run) in timed:
            problems.append(f"{run.folder}: the same run was timed under another id; ignored")
        else:
            kept.append(run)
    return kept


def _name_training(run: Run) -> str:
    """What a run's scores come of: all of its configuration but how it is timed."""
    trained = {key: value for key, value in run.settings.items() if not key.startswith("latency.")}
    return json.dumps([run.study, run.target_set, trained], sort_keys=True, default=str)


def find_studies(path: Paths) -> list[Path]:
    """Return the studies that `path` names; raises UserError where there is none."""
    if not isinstance(path, (str, Path)):
        return [study for each in path for study in find_studies(each)]
    folder = Path(path)
    if any(folder.glob("runs/*/")):
        return [folder]
    studies = sorted({runs.parent for runs in folder.glob("*/runs") if any(runs.glob("*/"))})
    if studies:
        return studies
    if (folder / "latency.json").exists():
        raise UserError(
            f"{folder} is a latency study and has no runs; read it with "
            "harness.load_latency_study, or compare it with harness.compare_latency"
        )
    raise UserError(f"{folder} has no runs/*/record.json; pass a study's folder under results/")


def _drop_repeats(studies: Sequence[Path], problems: list[str]) -> list[Path]:
    kept: dict[Path, Path] = {}
    for study in studies:
        place = study.resolve()
        if place in kept:
            problems.append(f"{study}: given more than once; read once")
        kept.setdefault(place, study)
    return list(kept.values())


def _name_studies(studies: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many more as tell it from the others."""
    paths = [study.resolve().parts for study in studies]
    names = []
    for own in paths:
        others = [parts for parts in paths if parts != own]
        depth = next(
            size
            for size in range(1, len(own) + 1)
            if all(parts[-size:] != own[-size:] for parts in others)
        )
        names.append("/".join(own[-depth:]))
    return names


def read_run_table(
    run: Run,
    name: str,
    needed: Sequence[str],
    problems: list[str],
    others: Sequence[str] | None = None,
) -> pd.DataFrame:
    """As `read_table`; where it fails, an empty frame and a line in `problems`."""
    try:
        return read_table(run.folder / name, needed, others)
    except UserError as error:
        problems.append(f"{error}; run the sweep's command again to restore it")
        return pd.DataFrame(columns=list(needed))


def _read_checked(folder: Path) -> Record:
    if not (folder / "record.json").exists():
        raise UserError(f"{folder}: no record.json; the run has not finished or was stopped early")
    record = read_record(folder)
    if not isinstance(record.run_id, str) or not isinstance(record.environment, dict):
        raise UserError(f"{folder}/record.json: run_id or environment has the wrong type")
    memory = record.environment.get("memory_bytes", 0)
    if memory is not None and not (isinstance(memory, (int, float)) and math.isfinite(memory)):
        raise UserError(f"{folder}/record.json: environment.memory_bytes has the wrong type")
    for name in SECTIONS:
        section = getattr(record, name)
        for field in dataclasses.fields(section) if section is not None else ():
            if not _fits(getattr(section, field.name), field.type):
                raise UserError(f"{folder}/record.json: {name}.{field.name} has the wrong type")
    return record


def _fits(value: Any, expected: Any) -> bool:
    """Whether a field's value, and each item of a container, has its annotated type."""
    if get_origin(expected) is UnionType:
        return any(_fits(value, each) for each in get_args(expected))
    kind = get_origin(expected) or expected
    if kind in (tuple, dict):
        items = value.values() if isinstance(value, dict) else value
        item = get_args(expected)[1 if kind is dict else 0]
        return isinstance(value, kind) and all(_fits(each, item) for each in items)
    return isinstance(value, (int, float) if kind is float else kind)


def _name_contents(runs: Sequence[Run]) -> list[Run]:
    """Tell apart what one model folder held at different times: its files were replaced."""
    held = defaultdict(set)
    for run in runs:
        held[run.study, run.model].add(run.setting("model.digest"))
    return [
        dataclasses.replace(run, content=str(run.setting("model.digest") or "unknown"))
        if len(held[run.study, run.model]) > 1
        else run
        for run in runs
    ]


def _name_variants(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Name each run by its target set, plus as few settings as tell runs of one cell apart."""
    names = {id(run): run.target_set for run in runs}
    for key in _setting_keys(runs):
        clashing = [cell for cell in _cells(runs, names) if len(cell) > 1]
        if not clashing:
            break
        if any(
            len({json.dumps(run.setting(key), default=str) for run in cell}) > 1
            for cell in clashing
        ):
            for run in runs:
                if run.target_set != BASE and run.setting(key) is not None:
                    short = SHORT_NAMES.get(key, f"{key.split('.')[-1]} ")
                    names[id(run)] += f", {short}{run.setting(key)}"
    for cell in _cells(runs, names):
        for run in cell if len(cell) > 1 else ():
            names[id(run)] += f", {run.record.run_id.rsplit('--', 1)[-1]}"
    return tuple(dataclasses.replace(run, variant=names[id(run)]) for run in runs)


def _cells(runs: Sequence[Run], names: Mapping[int, str]) -> Iterator[list[Run]]:
    """Group the runs that would be one and the same cell of a table."""
    cells: defaultdict[Cell, list[Run]] = defaultdict(list)
    for run in runs:
        # The base is scored once a task; repeats of it measure the same thing.
        if run.target_set != BASE:
            cells[run.study, run.model, run.task, names[id(run)], run.seed].append(run)
    return iter(cells.values())


def _setting_keys(runs: Sequence[Run]) -> list[str]:
    others = {key for run in runs for key in run.settings}
    taken = {"seed", "study", "results_dir", "model.name", "model.digest", "task.name"}
    taken.add("target_modules.label")
    return [*RECIPE_KEYS, *sorted(others - taken - set(RECIPE_KEYS))]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
