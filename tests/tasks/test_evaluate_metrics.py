"""Scores through `evaluate` are those of the plain functions, to the last bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks import TASKS, CustomTask, DataError, Example, TaskSpec, make_custom_task
from tasks.custom import METRICS
from tasks.evaluate_metrics import leave_out_thinking, load_metric, score_examples
from tasks.medmcqa import MEDMCQA
from tasks.metrics.fields import summarize_fields
from tasks.metrics.labels import summarize_labels
from tasks.metrics.number_errors import summarize_numbers

ANSWERS = {"numeric": "12.5", "json_fields": '{"total": "12.5", "lines": [{"n": 1}, {"n": 2}]}'}
SUMMARIES = {
    "field_f1": summarize_fields,
    "label_f1": summarize_labels,
    "answer_accuracy": summarize_numbers,
}
ODD = ("", " ", "é\u2028中\x00\ud7ff", '{"total": 12.50, "lines": {"n": 2}}', "x " * 5000)


@pytest.fixture(autouse=True)
def modules_loaded_anew() -> Iterator[None]:
    load_metric.cache_clear()
    yield
    load_metric.cache_clear()


def make_task(metric: str) -> TaskSpec:
    choices = "options" if metric == "choice" else None
    return make_custom_task(CustomTask("own", "{{ q }}", "a", metric, choices))


def list_tasks() -> list[Any]:
    own = [pytest.param(make_task(name), id=name) for name in METRICS]
    return [*(pytest.param(spec, id=name) for name, spec in TASKS.items()), *own]


def make_examples(spec: TaskSpec) -> list[Example]:
    if spec.embedded is not None:
        return [spec.to_example(row) for row in spec.embedded("test", 0)[:6]]
    metric = next(name for name, each in METRICS.items() if each.headline == spec.metric)
    answer = ANSWERS.get(metric, "The Cat sat.")
    rows = [{"q": f"{n}?", "a": answer, "options": [answer, f"no {n}"]} for n in range(4)]
    return [spec.to_example(row) for row in rows]


@pytest.mark.parametrize("spec", list_tasks())
def test_every_task_scores_as_its_function_does(spec: TaskSpec) -> None:
    examples = make_examples(spec)
    texts = [*ODD, *(text for e in examples for text in (e.completion, e.completion[:-2]))]
    pairs = [(example, text) for example in examples for text in texts]
    assert spec.module is not None
    found = score_examples(spec, pairs)
    assert found == [spec.score(example, text) for example, text in pairs]
    assert {each[spec.metric] for each in found} != {0.0}
    if spec.summarize is not None:
        plain = SUMMARIES[spec.metric]([(text, example.reference) for example, text in pairs])
        assert spec.summarize(pairs) == pytest.approx(plain, nan_ok=True)


def test_each_question_has_its_own_options() -> None:
    examples = [
        Example("", "", "", "", answer, answer, choices=(answer, other))
        for answer, other in (("red", "blue"), ("hot", "cold"))
    ]
    pairs = [(examples[0], "red"), (examples[1], "red")]
    found = score_examples(make_task("choice"), pairs)
    assert found == [{"accuracy": 1, "has_answer": 1}, {"accuracy": 0, "has_answer": 0}]


def test_a_task_without_a_module_is_scored_by_its_function() -> None:
    spec = TaskSpec(
        name="own",
        columns=(),
        to_example=lambda row: Example("", "", "", "", "", ""),
        score=lambda example, prediction: {"length": len(prediction) / 10},
        split_key=str,
        metric="length",
    )
    pairs = [(spec.to_example({}), text) for text in ("a", "abc")]
    assert score_examples(spec, pairs) == [{"length": 0.1}, {"length": 0.3}]


def test_a_module_is_loaded_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    loaded = []
    load = evaluate.load
    monkeypatch.setattr(evaluate, "load", lambda *a, **b: loaded.append(a) or load(*a, **b))
    spec = TASKS["fincot"]
    for _ in range(3):
        score_examples(spec, [(example, "5") for example in make_examples(spec)])
    assert len(loaded) == 1


def test_a_cache_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import evaluate.config

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="set HF_MODULES_CACHE to a folder"):
        load_metric("exact_answer")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>The answer is A</think>\n\nB", "B"),
        ("The answer is A</think>B", "B"),
        ("<think>a</think>A<think>b</think>\nB", "B"),
        ("<think>The answer is A", ""),
        ("A<think>or", "A"),
        ("A", "A"),
        (" A ", " A "),
    ],
)
def test_what_a_model_thinks_first_is_no_answer(text: str, left: str) -> None:
    assert leave_out_thinking(text) == left


def test_thinking_is_taken_off_before_any_metric() -> None:
    example = Example("1", "", "", "", "B", "B", choices=("A", "B"))
    (scores,) = score_examples(MEDMCQA, [(example, "<think>The answer is A</think>\n\nB")])
    assert scores["accuracy"] == 1
    (scores,) = score_examples(MEDMCQA, [(example, "<think>The answer is B")])
    assert scores["accuracy"] == 0
