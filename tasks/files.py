"""Rows of a local file: JSONL line by line, so that an error can name its line, or Parquet."""

import json
from collections.abc import Sequence
from pathlib import Path

from tasks.base import DataError, Row

SUFFIXES = (".jsonl", ".parquet")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def find_file(folder: Path, stems: Sequence[str]) -> Path | None:
    """`<stem>.jsonl` or `<stem>.parquet` of the first stem that is there.

    Raises DataError where a stem has both.
    """
    for stem in stems:
        found = [path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()]
        if len(found) > 1:
            raise DataError(
                f"{folder}: has both {found[0].name} and {found[1].name}; keep the one to be read"
            )
        if found:
            return found[0]
    return None


def read_file(path: Path) -> dict[int, Row | DataError]:
    """Line (JSONL) or row (Parquet), counted from 1 -> a row, or why the line is none.

    Raises DataError where the file cannot be read or has no row.
    """
    try:
        rows = _read_jsonl(path) if path.suffix == ".jsonl" else _read_parquet(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not rows:
        raise DataError(f"{path}: is empty; expected one row a line, or pick another file")
    return rows


def _read_jsonl(path: Path) -> dict[int, Row | DataError]:
    # Bytes are split at newlines alone: str.splitlines also breaks at U+2028 inside of a text.
    lines = path.read_bytes().removeprefix(BYTE_ORDER_MARK).split(b"\n")
    return {number: _parse_line(line) for number, line in enumerate(lines, start=1) if line.strip()}


def _parse_line(line: bytes) -> Row | DataError:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return DataError(f"column {error.start + 1}: not UTF-8; save the file as UTF-8")
    except json.JSONDecodeError as error:
        return DataError(
            f"column {error.colno}: not JSON ({error.msg}); expected one object a line"
        )
    except (ValueError, RecursionError) as error:
        return DataError(f"JSON that cannot be read ({error})")
    if not isinstance(row, dict):
        return DataError(f"a JSON {type(row).__name__}, expected an object with the task's columns")
    return row


def _read_parquet(path: Path) -> dict[int, Row | DataError]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from error
    return dict(enumerate(rows, start=1))
