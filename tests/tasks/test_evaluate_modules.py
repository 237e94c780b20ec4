"""Each metric as a local `evaluate` module: loaded offline from its file, equal to its function."""

from pathlib import Path
from typing import Any

import pytest

from tasks.evaluate_metrics import load_metric
from tasks.metrics.answers import score_answer
from tasks.metrics.choices import score_choice
from tasks.metrics.exact import score_exact
from tasks.metrics.fields import score_fields, summarize_fields
from tasks.metrics.final_answer import score_final_answer
from tasks.metrics.labels import score_labels
from tasks.metrics.summaries import score_summary

FOLDER = Path(__file__).resolve().parents[2] / "tasks" / "metrics"


def score_letter(prediction: str, reference: str) -> dict[str, float]:
    return score_choice(prediction, reference, ("A", "B", "C", "D"))


def score_open(prediction: str, reference: str) -> dict[str, float]:
    return score_final_answer(prediction, reference, ())


CASES: dict[str, tuple[Any, list[str], list[str]]] = {
    "choice_accuracy": (
        score_letter,
        ["A", " b.", "C", "", "AB", "Answer: D"],
        ["A", "B", "D", "A", "A", "D"],
    ),
    "summary_rouge": (score_summary, ["A cat sat.", "x"], ["The cat sat. It ran.", "y"]),
    "answer_accuracy": (score_answer, ["Answer: 5%", "7", "?"], ["0.05", "8", "yes"]),
    "final_answer_accuracy": (
        score_open,
        ["## Thinking\nx\n## Final Answer\nThe liver.", "bone", ""],
        ["liver", "skin", "eye"],
    ),
    "exact_answer": (score_exact, ["The Paris", "x y", ""], ["paris", "y z", "a"]),
    "label_sets": (score_labels, ["a, b", "Labels: C", ""], ["b, a", "c, d", "a"]),
    "json_fields": (
        score_fields,
        ['so {"a": 1}', "{", '{"b":[2, 3]}'],
        ['{"a":1,"b":[2]}', '{"a":1}', '{"b":[3, 2]}'],
    ),
}


def test_every_module_has_a_case() -> None:
    modules = {path.stem for path in FOLDER.glob("*.py") if "evaluate.Metric" in path.read_text()}
    assert modules == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_module_means_the_plain_function(name: str) -> None:
    function, predictions, references = CASES[name]
    metric = load_metric(name)
    means = metric.compute(predictions=predictions, references=references)
    scores = [function(*pair) for pair in zip(predictions, references, strict=True)]
    for score in scores[0]:
        assert means[score] == pytest.approx(sum(s[score] for s in scores) / len(scores))
    each = metric.compute(predictions=predictions, references=references, use_aggregator=False)
    assert each == {name: [s[name] for s in scores] for name in scores[0]}


def test_pooled_field_scores_stand_beside_the_means() -> None:
    _, predictions, references = CASES["json_fields"]
    found = load_metric("json_fields").compute(predictions=predictions, references=references)
    pooled = summarize_fields(list(zip(predictions, references, strict=True)))
    assert pooled.items() <= found.items()


def test_options_may_be_worded() -> None:
    metric = load_metric("choice_accuracy")
    found = metric.compute(
        predictions=["Yes, it did.", "Maybe"], references=["yes", "no"], choices=["yes", "no"]
    )
    assert found == {"accuracy": 0.5, "has_answer": 0.5}
