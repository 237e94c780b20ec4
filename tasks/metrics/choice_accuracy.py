"""Share of questions whose chosen option is right: evaluate.load(".../choice_accuracy.py").

`evaluate` copies no file that is not imported here, so `choices` brings its neighbour along.
"""

from collections.abc import Sequence

import datasets
import evaluate

from .choice_text import find_choice as find_choice
from .choices import score_choice

LETTERS = ("A", "B", "C", "D")


class ChoiceAccuracy(evaluate.Metric):  # type: ignore[misc]
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of questions whose chosen option is the right one.",
            citation="",
            inputs_description="predictions: options, or free text; references: options; "
            "choices: all options, by default the letters A to D.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self, predictions: list[str], references: list[str], choices: Sequence[str] = LETTERS
    ) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        scores = [score_choice(*pair, choices) for pair in pairs]
        return {name: sum(s[name] for s in scores) / len(scores) for name in scores[0]}
