"""A sweep that fits itself: the size it takes, what it says of it, and that it stays with it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Command

from harness import load_results
from harness.analysis.size_choice import describe_larger_size, describe_size
from harness.config.schema import Config
from harness.records.study_size import SizeChoice, read_size, write_size
from harness.sweep import sizing
from harness.sweep.activations import Activations
from harness.sweep.packing import START_SECONDS, Room
from harness.sweep.speed import Costs, Speed

ConfigMaker = Callable[..., Config]

SIZES = {
    "small": {"train_examples": {"medmcqa": 3}, "test_examples": {"medmcqa": 2}},
    "large": {"train_examples": {"medmcqa": 6}, "test_examples": {"medmcqa": 4}},
}
QUICK = ("--multirun", "experiment=quickstart", *TINY, "latency=off", "task=medmcqa")


def fix_speed(monkeypatch: pytest.MonkeyPatch, seconds_a_token: float) -> None:
    """Let training and reading a token take as long as told."""
    costs = Costs(train=seconds_a_token, prompt=seconds_a_token, step=0.0, row=0.0)
    speed = Speed(costs, "float32", 1, is_measured=True, activations=Activations(1.0, 1.0))
    monkeypatch.setattr("harness.sweep.plan.guess_speed", lambda *_: speed)
    monkeypatch.setattr("harness.sweep.plan.measure_speed", lambda *_: speed)


@pytest.mark.parametrize(
    ("seconds_a_token", "size"),
    [(1e-3, "large"), (0.7, "small"), (100.0, "small")],
    ids=["both fit", "the smaller fits", "none fits"],
)
def test_the_largest_size_that_fits_is_chosen(
    untimed_config: ConfigMaker,
    monkeypatch: pytest.MonkeyPatch,
    seconds_a_token: float,
    size: str,
) -> None:
    fix_speed(monkeypatch, seconds_a_token)
    monkeypatch.setattr(sizing, "survey_room", lambda *_, **__: Room(False, 1, 2**40))
    configs = [untimed_config(f"target_modules={name}") for name in ("q", "k")]
    choice = sizing.choose_size(SIZES, configs)
    assert choice.size == size
    # Twice the examples are about twice the work, beside the start of a process.
    small, large = (choice.seconds[name] - START_SECONDS for name in SIZES)
    assert large == pytest.approx(2 * small, rel=0.01)
    needed = choice.seconds[size]
    assert ("none ends within 10 min" in describe_size(choice)) == (needed > choice.limit_seconds)


def test_the_choice_says_what_a_larger_size_adds() -> None:
    choice = SizeChoice("small", SIZES, {"small": 300.0, "large": 1200.0}, 600.0, "float32")
    text = describe_larger_size(choice)
    assert "Size large (variables.size=large, about 20 min)" in text
    assert "trains on 6 medmcqa examples instead of 3" in text
    assert "scores 4 medmcqa examples instead of 2" in text
    assert describe_larger_size(dataclasses.replace(choice, size="large")) == (
        "This is the largest size."
    )


def test_a_choice_comes_back_from_disk_and_a_torn_one_does_not(tmp_path: Path) -> None:
    choice = SizeChoice("small", SIZES, {"small": 300.0, "large": 1200.0}, 600.0, "float32")
    write_size(tmp_path, choice)
    assert read_size(tmp_path) == choice
    file = tmp_path / "size.json"
    for text in ("", "{", "[]", '{"size": "small"}', file.read_text().replace('"small",', '"xx",')):
        file.write_text(text)
        assert read_size(tmp_path) is None


def test_a_sweep_keeps_to_the_size_that_it_began_with(
    run_harness: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"xxs.train": 2, "xxs.test": 2, "xl.train": 6, "xl.test": 4}
    sizes = [
        "variables.sizes.{}.{}_examples.medmcqa={}".format(*name.split("."), count)
        for name, count in counts.items()
    ]
    # Numbers of examples are the size's own.
    tiny = [each for each in QUICK if not each.startswith(("task.train_", "task.test_"))]
    command = [*tiny, *sizes, "target_modules=q,k", f"results_dir={tmp_path}", "study=s"]
    monkeypatch.setattr(sizing, "LIMIT_SECONDS", 0.0)
    done = run_harness(*command)
    assert done.status == 0, done.stderr
    assert "Size xxs: the smallest of xxs, xs, s, m, l and xl" in done.stderr
    assert "Size xxs: the smallest of" in (tmp_path / "s" / "report.md").read_text()
    assert set(load_results(tmp_path / "s")["example_count"]) == {2}
    monkeypatch.setattr(sizing, "LIMIT_SECONDS", 1e9)
    again = run_harness(*command)
    assert again.status == 0, again.stderr
    assert "size xxs, which this study began with" in again.stderr
    assert "2 already finished" in again.stderr
