"""Rows of JSON: an object a line, or one document that is an array of objects.

Which of the two a file is shows in its content, not in its name: `.json` files of the library
`datasets` have an object a line, and arrays are met in `.jsonl` files.
"""

import codecs
import json
from pathlib import Path
from typing import Any

from tasks.base import DataError, Row
from tasks.readers.file_rows import (
    ENCODING_HINT,
    FileRows,
    OtherEncoding,
    check_encoding,
    decode,
    is_clean,
    read_text_bytes,
    say_encoding,
)
from tasks.rows import show_names, show_value

WIDE = ("utf-16", "utf-32")
"""Encodings in which a line does not end in one byte."""


def read_json(path: Path, encoding: str, *, is_document: bool) -> FileRows:
    """Read all objects. An array may also be the one value of an object: `{"data": [...]}`.

    `is_document` says what the file's name promises, for a file that is neither.
    """
    content = read_text_bytes(path, encoding)
    if codecs.lookup(encoding).name.startswith(WIDE):
        content, encoding = decode(path, content, encoding).encode(), "utf-8"
    if _has_lines(content, encoding, is_document=is_document):
        return _read_lines(path, content, encoding)
    try:
        text = decode(path, content, encoding)
        return _read_document(path, text, encoding)
    except json.JSONDecodeError as error:
        if not is_document and content.lstrip()[:1] != b"[":
            return _read_lines(path, content, encoding)
        if error.msg == "Extra data":
            return _read_lines(path, content, encoding)
        raise DataError(
            f"{path}:{error.lineno}: column {error.colno}: not JSON ({error.msg}); the file is one "
            "document, of which no row can be left out: correct it"
        ) from error


def _has_lines(content: bytes, encoding: str, *, is_document: bool) -> bool:
    """Whether the first line is an object of its own, and not the whole of a document, which the
    name of a file of one line decides."""
    first, _, rest = content.lstrip().partition(b"\n")
    try:
        value = json.loads(first.decode(encoding))
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and (
        bool(rest.strip()) or not is_document or _find_list(value) is None
    )


def _find_list(value: Any) -> list[Any] | None:
    """The rows of a document: an array; or of an object, its one value or its `data`, where that is
    such an array, or columns of one length."""
    if not isinstance(value, dict):
        return value if isinstance(value, list) else None
    inner = next(iter(value.values())) if len(value) == 1 else value.get("data")
    if isinstance(inner, list) and inner and isinstance(inner[0], dict):
        return inner
    lengths = {len(each) if isinstance(each, list) else -1 for each in value.values()}
    if len(lengths) == 1 and min(lengths) > 1:
        return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]
    return None


def _read_document(path: Path, text: str, encoding: str) -> FileRows:
    """Raises json.JSONDecodeError for what is no JSON."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: JSON that cannot be read ({error}); correct it") from error
    if not is_clean(text):
        raise DataError(f"{path}: {say_encoding(encoding)}; {ENCODING_HINT}")
    rows = _find_list(value)
    if rows is None:
        what = f"object ({show_names(value)})" if isinstance(value, dict) else show_value(value)
        raise DataError(
            f"{path}: is one JSON {what}, expected an array of objects, or an object a line"
        )
    return FileRows(
        {number: _check_object(row) for number, row in enumerate(rows, start=1)},
        columns=None,
        has_lines=False,
    )


def _read_lines(path: Path, content: bytes, encoding: str) -> FileRows:
    # Bytes are split at newlines alone: str.splitlines also breaks at U+2028 inside of a text.
    lines = enumerate(content.split(b"\n"), start=1)
    rows = {number: _parse_line(line, encoding) for number, line in lines if line.strip()}
    return check_encoding(path, FileRows(rows, None), encoding)


def _parse_line(line: bytes, encoding: str) -> Row | DataError:
    try:
        row = json.loads(line.decode(encoding))
    except UnicodeDecodeError as error:
        return OtherEncoding(f"column {error.start + 1}: {say_encoding(encoding)}")
    except json.JSONDecodeError as error:
        return DataError(
            f"column {error.colno}: not JSON ({error.msg}), expected one object per line"
        )
    except (ValueError, RecursionError) as error:
        return DataError(f"JSON that cannot be read ({error}), expected one object per line")
    return _check_object(row)


def _check_object(row: Any) -> Row | DataError:
    if not isinstance(row, dict):
        return DataError(
            f"a JSON {type(row).__name__} ({show_value(row)}), expected an object with the task's "
            "columns"
        )
    return row
