"""The pipeline end to end, on a random model of two blocks: records, resume, failures."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from harness import load_results
from harness.config.schema import Config
from harness.errors import UserError
from harness.records.record import read_record
from harness.sweep import run, stages, timing_stage
from harness.sweep.plan import plan_sweep
from harness.training.loop import Passes
from harness.training.packed_model import BASE_ROW

ConfigMaker = Callable[..., Config]


def folder_of(config: Config) -> Path:
    return config.study_folder / "runs" / config.run_id


def home_of(name: str) -> Any:
    return next(module for module in (run, stages, timing_stage) if hasattr(module, name))


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """Let a stage of the pipeline run as it does, and note each call of it."""
    calls: list[Any] = []
    module = home_of(name)
    real = getattr(module, name)

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, counted)
    return calls


def break_stage(
    monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException, on_call: int
) -> None:
    module = home_of(name)
    real, calls = getattr(module, name), []

    def broken(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == on_call:
            raise error
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, broken)


def test_a_group_leaves_complete_records_and_one_base(tiny_config: ConfigMaker) -> None:
    configs = [tiny_config(f"target_modules={name}") for name in ("o_proj", "q+fc2")]
    outcomes = run.run_sweep(configs)
    assert [outcome.status for outcome in outcomes] == ["ok", "ok"]
    results = load_results(configs[0].study_folder)
    assert sorted(results.target_set) == ["base", "o_proj", "q+fc2"]
    assert set(results.status) == {"ok"}
    for config in configs:
        record = read_record(folder_of(config))
        assert record.train is not None
        assert record.train.steps == len(record.train.loss) == 2
        assert record.adapter is not None
        assert record.adapter.trainable_parameters > 0
        assert record.adapter.adapter_bytes > 0
        examples = pd.read_parquet(folder_of(config) / "examples.parquet")
        assert len(examples) == 4
        assert {"id", "prediction", "reference", "truncated", "accuracy"} <= set(examples)
        calls = pd.read_parquet(folder_of(config) / "latency.parquet")
        arms = ("base", "base_again", "base_cloned", "merged", "unmerged")
        assert sorted(calls.arm) == sorted(2 * arms)
        assert calls[calls.arm == "base"]["round"].tolist() == [0, 1]
        assert record.latency is not None
        assert (record.latency.rounds, record.latency.processes) == (2, 1)
        assert record.latency.stopped == "rounds limit"


def test_saved_adapter_is_the_one_that_was_scored(untimed_config: ConfigMaker) -> None:
    """Stock PEFT, on a base of its own, must predict what the record says was predicted."""
    from peft import PeftModel

    from harness.models.loading import load_model

    config = untimed_config("target_modules=all", "train.learning_rate=0.1")
    run.run_sweep([config])
    loaded = load_model(config.model)
    stock = PeftModel.from_pretrained(loaded.model, str(folder_of(config) / "adapter")).eval()
    items = plan_sweep([config]).variants[0].prepared.test
    examples = pd.read_parquet(folder_of(config) / "examples.parquet")
    for item, recorded in zip(items, examples.log_likelihoods, strict=True):
        # Letters are one token each: all stand at the prompt's end.
        ids = torch.tensor([item.prompt_ids])
        with torch.no_grad():
            values = stock(input_ids=ids).logits[0, -1].log_softmax(-1)
        expected = [values[choice].item() for (choice,) in item.choice_ids]
        assert list(recorded) == pytest.approx(expected, abs=1e-4)


def test_finished_runs_are_not_touched_again(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = untimed_config("target_modules=o_proj")
    run.run_sweep([config])
    before = (folder_of(config) / "record.json").read_bytes()
    loads = count_calls(monkeypatch, "load_model")
    assert run.run_sweep([config])[0].status == "ok"
    assert loads == []
    assert (folder_of(config) / "record.json").read_bytes() == before


def test_remeasuring_times_finished_runs_again_and_keeps_the_rest(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.sweep.speed.measure_rate", lambda *_: 1e12)
    sets = [f"target_modules={name}" for name in ("q", "k")]
    configs = [tiny_config(each) for each in sets]
    run.run_sweep(configs)
    before = [read_record(folder_of(config)) for config in configs]
    calls = [pd.read_parquet(folder_of(config) / "latency.parquet") for config in configs]
    trained, scored = (count_calls(monkeypatch, name) for name in ("train_pack", "score_pack"))
    planned = count_calls(monkeypatch, "Progress")
    again = [tiny_config(each, "latency.remeasure=true") for each in sets]
    assert [config.run_id for config in again] == [config.run_id for config in configs]
    assert [outcome.status for outcome in run.run_sweep(again)] == ["ok"] * 2
    assert trained == scored == []
    # The time left is that of the timing alone.
    timing = sum(each.latency_seconds for each in plan_sweep(configs).variants)
    assert planned == [(pytest.approx(timing),)]
    for config, old, old_calls in zip(configs, before, calls, strict=True):
        new = read_record(folder_of(config))
        assert (new.train, new.eval, new.adapter) == (old.train, old.eval, old.adapter)
        assert new.config == old.config
        assert new.environment["torch"] == old.environment["torch"]
        now = pd.read_parquet(folder_of(config) / "latency.parquet")
        assert not now.end_to_end_seconds.equals(old_calls.end_to_end_seconds)
    # The plain command finds all done, as ever.
    measured = count_calls(monkeypatch, "measure")
    run.run_sweep(configs)
    assert measured == []


def test_an_interrupted_remeasurement_goes_on_with_the_plain_command(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("target_modules=q")
    run.run_sweep([config])
    break_stage(monkeypatch, "measure", KeyboardInterrupt(), on_call=1)
    with pytest.raises(KeyboardInterrupt):
        run.run_sweep([tiny_config("target_modules=q", "latency.remeasure=true")])
    assert read_record(folder_of(config)).status == "interrupted"
    monkeypatch.undo()
    trained = count_calls(monkeypatch, "train_pack")
    assert run.run_sweep([config])[0].status == "ok"
    assert read_record(folder_of(config)).latency is not None
    assert trained == []


def test_a_run_without_its_adapter_is_not_remeasured(tiny_config: ConfigMaker) -> None:
    """Training it anew would replace what the user asked to keep."""
    config = tiny_config("target_modules=q")
    run.run_sweep([config])
    before = (folder_of(config) / "record.json").read_bytes()
    shutil.rmtree(folder_of(config) / "adapter")
    with pytest.raises(UserError, match=r"latency.remeasure: .*adapter has no adapter"):
        run.run_sweep([tiny_config("target_modules=q", "latency.remeasure=true")])
    assert (folder_of(config) / "record.json").read_bytes() == before


def break_variant(
    monkeypatch: pytest.MonkeyPatch, roles: tuple[str, ...], error: Exception
) -> None:
    """Let training fail whenever a variant of these roles is in the pack."""
    real = stages.train_pack

    def broken(pack: Any, *others: Any, **named: Any) -> Any:
        for member in pack.members:
            modules = member.peft_config["default"].target_modules
            if {name.rsplit(".", 1)[-1] for name in modules} == set(roles):
                raise error
        return real(pack, *others, **named)

    monkeypatch.setattr(stages, "train_pack", broken)


@pytest.mark.parametrize(
    "error", [RuntimeError("planted"), torch.OutOfMemoryError("planted: out of memory")]
)
def test_a_failing_variant_is_recorded_and_the_others_go_on(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    configs = [untimed_config(f"target_modules={name}") for name in ("q", "k", "v")]
    break_variant(monkeypatch, ("k_proj",), error)
    outcomes = run.run_sweep(configs)
    assert [outcome.status for outcome in outcomes] == ["ok", "failed", "ok"]
    record = read_record(folder_of(configs[1]))
    assert record.error is not None
    if isinstance(error, torch.OutOfMemoryError):
        assert record.error.message.startswith("out of memory with train.max_tokens_per_pass=")
        assert "train.gradient_checkpointing=True" in record.error.message
    else:
        assert (record.error.type, record.error.message) == (type(error).__name__, str(error))
    assert "train_pack" in record.error.traceback
    first = read_record(folder_of(configs[0])).train
    assert first is not None
    assert first.pack == (configs[0].run_id,)
    monkeypatch.undo()
    trained = count_calls(monkeypatch, "train_pack")
    assert [outcome.status for outcome in run.run_sweep(configs)] == ["ok"] * 3
    assert len(trained) == 1
    assert read_record(folder_of(configs[1])).error is None


@pytest.mark.parametrize(("most", "is_enough"), [(256, True), (0, False)])
def test_one_variant_without_memory_trains_in_smaller_passes_then_with_checkpointing(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch, most: int, is_enough: bool
) -> None:
    """The loss is that of the whole pass."""
    config = untimed_config()
    run.run_sweep([config])
    whole = read_record(folder_of(config)).train
    tried: list[Passes] = []
    real = stages.train_pack

    def short(pack: Any, recipes: Any, passes: Passes, **named: Any) -> Any:
        tried.append(passes)
        if not passes.gradient_checkpointing and passes.max_tokens > most:
            raise torch.OutOfMemoryError("planted: out of memory")
        return real(pack, recipes, passes, **named)

    monkeypatch.setattr(stages, "train_pack", short)
    again = untimed_config("study=again")
    assert run.run_sweep([again])[0].status == "ok"
    train = read_record(folder_of(again)).train
    assert train is not None
    assert whole is not None
    assert train.loss == pytest.approx(whole.loss, rel=1e-4)
    assert train.gradient_checkpointing is not is_enough
    sizes = [passes.max_tokens for passes in tried if not passes.gradient_checkpointing]
    assert sizes == sorted(sizes, reverse=True)
    assert train.max_tokens_per_pass == tried[-1].max_tokens


def test_a_group_goes_through_the_model_at_once(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sets, ranks, seeds and rates in one pack; the record says what was trained together."""
    configs = [
        untimed_config(*overrides.split())
        for overrides in (
            "target_modules=qkv",
            "target_modules=all adapter.rank=4",
            "target_modules=qkv seed=1",
            "target_modules=qkv train.learning_rate=1e-3 train.epochs=2",
        )
    ]
    trained = count_calls(monkeypatch, "train_pack")
    scored = count_calls(monkeypatch, "score_pack")
    assert {outcome.status for outcome in run.run_sweep(configs)} == {"ok"}
    assert len(trained) == len(scored) == 1
    names = {config.run_id for config in configs}
    records = [read_record(folder_of(config)).train for config in configs]
    assert all(record is not None and set(record.pack) == names for record in records)
    assert [len(r.loss) for r in records if r] == [2, 2, 2, 4]
    energies = [set(r.gradient_energy) for r in records if r]
    assert energies[0] == {"q", "k", "v"}
    assert energies[1] == {"q", "k", "v", "o", "fc1", "fc2"}


def test_a_failed_base_fails_the_sweep_and_is_done_again(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = untimed_config("target_modules=q")
    base_folder = config.study_folder / "runs" / config.base_run_id
    real = stages.score_pack

    def broken(respondents: Any, *others: Any, **named: Any) -> Any:
        if BASE_ROW in respondents.owners:
            raise RuntimeError("planted")
        return real(respondents, *others, **named)

    monkeypatch.setattr(stages, "score_pack", broken)
    outcome = run.run_sweep([config])[0]
    assert (outcome.status, outcome.error) == ("failed", "the base failed: planted")
    assert read_record(base_folder).status == "failed"
    assert read_record(folder_of(config)).status == "ok"
    monkeypatch.undo()
    trained = count_calls(monkeypatch, "train_pack")
    assert run.run_sweep([config])[0].status == "ok"
    assert read_record(base_folder).status == "ok"
    assert trained == []


@pytest.mark.parametrize(
    ("stage", "still_to_train"), [("train_pack", 1), ("score_pack", 0), ("measure", 0)]
)
def test_an_interrupt_is_recorded_and_the_rerun_goes_on_from_there(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch, stage: str, still_to_train: int
) -> None:
    configs = [tiny_config(f"target_modules={name}") for name in ("q", "k")]
    break_stage(monkeypatch, stage, KeyboardInterrupt(), on_call=1)
    with pytest.raises(KeyboardInterrupt):
        run.run_sweep(configs)
    assert [read_record(folder_of(config)).status for config in configs] == ["interrupted"] * 2
    monkeypatch.undo()
    trained = count_calls(monkeypatch, "train_pack")
    assert [outcome.status for outcome in run.run_sweep(configs)] == ["ok"] * 2
    assert len(trained) == still_to_train


@pytest.mark.parametrize("call", [1, 2, 3])
def test_interrupted_and_resumed_scores_equal_uninterrupted_ones(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Cut off before the first adapter is saved, between two of them, and after the last."""
    plain = [untimed_config(f"target_modules={name}", "study=plain") for name in ("q", "fc1")]
    run.run_sweep(plain)
    halted = [untimed_config(f"target_modules={name}", "study=halted") for name in ("q", "fc1")]
    name, on_call = ("save_adapter", call) if call < 3 else ("score_pack", 1)
    break_stage(monkeypatch, name, KeyboardInterrupt(), on_call=on_call)
    with pytest.raises(KeyboardInterrupt):
        run.run_sweep(halted)
    monkeypatch.undo()
    run.run_sweep(halted)
    for a, b in zip(plain, halted, strict=True):
        left = pd.read_parquet(folder_of(a) / "examples.parquet")
        assert left.equals(pd.read_parquet(folder_of(b) / "examples.parquet"))
        first, second = read_record(folder_of(a)).train, read_record(folder_of(b)).train
        assert first is not None
        assert second is not None
        assert first.loss == second.loss


def test_a_killed_run_is_done_again(untimed_config: ConfigMaker) -> None:
    """SIGKILL leaves `running`, or half a file where the disk is not atomic."""
    config = untimed_config("target_modules=o_proj")
    run.run_sweep([config])
    path = folder_of(config) / "record.json"
    record = json.loads(path.read_text())
    record["status"], record["latency"] = "running", None
    path.write_text(json.dumps(record))
    assert run.run_sweep([config])[0].status == "ok"
    path.write_text(path.read_text()[:100])
    assert run.run_sweep([config])[0].status == "ok"
    assert read_record(folder_of(config)).status == "ok"


def test_a_diverging_variant_fails_with_its_step(untimed_config: ConfigMaker) -> None:
    configs = [
        untimed_config("target_modules=all", "train.learning_rate=1e30", "train.epochs=5"),
        untimed_config("target_modules=all"),
    ]
    outcome, calm = run.run_sweep(configs)
    assert (outcome.status, calm.status) == ("failed", "ok")
    assert outcome.error is not None
    assert "lower train.learning_rate" in outcome.error


def test_two_spellings_of_one_set_run_once(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = count_calls(monkeypatch, "train_pack")
    configs = [untimed_config(f"target_modules={name}") for name in ("q+fc2", "fc2+q_proj")]
    outcomes = run.run_sweep(configs)
    assert outcomes[0] == outcomes[1]
    assert len(trained) == 1


def test_the_whole_sweep_is_checked_before_the_first_step(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained = count_calls(monkeypatch, "train_pack")
    (tmp_path / "train.jsonl").write_text('{"report": "a"}\n')
    (tmp_path / "test.jsonl").write_text('{"report": "a"}\n')
    configs = [
        untimed_config("target_modules=o_proj"),
        untimed_config("task=govreport", "task.source=local", f"task.path={tmp_path}"),
    ]
    with pytest.raises(Exception, match="summary"):
        run.run_sweep(configs)
    assert trained == []
    with pytest.raises(Exception, match="cannot adapt q separately"):
        run.run_sweep(
            [
                untimed_config("target_modules=o_proj"),
                untimed_config("model.shape=tiny-gpt2", "target_modules=q"),
            ]
        )
    assert trained == []


def test_a_full_disk_fails_the_run_but_keeps_what_was_there(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = untimed_config("target_modules=q")
    run.run_sweep([first])
    second = untimed_config("target_modules=k")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", refuse)
    outcome = run.run_sweep([second])[0]
    monkeypatch.undo()
    assert outcome.status == "failed"
    assert "No space left on device" in str(outcome.error)
    assert read_record(folder_of(first)).status == "ok"
    assert [o.status for o in run.run_sweep([first, second])] == ["ok", "ok"]


def test_latency_can_be_switched_off(tiny_config: ConfigMaker) -> None:
    config = tiny_config("latency.enabled=false")
    assert run.run_sweep([config])[0].status == "ok"
    record = read_record(folder_of(config))
    assert record.latency is None
    assert read_record(config.study_folder / "runs" / config.base_run_id).status == "ok"


def test_prompts_for_timing_are_real_and_of_median_length(tiny_config: ConfigMaker) -> None:
    plan = plan_sweep([tiny_config()]).variants[0]
    prompts = sorted((item.prompt_ids for item in plan.prepared.test), key=len)
    picked = timing_stage.pick_prompts(plan, 3, plan.timed_lengths[0])
    assert [len(row) for row in picked] == [len(prompts[len(prompts) // 2])] * 3
    for row in picked:
        assert any(tuple(prompt[: len(row)]) == row for prompt in prompts)


def test_prompts_can_be_given_any_length(tiny_config: ConfigMaker) -> None:
    plan = plan_sweep([tiny_config()]).variants[0]
    longest = max(len(item.prompt_ids) for item in plan.prepared.test)
    for length in (5, longest + 7):
        assert [len(row) for row in timing_stage.pick_prompts(plan, 2, length)] == [length] * 2


def test_a_timed_call_that_the_context_cannot_hold_is_refused_beforehand(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = count_calls(monkeypatch, "train_pack")
    with pytest.raises(UserError, match=r"takes \d+: lower latency.prompt_tokens"):
        run.run_sweep([tiny_config("latency.output_tokens=100000")])
    assert trained == []


@pytest.mark.slow
def test_fresh_processes_time_a_group_too(tiny_config: ConfigMaker) -> None:
    config = tiny_config(
        "target_modules=o_proj", "latency.fresh_processes=true", "latency.min_processes=1"
    )
    assert run.run_sweep([config])[0].status == "ok"
    record = read_record(folder_of(config))
    assert record.latency is not None
    assert record.latency.adapter_dtype == "float32"
    row = load_results(config.study_folder).set_index("target_set").loc["o_proj"]
    assert row["end_to_end_ratio"] > 0


def test_an_adapter_that_cannot_be_loaded_fails_its_run_and_no_other(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [tiny_config(f"target_modules={name}") for name in ("q", "v")]
    real = timing_stage.time_runs

    def tear(base: Any, runs: Any, *rest: Any) -> None:
        (runs[0].folder / "adapter" / "adapter_model.safetensors").write_bytes(b"torn")
        real(base, runs, *rest)

    monkeypatch.setattr(run, "time_runs", tear)
    outcomes = run.run_sweep(configs)
    assert [outcome.status for outcome in outcomes] == ["failed", "ok"]
    assert "no usable adapter" in str(outcomes[0].error)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_tables_are_made_again_from_the_adapter(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    config = tiny_config("target_modules=q")
    run.run_sweep([config])
    before = read_record(folder_of(config))
    examples = pd.read_parquet(folder_of(config) / "examples.parquet")
    for name in ("examples.parquet", "latency.parquet"):
        path = folder_of(config) / name
        path.write_bytes(path.read_bytes()[:-9]) if damage == "cut" else path.unlink()
    trained = count_calls(monkeypatch, "train_pack")
    (outcome,) = run.run_sweep([config])
    assert outcome.status == "ok"
    assert not trained
    after = read_record(folder_of(config))
    assert (after.status, after.train) == ("ok", before.train)
    assert after.latency is not None
    pd.testing.assert_frame_equal(pd.read_parquet(folder_of(config) / "examples.parquet"), examples)
    assert len(pd.read_parquet(folder_of(config) / "latency.parquet"))
