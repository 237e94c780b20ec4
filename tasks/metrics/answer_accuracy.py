"""Share of right answers: evaluate.load(".../answer_accuracy.py")."""

import datasets
import evaluate

from .aggregation import Scores, gather_scores
from .answers import score_answer
from .number_errors import summarize_numbers


class AnswerAccuracy(evaluate.Metric):  # type: ignore[misc]
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of answers that are right, numbers within a stated tolerance.",
            citation="",
            inputs_description="predictions: reasoning and answer; references: answers; "
            "only_pooled: mean absolute error and rank correlation alone.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        use_aggregator: bool = True,
        only_pooled: bool = False,
    ) -> Scores:
        pairs = list(zip(predictions, references, strict=True))
        if only_pooled:
            return dict(summarize_numbers(pairs))
        return gather_scores([score_answer(*pair) for pair in pairs], use_aggregator)
