"""Where a task's rows come from: the hub, a local folder, or the embedded data."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.base import DataError, HubSource, Row, Split, TaskSpec
from tasks.files import SUFFIXES, find_file, read_file

OFFLINE_HINT = "use task.source=local with task.path, or task.source=embedded"


@dataclass(frozen=True)
class SourceRows:
    dataset: str
    """What was read, for the record."""
    rows: Sequence[Row | DataError]
    """Every row of the part that was read; for a line that is no row, why."""
    place: Callable[[int], str]
    """Index of a row -> where it stands, for messages."""
    ids: Sequence[object]
    """The rows' own ids; empty where they have none."""
    is_whole_set: bool = False
    """Whether these are all rows of a set without splits, of which one part is wanted."""

    @property
    def broken(self) -> list[int]:
        """Indices of the lines that are no rows; only local files have such."""
        rows = self.rows if isinstance(self.rows, list) else []
        return [index for index, row in enumerate(rows) if isinstance(row, DataError)]


def read_embedded(task: TaskSpec, split: Split, seed: int) -> SourceRows:
    rows = task.embedded(split, seed)
    name = task.embedded_name
    return SourceRows(
        dataset=name,
        rows=rows,
        place=lambda index: f"{name}, {split} row {index + 1}",
        ids=[row.get("id") for row in rows],
    )


def read_local(task: TaskSpec, split: Split, path: str | None) -> SourceRows:
    """Read `<split>.jsonl` or `.parquet` of a folder, by the harness's or the hub's split name.

    Where there is no test file, the validation file stands in; where there is a train file alone,
    its rows are returned as a whole set, to be cut. Raises DataError where there is neither.
    """
    folder = _check_folder(path)
    own = find_file(folder, _stems(task, split))
    others: list[Split] = ["validation", "test"]
    if own is None and split == "test":
        own = find_file(folder, _stems(task, "validation"))
    train = find_file(folder, _stems(task, "train"))
    has_train_alone = train is not None and not any(
        find_file(folder, _stems(task, other)) for other in others
    )
    file = train if has_train_alone else own
    if file is None:
        expected = " or ".join(f"{split}{suffix}" for suffix in SUFFIXES)
        has = ", ".join(sorted(entry.name for entry in folder.iterdir())[:10]) or "nothing"
        raise DataError(f"{folder}: has no {expected} (it has {has}); set task.path to a folder")
    rows = read_file(file)
    numbers, values = list(rows), list(rows.values())
    mark = ":" if file.suffix == ".jsonl" else ", row "
    return SourceRows(
        dataset=str(file) + (f" ({split} part by content hash)" if has_train_alone else ""),
        rows=values,
        place=lambda index: f"{file}{mark}{numbers[index]}",
        ids=[None if isinstance(row, DataError) else row.get("id") for row in values],
        is_whole_set=has_train_alone,
    )


def _check_folder(path: str | None) -> Path:
    if not path:
        raise DataError("task.source is local but task.path is not set; set it to a folder")
    folder = Path(path).expanduser()
    if folder.is_file():
        raise DataError(f"{folder}: is a file; task.path names the folder that holds train.jsonl")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; set task.path to one that holds train.jsonl")
    return folder


def _stems(task: TaskSpec, split: Split) -> list[str]:
    return [split, *([task.hub.splits[split]] if split in task.hub.splits else [])]


def read_hub(task: TaskSpec, split: Split, dataset: str | None, revision: str | None) -> SourceRows:
    """Read a split of a hub data set (or of a local folder laid out like one).

    Raises DataError where it cannot be reached, has no such split, or lacks a column.
    """
    # The pinned commit and configuration are those of the task's own set, not of another one.
    own = dataset in (None, task.hub.dataset)
    hub = task.hub if own else HubSource(str(dataset), task.hub.splits, task.hub.columns)
    commit = revision or hub.revision
    is_whole_set = list(hub.splits) == ["train"]
    hub_split = hub.splits["train" if is_whole_set else split]
    table = _load_table(hub, hub_split, commit)
    columns = _pick_columns(task, table.column_names, f"{hub.dataset}, split {hub_split}")
    has_ids = "id" in table.column_names
    # Unread columns (images) are dropped, for reading a row decodes all that it has.
    rows = table.select_columns([*columns, *(["id"] if has_ids and "id" not in columns else [])])
    name = f"{hub.dataset}@{_find_commit(table) or commit or 'unknown revision'}"
    return SourceRows(
        dataset=name + (f" ({hub_split}, {split} part by content hash)" if is_whole_set else ""),
        rows=rows,
        place=lambda index: f"{hub.dataset}, {hub_split} row {index + 1}",
        ids=list(table["id"]) if has_ids else [],
        is_whole_set=is_whole_set,
    )


def _load_table(hub: HubSource, hub_split: str, revision: str | None) -> Any:
    import datasets

    try:
        return datasets.load_dataset(
            hub.dataset, name=hub.config, split=hub_split, revision=revision
        )
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(
            f"{hub.dataset}: no such data set on the hub, or it is private; check task.dataset and "
            f"task.revision, or {OFFLINE_HINT}"
        ) from error
    except ConnectionError as error:
        raise DataError(f"{hub.dataset}: the hub cannot be reached; {OFFLINE_HINT}") from error
    except Exception as error:
        # The libraries below raise their own classes for everything from a proxy to a bad shard.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{hub.dataset}, split {hub_split}: cannot be loaded ({reason}); check task.dataset "
            f"and task.revision, or {OFFLINE_HINT}"
        ) from error


def _pick_columns(task: TaskSpec, present: Sequence[str], name: str) -> tuple[str, ...]:
    for columns in (task.columns, task.hub.columns):
        if columns and set(columns) <= set(present):
            return columns
    missing = [column for column in task.hub.columns or task.columns if column not in present]
    raise DataError(
        f"{name}: has no column {', '.join(map(repr, missing))} (it has {', '.join(present)}); "
        f"task {task.name} needs {', '.join(task.hub.columns or task.columns)}"
    )


def _find_commit(table: Any) -> str | None:
    """Commit that was read, from the address of any downloaded file."""
    for address in table.info.download_checksums or {}:
        if match := re.search(r"@([0-9a-f]{40})/", address):
            return match[1]
    return None
