"""Scored examples -> the summary that a record keeps, and the table beside it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import harness.config.task_package  # noqa: F401  (before tasks)
from harness.data.preparation import PreparedTask, share_cut
from harness.evaluation.scoring import VALIDATION_METRIC, ScoredExample
from harness.records.record import EvalRecord
from tasks.evaluate_metrics import read_prediction, score_examples


def summarize(
    scored: Sequence[ScoredExample], prepared: PreparedTask, seconds: float
) -> EvalRecord:
    """Sum up the scores of a task's test examples, in the order of `prepared.test`."""
    is_test = prepared.split == "test"
    majority_prediction, majority_score = _find_majority(prepared) if is_test else (None, math.nan)
    return EvalRecord(
        source=prepared.source,
        dataset=prepared.test_source.dataset,
        stand_in=prepared.test_source.stand_in,
        split=prepared.split,
        examples=len(scored),
        metric=prepared.spec.metric if is_test else VALIDATION_METRIC,
        scores=_sum_up_scores(scored, prepared),
        seconds=seconds,
        truncated_examples=sum(item.is_truncated for item in scored),
        truncated_tokens_ratio=share_cut(prepared.test),
        skipped_rows=prepared.test_source.skipped_rows,
        majority_prediction=majority_prediction,
        majority_score=majority_score,
        scoring=prepared.scoring,
        truncation=prepared.truncation,
        completion_tokens=_mean(item.completion_tokens for item in scored),
        reasoning_tokens=_mean(item.reasoning_tokens for item in scored),
        notes=prepared.notes,
    )


def _sum_up_scores(scored: Sequence[ScoredExample], prepared: PreparedTask) -> dict[str, float]:
    """Means over the examples, and the task's scores of the whole set."""
    means = {name: _mean(item.scores[name] for item in scored) for name in scored[0].scores}
    if prepared.spec.summarize is None or prepared.split != "test":
        return means
    pairs = [
        (item.example, read_prediction(prepared.spec, each.prediction))
        for item, each in zip(prepared.test, scored, strict=True)
    ]
    return means | prepared.spec.summarize(pairs)


def _find_majority(prepared: PreparedTask) -> tuple[str | None, float]:
    """The constant answer that scores best, where all examples have the same options."""
    examples = [item.example for item in prepared.test]
    options = examples[0].choices
    if not options or any(example.choices != options for example in examples):
        return None, math.nan
    spec = prepared.spec
    scored = {
        option: score_examples(spec, [(example, option) for example in examples])
        for option in options
    }
    totals = {option: _mean(each[spec.metric] for each in scored[option]) for option in options}
    best = max(options, key=totals.__getitem__)
    return best, totals[best]


def _mean(values: Iterable[float | None]) -> float:
    """Mean of the values that are known; NaN where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def tabulate(scored: Sequence[ScoredExample]) -> list[dict[str, Any]]:
    """Return the rows of `examples.parquet`."""
    return [_to_row(item) for item in scored]


def _to_row(item: ScoredExample) -> dict[str, Any]:
    row = {
        "id": item.id,
        "cluster": item.cluster or item.id,
        "prediction": item.prediction,
        "reference": item.reference,
        "truncated": item.is_truncated,
        **item.scores,
    }
    if item.log_likelihoods:
        row["log_likelihoods"] = list(item.log_likelihoods)
    if item.completion_tokens is not None:
        row["completion_tokens"] = item.completion_tokens
    if item.reasoning_tokens is not None:
        row["reasoning_tokens"] = item.reasoning_tokens
    return row
