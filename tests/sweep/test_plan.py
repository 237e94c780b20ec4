from collections.abc import Callable

import pytest

from harness.config.schema import Config
from harness.sweep.plan import format_plan, plan_sweep

ConfigMaker = Callable[..., Config]


def test_all_variants_of_a_task_see_the_same_examples_in_the_same_order(
    tiny_config: ConfigMaker,
) -> None:
    plan = plan_sweep([tiny_config(f"target_modules={name}") for name in ("q", "all", "fc2")])
    first, *others = plan.variants
    for other in others:
        assert other.steps == first.steps
        assert other.prepared is first.prepared


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
    text = format_plan(plan, finished=2)
    assert "plan: 3 variants, 2 already finished" in text
    assert "govreport on tiny-llama: o_proj" in text
    assert "examples truncated to fit" in text
    assert "instead of GovReport" in text
    assert "roughly" in text


def test_estimate_grows_with_the_work(tiny_config: ConfigMaker) -> None:
    one = plan_sweep([tiny_config()]).variants[0]
    more = plan_sweep([tiny_config("train.epochs=4")]).variants[0]
    # The rates are measured anew for each plan, and this machine may be busy.
    assert more.train_tokens == 4 * one.train_tokens
    off = plan_sweep([tiny_config("latency.enabled=false")]).variants[0]
    assert off.latency_seconds == 0 < one.latency_seconds


def test_what_is_timed_once_is_counted_once(tiny_config: ConfigMaker) -> None:
    """Seeds of an adapter share a timing; methods and sets have each their own."""
    overrides = [("seed=0",), ("seed=1",), ("adapter=dora",), ("target_modules=all",)]
    plan = plan_sweep([tiny_config(*each) for each in overrides])
    first, again, *others = plan.variants
    assert first.timed_kind == again.timed_kind
    work = sum(each.train_seconds + each.score_seconds for each in plan.variants)
    timed = sum(each.latency_seconds for each in (first, *others))
    assert plan.seconds == pytest.approx(work + first.score_seconds + timed)


@pytest.mark.parametrize("task", ["medmcqa", "govreport", "fincot", "invoice_ocr"])
def test_forced_output_length_is_the_tasks_own(tiny_config: ConfigMaker, task: str) -> None:
    config = tiny_config(f"task={task}", "task.max_completion_tokens=100")
    prepared = plan_sweep([config]).variants[0].prepared
    lengths = sorted(len(item.completion_ids) for item in prepared.test)
    if task == "medmcqa":
        assert prepared.output_tokens == 1
    else:
        assert lengths[0] <= prepared.output_tokens <= lengths[-1]
