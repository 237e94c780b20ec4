"""Share of questions whose chosen option is right: evaluate.load(".../choice_accuracy.py").

`evaluate` copies no file that is not imported here, so `choices` brings its neighbour along.
"""

from collections.abc import Sequence

import datasets
import evaluate

from .aggregation import Scores, gather_scores
from .choice_text import find_choice as find_choice
from .choices import score_choice

LETTERS = ("A", "B", "C", "D")


class ChoiceAccuracy(evaluate.Metric):  # type: ignore[misc]
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of questions whose chosen option is the right one.",
            citation="",
            inputs_description="predictions: options, or free text; references: options; "
            "choices: all options, or those of each question; by default the letters A to D.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        choices: Sequence[str] | Sequence[Sequence[str]] = LETTERS,
        use_aggregator: bool = True,
    ) -> Scores:
        is_shared = isinstance(choices[0], str)
        each = [choices] * len(predictions) if is_shared else choices
        scores = [
            score_choice(prediction, reference, [str(option) for option in options])
            for prediction, reference, options in zip(predictions, references, each, strict=True)
        ]
        return gather_scores(scores, use_aggregator)
