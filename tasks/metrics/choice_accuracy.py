"""Share of questions whose chosen letter is right: evaluate.load(".../choice_accuracy.py")."""

import datasets
import evaluate

from .choices import score_choice


class ChoiceAccuracy(evaluate.Metric):  # type: ignore[misc]
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of questions whose chosen option is the right one.",
            citation="",
            inputs_description="predictions and references: letters of options.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        scores = [score_choice(*pair) for pair in zip(predictions, references, strict=True)]
        return {name: sum(s[name] for s in scores) / len(scores) for name in scores[0]}
