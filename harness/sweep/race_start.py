"""How a race begins: what cannot work is refused before anything runs."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.analysis.comparison import FEW_EXAMPLES
from harness.config.schema import Config, RaceConfig
from harness.errors import UserError
from harness.formatting import format_duration
from harness.models.devices import resolve_device
from harness.records.race_record import Race, RaceJob, Round, read_race, write_race
from harness.records.record import Record, read_record
from harness.sweep.learning_rates import list_first_trials
from harness.sweep.packing import estimate_seconds, survey_room
from harness.sweep.plan import label_run, plan_sweep
from harness.sweep.resuming import find_finished

FEWEST_VARIANTS = 2
HASH = 8
"""Characters of a run id's hash."""
KNOWN_SEEDS = 32
"""Seeds whose runs count as the race's own, whatever `race.max_seeds` is now."""


def begin_race(arms: Sequence[Config]) -> Race:
    """The race as it stands on disk, or a new one; UserError where it cannot work."""
    _check_arms(arms)
    study, settings = arms[0].study_folder, arms[0].race
    names = tuple(arm.run_id for arm in arms)
    found = read_race(study)
    if found is not None:
        _check_same(found, arms)
    _check_others(study, arms)
    if found is None or not found.rounds[0].is_over:
        _check_budget(arms)
    if found is not None:
        return found
    first = Round(tuple(RaceJob(name, 0) for name in names), "one seed of every set on every task")
    race = Race(settings.tolerance, names, (first,))
    write_race(study, race)
    return race


def _check_arms(arms: Sequence[Config]) -> None:
    seeds = sorted({arm.seed for arm in arms})
    if seeds != [0]:
        raise UserError(
            f"seed is {', '.join(map(str, seeds))}, but a race picks the seeds by itself; leave "
            "seed out, and set race.max_seeds"
        )
    models = sorted({arm.model_name for arm in arms})
    if len(models) > 1:
        raise UserError(f"a race compares target sets of one model; got {', '.join(models)}")
    variants = sorted({_name_variant(arm) for arm in arms})
    if len(variants) < FEWEST_VARIANTS:
        raise UserError(
            f"a race compares target sets; got {variants[0]} alone: name two or more, such as "
            "target_modules=qkv,o_proj"
        )
    _check_single("race", arms)
    _check_single("study", arms)
    names = [arm.run_id for arm in arms]
    twice = next((arm for arm in arms if names.count(arm.run_id) > 1), None)
    if twice is not None:
        raise UserError(
            f"{_name_variant(twice)} on {twice.task.name} is named twice; leave one of them out"
        )
    counts = {arm.task.name: arm.task.test_examples for arm in arms}
    if max(counts.values()) < FEW_EXAMPLES:
        listed = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise UserError(
            f"task.test_examples asks for {listed}, but a task with fewer than {FEW_EXAMPLES} "
            "takes no part in a verdict, and a race goes on until there is one; set "
            f"task.test_examples={FEW_EXAMPLES} or more"
        )


def _check_single(section: str, arms: Sequence[Config]) -> None:
    """Refuse several values of what a race has one of."""
    values = {arm.run_id + str(number): getattr(arm, section) for number, arm in enumerate(arms)}
    distinct = list(dict.fromkeys(values.values()))
    if len(distinct) < FEWEST_VARIANTS:
        return
    key, found = section, [str(value) for value in distinct]
    if section == "race":
        fields = [field.name for field in dataclasses.fields(RaceConfig)]
        name = next(each for each in fields if len({getattr(v, each) for v in distinct}) > 1)
        key, found = f"race.{name}", [str(getattr(value, name)) for value in distinct]
    raise UserError(f"{key} is {', '.join(found)}; a race has one: give a single value")


def _name_variant(arm: Config) -> str:
    return label_run(arm.target_set, arm.adapter.method)


def _check_same(race: Race, arms: Sequence[Config]) -> None:
    """Refuse other variants, tasks or settings than the race on disk has."""
    asked = {arm.run_id: arm for arm in arms}
    study, tolerance = arms[0].study_folder, arms[0].race.tolerance
    if set(asked) == set(race.arms):
        if race.tolerance != tolerance:
            raise UserError(
                f"race.tolerance is {tolerance:g}, but the race in {study} was begun with "
                f"{race.tolerance:g}, which all its rounds went by; leave it so, or read the study "
                f"at another tolerance: python -m harness.report {study} --delta {tolerance:g}"
            )
        return
    if not any(study.glob("runs/*/examples.parquet")):
        raise UserError(
            f"{study} holds a race of other settings in which no run has a score; delete the "
            "folder, or name another study=..."
        )
    out = _list_ruled_out(race)
    named = sorted({_name_variant(arm) for arm in arms} & set(out))
    if set(asked) < set(race.arms) and named:
        raise UserError(
            f"{named[0]} was ruled out in round {out[named[0]]} of the race in {study} and gets no "
            "more runs; race the same sets again to go on, or train it in another study: the same "
            f"command with target_modules={named[0]} seed=... study=..., without hydra/sweeper=race"
        )
    raise UserError(
        f"{study} holds a race of other sets, tasks or settings "
        f"({_describe_difference(race, asked, study)}); run the command that began it, or name "
        "another study=..."
    )


def _describe_difference(race: Race, asked: Mapping[str, Config], study: Path) -> str:
    """What this race has and the one on disk has not, or the other way about."""
    added = sorted(set(asked) - set(race.arms))
    missing = sorted(set(race.arms) - set(asked))
    for name in added:
        twin = next((each for each in missing if each[:-HASH] == name[:-HASH]), None)
        record = _read(study / "runs" / twin) if twin else None
        if record is None:
            continue
        here, there = _flatten(asked[name].as_record()), _flatten(record.config)
        for key in here:
            if key in there and here[key] != there[key]:
                return f"{key} is {here[key]}, and was {there[key]} there"
    names = {_strip(each) for each in added} ^ {_strip(each) for each in missing}
    return f"{min(names or {*added, *missing})} is in one only"


def _read(folder: Path) -> Record | None:
    try:
        return read_record(folder)
    except UserError:
        return None


def _strip(run_id: str) -> str:
    """A run id without its seed and hash."""
    return run_id.rsplit("--", 2)[0]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {}
        flat |= {} if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _list_ruled_out(race: Race) -> dict[str, int]:
    """Variant -> round after which it was first ruled out."""
    out: dict[str, int] = {}
    for number, each in enumerate(race.rounds, start=1):
        for standing in each.standings:
            if standing.is_out:
                out.setdefault(standing.variant, number)
    return out


def _check_others(study: Path, arms: Sequence[Config]) -> None:
    """Refuse a study that holds runs which are none of the race's."""
    own = {arm.base_run_id for arm in arms}
    for arm in arms:
        own |= {dataclasses.replace(arm, seed=seed).run_id for seed in range(KNOWN_SEEDS)}
    others = sorted(path.parent.name for path in study.glob("runs/*/record.json"))
    others = [name for name in others if name not in own]
    if others:
        raise UserError(
            f"{study} holds {len(others)} runs of other settings, such as {others[0]}, which a "
            "race cannot weigh; name another study=..."
        )


def _check_budget(arms: Sequence[Config]) -> None:
    """Refuse a budget that is smaller than the first round."""
    settings = arms[0].race
    if settings.max_runs is not None and settings.max_runs < len(arms):
        raise UserError(
            f"race.max_runs is {settings.max_runs}, but the first round is {len(arms)} runs: raise "
            "it, or name fewer sets or tasks"
        )
    if settings.hours is None:
        return
    seconds = _estimate([arm for arm in arms if find_finished(arm) is None])
    if seconds > 3600 * settings.hours:
        raise UserError(
            f"race.hours is {settings.hours:g}, but the first round takes about "
            f"{format_duration(seconds)}: raise it, name fewer sets or tasks, or lower "
            "task.train_examples"
        )


def _estimate(configs: Sequence[Config]) -> float:
    """Estimated wall time of a sweep, the tuning of rates included."""
    if not configs:
        return 0.0
    room = survey_room(resolve_device(configs[0].model.device), in_processes=True)
    plan = plan_sweep(configs, room.count_workers(len(configs)))
    seconds = estimate_seconds(plan, room)
    trials = list_first_trials(plan.variants)
    if trials:
        seconds += estimate_seconds(plan_sweep(trials, room.count_workers(len(trials))), room)
    return seconds
