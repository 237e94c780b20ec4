"""Rows of a table of the hub with the text files of a second data set, joined by a key.

A data set of text files is read by `datasets` line by line, without the files' names, so the files
are fetched by name: each one when its row is read, for a run takes a few of thousands.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from tasks.base import DataError, JoinedFiles, Row, SourceError
from tasks.readers.lazy_row import LazyRow
from tasks.rows import show_value
from tasks.sources import OFFLINE_HINT

REASON_CHARACTERS = 300


class JoinedRows(Sequence[Row]):
    """Rows of `table` with the text of their files; reading the text of a row that has no file
    raises DataError, and SourceError where the hub cannot be reached."""

    def __init__(self, table: Any, joined: JoinedFiles) -> None:
        self._table = table
        self._joined = joined

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        row = self._table[index]
        makers = {name: lambda value=value: value for name, value in row.items()}
        key = row[self._joined.key]
        return LazyRow({**makers, self._joined.column: lambda: read_joined(self._joined, key)})


def read_joined(joined: JoinedFiles, key: object) -> str:
    """The text of the file of that key; errors as in `JoinedRows`."""
    if not isinstance(key, str) or not key.strip():
        shown = "null" if key is None else show_value(key)
        raise DataError(
            f"column {joined.key!r} is {shown}, expected the name of a file of {joined.dataset}"
        )
    file = _fetch(joined, key)
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{joined.dataset}, {file.name}: a text that is not UTF-8 ({error}), expected UTF-8"
        ) from error


def _fetch(joined: JoinedFiles, key: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    path = joined.path(key)
    try:
        return Path(
            huggingface_hub.hf_hub_download(
                joined.dataset, path, repo_type="dataset", revision=joined.revision
            )
        )
    except LocalEntryNotFoundError as error:
        # Without a network a file that is not in the cache is not found either.
        raise SourceError(
            f"{joined.dataset}: the hub cannot be reached for {path}; {OFFLINE_HINT}"
        ) from error
    except EntryNotFoundError as error:
        raise DataError(
            f"column {joined.key!r} is {show_value(key)}, but {joined.dataset} has no {path}, "
            "expected a row that has its file there"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:REASON_CHARACTERS] or type(error).__name__
        raise SourceError(
            f"{joined.dataset}: {path} cannot be loaded ({reason}); check that the data set's "
            f"conditions are accepted, or {OFFLINE_HINT}"
        ) from error
