"""Exact match and token F1 of short answers: evaluate.load(".../exact_answer.py")."""

import datasets
import evaluate

from .aggregation import Scores, gather_scores
from .exact import score_exact


class ExactAnswer(evaluate.Metric):  # type: ignore[misc]
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of answers that match after SQuAD's normalisation; mean token F1.",
            citation="",
            inputs_description="predictions and references: short texts.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self, predictions: list[str], references: list[str], use_aggregator: bool = True
    ) -> Scores:
        scores = [score_exact(*pair) for pair in zip(predictions, references, strict=True)]
        return gather_scores(scores, use_aggregator)
