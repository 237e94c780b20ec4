"""How far numbers are off, and how well they rank, over a whole set."""

import math
from collections.abc import Sequence

from scipy.stats import spearmanr

from .answers import find_answer, find_numbers


def summarize_numbers(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """(prediction, reference) of a whole set -> errors and rank correlation of their last numbers.

    `mean_absolute_error` is in the units of the data, and lower is better. `spearman` is the rank
    correlation by scipy. Both are over the predictions that have a number, whose share is
    `has_number`; both are NaN where there are too few, or all are equal.
    """
    values = [(_read(prediction), _read(reference)) for prediction, reference in pairs]
    known = [
        (found, wanted) for found, wanted in values if found is not None and wanted is not None
    ]
    errors = [abs(found - wanted) for found, wanted in known]
    return {
        "mean_absolute_error": sum(errors) / len(errors) if errors else math.nan,
        "spearman": _correlate(known),
        "has_number": len(known) / len(values),
    }


def _read(text: str) -> float | None:
    lines = text.strip().splitlines()
    numbers = find_numbers(find_answer(text) or (lines[-1] if lines else ""))
    return numbers[-1].value if numbers else None


def _correlate(pairs: Sequence[tuple[float, float]]) -> float:
    columns = list(zip(*pairs, strict=True))
    if len(pairs) < 3 or any(len(set(column)) < 2 for column in columns):
        return math.nan
    return float(spearmanr(*columns).statistic)
