"""The options of a task of the user's own: those of the setting, or of a column of each row."""

import json
from collections.abc import Sequence

from tasks.base import DataError, Row
from tasks.metrics.labels import SEPARATOR, read_labels
from tasks.rows import read_value, show_value

CHOICE_SEPARATOR = "|"


def find_choices(metric: str, choices: Sequence[str] | str | None) -> Sequence[str] | str | None:
    """The setting as it is used; DataError where it is out of place, or not what it is to be."""
    if metric == "labels":
        return _check_known_labels(choices) if choices else None
    if (metric == "choice") != bool(choices):
        raise DataError(
            "task.metric=choice needs the options in task.choices, such as [yes,no], or the name "
            "of the column that has them"
            if metric == "choice"
            else f"task.choices is set, but task.metric is {metric}; set task.metric=choice"
        )
    return _check_choices(choices) if choices and not isinstance(choices, str) else choices


def read_choices(row: Row, choices: Sequence[str] | str) -> tuple[str, ...]:
    """The options of a row; DataError where its column has none."""
    if not isinstance(choices, str):
        return tuple(choices)
    value = read_value(row, choices)
    options = value.split(CHOICE_SEPARATOR) if isinstance(value, str) else value
    if not isinstance(options, (list, tuple)) or len(options) < 2:
        raise DataError(
            f"column {choices!r} is {show_value(value)}, expected a list of two or more options, "
            f"or text with {CHOICE_SEPARATOR} between options"
        )
    cleaned = tuple(str(option).strip() for option in options)
    if not _are_distinct(cleaned):
        raise DataError(f"column {choices!r} is {show_value(value)}, expected distinct options")
    return cleaned


def _check_known_labels(labels: Sequence[str] | str) -> Sequence[str]:
    if isinstance(labels, str):
        raise DataError(
            f"task.choices is {labels!r}, expected the labels that there are, such as [billing,bug]"
        )
    for label in _check_choices(labels):
        refuse_separators(label)
    return _check_choices(labels)


def refuse_separators(label: str) -> None:
    """Raise DataError for a label with a character that separates labels."""
    if SEPARATOR.search(label):
        raise DataError(
            f"the label {show_value(label)} has a comma or another character that separates "
            "labels; give it another name"
        )


def _check_choices(choices: Sequence[str] | str) -> tuple[str, ...]:
    """The options of the setting, as text."""
    if isinstance(choices, (list, tuple)) and any(isinstance(each, bool) for each in choices):
        raise DataError(
            "task.choices contains true or false; YAML reads yes, no, on and off as these: put "
            "them in quotes: ['yes', 'no']"
        )
    are_plain = isinstance(choices, (list, tuple)) and all(
        isinstance(each, (str, int, float)) for each in choices
    )
    cleaned = tuple(str(choice).strip() for choice in choices) if are_plain else ()
    if len(cleaned) < 2 or not _are_distinct(cleaned):
        raise DataError(
            f"task.choices is {show_value(choices)}, expected two or more different options, such "
            "as [billing,bug], or the name of the column with them"
        )
    return cleaned


def check_labels(answer: str, allowed: Sequence[str]) -> None:
    """Raise DataError for a label that is none of the allowed ones."""
    known = read_labels(json.dumps(list(allowed)))
    if unknown := sorted(read_labels(answer) - known):
        raise DataError(
            f"the answer has the label {show_value(unknown[0])}, expected some of "
            f"{', '.join(sorted(known))}"
        )


def _are_distinct(options: Sequence[str]) -> bool:
    return all(options) and len(set(options)) == len(options)
