"""F1 of sets of labels: evaluate.load(".../label_sets.py")."""

import datasets
import evaluate

from .aggregation import Scores, gather_scores
from .labels import score_labels, summarize_labels


class LabelSets(evaluate.Metric):  # type: ignore[misc]
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="F1, precision and recall of sets of labels: mean over examples, micro and "
            "macro.",
            citation="",
            inputs_description="predictions and references: labels, as a JSON list or with commas "
            "between them; only_pooled: micro and macro scores alone.",
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
        pooled: Scores = dict(summarize_labels(pairs)) if use_aggregator else {}
        if only_pooled:
            return pooled
        return gather_scores([score_labels(*pair) for pair in pairs], use_aggregator) | pooled
