"""F1 of sets of labels, the plain functions behind `label_sets`.

An answer is a list of texts, in JSON or Python, or labels with commas, semicolons, bars or line
breaks between them. Case, spaces, quotes, bullets and a final dot are no matter, and neither is
the order. Of a prediction, what stands before a colon on its first line (`Labels: a, b`) is left
out.

`label_f1` is that of one example, so its mean is the example-based F1 of Godbole and Sarawagi 2004;
`label_f1_micro` pools the labels of all examples, `label_f1_macro` is the mean over the labels
that occur in a reference.
"""

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

SEPARATOR = re.compile(r"[,;|\n]")
BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+")
LEAD = re.compile(r"^[^\n:,;|]{0,60}:(?!//)")
EDGES = " \t\"'`*_."


def read_labels(text: str) -> frozenset[str]:
    """The labels of an answer."""
    value = _read_list(text)
    if isinstance(value, list) and all(isinstance(each, (str, int)) for each in value):
        return _clean(map(str, value))
    return _clean(SEPARATOR.split(text))


def _read_list(text: str) -> object:
    """A list in JSON, or in Python's way of writing it; None where it is neither."""
    if not text.lstrip().startswith("["):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text.strip())  # type: ignore[operator, no-any-return]
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return None


def _clean(labels: "map[str] | Sequence[str]") -> frozenset[str]:
    folded = (unicodedata.normalize("NFC", BULLET.sub("", each)).casefold() for each in labels)
    return frozenset(" ".join(each.strip(EDGES).split()) for each in folded) - {""}


def read_prediction(text: str, expected: frozenset[str]) -> frozenset[str]:
    """The labels of a prediction, behind a heading such as `Labels:` if it has one."""
    text = text.strip()
    found = read_labels(text)
    if found & expected == found:
        return found
    lead = LEAD.match(text)
    return read_labels(text[lead.end() :].strip()) if lead else found


def score_labels(prediction: str, reference: str) -> dict[str, float]:
    """Precision, recall, F1 and exact match of one example's labels; 0 where none is right."""
    expected = read_labels(reference)
    found = read_prediction(prediction, expected)
    right = len(found & expected)
    return {
        "label_f1": 2 * right / (len(found) + len(expected)) if found or expected else 1.0,
        "label_precision": right / len(found) if found else float(not expected),
        "label_recall": right / len(expected) if expected else float(not found),
        "exact_match": float(found == expected),
    }


def summarize_labels(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """(prediction, reference) of a whole set -> F1 over all labels, and the mean of each one's."""
    right: Counter[str] = Counter()
    named: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for prediction, reference in pairs:
        expected = read_labels(reference)
        found = read_prediction(prediction, expected)
        right.update(found & expected)
        named.update(found)
        wanted.update(expected)
    each = [2 * right[label] / (named[label] + wanted[label]) for label in wanted]
    total = named.total() + wanted.total()
    return {
        "label_f1_micro": 2 * right.total() / total if total else 1.0,
        "label_f1_macro": sum(each) / len(each) if each else 1.0,
    }
