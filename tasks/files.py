"""Rows of a local file: JSONL, CSV or Parquet, with the line or row that each one stands at."""

import csv
import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.base import DataError, Row
from tasks.rows import show_value

SUFFIXES = (".jsonl", ".parquet", ".csv")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CSV_DELIMITERS = (",", ";", "\t")
CSV_FIELD_CHARACTERS = 2**31 - 1


@dataclass(frozen=True)
class FileRows:
    rows: dict[int, Row | DataError]
    """Line (JSONL, CSV) or row (Parquet), counted from 1 -> a row, or why the line is none."""
    columns: tuple[str, ...] | None
    """The columns of every row; None for JSONL, whose rows may differ."""


def find_files(folder: Path) -> dict[str, Path]:
    """Stem -> data file, of all those in a folder; DataError where a stem has several."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        if other := files.get(path.stem):
            raise DataError(
                f"{folder}: has both {other.name} and {path.name}; keep only one of them"
            )
        files[path.stem] = path
    return files


def read_file(path: Path, wanted: Collection[str]) -> FileRows:
    """Read all rows; of a Parquet file only the wanted columns, for others may be images.

    Raises DataError where the file is of no known format, cannot be read, or has no row.
    """
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv}
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: not a {', '.join(SUFFIXES)} file; save it in one of these formats"
        )
    try:
        read = readers[suffix](path) if suffix in readers else _read_parquet(path, wanted)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check it") from error
    if not read.rows:
        raise DataError(f"{path}: is empty, expected at least one row; pick another file")
    return read


def _read_jsonl(path: Path) -> FileRows:
    # Bytes are split at newlines alone: str.splitlines also breaks at U+2028 inside of a text.
    lines = path.read_bytes().removeprefix(BYTE_ORDER_MARK).split(b"\n")
    numbered = enumerate(lines, start=1)
    return FileRows({number: _parse_line(line) for number, line in numbered if line.strip()}, None)


def _parse_line(line: bytes) -> Row | DataError:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return DataError(f"column {error.start + 1}: not UTF-8, expected a file saved as UTF-8")
    except json.JSONDecodeError as error:
        return DataError(
            f"column {error.colno}: not JSON ({error.msg}), expected one object per line"
        )
    except (ValueError, RecursionError) as error:
        return DataError(f"JSON that cannot be read ({error}), expected one object per line")
    if not isinstance(row, dict):
        return DataError(
            f"a JSON {type(row).__name__} ({show_value(row)}), expected an object with the task's "
            "columns"
        )
    return row


def _read_csv(path: Path) -> FileRows:
    """All values are text. A record that does not fit the header is no row; a file whose quotes do
    not close is refused, for where its records end is unknown."""
    # Bytes that are no UTF-8 become lone surrogates, so that only their own records are refused.
    text = path.read_bytes().removeprefix(BYTE_ORDER_MARK).decode("utf-8", "surrogateescape")
    # Not str.splitlines, which also breaks at U+2028 and the like.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    with _allow_long_fields():
        records = _split_records(path, lines)
        header_line, header = next(records, (1, []))
        columns = _check_header(path, header_line, header)
        return FileRows({line: _make_row(columns, cells) for line, cells in records}, columns)


@contextmanager
def _allow_long_fields() -> Iterator[None]:
    limit = csv.field_size_limit(CSV_FIELD_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _split_records(path: Path, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The line on which each record starts, and its cells; blank lines are left out."""
    delimiter = _find_delimiter(lines)
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{start}: not CSV ({error}), expected closed quotes, doubled inside quoted "
            "text; fix the record that starts here"
        ) from error


def _find_delimiter(lines: list[str]) -> str:
    """The one that parts the header into the most cells; a comma where none does."""
    header = next(filter(str.strip, lines), "")
    return max(CSV_DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark))))


def _check_header(path: Path, line: int, header: list[str]) -> tuple[str, ...]:
    columns = tuple(name.strip() for name in header)
    place = f"{path}:{line}"
    if not all(map(_is_utf8, columns)):
        raise DataError(f"{place}: the header is not UTF-8; save the file as UTF-8")
    if any("\0" in name for name in columns):
        raise DataError(f"{place}: the header has NUL characters; save the file as UTF-8 text")
    if header and not all(columns):
        raise DataError(
            f"{place}: cell {columns.index('') + 1} of the header is empty, expected a column "
            "name; name every column in the first line"
        )
    repeated = next((name for name in columns if columns.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"{place}: the header has {repeated!r} twice; name each column once")
    return columns


def _make_row(columns: tuple[str, ...], cells: list[str]) -> Row | DataError:
    if len(cells) != len(columns):
        return DataError(
            f"has {len(cells)} cells ({show_value(cells)}), expected {len(columns)} as in the "
            "header; quote text that contains the separator"
        )
    for name, cell in zip(columns, cells, strict=True):
        if not _is_utf8(cell):
            return DataError(f"column {name!r}: not UTF-8, expected a file saved as UTF-8")
    return dict(zip(columns, cells, strict=True))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_parquet(path: Path, wanted: Collection[str]) -> FileRows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        try:
            parquet = pq.ParquetFile(file)
            columns = tuple(parquet.schema_arrow.names)
            table = parquet.read([name for name in columns if name in wanted])
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{path}: not a Parquet file ({reason}); write it again") from error
    if repeated := [name for name in columns if columns.count(name) > 1]:
        raise DataError(f"{path}: has the column {repeated[0]!r} twice; keep one of them")
    return FileRows(dict(enumerate(_list_rows(table), start=1)), columns)


def _list_rows(table: Any) -> list[Row | DataError]:
    try:
        return list(table.to_pylist())
    except ValueError:
        # A text that is not UTF-8, or a date out of range: found row by row.
        return [_take_row(table.slice(index, 1)) for index in range(table.num_rows)]


def _take_row(table: Any) -> Row | DataError:
    try:
        row: Row = table.to_pylist()[0]
    except ValueError as error:
        return DataError(f"a value that cannot be read ({error}), expected UTF-8 text")
    return row


def digest_file(path: Path) -> str:
    """12 hex digits of a file's content."""
    try:
        state = path.stat()
        return _digest(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


@lru_cache(maxsize=256)
def _digest(path: Path, modified: int, size: int) -> str:
    """A sweep asks for every job: a file that did not change meanwhile is read once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
