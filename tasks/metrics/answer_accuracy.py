"""Share of right answers: evaluate.load(".../answer_accuracy.py")."""

import datasets
import evaluate

from .aggregation import Scores, gather_scores
from .answers import score_answer


class AnswerAccuracy(evaluate.Metric):  # type: ignore[misc]
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of answers that are right, numbers within a stated tolerance.",
            citation="",
            inputs_description="predictions: reasoning and answer; references: answers.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self, predictions: list[str], references: list[str], use_aggregator: bool = True
    ) -> Scores:
        scores = [score_answer(*pair) for pair in zip(predictions, references, strict=True)]
        return gather_scores(scores, use_aggregator)
