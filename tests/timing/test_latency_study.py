"""The command line of a latency study: what it measures, adds, refuses and keeps."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from harness import load_latency_study
from harness.cli import latency
from harness.records.files import write_json
from harness.timing import session
from harness.timing.timed_call import Decoder

TINY = (
    "model=random",
    "model.shape=tiny-llama",
    "model.dtype=float32",
    "model.device=cpu",
    "adapter.rank=2",
    "latency.prompt_tokens=8",
    "latency.output_tokens=3",
    "latency.fresh_processes=false",
    "latency.max_rounds=3",
    "latency.max_seconds=20",
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of q, to be copied."""
    folder = tmp_path_factory.mktemp("measured") / "results"
    assert run(folder, "target_modules=q") == 0
    return folder


def run(results: Path, *overrides: str) -> int:
    return latency.main([*TINY, f"results_dir={results}", *overrides])


def facts_of(results: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((results / "latency" / "latency.json").read_text())
    return facts


@pytest.mark.slow
def test_every_combination_of_the_axes_is_a_point(results: Path) -> None:
    assert (
        run(results, "target_modules=q,o_proj", "latency.batch_size=1,2", "adapter.rank=2,4") == 0
    )
    study = load_latency_study(results / "latency")
    axes = [(point.axes["batch_size"], point.axes["rank"]) for point in study.facts.points]
    assert axes == [(1, 2), (1, 4), (2, 2), (2, 4)]
    for point in study.facts.points:
        calls = study.calls_of(point.number)
        assert (calls["batch_size"] == point.axes["batch_size"]).all()
        assert (calls["rank"] == point.axes["rank"]).all()
        arms = set(zip(calls["arm"], calls["variant"], strict=True))
        expected = {(arm, "base") for arm in ("base", "base_again", "base_cloned")}
        expected |= {(arm, name) for arm in ("unmerged", "merged") for name in ("q", "o_proj")}
        assert arms == expected | ({("mixed", "mixed")} if point.axes["batch_size"] > 1 else set())
        assert calls.groupby(["process", "round"]).size().nunique() == 1
    for name in ("latency.html", "latency.md", "ratios.csv"):
        assert (results / "latency" / name).stat().st_size > 0


def test_what_is_measured_is_not_measured_again_and_more_is_added(
    results: Path, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(measured, results)
    before = pd.read_parquet(results / "latency" / "latency.parquet")
    calls: list[int] = []
    real = Decoder.run

    def count(self: Decoder, *arguments: Any) -> Any:
        calls.append(1)
        return real(self, *arguments)

    monkeypatch.setattr(Decoder, "run", count)
    assert run(results, "target_modules=q") == 0
    assert calls == []
    assert run(results, "target_modules=q,fc2") == 0
    after = pd.read_parquet(results / "latency" / "latency.parquet")
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before)
    added = after.iloc[len(before) :]
    assert set(added["variant"]) == {"base", "fc2"}
    assert set(added["process"]) == {1}
    # The new set has a base and controls of its own: it never shared a round with the old ones.
    assert set(added["point"]) == {1}
    points = facts_of(results)["points"]
    assert [point["target_sets"] for point in points] == [["q"], ["fc2"]]
    assert [point["added_to"] for point in points] == [None, 0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("target_modules=q+nonsense",), "nonsense"),
        (("latency.output_tokens=0",), "latency.output_tokens is 0; expected a number at least 1"),
        (("latency.prompt_tokens=8,100000",), "takes .*: lower one"),
        (("latency.batch_size=0,1",), "latency.batch_size is 0"),
        (("latency.bach_size=1",), "bach_size"),
        (
            ("latency.margin=0.1,0.2",),
            "latency.margin is 0.1 and 0.2; a latency study needs a single value",
        ),
        (("seed=0,1",), "seed is 0 and 1; a latency study needs a single value"),
        (("adapter.alpha=8,16",), "adapter.alpha is 8.0 and 16.0"),
        (("task=medmcqa,govreport",), "task.name is medmcqa and govreport"),
        (("latency.batch_size=[1,2",), "latency.batch_size"),
        (("latency.compile=default",), "set latency.cache=static"),
        (("model.device=cuda:7",), "model.device is 'cuda:7': not usable here"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_timed(
    results: Path, capsys: pytest.CaptureFixture[str], overrides: tuple[str, ...], message: str
) -> None:
    import re

    assert run(results, *overrides) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(message, error), error
    assert not (results / "latency" / "latency.parquet").exists()


@pytest.mark.parametrize(
    ("overrides", "changed", "message"),
    [
        (("latency.margin=0.2",), {}, "started with latency.margin=0.03, now 0.2"),
        (("seed=1",), {}, "this study has seed 0, now 1"),
        (("latency.merged=false",), {}, "started with latency.merged=True, now False"),
        (("latency.max_rounds=5",), {}, "started with latency.max_rounds=3, now 5"),
        (
            (),
            {"model_settings": {"path": "/other"}},
            "this study has model.path '/other', now None",
        ),
        (("model.shape=tiny-gpt2", "target_modules=qkv"), {}, "this study has model 'tiny-llama'"),
        ((), {"machine": {"cpu": "Another CPU"}}, "measured on another machine .*Another CPU"),
        ((), {"versions": {"peft": "0.0.1"}}, "this study has peft '0.0.1', now"),
        ((), {"schema_version": 99}, "schema_version is 99, expected 1"),
    ],
)
def test_a_study_that_must_not_grow_so_is_left_as_it_is(
    results: Path,
    measured: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: tuple[str, ...],
    changed: dict[str, Any],
    message: str,
) -> None:
    import re

    shutil.copytree(measured, results)
    facts = facts_of(results)
    for key, value in changed.items():
        facts[key] = facts[key] | value if isinstance(value, dict) else value
    write_json(results / "latency" / "latency.json", facts)
    before = (results / "latency" / "latency.parquet").read_bytes()
    capsys.readouterr()
    assert run(results, "target_modules=fc2", *overrides) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(message, error), error
    assert (results / "latency" / "latency.parquet").read_bytes() == before


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_recorded_and_the_study_goes_on(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = Decoder.run

    def run_small(self: Decoder, ids: torch.Tensor, output_tokens: int) -> Any:
        if len(ids) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(self, ids, output_tokens)

    monkeypatch.setattr(Decoder, "run", run_small)
    assert run(results, "target_modules=q", "latency.batch_size=1,4,2") == 1
    points = facts_of(results)["points"]
    assert [point["status"] for point in points] == ["done", "out of memory", "done"]
    assert "batch 4, prompt 8, output 3: out of memory" in capsys.readouterr().err
    monkeypatch.undo()
    # It is tried again, and only it.
    assert run(results, "target_modules=q", "latency.batch_size=1,4,2") == 0
    points = facts_of(results)["points"]
    assert [point["status"] for point in points] == ["done", "done", "done"]


def test_done_points_without_rows_are_refused(
    results: Path, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(measured, results)
    (results / "latency" / "latency.parquet").unlink()
    assert run(results, "target_modules=q") == 2
    assert "latency.parquet has no rows of point 0" in capsys.readouterr().err


def test_help_is_the_page_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert latency.main(["--help"]) == 0
    assert "python -m harness.latency target_modules=" in capsys.readouterr().out


def test_one_adapter_that_fails_to_load_leaves_the_others_measured(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = results / "latency" / "adapters" / "q--r2"
    torn.mkdir(parents=True)
    (torn / "adapter_model.safetensors").write_bytes(b"torn")
    (torn / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    assert run(results, "target_modules=q,fc2") == 1
    shown = capsys.readouterr()
    assert "failed: q (unmerged): " in shown.err
    study = load_latency_study(results / "latency")
    assert set(study.calls["variant"]) == {"base", "fc2"}
    assert {failure["variant"] for failure in study.facts.failures} >= {"q"}
    # Mended, it is measured after all, and the failure is over.
    for file in torn.iterdir():
        file.unlink()
    assert run(results, "target_modules=q,fc2") == 0
    points = load_latency_study(results / "latency").facts.points
    assert [point.target_sets for point in points] == [("q", "fc2"), ("q",)]


def test_an_interrupt_keeps_rows_and_the_next_run_goes_on(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, rounds = session.time_round, []

    def interrupt(*arguments: Any, **named: Any) -> Any:
        rounds.append(1)
        if len(rounds) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(session, "time_round", interrupt)
    with pytest.raises(SystemExit) as ended:
        run(results, "target_modules=q", "latency.batch_size=1,2")
    assert ended.value.code == 130
    monkeypatch.undo()
    kept = pd.read_parquet(results / "latency" / "latency.parquet")
    assert len(kept) > 0
    assert "interrupted" in {point["status"] for point in facts_of(results)["points"]}
    assert run(results, "target_modules=q", "latency.batch_size=1,2") == 0
    after = pd.read_parquet(results / "latency" / "latency.parquet")
    pd.testing.assert_frame_equal(after.iloc[: len(kept)], kept)
    assert {point["status"] for point in facts_of(results)["points"]} == {"done"}


def test_an_output_of_one_token_says_that_tpot_is_undefined(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(results, "target_modules=q", "latency.output_tokens=1") == 0
    assert "time per output token needs at least 2 output tokens" in capsys.readouterr().err
    study = load_latency_study(results / "latency")
    assert study.calls["tpot_seconds"].isna().all()
    assert "undefined" in (results / "latency" / "latency.md").read_text()


@pytest.mark.slow
def test_a_static_cache_and_a_compiled_step_are_axes(results: Path) -> None:
    assert run(results, "target_modules=q", "latency.cache=dynamic,static", "adapter.rank=2") == 0
    points = load_latency_study(results / "latency").facts.points
    assert [point.axes["cache"] for point in points] == ["dynamic", "static"]


def test_the_timed_adapters_are_standard_ones(results: Path) -> None:
    from peft import PeftModel

    from harness.config.schema import ModelConfig
    from harness.models.loading import load_model

    assert run(results, "target_modules=o_proj+fc2") == 0
    spec = ModelConfig(source="random", shape="tiny-llama", dtype="float32", device="cpu")
    base = load_model(spec).model
    folder = results / "latency" / "adapters" / "o_proj+fc2--r2"
    stock = PeftModel.from_pretrained(base, str(folder))
    weights = {n: p for n, p in stock.named_parameters() if "lora_" in n}
    assert {name.split(".")[-4] for name in weights} == {"o_proj", "down_proj"}
    assert all(p.abs().max() > 0 for p in weights.values())
