"""Share of right answers: evaluate.load(".../answer_accuracy.py")."""

import datasets
import evaluate

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

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        scores = [score_answer(*pair) for pair in zip(predictions, references, strict=True)]
        return {name: sum(s[name] for s in scores) / len(scores) for name in scores[0]}
