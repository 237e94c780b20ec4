"""Share of right final answers: evaluate.load(".../final_answer_accuracy.py").

`evaluate` copies no file that is not imported here, so `final_answer` brings its neighbours along.
"""

from collections.abc import Sequence

import datasets
import evaluate

from .aggregation import Scores, gather_scores
from .choice_text import find_choice as find_choice
from .exact import score_exact as score_exact
from .final_answer import score_final_answer


class FinalAnswerAccuracy(evaluate.Metric):  # type: ignore[misc]
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of final answers, under the heading `## Final Answer`, that are "
            "right: the option where there are options, else the normalised text.",
            citation="",
            inputs_description="predictions: reasoning and final answer; references: letters, or "
            "texts; choices: the letters of each question, none where it has no options.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        choices: Sequence[Sequence[str]] | None = None,
        use_aggregator: bool = True,
    ) -> Scores:
        each = [()] * len(predictions) if choices is None else choices
        scores = [
            score_final_answer(prediction, reference, [str(option) for option in options])
            for prediction, reference, options in zip(predictions, references, each, strict=True)
        ]
        return gather_scores(scores, use_aggregator)
