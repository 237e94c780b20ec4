"""Exact match and token F1 of one short answer, the plain function behind `exact_answer`.

Both as SQuAD's evaluation script has them (https://arxiv.org/abs/1606.05250): lower case, without
ASCII punctuation, the articles a, an, the, and extra spaces. Where that leaves nothing of both
(`+` and `-`, the option `A`), they are compared in lower case alone.

Where the reference is one line, only the first line of the prediction that is not blank counts, as
with lm-evaluation-harness's stop at a line break: what a model rambles on after its answer is no
part of it.
"""

import re
import string
from collections import Counter

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLE = re.compile(r"\b(a|an|the)\b")


def score_exact(prediction: str, reference: str) -> dict[str, float]:
    """`exact_match`, 0 or 1, and `token_f1`, in [0, 1]."""
    if len(reference.strip().splitlines()) <= 1:
        prediction = _first_line(prediction)
    found, expected = normalize(prediction), normalize(reference)
    if not found and not expected:
        found, expected = _fold(prediction), _fold(reference)
        return dict.fromkeys(("exact_match", "token_f1"), float(found == expected))
    return {
        "exact_match": float(found == expected),
        "token_f1": _measure_overlap(found.split(), expected.split()),
    }


def normalize(text: str) -> str:
    """SQuAD's `normalize_answer`."""
    return " ".join(ARTICLE.sub(" ", text.lower().translate(PUNCTUATION)).split())


def _measure_overlap(found: list[str], expected: list[str]) -> float:
    common = (Counter(found) & Counter(expected)).total()
    return 2 * common / (len(found) + len(expected))


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _fold(text: str) -> str:
    return " ".join(text.lower().split())
