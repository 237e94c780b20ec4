"""Field scores of JSON objects: evaluate.load(".../json_fields.py").

`evaluate` copies no file that is not imported here, so `fields` brings its neighbours along.
"""

import datasets
import evaluate

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
            inputs_description="predictions: texts with a JSON object; references: JSON objects.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        pairs = list(zip(predictions, references, strict=True))
        scores = [score_fields(*pair) for pair in pairs]
        means = {name: sum(s[name] for s in scores) / len(scores) for name in scores[0]}
        return means | summarize_fields(pairs)
