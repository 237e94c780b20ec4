"""Mean ROUGE of summaries: evaluate.load(".../summary_rouge.py")."""

import datasets
import evaluate

from .aggregation import Scores, gather_scores
from .summaries import score_summary


class SummaryRouge(evaluate.Metric):  # type: ignore[misc]
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean F-measures of ROUGE-1, 2, L and Lsum, each of one summary.",
            citation="",
            inputs_description="predictions and references: summaries.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self, predictions: list[str], references: list[str], use_aggregator: bool = True
    ) -> Scores:
        scores = [score_summary(*pair) for pair in zip(predictions, references, strict=True)]
        return gather_scores(scores, use_aggregator)
