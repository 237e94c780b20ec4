"""Reading one value of a row, with an error that says what is wrong with it."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tasks.base import DataError, Row

SHOWN_CHARACTERS = 60
SHOWN_NAMES = 12
ALLOWED_CONTROLS = b"\t\n\v\f\r"
REFUSED_CONTROLS = bytes(code for code in range(32) if code not in ALLOWED_CONTROLS)
REFUSED = re.compile(f"[{re.escape(REFUSED_CONTROLS.decode())}\ud800-\udfff]")


def read_text(row: Row, column: str, *, may_be_empty: bool = False) -> str:
    """Text of a column; DataError where it is missing, null, blank, or no clean text.

    Refused are NUL and the other C0 control characters but for tab, newline, carriage return, form
    feed and vertical tab, and lone surrogates, which no tokenizer takes. Right-to-left marks, C1
    controls and everything else go through unchanged.
    """
    value = read_value(row, column)
    if not isinstance(value, str):
        raise DataError(f"column {column!r} is {show_value(value)}, expected text")
    if not may_be_empty and (not value or value.isspace()):
        raise DataError(f"column {column!r} is empty ({show_value(value)}), expected text")
    check_characters(value, f"column {column!r}")
    return value


def read_value(row: Row, column: str) -> Any:
    """Value of a column; DataError where the column is missing or the value null."""
    if column not in row:
        raise DataError(
            f"column {column!r} is missing (the row has {show_names(row)}), expected a value"
        )
    value = row[column]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise DataError(f"column {column!r} is {'NaN' if value else 'null'}, expected a value")
    return value


def read_object(row: Row, column: str) -> Mapping[str, Any]:
    """A JSON object, as text or as it is; DataError where the column has none."""
    value = read_value(row, column)
    if isinstance(value, str):
        text = read_text(row, column)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"column {column!r} is not JSON ({error}): {show_value(text)}, expected a JSON "
                "object"
            ) from error
    if not isinstance(value, Mapping):
        raise DataError(f"column {column!r} is {show_value(value)}, expected a JSON object")
    return value


def check_characters(text: str, name: str) -> None:
    """Raise DataError where a text has a character that `read_text` refuses; `name` is shown."""
    try:
        # Thirty times as fast as the pattern, which is then for the message alone.
        encoded = text.encode()
        if len(encoded.translate(None, REFUSED_CONTROLS)) == len(encoded):
            return
    except UnicodeEncodeError:
        pass
    match = REFUSED.search(text)
    assert match is not None
    code = ord(match[0])
    kind = "lone surrogate" if code >= 0xD800 else "control character"
    around = text[max(0, match.start() - 10) : match.end() + 10]
    raise DataError(
        f"{name} has the {kind} U+{code:04X} at character {match.start() + 1} "
        f"({show_value(around)}), expected text without it"
    )


def show_value(value: object) -> str:
    """A value's type and start, short enough for a one-line message."""
    text = repr(value[:SHOWN_CHARACTERS] if isinstance(value, (str, bytes)) else value)
    is_cut = isinstance(value, (str, bytes)) and len(value) > SHOWN_CHARACTERS
    if len(text) > SHOWN_CHARACTERS:
        text, is_cut = text[:SHOWN_CHARACTERS], True
    return f"{text}{'...' if is_cut else ''} ({type(value).__name__})"


def show_names(names: Iterable[object]) -> str:
    """Column names, short and escaped: a JSON key may be anything."""
    shown = [str(name) for name in names]
    first = [
        name if name.isidentifier() else repr(name[:SHOWN_CHARACTERS])
        for name in shown[:SHOWN_NAMES]
    ]
    return ", ".join([*first, *(["..."] if len(shown) > SHOWN_NAMES else [])]) or "none"
