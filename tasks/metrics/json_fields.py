"""Field scores of JSON objects: evaluate.load(".../json_fields.py").

`evaluate` copies no file that is not imported here, so `fields` brings its neighbours along.
"""

import datasets
import evaluate

from .aggregation import Scores, gather_scores
from .anls import score_anls as score_anls
from .fields import score_fields, summarize_fields
from .json_object import extract_object as extract_object
from .trees import tree_edit_accuracy as tree_edit_accuracy


class JsonFields(evaluate.Metric):  # type: ignore[misc]
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Field precision, recall and F1 (mean over documents, micro and macro), "
            "exact match, parse rate, Donut's tree-edit accuracy and ANLS*.",
            citation="",
            inputs_description="predictions: texts with a JSON object; references: JSON objects; "
            "only_pooled: micro and macro scores alone.",
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
        pooled: Scores = dict(summarize_fields(pairs)) if use_aggregator else {}
        if only_pooled:
            return pooled
        return gather_scores([score_fields(*pair) for pair in pairs], use_aggregator) | pooled
