"""Field scores of predicted JSON objects, the plain functions behind `json_fields`.

A field is a path of keys and a value. Elements of a list (line items) are paired so that most
fields agree (best assignment), not by position, and a path does not count them. A field whose value
is null or blank counts as absent, on both sides. Where one side is a list and the other is not
(Donut writes a single line item as an object), the other counts as a list of one.

Beside them stand two measures of published work as they are defined there: Donut's tree-edit
accuracy (`trees.py`) and ANLS* (`anls.py`). They follow their own rules for blanks and numbers.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from .anls import score_anls
from .json_object import extract_object

Path = tuple[str, ...]
SCORES = (
    "field_f1",
    "field_precision",
    "field_recall",
    "exact_match",
    "parse_rate",
    "tree_edit_accuracy",
    "anls_star",
)


@dataclass(frozen=True)
class FieldCounts:
    """Fields by path; a `Counter` of lists' items counts each."""

    agreed: Counter[Path] = field(default_factory=Counter)
    """Found as expected."""
    found: Counter[Path] = field(default_factory=Counter)
    expected: Counter[Path] = field(default_factory=Counter)


@dataclass(frozen=True)
class Rates:
    precision: float
    """Agreed of found; where nothing is found, 1 if nothing is expected and else 0."""
    recall: float
    """Agreed of expected; 1 where nothing is expected."""
    f1: float
    """Twice agreed of found and expected; 1 where both are nothing."""


def score_fields(prediction: str, reference: str) -> dict[str, float]:
    """Scores of one document; their means over documents are macro averages over documents.

    A prediction without a JSON object scores 0 in all: by Donut's rule and by ANLS* it counts as an
    empty object, except that ANLS* credits an empty object with the nulls of the reference.
    """
    found, expected = extract_object(prediction), json.loads(reference)
    if found is None:
        return dict.fromkeys(SCORES, 0.0)
    # numpy and rapidfuzz would slow down every `import tasks`.
    from .trees import tree_edit_accuracy

    counts = compare_fields(found, expected)
    rates = measure_rates(counts)
    return {
        "field_f1": rates.f1,
        "field_precision": rates.precision,
        "field_recall": rates.recall,
        "exact_match": float(counts.agreed == counts.found == counts.expected),
        "parse_rate": 1.0,
        "tree_edit_accuracy": tree_edit_accuracy(found, expected),
        "anls_star": score_anls(found, expected),
    }


def summarize_fields(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """(prediction, reference) of every document -> scores of counts pooled over documents.

    Micro: all fields in one pool. Macro: one pool, and one F1, a key path, then the mean over the
    paths of the references; a path that no reference has costs micro precision alone. Without a
    JSON object in the prediction all fields of its reference are missed.
    """
    total = FieldCounts()
    for prediction, reference in pairs:
        counts = compare_fields(extract_object(prediction) or {}, json.loads(reference))
        total.agreed.update(counts.agreed)
        total.found.update(counts.found)
        total.expected.update(counts.expected)
    micro = measure_rates(total)
    by_path = [measure_rates(_select(total, path)).f1 for path in total.expected]
    return {
        "field_f1_micro": micro.f1,
        "field_precision_micro": micro.precision,
        "field_recall_micro": micro.recall,
        "field_f1_macro": sum(by_path) / len(by_path) if by_path else micro.f1,
    }


def _select(counts: FieldCounts, path: Path) -> FieldCounts:
    pools = (counts.agreed, counts.found, counts.expected)
    return FieldCounts(*(Counter({path: pool[path]}) for pool in pools))


def measure_rates(counts: FieldCounts) -> Rates:
    agreed, found, expected = (
        pool.total() for pool in (counts.agreed, counts.found, counts.expected)
    )
    both = found + expected
    return Rates(
        precision=agreed / found if found else float(not expected),
        recall=agreed / expected if expected else 1.0,
        f1=2 * agreed / both if both else 1.0,
    )


def compare_fields(found: Any, expected: Any) -> FieldCounts:
    return FieldCounts(
        agreed=Counter(_list_agreed(found, expected, ())),
        found=Counter(_list_fields(found, ())),
        expected=Counter(_list_fields(expected, ())),
    )


def has_fields(value: Any) -> bool:
    """Whether any field has a value."""
    return next(_list_fields(value, ()), None) is not None


def _list_fields(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _list_fields(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from _list_fields(item, path)
    elif _normalise(value) != "":
        yield path


def _list_agreed(found: Any, expected: Any, path: Path) -> list[Path]:
    """Paths of the fields with the same value on both sides, lists paired in the best way."""
    if isinstance(found, list) or isinstance(expected, list):
        return _list_agreed_items(_as_list(found), _as_list(expected), path)
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        keys = (key for key in found if key in expected)
        pairs = (_list_agreed(found[key], expected[key], (*path, key)) for key in keys)
        return [agreed for pair in pairs for agreed in pair]
    if isinstance(found, Mapping) or isinstance(expected, Mapping):
        return []
    return [path] if _is_same_value(found, expected) else []


def _list_agreed_items(found: list[Any], expected: list[Any], path: Path) -> list[Path]:
    if not found or not expected:
        return []
    from scipy.optimize import linear_sum_assignment

    table = [[_list_agreed(left, right, path) for right in expected] for left in found]
    sizes = [[len(agreed) for agreed in row] for row in table]
    rows, columns = linear_sum_assignment(sizes, maximize=True)
    pairs = zip(rows, columns, strict=True)
    return [agreed for row, column in pairs for agreed in table[row][column]]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_same_value(found: Any, expected: Any) -> bool:
    """Text is compared without case and extra spaces; where one side is a number, as numbers."""
    left, right = _normalise(found), _normalise(expected)
    if left == "" or right == "":
        return False
    if left == right:
        return True
    # 4.5 and "4.50" are one amount; two texts stay texts, for "007" is not "7".
    return (_is_number(found) or _is_number(expected)) and _is_same_decimal(left, right)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_same_decimal(left: str, right: str) -> bool:
    try:
        return Decimal(left) == Decimal(right)
    except InvalidOperation:
        return False


def _normalise(value: Any) -> str:
    return "" if value is None else " ".join(str(value).casefold().split())
