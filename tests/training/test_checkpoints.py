"""A training that is cut off and goes on from its checkpoint ends as if nothing had happened."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import load_tiny

from harness.adapters.attach import attach_adapter, trainable_parameters
from harness.config.schema import AdapterConfig, Config
from harness.data.encoding import EncodedExample
from harness.models.projections import map_modules
from harness.records.record import read_record
from harness.sweep import run, stages
from harness.training import checkpoints as module
from harness.training.checkpoints import Checkpoints, list_checkpoints, remove_spent
from harness.training.loop import DivergedError, Passes, Recipe, TrainResult, train_pack
from harness.training.packed_model import Pack
from tasks.base import Example

ConfigMaker = Callable[..., Config]
SETS = (("o",), ("q", "k", "v"), ("o", "fc2"))
STEPS = (6, 4, 6)
RATES = (1e-2, 1e-3, 1e9)
"""The second ends earlier than the others, the third diverges."""


def make_steps(count: int, seed: int) -> list[list[EncodedExample]]:
    draw = random.Random(seed)

    def example(number: int) -> EncodedExample:
        ids = tuple(draw.randrange(5, 1000) for _ in range(draw.randint(6, 14)))
        return EncodedExample(
            Example(f"{seed}-{number}", "", "", "", "", ""), ids[:-3], ids[-3:], (), 0, False
        )

    return [[example(3 * step + row) for row in range(3)] for step in range(count)]


def train(
    folder: Path, dropout: float, stop_after: int | None, method: str = "lora"
) -> tuple[list[TrainResult | DivergedError], list[torch.Tensor], list[int]]:
    """Results, weights of every member, and steps that were not taken again."""
    loaded = load_tiny()
    mapped = map_modules(loaded.model, loaded.model.config)
    alone = method != "lora"
    members = [
        attach_adapter(
            loaded.model,
            mapped.select(roles),
            AdapterConfig(method=method, rank=2, dropout=dropout),
            seed=number,
        )
        for number, roles in enumerate(SETS[:1] if alone else SETS)
    ]
    recipes = [
        Recipe(make_steps(steps, seed), rate, "cosine", 0.3, 0.01, 1.0, seed)
        for seed, (steps, rate) in enumerate(zip(STEPS, RATES, strict=True))
    ][: len(members)]
    taken: list[Mapping[int, float]] = []
    resumed: list[int] = []

    def count(losses: Mapping[int, float]) -> None:
        taken.append(losses)

    kept = Checkpoints(folder, {"run_ids": ["a"]}, seconds=0, on_resume=resumed.append)
    real = kept.save_if_due

    def save(make_state: Callable[[], dict[str, Any]]) -> None:
        real(make_state)
        if stop_after is not None and len(taken) == stop_after:
            raise KeyboardInterrupt

    kept.save_if_due = save  # type: ignore[method-assign]
    pack = Pack(loaded.model, members, list(range(len(members))))
    results = train_pack(pack, recipes, Passes(24), pad_token_id=0, on_step=count, checkpoints=kept)
    return results, _flatten(members), resumed


def _flatten(members: Sequence[Any]) -> list[torch.Tensor]:
    return [
        torch.cat([weight.detach().flatten() for weight in trainable_parameters(member)])
        for member in members
    ]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("stop_after", [1, 5])
def test_a_pack_that_goes_on_has_the_same_weights_bit_for_bit(
    tmp_path: Path, dropout: float, stop_after: int
) -> None:
    whole, weights, _ = train(tmp_path / "whole", dropout, None)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", dropout, stop_after)
    again, same, resumed = train(tmp_path / "cut", dropout, None)
    assert resumed == [stop_after]
    assert isinstance(whole[2], DivergedError)
    assert str(again[2]) == str(whole[2])
    for one, other, left, right in zip(whole[:2], again[:2], weights, same, strict=False):
        assert isinstance(one, TrainResult)
        assert isinstance(other, TrainResult)
        assert one.loss == other.loss
        assert one.first_gradients == other.first_gradients
        assert torch.equal(left, right)


def test_an_adapter_that_cannot_be_packed_goes_on_too(tmp_path: Path) -> None:
    """Its dropout is drawn from PyTorch's own random state."""
    _, (weights,), _ = train(tmp_path / "whole", 0.3, None, method="dora")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", 0.3, 3, method="dora")
    _, (same,), resumed = train(tmp_path / "cut", 0.3, None, method="dora")
    assert resumed == [3]
    assert torch.equal(weights, same)


FACTS = {"run_ids": ["a"], "max_tokens_per_pass": 8, "gradient_checkpointing": False}
CPU = torch.device("cpu")


def test_a_torn_changed_or_foreign_file_is_no_checkpoint(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, FACTS, seconds=0)
    kept.save_if_due(lambda: {"weights": torch.zeros(3)})
    kept.save_if_due(lambda: {"weights": torch.ones(3)})
    state = kept.load(CPU)
    assert state is not None
    assert state["weights"].tolist() == [1, 1, 1]
    assert Checkpoints(tmp_path, FACTS | {"run_ids": ["b"]}).load(CPU) is None
    assert [facts["run_ids"] for facts in list_checkpoints(tmp_path)] == [["a"]]
    # The older state has given way.
    (file,) = tmp_path.glob("*/*.pt")
    content = file.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for damaged in (content[:-40], b"", bytes(flipped)):
        file.write_bytes(damaged)
        assert kept.load(CPU) is None
    file.write_bytes(content)
    assert kept.load(CPU) is not None
    kept.remove()
    assert not tmp_path.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"run_ids": 5},
        {"run_ids": [["a"]]},
        {"run_ids": ["a", "a"]},
        {"run_ids": []},
        {"max_tokens_per_pass": "x"},
        {"max_tokens_per_pass": 0},
        {"gradient_checkpointing": "yes"},
        {"version": 0},
        None,
    ],
)
def test_facts_that_make_no_sense_are_left_out_and_removed(
    tmp_path: Path, change: dict[str, Any] | None
) -> None:
    kept = Checkpoints(tmp_path, FACTS, seconds=0)
    kept.save_if_due(lambda: {"weights": torch.ones(3)})
    (file,) = tmp_path.glob("*/pack.json")
    file.write_text(
        "no JSON" if change is None else json.dumps(json.loads(file.read_text()) | change)
    )
    assert list_checkpoints(tmp_path) == []
    assert kept.load(CPU) is None
    remove_spent(tmp_path, lambda name: False)
    assert not tmp_path.exists()


def test_checkpoints_of_what_is_trained_by_now_are_removed_and_others_stay(tmp_path: Path) -> None:
    for names in (["a"], ["a", "b"]):
        kept = Checkpoints(tmp_path, FACTS | {"run_ids": names}, seconds=0)
        kept.save_if_due(lambda: {"weights": torch.ones(3)})
    remove_spent(tmp_path, lambda name: name == "a")
    assert [facts["run_ids"] for facts in list_checkpoints(tmp_path)] == [["a", "b"]]


def test_a_folder_that_cannot_be_written_stops_no_training(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    kept = Checkpoints(tmp_path / "checkpoints", FACTS, seconds=0)
    kept.save_if_due(lambda: {"weights": torch.ones(3)})
    assert kept.load(CPU) is None
    kept.remove()
    remove_spent(tmp_path / "checkpoints", lambda name: True)
    assert list_checkpoints(tmp_path / "checkpoints") == []


def test_a_sweep_that_was_cut_off_in_training_goes_on_from_its_checkpoint(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same scores, in the pack that was begun, and with nothing left behind."""
    names = ("q", "o_proj")
    plain = [untimed_config(f"target_modules={name}", "train.epochs=3") for name in names]
    run.run_sweep(plain)
    monkeypatch.setattr(module, "SECONDS", 0.0)
    configs = [
        untimed_config(f"target_modules={name}", "train.epochs=3", "study=cut") for name in names
    ]
    real = stages.open_checkpoints

    def stop(runs: Any, passes: Any) -> Checkpoints:
        kept = real(runs, passes)
        kept._seconds, save, calls = 0.0, kept.save_if_due, []

        def save_and_stop(make_state: Any) -> None:
            save(make_state)
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt

        kept.save_if_due = save_and_stop  # type: ignore[method-assign]
        return kept

    monkeypatch.setattr(stages, "open_checkpoints", stop)
    with pytest.raises(KeyboardInterrupt):
        run.run_sweep(configs)
    monkeypatch.undo()
    assert len(list_checkpoints(configs[0].study_folder / "checkpoints")) == 1
    assert [outcome.status for outcome in run.run_sweep(configs)] == ["ok", "ok"]
    assert "training goes on after step 4 of 6" in capsys.readouterr().err
    assert not (configs[0].study_folder / "checkpoints").exists()
    for config, whole in zip(configs, plain, strict=True):
        kept, expected = (
            read_record(each.study_folder / "runs" / each.run_id) for each in (config, whole)
        )
        assert kept.train is not None
        assert expected.train is not None
        assert kept.train.loss == expected.train.loss
        assert kept.eval is not None
        assert expected.eval is not None
        assert kept.eval.scores == expected.eval.scores
