"""Mean field scores of JSON objects: evaluate.load(".../json_fields.py")."""

import datasets
import evaluate

from .fields import score_fields


class JsonFields(evaluate.Metric):  # type: ignore[misc]
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean field precision, recall, F1, exact match and parse rate.",
            citation="",
            inputs_description="predictions: texts with a JSON object; references: JSON objects.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        scores = [score_fields(*pair) for pair in zip(predictions, references, strict=True)]
        return {name: sum(s[name] for s in scores) / len(scores) for name in scores[0]}
