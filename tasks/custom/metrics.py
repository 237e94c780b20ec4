"""The metrics that a task of the user's own can name, each with what its answers must be."""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.base import DataError, Example
from tasks.custom.choices import refuse_separators
from tasks.evaluate_metrics import pool_scores
from tasks.json_schema import infer_answers
from tasks.metrics.answers import (
    find_answer,
    find_numbers,
    is_ambiguous,
    score_answer,
    split_reasoning,
    write_points,
)
from tasks.metrics.choices import score_choice
from tasks.metrics.exact import score_exact
from tasks.metrics.fields import has_fields, score_fields
from tasks.metrics.json_object import MAX_DEPTH, is_deeper
from tasks.metrics.labels import read_labels, score_labels
from tasks.metrics.summaries import describe_words, has_words, score_summary
from tasks.rows import show_value

NO_LABELS = "[]"
PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
"""Digits that no rule has to be asked about."""

DECIMALS = ("point", "comma")


@dataclass(frozen=True)
class Metric:
    score: Callable[[Example, str], dict[str, float]]
    headline: str
    """The score that the verdict rests on: a key of what `score` returns."""
    module: str | None = None
    """The `evaluate` module that computes the same; None where there is only `score`."""
    read_reference: Callable[[str], str] = str
    """Answer -> what a prediction is scored against; raises DataError for an answer of no use."""
    read_prediction: Callable[[str], str] | None = None
    """See `TaskSpec`, here and below."""
    summarize: Callable[[Sequence[tuple[Example, str]]], dict[str, float]] | None = None
    split_reasoning: Callable[[str], str] | None = None
    make_schema: Callable[[Sequence[Example]], dict[str, Any]] | None = None
    own_score: Callable[[Example], float] | None = None
    describe_scoring: Callable[[Sequence[Example]], str | None] | None = None


def make_numeric(decimal: str | None = None) -> Metric:
    """Numbers by FinCoT's rule, with a decimal point or a decimal comma.

    Without `decimal`, an answer such as `12,5` is refused: it may be either.
    """

    def read_reference(answer: str) -> str:
        final = find_answer(answer) or answer
        if decimal == "comma":
            final = write_points(final)
        elif not PLAIN_NUMBER.fullmatch(final) and is_ambiguous(final):
            remedy = (
                "set task.decimal=comma where commas are decimal signs"
                if decimal is None
                else "correct the row, for task.decimal is point"
            )
            raise DataError(
                f"the answer is {show_value(final)}, in which the comma may be a decimal sign or "
                f"not, expected 12.5; {remedy}"
            )
        if not find_numbers(final):
            raise DataError(f"the answer is {show_value(final)}, expected text with a number")
        return final

    def own_score(example: Example) -> float:
        completion = write_points(example.completion) if decimal == "comma" else example.completion
        if completion == example.reference and PLAIN_NUMBER.fullmatch(completion):
            return 1.0
        return score_answer(completion, example.reference)["answer_accuracy"]

    return Metric(
        score=lambda example, text: score_answer(text, example.reference),
        module="answer_accuracy",
        headline="answer_accuracy",
        read_reference=read_reference,
        read_prediction=write_points if decimal == "comma" else None,
        split_reasoning=split_reasoning,
        own_score=own_score,
        summarize=pool_scores("answer_accuracy"),
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _read_float(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse_constant(digits)


def _read_object(answer: str) -> str:
    try:
        value = json.loads(answer, parse_constant=_refuse_constant, parse_float=_read_float)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the answer is {show_value(answer)}, expected JSON ({error})") from error
    # Deeper ones no scorer would follow, and no model is asked for them.
    may_be_deep = answer.count("{") + answer.count("[") > MAX_DEPTH
    is_deep = may_be_deep and is_deeper(value, MAX_DEPTH)
    if not isinstance(value, dict) or is_deep or not has_fields(value):
        raise DataError(
            f"the answer is {show_value(answer)}, expected a JSON object with a field to score, at "
            f"most {MAX_DEPTH} levels deep"
        )
    return answer


def _read_label_set(answer: str) -> str:
    labels = read_labels(answer)
    if not labels and answer != NO_LABELS:
        raise DataError(
            f"the answer is {show_value(answer)}, expected one or more labels, or {NO_LABELS}"
        )
    for label in labels:
        refuse_separators(label)
    return answer


METRICS: dict[str, Metric] = {
    "choice": Metric(
        score=lambda example, text: score_choice(text, example.reference, example.choices),
        module="choice_accuracy",
        headline="accuracy",
    ),
    "exact": Metric(
        score=lambda example, text: score_exact(text, example.reference),
        module="exact_answer",
        headline="exact_match",
        own_score=lambda example: (
            1.0
            if example.completion == example.reference
            else score_exact(example.completion, example.reference)["exact_match"]
        ),
    ),
    "numeric": make_numeric(),
    "rouge": Metric(
        score=lambda example, text: score_summary(text, example.reference),
        module="summary_rouge",
        headline="rougeL",
        own_score=lambda example: float(has_words(example.reference)),
        describe_scoring=lambda examples: describe_words([each.reference for each in examples]),
    ),
    "json_fields": Metric(
        score=lambda example, text: score_fields(text, example.reference),
        module="json_fields",
        headline="field_f1",
        read_reference=_read_object,
        summarize=pool_scores("json_fields"),
        make_schema=infer_answers,
        # A field or more was counted.
        own_score=lambda example: 1.0,
    ),
    "labels": Metric(
        score=lambda example, text: score_labels(text, example.reference),
        module="label_sets",
        headline="label_f1",
        read_reference=_read_label_set,
        summarize=pool_scores("label_sets"),
    ),
}
"""Metrics by name; others are files, installed packages or modules of `evaluate`
(`tasks.custom.own_metrics`)."""
