"""Rows of Parquet, and of folders that `datasets` wrote with `save_to_disk` (Arrow)."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from tasks.base import DataError, Row
from tasks.readers.file_rows import FileRows

SAVED_SET = "dataset_dict.json"
SAVED_PART = "state.json"
"""The files by which a folder of `save_to_disk` is known: of a set with splits, and of one part."""


def read_parquet(path: Path, wanted: Collection[str] | None) -> FileRows:
    """Read the wanted columns, for others may be images; where `wanted` is None, all of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        try:
            parquet = pq.ParquetFile(file)
            columns = tuple(parquet.schema_arrow.names)
            table = parquet.read([name for name in columns if wanted is None or name in wanted])
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{path}: not a Parquet file ({reason}); write it again") from error
    return _number_rows(path, columns, table)


def read_saved(folder: Path, wanted: Collection[str] | None) -> FileRows:
    """Read a folder that `Dataset.save_to_disk` wrote."""
    import datasets

    try:
        found = datasets.load_from_disk(str(folder))
        columns = tuple(found.column_names)
        kept = [name for name in columns if wanted is None or name in wanted]
        table = found.select_columns(kept).with_format("arrow")[:]
    except Exception as error:
        # The library raises whatever its parts raise for a folder that is not whole.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{folder}: cannot be read as save_to_disk wrote it ({reason}); write it again"
        ) from error
    return _number_rows(folder, columns, table)


def _number_rows(path: Path, columns: tuple[str, ...], table: Any) -> FileRows:
    if repeated := [name for name in columns if columns.count(name) > 1]:
        raise DataError(f"{path}: has the column {repeated[0]!r} twice; keep one of them")
    return FileRows(dict(enumerate(_list_rows(table), start=1)), columns, has_lines=False)


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
