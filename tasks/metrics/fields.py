"""Field scores of one predicted JSON object, the plain function behind `json_fields`.

A field is a path and a value. Elements of a list (line items) are paired so that most fields agree
(best assignment), not by position. A field whose value is null or blank counts as absent, on both
sides. Where one side is a list and the other is not (Donut writes a single line item as an object),
the other counts as a list of one.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

OBJECT_START = re.compile(r"\{\s*([\"'}])")
SCORES = ("field_f1", "field_precision", "field_recall", "exact_match", "parse_rate")


def score_fields(prediction: str, reference: str) -> dict[str, float]:
    """Field precision, recall and F1, whether all is right, and whether it is JSON at all."""
    found, expected = extract_object(prediction), json.loads(reference)
    if found is None:
        return dict.fromkeys(SCORES, 0.0)
    try:
        agreed, found_count = count_agreed(found, expected), count_fields(found)
    except RecursionError:
        # A model that repeats an opening bracket can nest deeper than Python's stack.
        return dict.fromkeys(SCORES, 0.0)
    expected_count = count_fields(expected)
    both = found_count + expected_count
    return {
        "field_f1": 2 * agreed / both if both else 1.0,
        "field_precision": agreed / found_count if found_count else float(not expected_count),
        "field_recall": agreed / expected_count if expected_count else 1.0,
        "exact_match": float(agreed == found_count == expected_count),
        "parse_rate": 1.0,
    }


def extract_object(text: str) -> dict[str, Any] | None:
    """First JSON object of a text, whatever stands around it; None where there is none.

    An object that is cut off or malformed is none: the objects inside it are not taken for it.
    """
    start = OBJECT_START.search(text)
    if start is None:
        return None
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(text, start.start())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def count_fields(value: Any) -> int:
    """Number of fields with a value."""
    if isinstance(value, Mapping):
        return sum(count_fields(item) for item in value.values())
    if isinstance(value, list):
        return sum(count_fields(item) for item in value)
    return int(_normalise(value) != "")


def count_agreed(found: Any, expected: Any) -> int:
    """Number of fields with the same path and value, lists paired in the best way."""
    if isinstance(found, list) or isinstance(expected, list):
        return _count_agreed_items(_as_list(found), _as_list(expected))
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        return sum(count_agreed(found[key], expected[key]) for key in found.keys() & expected)
    if isinstance(found, Mapping) or isinstance(expected, Mapping):
        return 0
    return int(_is_same_value(found, expected))


def _count_agreed_items(found: list[Any], expected: list[Any]) -> int:
    table = [[count_agreed(left, right) for right in expected] for left in found]
    if not found or not expected:
        return 0
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table, maximize=True)
    return sum(table[row][column] for row, column in zip(rows, columns, strict=True))


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
