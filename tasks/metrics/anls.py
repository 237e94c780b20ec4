"""ANLS* of one JSON object, by the package of its authors (https://arxiv.org/abs/2402.03848).

The package compares texts in plain Python, so two kinds of runaway prediction are stopped first: a
text that is too long to be like any of the reference is cut, which changes no score, and a
prediction of far too many values scores 0, which changes it by less than 0.1.
"""

from typing import Any

MAX_VALUES = 1000
MAX_SURPLUS = 10


def score_anls(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """ANLS* in [0, 1]. A prediction of over 1,000 values that are also over 10 times the
    reference's scores 0: ANLS* is at most the share of values that the reference has."""
    from anls_star import anls_score

    values, expected_values = _list_values(found), _list_values(expected)
    if len(values) > max(MAX_VALUES, MAX_SURPLUS * len(expected_values)):
        return 0.0
    longest = max((len(_fold(value)) for value in expected_values), default=0)
    return float(anls_score(expected, _cut_texts(found, 2 * longest + 1)))


def _list_values(value: Any) -> list[Any]:
    """The values that are no object and no array."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return [value]
    return [leaf for item in value for leaf in _list_values(item)]


def _cut_texts(value: Any, limit: int) -> Any:
    """Cut each text: one over twice as long as another is less than half like it, which is 0."""
    if isinstance(value, dict):
        return {key: _cut_texts(item, limit) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut_texts(item, limit) for item in value]
    if isinstance(value, str) and len(_fold(value)) > limit:
        return _fold(value)[:limit]
    return value


def _fold(value: Any) -> str:
    """A value as ANLS* compares it: lower case, single spaces."""
    return " ".join(str(value).strip().lower().split())
