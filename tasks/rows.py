"""Reading one value of a row, with an error that says what is wrong with it."""

from typing import Any

from tasks.base import DataError, Row

SHOWN_CHARACTERS = 60


def read_text(row: Row, column: str, *, may_be_empty: bool = False) -> str:
    """Text of a column; DataError where it is missing, null, not text, or blank."""
    value = read_value(row, column)
    if not isinstance(value, str):
        raise DataError(f"column {column!r} is {show_value(value)}, expected text")
    if not may_be_empty and not value.strip():
        raise DataError(f"column {column!r} is empty, expected text")
    return value


def read_value(row: Row, column: str) -> Any:
    """Value of a column; DataError where the column is missing or the value null."""
    if column not in row:
        raise DataError(f"column {column!r} is missing; the row has {', '.join(map(str, row))}")
    value = row[column]
    if value is None:
        raise DataError(f"column {column!r} is null")
    return value


def show_value(value: object) -> str:
    """A value's type and start, short enough for a one-line message."""
    text = repr(value)
    if len(text) > SHOWN_CHARACTERS:
        text = text[:SHOWN_CHARACTERS] + "..."
    return f"{text} ({type(value).__name__})"
