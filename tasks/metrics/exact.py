"""Exact match and token F1 of one short answer, the plain function behind `exact_answer`.

Both as SQuAD's evaluation script has them (https://arxiv.org/abs/1606.05250): lower case, without
ASCII punctuation, the articles a, an, the, and extra spaces. Unlike there, what makes another value
stays: a sign before a number, all but a comma before three digits (`3.5`, `5-10`, `3/4`), `+` and
`#` behind a letter (`C++`). Letters are composed (NFC) first. Where nothing is left of both (`+`
and `-`, the option `A`), they are compared in lower case alone.

Where the reference is one line, only the first line of the prediction that is not blank counts, as
with lm-evaluation-harness's stop at a line break: what a model rambles on after its answer is no
part of it.
"""

import re
import string
import unicodedata
from collections import Counter

PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")
OF_VALUES = re.compile(
    r"(?<=\d)[.\-/:](?=\d)|(?<=\d),(?=\d)(?!\d{3}(?!\d))|(?<![\w.])[-+](?=[.$]?\d)|(?<![\w.])\.(?=\d)|(?<=[a-z])[+#]+(?!\w)"
    r"|(?<=[a-z][+#])[+#](?!\w)"
)
MINUS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"))
"""Other characters that are set for a minus sign."""
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
    """SQuAD's `normalize_answer`, but for what makes another value."""
    text = unicodedata.normalize("NFC", text).lower().translate(MINUS)
    kept = PUNCTUATION.sub(
        lambda found: found[0] if OF_VALUES.match(text, found.start()) else "", text
    )
    return " ".join(ARTICLE.sub(" ", kept).split())


def _measure_overlap(found: list[str], expected: list[str]) -> float:
    common = (Counter(found) & Counter(expected)).total()
    return 2 * common / (len(found) + len(expected))


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).lower().split())
