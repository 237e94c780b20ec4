"""Rows of CSV and TSV, in the forms that spreadsheets write. All values are text."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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
from tasks.rows import show_value

DELIMITERS = (",", ";", "\t")
FIELD_CHARACTERS = 2**31 - 1
NAMED_DELIMITER = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)
"""The first line by which Excel is told the separator."""


def read_delimited(path: Path, encoding: str, delimiter: str | None = None) -> FileRows:
    """Read a file with a header; by default the separator is found by the header.

    A record that does not fit the header is no row. A file whose quotes do not close is refused,
    for where its records end is unknown.
    """
    text = decode(path, read_text_bytes(path, encoding), encoding)
    # Not str.splitlines, which also breaks at U+2028 and the like.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = 1
    if named := NAMED_DELIMITER.fullmatch(lines[0]):
        delimiter, lines, first = named[1], lines[1:], 2
    with _allow_long_fields():
        records = _split_records(path, lines, delimiter or _find_delimiter(lines), first)
        header_line, header = next(records, (1, []))
        columns = _check_header(path, header_line, header, encoding)
        rows = {line: _make_row(columns, cells, encoding) for line, cells in records}
    return check_encoding(path, FileRows(rows, columns), encoding)


@contextmanager
def _allow_long_fields() -> Iterator[None]:
    limit = csv.field_size_limit(FIELD_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _split_records(
    path: Path, lines: list[str], delimiter: str, first: int
) -> Iterator[tuple[int, list[str]]]:
    """The line on which each record starts, and its cells; blank lines are left out."""
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    start = first
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + first
    except csv.Error as error:
        raise DataError(
            f"{path}:{start}: not CSV ({error}), expected closed quotes, doubled inside quoted "
            "text; fix the record that starts here"
        ) from error


def _find_delimiter(lines: list[str]) -> str:
    """The one that parts the header into the most cells, without parting a quoted one."""
    header = next(filter(str.strip, lines), "")

    def rate(mark: str) -> tuple[bool, int]:
        cells = next(csv.reader([header], delimiter=mark))
        return not any('"' in cell for cell in cells), len(cells)

    return max(DELIMITERS, key=rate)


def _check_header(path: Path, line: int, header: Sequence[str], encoding: str) -> tuple[str, ...]:
    columns = tuple(name.strip() for name in header)
    place = f"{path}:{line}"
    if not all(map(is_clean, columns)):
        raise DataError(f"{place}: the header is {say_encoding(encoding)}; {ENCODING_HINT}")
    if any("\0" in name for name in columns):
        raise DataError(
            f"{place}: the header has NUL characters; save the file as UTF-8, or name its "
            "encoding, such as task.encoding=utf-16"
        )
    if header and not all(columns):
        raise DataError(
            f"{place}: cell {columns.index('') + 1} of the header is empty, expected a column "
            "name; name every column in the first line"
        )
    repeated = next((name for name in columns if columns.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"{place}: the header has {repeated!r} twice; name each column once")
    return columns


def _make_row(columns: tuple[str, ...], cells: list[str], encoding: str) -> Row | DataError:
    if len(cells) != len(columns):
        return DataError(
            f"has {len(cells)} cells ({show_value(cells)}), expected {len(columns)} as in the "
            "header; quote text that contains the separator"
        )
    for name, cell in zip(columns, cells, strict=True):
        if not cell.isascii() and not is_clean(cell):
            return OtherEncoding(f"column {name!r}: {say_encoding(encoding)}")
    return dict(zip(columns, cells, strict=True))
