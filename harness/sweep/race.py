"""The race: rounds of runs until the choice of a target set is decided, or a budget is spent.

Every round runs what brings a decision nearest for its time, and is recorded before it starts; so a
race that was killed goes on where it was, with the same decisions.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from harness.analysis.comparison import FEW_EXAMPLES, Comparison, compare
from harness.analysis.race.allocation import (
    Outlook,
    Step,
    cost_examples,
    cost_seeds,
    list_running,
    plan_round,
)
from harness.analysis.race.race_wording import count_runs, describe_plan, format_round
from harness.analysis.results import list_evidence, load_study
from harness.analysis.verdict.decision import BALANCED, Ruling, apply_rule
from harness.config.schema import Config, RaceConfig
from harness.errors import UserError
from harness.formatting import format_duration, join_words, pluralize
from harness.models.devices import resolve_device
from harness.progress import announce
from harness.records.looks import count_look
from harness.records.race_record import Race, RaceJob, Round, Standing, write_race
from harness.records.record import BASE
from harness.sweep.packing import survey_room
from harness.sweep.race_start import begin_race

Launch = Callable[[Sequence[RaceJob]], object]
"""Runs jobs, whatever comes of them; records say it."""


def run_race(arms: Sequence[Config], launch: Launch, on_round: Callable[[], object]) -> Race:
    """Run rounds until the race ends; `on_round` is called after each.

    `arms` are all variants on all tasks, under the first seed. Raises UserError before anything
    runs where the race cannot work, and where all runs of the first round fail.
    """
    race = begin_race(arms)
    track = _Track(arms, launch, on_round)
    while True:
        if race.rounds[-1].is_over:
            known = track.look()
        else:
            race, known = track.run_round(race)
        jobs, reason = track.plan_next(race, known)
        if not jobs:
            race = dataclasses.replace(race, ended=reason)
            write_race(track.study, race)
            announce(f"race: {reason}")
            return race
        announce(f"next: {reason}")
        race = dataclasses.replace(race, ended="", rounds=(*race.rounds, Round(jobs, reason)))
        write_race(track.study, race)


@dataclass(frozen=True)
class _Known:
    """What the records say."""

    results: pd.DataFrame
    comparison: Comparison
    ruling: Ruling

    @property
    def running(self) -> list[str]:
        return list_running(self.comparison, self.ruling)


@dataclass
class _Track:
    arms: Sequence[Config]
    launch: Launch
    on_round: Callable[[], object]
    study: Path = field(init=False)
    settings: RaceConfig = field(init=False)

    def __post_init__(self) -> None:
        self.study, self.settings = self.arms[0].study_folder, self.arms[0].race

    def run_round(self, race: Race) -> tuple[Race, _Known]:
        """Run what the last round is to run, and conclude it with what is known then."""
        *before, last = race.rounds
        spent, started = last.seconds + _find_unrecorded(self.study, last), time.time()
        last = dataclasses.replace(last, seconds=spent, started=started)
        write_race(self.study, dataclasses.replace(race, rounds=(*before, last)))
        try:
            self.launch(last.jobs)
        finally:
            last = dataclasses.replace(last, seconds=spent + time.time() - started, started=0.0)
            race = dataclasses.replace(race, rounds=(*before, last))
            write_race(self.study, race)
        known = self.look()
        race = dataclasses.replace(race, rounds=(*before, self._conclude(last, known)))
        write_race(self.study, race)
        self.on_round()
        announce(format_round(race))
        return race, known

    def look(self) -> _Known:
        """Compare what there is; UserError where no variant has a score."""
        loaded = load_study(self.study)
        results = loaded.results
        trained = results[results["target_set"] != BASE]
        if not trained["score"].notna().any():
            reasons = trained["error_message"].dropna()
            reason = str(reasons.iloc[0]).splitlines()[0] if len(reasons) else "no run has a score"
            raise UserError(f"race: all {len(trained)} runs of the first round failed: {reason}")
        comparison = compare(results, loaded.examples)
        if comparison.can_choose:
            count_look(self.study, list_evidence(results))
        ruling = apply_rule(comparison, self.settings.tolerance, BALANCED)
        return _Known(results, comparison, ruling)

    def _conclude(self, last: Round, known: _Known) -> Round:
        candidates = {each.variant for each in known.ruling.candidates}
        rows = known.comparison.by_task
        rows = rows[rows["task"].isin(known.comparison.tasks)]
        seeds = rows.groupby("variant")["seeds"].min()
        standings = tuple(
            Standing(
                variant=each.variant,
                seeds=0 if each.variant == BASE else int(seeds.fillna(0).get(each.variant, 0)),
                lost=each.mean_regret,
                lost_high=each.mean_regret_high,
                chance=each.near_probability,
                is_out=each.variant not in candidates,
            )
            for each in known.ruling.inputs
        )
        choice, today = known.ruling.choice, known.ruling.today
        return dataclasses.replace(
            last,
            standings=standings,
            verdict=known.ruling.verdict,
            choice=choice.variant if choice else None,
            leader=today.variant if today else None,
        )

    def plan_next(self, race: Race, known: _Known) -> tuple[tuple[RaceJob, ...], str]:
        """The jobs of the next round and why; none, and why not, where the race ends."""
        if known.ruling.choice is not None:
            return (), f"decided after {pluralize(len(race.rounds), 'round')}"
        if not known.comparison.can_decide:
            return (), _explain_no_task(known)
        if not known.running:
            return (), "every target set is ruled out or has failed"
        steps = [*self._list_seeds(race, known), *self._list_examples(race, known)]
        outlook = plan_round(known.comparison, known.ruling, self.settings.tolerance, steps)
        if outlook is None:
            most = self.settings.max_seeds
            return (), f"undecided with {most} seeds, the most it may have (race.max_seeds)"
        while True:
            jobs = tuple(self._make_jobs(race, known, outlook))
            spent = self._find_limit(race, jobs, outlook)
            if spent is None:
                return jobs, describe_plan(outlook, self._share(outlook, jobs))
            # The most useful steps come first; those that a budget allows are taken.
            outlook = dataclasses.replace(outlook, steps=outlook.steps[:-1], chance=math.nan)
            if not outlook.steps:
                return (), spent

    def _find_limit(self, race: Race, jobs: Sequence[RaceJob], outlook: Outlook) -> str | None:
        """The budget that the next round would exceed, in words."""
        most, hours = self.settings.max_runs, self.settings.hours
        longer = dataclasses.replace(race, rounds=(*race.rounds, Round(tuple(jobs), "")))
        count = count_runs(longer)
        if most is not None and count > most:
            return (
                f"undecided; the next round would make it {count} runs, beyond race.max_runs={most}"
            )
        seconds = self._share(outlook, jobs)
        if hours is not None and race.seconds + seconds > 3600 * hours:
            return (
                f"undecided after {format_duration(race.seconds)}; the next round takes about "
                f"{format_duration(seconds)}, beyond race.hours={hours:g}"
            )
        return None

    def _share(self, outlook: Outlook, jobs: Sequence[RaceJob]) -> float:
        """Wall time of steps, which several processes share."""
        room = survey_room(resolve_device(self.arms[0].model.device), in_processes=True)
        return outlook.seconds / room.count_workers(len(jobs))

    def _list_seeds(self, race: Race, known: _Known) -> Iterator[Step]:
        for step in cost_seeds(known.results, known.comparison.tasks, known.running):
            if _next_seed(race, self._find_arms(known, step.name)) < self.settings.max_seeds:
                yield step

    def _list_examples(self, race: Race, known: _Known) -> Iterator[Step]:
        if not self.settings.more_examples:
            return
        counts = known.results.groupby("task")["example_count"].max()
        for step in cost_examples(known.results, known.comparison.tasks, known.running):
            # A source that has fewer has no more.
            if counts[step.name] >= self._find_asked(race, step.name):
                yield step

    def _find_asked(self, race: Race, task: str) -> int:
        """Test examples that the task's runs were asked to score so far."""
        own = {arm.run_id: arm.task.test_examples for arm in self.arms if arm.task.name == task}
        jobs = (job for each in race.rounds for job in each.jobs)
        extra = (job.extra_test_examples for job in jobs if job.arm in own)
        return max(own.values()) + max(extra, default=0)

    def _find_arms(self, known: _Known, variant: str) -> list[Config]:
        """A variant on the tasks that count; on others it would gain nothing from more runs."""
        ids = set(known.results.loc[known.results["variant"] == variant, "run_id"])
        tasks = known.comparison.tasks
        return [arm for arm in self.arms if arm.run_id in ids and arm.task.name in tasks]

    def _make_jobs(self, race: Race, known: _Known, outlook: Outlook) -> Iterator[RaceJob]:
        """Where a task gets more examples, all runs of it that are still in score them."""
        seeded = {step.name for step in outlook.steps if step.kind == "seed"}
        doubled = {step.name for step in outlook.steps if step.kind == "examples"}
        for variant in known.running:
            arms = self._find_arms(known, variant)
            begun = _next_seed(race, arms)
            for arm in arms:
                task = arm.task.name
                asked = self._find_asked(race, task) * (2 if task in doubled else 1)
                extra = asked - arm.task.test_examples
                first = 0 if task in doubled else begun
                last = begun + (variant in seeded)
                yield from (RaceJob(arm.run_id, seed, extra) for seed in range(first, last))


def _find_unrecorded(study: Path, last: Round) -> float:
    """Seconds that a start of the round worked before it was killed, by its last file."""
    if not last.started:
        return 0.0
    files = (path.stat().st_mtime for path in study.glob("runs/*/*"))
    return max(0.0, max(files, default=0.0) - last.started)


def _explain_no_task(known: _Known) -> str:
    """Why no task takes part in the verdict, and what to do."""
    counts = known.results.groupby("task")["example_count"].max()
    few = [str(task) for task, count in counts.items() if count < FEW_EXAMPLES]
    low = [str(task) for task in counts.index if str(task) not in few]
    reasons = [f"{join_words(few)} has fewer than {FEW_EXAMPLES} test examples"] if few else []
    if low:
        reasons.append(f"on {join_words(low)} no variant is above the majority-class baseline")
    return (
        f"undecided, because no task counts: {' and '.join(reasons)}; name another study=... with "
        "more of task.test_examples or task.train_examples"
    )


def _next_seed(race: Race, arms: Sequence[Config]) -> int:
    """The first seed that a variant was not given yet."""
    names = {arm.run_id for arm in arms}
    return 1 + max(
        (job.seed for each in race.rounds for job in each.jobs if job.arm in names), default=-1
    )


def apply_job(arm: Config, job: RaceJob) -> Config:
    """Return the configuration of a job from its variant's under the first seed."""
    task = dataclasses.replace(arm.task, extra_test_examples=job.extra_test_examples)
    return dataclasses.replace(arm, seed=job.seed, task=task)


def list_overrides(job: RaceJob) -> list[str]:
    """Return what a job adds to the overrides of its variant."""
    return [f"seed={job.seed}", f"++task.extra_test_examples={job.extra_test_examples}"]
