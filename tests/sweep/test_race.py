"""The race: planted truths, budgets, kills and bad input; and a real one on a tiny model."""

import dataclasses
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_study import describe_adapter, describe_scoring, describe_training, write_examples

from harness import load_examples, load_results
from harness.cli.racing import run_race_of
from harness.config.schema import Config
from harness.errors import UserError
from harness.records.looks import FILE as LOOKS
from harness.records.looks import read_looks
from harness.records.race_record import FILE, Race, RaceJob, read_race, write_race
from harness.records.record import BASE, ErrorRecord, Record, read_record, write_record
from harness.reporting.study_report import build_report
from harness.sweep.race import apply_job, run_race
from harness.sweep.run import run_sweep

pytestmark = pytest.mark.usefixtures("blank_plots")

ConfigMaker = Callable[..., Config]
SETS = ("o_proj", "qkv", "o_proj+fc2", "all")
CLEAR = {BASE: 0.3, "o_proj": 0.35, "qkv": 0.55, "o_proj+fc2": 0.56, "all": 0.57}
TASKS = ("medmcqa", "invoice_ocr")


class Killed(Exception):
    """Stands in for a process that is killed in the middle of a round."""


class PlantedRuns:
    """Stands in for a launcher: writes the records that runs of these true means would leave."""

    def __init__(
        self,
        arms: Sequence[Config],
        means: Mapping[str, float],
        *,
        seed_noise: float = 0.0,
        failing: Sequence[str] = (),
        kill_in: int = 0,
        most_examples: int = 10_000,
    ) -> None:
        self.arms = {arm.run_id: arm for arm in arms}
        self.means = means
        self.seed_noise = seed_noise
        self.failing = failing
        self.kill_in = kill_in
        self.most_examples = most_examples
        self.batches: list[Sequence[RaceJob]] = []

    def __call__(self, jobs: Sequence[RaceJob]) -> None:
        self.batches.append(jobs)
        for number, job in enumerate(jobs):
            if len(self.batches) == self.kill_in and number == len(jobs) // 2:
                raise Killed
            config = apply_job(self.arms[job.arm], job)
            self._write(config, config.base_run_id, BASE, 0)
            self._write(config, config.run_id, config.target_set, config.seed)

    def _write(self, config: Config, run_id: str, name: str, seed: int) -> None:
        folder = config.study_folder / "runs" / run_id
        if name in self.failing:
            error = ErrorRecord("OutOfMemoryError", "out of memory", "traceback")
            write_record(folder, Record(run_id, "failed", config.as_record(), error=error))
            return
        count = config.task.test_examples + config.task.extra_test_examples
        values = self._draw(config.task.name, name, seed)[: min(count, self.most_examples)]
        write_examples(folder, "score", values)
        record = Record(
            run_id=run_id,
            status="ok",
            config=config.as_record(),
            adapter=describe_adapter(name, 8),
            train=None if name == BASE else describe_training(name, np.random.default_rng(0)),
            eval=describe_scoring(config.task.name, "score", values, None),
        )
        write_record(folder, record)

    def _draw(self, task: str, name: str, seed: int) -> np.ndarray:
        shared = np.random.default_rng(len(task)).normal(0, 0.2, 10_000)
        own = np.random.default_rng([len(task), len(name), ord(name[0]), seed])
        moved = own.normal(0, self.seed_noise)
        return np.clip(self.means[name] + moved + shared + own.normal(0, 0.05, 10_000), 0, 1)


@pytest.fixture
def make_arms(untimed_config: ConfigMaker) -> Callable[..., list[Config]]:
    def make(*overrides: str, sets: Sequence[str] = SETS) -> list[Config]:
        fixed = ("task.test_examples=40", *overrides)
        return [
            untimed_config(f"task={task}", f"target_modules={name}", *fixed)
            for task in TASKS
            for name in sets
        ]

    return make


Arms = Callable[..., list[Config]]


def race(arms: Sequence[Config], runs: PlantedRuns) -> Race:
    return run_race(arms, runs, lambda: None)


def count_by_set(runs: PlantedRuns) -> dict[str, int]:
    jobs = {(job.arm, job.seed) for batch in runs.batches for job in batch}
    names = [runs.arms[arm].target_set for arm, _ in jobs]
    return {name: names.count(name) for name in sorted(set(names))}


def test_a_clear_study_is_decided_with_fewer_runs_than_three_seeds(make_arms: Arms) -> None:
    arms = make_arms()
    runs = PlantedRuns(arms, CLEAR, seed_noise=0.005)
    ended = race(arms, runs)
    last = ended.rounds[-1]
    assert last.verdict == "chosen"
    assert CLEAR[str(last.choice)] >= max(CLEAR.values()) - 0.02
    assert ended.ended.startswith("decided")
    counts = count_by_set(runs)
    assert sum(counts.values()) < 3 * len(arms)
    # The set that is far behind gets no more than its first runs.
    assert counts["o_proj"] == len(TASKS)


def test_nothing_is_chosen_after_one_seed(make_arms: Arms) -> None:
    arms = make_arms()
    ended = race(arms, PlantedRuns(arms, CLEAR))
    assert ended.rounds[0].verdict == "undecided"


def test_what_is_ruled_out_gets_no_more_runs(make_arms: Arms) -> None:
    arms = make_arms("race.max_seeds=4")
    runs = PlantedRuns(arms, CLEAR | {"qkv": 0.1}, seed_noise=0.02)
    ended = race(arms, runs)
    out: set[str] = set()
    for finished, after in zip(ended.rounds, runs.batches[1:], strict=False):
        out |= {each.variant for each in finished.standings if each.is_out}
        assert not out & {runs.arms[job.arm].target_set for job in after}
    assert "qkv" in out


def test_a_killed_race_goes_on_with_the_same_decisions(make_arms: Arms) -> None:
    whole = [dataclasses.replace(arm, study="whole") for arm in make_arms()]
    expected = race(whole, PlantedRuns(whole, CLEAR, seed_noise=0.01))
    assert len(expected.rounds) > 1
    arms = make_arms()
    # In the middle of the first round, then after it, in the middle of the second.
    for kill_in, rounds in ((1, 1), (2, 2)):
        with pytest.raises(Killed):
            race(arms, PlantedRuns(arms, CLEAR, seed_noise=0.01, kill_in=kill_in))
        found = read_race(arms[0].study_folder)
        assert found is not None
        assert [each.is_over for each in found.rounds] == [True] * (rounds - 1) + [False]
    ended = race(arms, PlantedRuns(arms, CLEAR, seed_noise=0.01))
    assert [each.jobs for each in ended.rounds] == [each.jobs for each in expected.rounds]
    assert [each.standings for each in ended.rounds] == [each.standings for each in expected.rounds]


def test_a_race_that_has_ended_is_not_run_again(make_arms: Arms) -> None:
    arms = make_arms()
    ended = race(arms, PlantedRuns(arms, CLEAR))
    again = PlantedRuns(arms, CLEAR)
    assert race(arms, again).rounds == ended.rounds
    assert again.batches == []


def test_more_examples_are_scored_where_seeds_change_nothing(make_arms: Arms) -> None:
    close = {BASE: 0.2, "o_proj": 0.55, "qkv": 0.552, "o_proj+fc2": 0.551, "all": 0.55}
    arms = make_arms("race.max_seeds=3")
    runs = PlantedRuns(arms, close)
    race(arms, runs)
    assert max(job.extra_test_examples for batch in runs.batches for job in batch) >= 40
    fixed = [
        dataclasses.replace(
            arm, study="fixed", race=dataclasses.replace(arm.race, more_examples=False)
        )
        for arm in arms
    ]
    runs = PlantedRuns(fixed, close)
    race(fixed, runs)
    assert {job.extra_test_examples for batch in runs.batches for job in batch} == {0}


@pytest.mark.slow
def test_a_source_without_more_examples_is_not_asked_again(make_arms: Arms) -> None:
    close = dict.fromkeys(SETS, 0.55) | {BASE: 0.2}
    arms = make_arms("race.max_seeds=2", "race.tolerance=0.001")
    runs = PlantedRuns(arms, close, most_examples=60, seed_noise=0.02)
    race(arms, runs)
    assert {job.extra_test_examples for batch in runs.batches for job in batch} == {0, 40}


def test_a_race_ends_when_its_seeds_are_spent(make_arms: Arms) -> None:
    arms = make_arms("race.max_seeds=2", "race.tolerance=0.001", "race.more_examples=false")
    runs = PlantedRuns(arms, dict.fromkeys(SETS, 0.55) | {BASE: 0.2}, seed_noise=0.05)
    ended = race(arms, runs)
    assert ended.ended == "undecided with 2 seeds, the most it may have (race.max_seeds)"
    assert max(count_by_set(runs).values()) == 2 * len(TASKS)
    # What it takes, in settings that a race has.
    advice = str(build_report(arms[0].study_folder).recommendations[0].what_would_decide)
    assert "race.max_seeds" in advice
    assert not re.search(r"(?<!max_)seeds?=|task\.test_examples|hydra/sweeper", advice)


def test_a_race_ends_before_it_exceeds_its_runs(make_arms: Arms) -> None:
    arms = make_arms("race.max_runs=9", "race.tolerance=0.001")
    runs = PlantedRuns(arms, dict.fromkeys(SETS, 0.55) | {BASE: 0.2}, seed_noise=0.05)
    ended = race(arms, runs)
    assert "race.max_runs" in ended.ended
    assert sum(count_by_set(runs).values()) <= 9


def test_the_base_can_win(make_arms: Arms) -> None:
    arms = make_arms()
    means = dict.fromkeys(SETS, 0.4) | {BASE: 0.6}
    ended = race(arms, PlantedRuns(arms, means, seed_noise=0.01))
    assert ended.rounds[-1].verdict == "train nothing"


def test_a_set_that_fails_costs_the_others_nothing(make_arms: Arms) -> None:
    arms = make_arms()
    runs = PlantedRuns(arms, CLEAR, failing=("all",), seed_noise=0.005)
    ended = race(arms, runs)
    assert ended.rounds[-1].verdict == "chosen"
    assert count_by_set(runs)["all"] == len(TASKS)


@pytest.mark.parametrize(
    ("overrides", "sets", "message"),
    [
        (("race.max_runs=3",), SETS, "race.max_runs is 3, but the first round is 8 runs"),
        (("race.hours=1e-9",), SETS, "race.hours is 1e-09, but the first round takes about"),
        (("seed=1",), SETS, "seed is 1, but a race picks the seeds by itself"),
        ((), ("o_proj",), "got o_proj alone: name two or more"),
        ((), ("o_proj", "o_proj"), "got o_proj alone"),
        ((), ("o_proj", "qkv", "qkv"), "qkv on medmcqa is named twice"),
        (("task.test_examples=29",), SETS, "29 of medmcqa, .* with fewer than 30 takes no part"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    make_arms: Arms, overrides: tuple[str, ...], sets: tuple[str, ...], message: str
) -> None:
    arms = make_arms(*overrides, sets=sets)
    runs = PlantedRuns(arms, CLEAR)
    with pytest.raises(UserError, match=message):
        race(arms, runs)
    assert runs.batches == []
    assert not (arms[0].study_folder / FILE).exists()


@pytest.mark.parametrize("value", ["0", "-0.1", "nan", "2"])
def test_a_tolerance_that_is_none_is_refused(untimed_config: ConfigMaker, value: str) -> None:
    with pytest.raises(UserError, match=r"race\.tolerance is .*; expected a number greater than 0"):
        untimed_config(f"race.tolerance={value}")


def test_a_first_round_that_fails_as_a_whole_says_why(make_arms: Arms) -> None:
    arms = make_arms()
    with pytest.raises(UserError, match="all 8 runs of the first round failed: out of memory"):
        race(arms, PlantedRuns(arms, CLEAR, failing=SETS))
    # The base was measured, and the same command tries the round again.
    assert len(load_results(arms[0].study_folder).query("score.notna()")) == len(TASKS)
    assert race(arms, PlantedRuns(arms, CLEAR)).ended.startswith("decided")


def test_runs_of_other_settings_are_refused(make_arms: Arms) -> None:
    arms = make_arms()
    others = make_arms("train.learning_rate=1e-3")
    race(others, PlantedRuns(others, CLEAR))
    with pytest.raises(UserError, match="holds a race of other sets, tasks or settings"):
        race(arms, PlantedRuns(arms, CLEAR))
    with pytest.raises(UserError, match=r"train\.learning_rate is 0\.01, and was 0\.001 there"):
        race(arms, PlantedRuns(arms, CLEAR))
    (arms[0].study_folder / FILE).unlink()
    with pytest.raises(UserError, match=r"holds \d+ runs of other settings, such as "):
        race(arms, PlantedRuns(arms, CLEAR))


def test_runs_of_other_settings_that_came_later_are_refused_too(make_arms: Arms) -> None:
    arms = make_arms()
    race(arms, PlantedRuns(arms, CLEAR))
    others = make_arms("train.learning_rate=1e-3", sets=["fc1"])
    PlantedRuns(others, CLEAR | {"fc1": 0.9})([RaceJob(others[0].run_id, 0)])
    with pytest.raises(UserError, match=r"holds 1 runs? of other settings, such as .*fc1"):
        race(arms, PlantedRuns(arms, CLEAR))


def test_a_race_keeps_its_tolerance(make_arms: Arms) -> None:
    arms = make_arms()
    race(arms, PlantedRuns(arms, CLEAR))
    looser = make_arms("race.tolerance=0.2")
    with pytest.raises(UserError, match=r"tolerance is 0\.2, but the race .* was begun with 0\.02"):
        race(looser, PlantedRuns(looser, CLEAR))


@pytest.mark.parametrize(("key", "values"), [("race.hours", (1, 2)), ("study", ("a", "b"))])
def test_several_values_of_what_a_race_has_one_of_are_named(
    make_arms: Arms, key: str, values: tuple[object, object]
) -> None:
    arms = [arm for value in values for arm in make_arms(f"{key}={value}")]
    with pytest.raises(UserError, match=rf"^{key} is \S+, \S+; a race has one"):
        race(arms, PlantedRuns(arms, CLEAR))


def test_only_one_race_runs_in_a_study_at_a_time(make_arms: Arms) -> None:
    arms = make_arms()

    def interfere(jobs: Sequence[RaceJob]) -> None:
        with pytest.raises(UserError, match="is being raced by another process"):
            run_race_of(arms, PlantedRuns(arms, CLEAR))
        PlantedRuns(arms, CLEAR)(jobs)

    assert run_race_of(arms, interfere).recommendations[0].choice is not None


def test_deleting_the_looks_of_a_race_does_not_narrow_its_bounds(make_arms: Arms) -> None:
    arms = make_arms("race.max_seeds=4", "race.tolerance=0.001", "race.more_examples=false")
    runs = PlantedRuns(arms, dict.fromkeys(SETS, 0.55) | {BASE: 0.2}, seed_noise=0.05)
    ended = race(arms, runs)
    study = arms[0].study_folder
    could_choose = sum(any(s.seeds > 1 for s in each.standings) for each in ended.rounds)
    assert could_choose == len(read_looks(study)) > 1
    before = load_results(study)["look"].max()
    for content in (None, "{", '{"looks": 5}'):
        (study / LOOKS).unlink(missing_ok=True)
        if content is not None:
            (study / LOOKS).write_text(content, encoding="utf-8")
        with pytest.warns(UserWarning, match=rf"{could_choose} earlier looks are assumed"):
            assert load_results(study)["look"].max() >= before


def test_time_before_a_kill_counts(make_arms: Arms) -> None:
    """A killed process writes nothing any more: its last file says how long it worked."""
    arms = make_arms()
    with pytest.raises(Killed):
        race(arms, PlantedRuns(arms, CLEAR, kill_in=1))
    study = arms[0].study_folder
    found = read_race(study)
    assert found is not None
    stopped = time.time()
    cut = dataclasses.replace(found.rounds[0], seconds=0.0, started=stopped - 100)
    write_race(study, dataclasses.replace(found, rounds=(cut,)))
    ended = race(arms, PlantedRuns(arms, CLEAR))
    assert 90 < ended.rounds[0].seconds < 130


def test_runs_of_an_ordinary_sweep_with_these_settings_count(make_arms: Arms) -> None:
    arms = make_arms()
    PlantedRuns(arms, CLEAR)([RaceJob(arm.run_id, seed) for arm in arms for seed in (0, 1)])
    assert race(arms, PlantedRuns(arms, CLEAR)).ended.startswith("decided")


def test_a_set_that_was_ruled_out_cannot_be_raced_by_name(make_arms: Arms) -> None:
    arms = make_arms()
    ended = race(arms, PlantedRuns(arms, CLEAR, seed_noise=0.005))
    assert "o_proj" in {s.variant for each in ended.rounds for s in each.standings if s.is_out}
    fewer = [arm for arm in arms if arm.target_set in ("o_proj", "all")]
    with pytest.raises(UserError, match=r"o_proj was ruled out in round \d of the race"):
        race(fewer, PlantedRuns(fewer, CLEAR))


def test_a_damaged_record_of_rounds_is_named(make_arms: Arms) -> None:
    arms = make_arms()
    race(arms, PlantedRuns(arms, CLEAR))
    path = arms[0].study_folder / FILE
    whole = json.loads(path.read_text(encoding="utf-8"))
    unlike: list[Any] = [None, [], {"rounds": 3}, {"rounds": [{}]}, whole | {"rounds": []}]
    for key, value in (("seconds", "x"), ("jobs", [{"arm": "nosuch", "seed": 0}])):
        unlike.append(whole | {"rounds": [whole["rounds"][0] | {key: value}]})
    job = whole["rounds"][0]["jobs"][0]
    for seed in ("one", -5):
        unlike.append(whole | {"rounds": [whole["rounds"][0] | {"jobs": [job | {"seed": seed}]}]})
    for text in ("{", *map(json.dumps, unlike)):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"race\.json: not the record of a race"):
            race(arms, PlantedRuns(arms, CLEAR))


def test_the_report_has_the_rounds_and_the_tolerance_of_the_race(make_arms: Arms) -> None:
    arms = make_arms("race.tolerance=0.03")
    race(arms, PlantedRuns(arms, CLEAR, seed_noise=0.005))
    report = build_report(arms[0].study_folder)
    assert report.recommendations[0].delta == 0.03
    page = report.markdown.read_text(encoding="utf-8")
    assert "## Rounds of the race" in page
    assert "chosen: " in page


def test_more_examples_of_a_finished_run_train_nothing(
    untimed_config: ConfigMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    config = untimed_config("task=invoice_ocr")
    assert run_sweep([config])[0].status == "ok"
    folder = config.study_folder / "runs" / config.run_id
    first = read_record(folder)
    before = pd.read_parquet(folder / "examples.parquet")
    more = apply_job(config, RaceJob(config.run_id, 0, extra_test_examples=3))
    assert more.run_id == config.run_id
    capsys.readouterr()
    assert run_sweep([more])[0].status == "ok"
    assert "  total: 0 training tokens, about " in capsys.readouterr().err
    second = read_record(folder)
    assert second.train == first.train
    assert first.eval is not None
    assert second.eval is not None
    assert (first.eval.examples, second.eval.examples) == (4, 7)
    after = pd.read_parquet(folder / "examples.parquet")
    assert list(after["id"][:4]) == list(before["id"])
    base = config.study_folder / "runs" / config.base_run_id
    assert len(pd.read_parquet(base / "examples.parquet")) == 7
    # The smaller number is there already.
    assert run_sweep([config])[0].status == "ok"
    assert read_record(folder) == second


def test_what_is_trained_is_not_trained_again_beside_another_seed(
    untimed_config: ConfigMaker,
) -> None:
    configs = [
        untimed_config(f"target_modules={name}", "task=invoice_ocr") for name in ("q", "all")
    ]
    run_sweep(configs)
    folders = [each.study_folder / "runs" / each.run_id for each in configs]
    before = [read_record(each).train for each in folders]
    more = [
        apply_job(config, RaceJob(config.run_id, seed, extra_test_examples=3))
        for config in configs
        for seed in (0, 1)
    ]
    assert {each.status for each in run_sweep(more)} == {"ok"}
    assert [read_record(each).train for each in folders] == before
    second = read_record(configs[0].study_folder / "runs" / more[1].run_id).train
    assert second is not None
    assert second.pack == (more[1].run_id, more[3].run_id)


def test_another_seed_and_more_examples_reuse_the_times(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.sweep import run, timing_stage

    config = tiny_config()
    run_sweep([config])
    folder = config.study_folder / "runs" / config.run_id
    calls = (folder / "latency.parquet").read_bytes()
    timed_on = read_record(folder).environment
    monkeypatch.setattr(timing_stage, "measure", None)
    # A worker has one of two cores, say; what is kept was timed with both.
    monkeypatch.setattr(run, "describe_environment", lambda device: {"cpu_count": 99})
    another = apply_job(config, RaceJob(config.run_id, 1))
    more = apply_job(config, RaceJob(config.run_id, 0, extra_test_examples=2))
    assert [each.status for each in run_sweep([another, more])] == ["ok", "ok"]
    other = config.study_folder / "runs" / another.run_id
    assert (other / "latency.parquet").read_bytes() == calls
    assert (folder / "latency.parquet").read_bytes() == calls
    assert [read_record(each).environment for each in (folder, other)] == [timed_on] * 2


def test_a_real_race_from_the_command_line(
    run_harness: Callable[..., object], tmp_path: Path
) -> None:
    from conftest import TINY

    arguments = [*TINY, "latency=off", f"results_dir={tmp_path}", "study=race", "seed=0"]
    arguments += ["task=medmcqa", "target_modules=o_proj,qkv", "task.test_examples=32"]
    arguments += ["race.max_seeds=2", "race.more_examples=false", "hydra/launcher=basic"]
    done = run_harness("--multirun", "hydra/sweeper=race", *arguments)
    assert done.status == 0, done.stderr  # type: ignore[attr-defined]
    found = read_race(tmp_path / "race")
    assert found is not None
    assert found.ended
    assert "round 1: 2 runs" in done.stdout + done.stderr  # type: ignore[attr-defined]
    seeds = load_results(tmp_path / "race").groupby("target_set")["seed"].nunique()
    assert len(load_examples(tmp_path / "race")) >= 32 * len(seeds)


def test_a_race_that_is_a_single_run_is_refused(
    run_harness: Callable[..., object], tmp_path: Path
) -> None:
    done = run_harness("hydra/sweeper=race", f"results_dir={tmp_path}")
    assert done.status == 2  # type: ignore[attr-defined]
    assert done.stderr.splitlines() == [  # type: ignore[attr-defined]
        "error: hydra/sweeper is race, but this is a single run; add --multirun"
    ]


def test_race_settings_without_a_race_are_refused(
    run_harness: Callable[..., object], tmp_path: Path
) -> None:
    for mode in ((), ("--multirun",)):
        done = run_harness(*mode, f"results_dir={tmp_path}", "race.hours=1")
        assert done.status == 2  # type: ignore[attr-defined]
        assert "only a race reads it" in done.stderr  # type: ignore[attr-defined]
