"""ROUGE of one summary, the plain function behind `summary_rouge`."""

import re
from functools import cache
from typing import Any

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def score_summary(prediction: str, reference: str) -> dict[str, float]:
    """F-measures of ROUGE-1, 2, L and Lsum by Google's rouge_score, with its stemmer.

    Lsum compares sentence by sentence. Sentences end at line breaks and at `.`, `!` or `?` before a
    space: rouge_score would ask nltk for them, which downloads a model. Words are rouge_score's
    too, runs of a-z and 0-9: a text without any scores 0.
    """
    scores = _load_scorer().score(_break_lines(reference), _break_lines(prediction))
    return {name: float(scores[name].fmeasure) for name in ROUGE_TYPES}


@cache
def _load_scorer() -> Any:
    from rouge_score import rouge_scorer

    return rouge_scorer.RougeScorer(list(ROUGE_TYPES), use_stemmer=True)


def _break_lines(text: str) -> str:
    return re.sub(r"(?<=[.!?])\s+", "\n", text.strip())
