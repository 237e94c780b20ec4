import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from harness.config.schema import Config
from harness.errors import UserError
from harness.sweep.plan import _weigh, format_plan, plan_sweep

ConfigMaker = Callable[..., Config]


def test_all_variants_of_a_task_see_the_same_examples_in_the_same_order(
    tiny_config: ConfigMaker,
) -> None:
    plan = plan_sweep([tiny_config(f"target_modules={name}") for name in ("q", "all", "fc2")])
    first, *others = plan.variants
    for other in others:
        assert other.steps == first.steps
        assert other.prepared is first.prepared


def test_seeds_see_the_same_examples_in_orders_of_their_own(tiny_config: ConfigMaker) -> None:
    overrides = ("task.train_examples=12", "train.epochs=3")
    first, second = plan_sweep(
        [tiny_config(f"seed={seed}", *overrides) for seed in (0, 1)]
    ).variants
    assert first.prepared is second.prepared
    seen = [sorted(i for step in plan.steps for i in step) for plan in (first, second)]
    assert seen[0] == seen[1]
    assert first.steps != second.steps


def test_counts_are_those_of_the_training_that_follows(tiny_config: ConfigMaker) -> None:
    from harness.records.record import read_record
    from harness.sweep import run

    config = tiny_config("latency.enabled=false", "train.epochs=1.5")
    planned = plan_sweep([config]).variants[0]
    run.run_sweep([config])
    train = read_record(config.study_folder / "runs" / config.run_id).train
    assert train is not None
    assert (train.steps, train.tokens) == (len(planned.steps), planned.train_tokens)
    assert train.examples == 9


def test_text_names_sets_stand_ins_cuts_and_an_estimate(tiny_config: ConfigMaker) -> None:
    plan = plan_sweep([tiny_config("task=govreport", "task.max_prompt_tokens=128")])
    text = format_plan(plan, finished=2, seconds=600)
    assert "plan: 3 variants, 2 already finished" in text
    assert "govreport on tiny-llama: o_proj" in text
    assert "examples truncated to fit" in text
    assert "instead of GovReport" in text
    assert "training tokens, about 10 min (float32, 1 process," in text


def test_estimate_grows_with_the_work(tiny_config: ConfigMaker) -> None:
    one = plan_sweep([tiny_config()]).variants[0]
    more = plan_sweep([tiny_config("train.epochs=4")]).variants[0]
    assert more.train_tokens == 4 * one.train_tokens
    off = plan_sweep([tiny_config("latency.enabled=false")]).variants[0]
    assert off.latency_seconds == 0 < one.latency_seconds


def test_what_is_timed_once_is_counted_once(tiny_config: ConfigMaker) -> None:
    """Seeds of an adapter share a timing; methods, ranks and sets have each their own."""
    own = [("adapter=dora",), ("adapter.rank=4",), ("target_modules=all",)]
    overrides = [("seed=0",), ("seed=1",), *own]
    plan = plan_sweep([tiny_config(*each) for each in overrides])
    first, again, *others = plan.variants
    assert first.timed_kind == again.timed_kind
    work = sum(each.train_seconds + each.score_seconds for each in plan.variants)
    timed = sum(each.latency_seconds for each in (first, *others))
    assert plan.work_seconds == pytest.approx(work + first.score_seconds)
    assert plan.latency_seconds == pytest.approx(timed)


@pytest.mark.parametrize("task", ["medmcqa", "govreport", "fincot", "invoice_ocr", "cocohd"])
def test_forced_output_length_is_the_tasks_own(tiny_config: ConfigMaker, task: str) -> None:
    config = tiny_config(f"task={task}", "task.max_completion_tokens=100")
    prepared = plan_sweep([config]).variants[0].prepared
    lengths = sorted(len(item.completion_ids) for item in prepared.test)
    if task == "medmcqa":
        assert prepared.output_tokens == 1
    else:
        assert lengths[0] <= prepared.output_tokens <= lengths[-1]


def test_what_makes_a_run_is_worked_out_once(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [tiny_config(f"target_modules={name}") for name in ("q", "all", "fc2")]
    seen: list[str] = []
    flatten = dataclasses.asdict

    def count(values: Any) -> dict[str, Any]:
        if isinstance(values, Config):
            seen.append(values.target_set)
        return flatten(values)

    monkeypatch.setattr(dataclasses, "asdict", count)
    for plan in (plan_sweep(configs), plan_sweep(configs)):
        assert len({each.config.run_id for each in plan.variants}) == 3
        assert len({each.config.group for each in plan.variants}) == 1
    assert sorted(seen) == ["all", "fc2", "q"]


def test_a_changed_configuration_is_another_run(tiny_config: ConfigMaker) -> None:
    """A value that is worked out once must not follow the configuration into a copy."""
    config = tiny_config()
    first = config.run_id, config.base_run_id, config.group
    assert dataclasses.replace(config, seed=7).run_id != first[0]
    longer = dataclasses.replace(config.task, max_prompt_tokens=99)
    changed = dataclasses.replace(config, task=longer)
    assert changed.base_run_id != first[1]
    assert changed.group != first[2]


def test_the_tokenizer_is_loaded_once_for_a_sweep(
    tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.models import loading
    from harness.sweep import run

    loading._read_tokenizer.cache_clear()
    loads: list[Any] = []
    read = loading.AutoTokenizer.from_pretrained

    def count(location: str, **options: Any) -> Any:
        loads.append(location)
        return read(location, **options)

    monkeypatch.setattr(loading.AutoTokenizer, "from_pretrained", count)
    tasks = ("medmcqa", "fincot")
    sweep = [tiny_config(f"task={name}", "latency.enabled=false", "seed=3") for name in tasks]
    assert [outcome.status for outcome in run.run_sweep(sweep)] == ["ok", "ok"]
    assert len(loads) == 1


def test_a_checkpoint_that_lacks_weights_ends_the_sweep_before_it_begins(
    tiny_config: ConfigMaker, tmp_path: Path
) -> None:
    from harness.models.loading import load_model
    from harness.sweep import run

    folder = tmp_path / "prefixed"
    loaded = load_model(tiny_config().model)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    renamed = {f"base_model.model.{name}": tensor for name, tensor in weights.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    config = tiny_config("model=local", "model.shape=null", f"model.path={folder}")
    with pytest.raises(UserError, match=r"prefixed lacks \d+ of the weights .*base_model.model."):
        run.run_sweep([config])
    assert not config.study_folder.exists()


def test_speed_is_measured_at_the_length_where_most_tokens_are() -> None:
    """Of rows of 10 and of 30 tokens, a token is in one of 30 three times in four."""
    assert _weigh([10, 30], [10, 30]) == 25
    assert _weigh([0, 0], [3, 5]) == 1


def test_a_second_name_of_a_set_is_refused_where_the_first_is_finished(
    untimed_config: Callable[..., Config],
) -> None:
    one, other = (untimed_config(f"target_modules={name}") for name in ("o_proj", "o_proj@0-1"))
    for pending, finished in (([one, other], []), ([other], [one])):
        with pytest.raises(UserError, match="o_proj and o_proj@0-1 are the same modules"):
            plan_sweep(pending, finished=finished)
