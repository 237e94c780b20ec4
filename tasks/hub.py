"""Rows of a data set of the Hugging Face hub, or of a local folder laid out like one."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from tasks.base import DataError, HubSource, Split, TaskSpec
from tasks.readers.joined_files import JoinedRows
from tasks.rows import show_names
from tasks.sources import (
    OFFLINE_HINT,
    Source,
    SourceRows,
    check_id_column,
    choose_columns,
    known_splits,
)
from tasks.splits import SplitChoice, choose_split

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""An id on the hub, such as org/name."""
PARQUET_REVISION = "refs/convert/parquet"
"""The branch to which the hub converts every data set, a folder for each configuration."""
REASON_CHARACTERS = 300

Answer = TypeVar("Answer")


def read_hub(task: TaskSpec, split: Split, source: Source) -> SourceRows:
    """Read a split of a data set, by default the task's first public one.

    Raises DataError where the set cannot be reached, has no such split, or lacks a column.
    """
    hub = _find_source(task, source)
    choice = _choose_split(task, hub, split)
    where = f"{hub.dataset}, {choice.name}"
    table = _load_table(hub, choice.name)
    joined = hub.joined
    id_column, added = (joined.key, [joined.column]) if joined else (source.id_name, [])
    columns = choose_columns(task, [*table.column_names, *added], where)
    has_ids = id_column in table.column_names
    if joined and not has_ids:
        raise DataError(
            f"{where}: has no column {joined.key!r} (it has {show_names(table.column_names)}), "
            f"which tells each row's file in {joined.dataset}"
        )
    check_id_column(source, table.column_names, where)
    # Columns that are not read are dropped, for reading a row decodes all that it has.
    wanted = {*columns, *task.optional_columns, id_column}
    table = table.select_columns([name for name in table.column_names if name in wanted])
    table = _keep_images_encoded(table)
    name = f"{hub.dataset}@{_find_commit(table) or hub.revision or 'unknown revision'}"
    if joined:
        name += f" with {joined.dataset}@{joined.revision or 'unknown revision'}"
    return SourceRows(
        dataset=name,
        part=choice.name,
        rows=JoinedRows(table, joined) if joined else table,
        place=lambda index: f"{where} row {index + 1}",
        ids=list(table[id_column]) if has_ids else [],
        id_name=id_column,
        is_whole_set=choice.is_whole_set,
    )


def _keep_images_encoded(table: Any) -> Any:
    import datasets

    for name, feature in table.features.items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(name, datasets.Image(decode=False))
    return table


def _find_source(task: TaskSpec, source: Source) -> HubSource:
    hub = _find_set(task, source.dataset)
    return replace(
        hub, revision=source.revision or hub.revision, config=source.subset or hub.config
    )


def _find_set(task: TaskSpec, dataset: str | None) -> HubSource:
    # The pinned commit and configuration are those of the task's own sets, not of another one.
    if dataset is None and not task.hub:
        raise DataError(
            f"task {task.name} has no public data set; set task.dataset to an id on the hub, or "
            "use task.source=local with task.path"
        )
    if dataset is None:
        return task.hub[0]
    own = (hub for hub in task.hub if hub.dataset == dataset)
    return next(own, HubSource(dataset, splits={}))


def _choose_split(task: TaskSpec, hub: HubSource, split: Split) -> SplitChoice:
    splits = hub.splits
    names: list[str] = []
    if not splits:
        names = _call_hub(hub, "", lambda datasets, options: _list_splits(datasets, hub, options))
        known = known_splits(task)
        # A copy of the public set is read like it: MedMCQA's own test split has no labels.
        splits = known if known and set(known.values()) <= set(names) else {}
    if list(splits) == ["train"]:
        return SplitChoice(splits["train"], is_whole_set=True)
    choice = SplitChoice(splits[split]) if split in splits else choose_split(names, split, {})
    if choice is None:
        has = ", ".join(names or splits.values())
        raise DataError(
            f"{hub.dataset}: has no {split} split (it has {has}); set task.dataset or task.subset "
            "to one that has, or save the rows as files and use task.source=local"
        )
    return choice


def _list_splits(datasets: Any, hub: HubSource, options: dict[str, Any]) -> list[str]:
    name = options.pop("name", None)
    names: list[str] = datasets.get_dataset_split_names(hub.dataset, config_name=name, **options)
    return names


def _load_table(hub: HubSource, split_name: str) -> Any:
    return _call_hub(
        hub,
        f", split {split_name}",
        lambda datasets, options: datasets.load_dataset(hub.dataset, split=split_name, **options),
    )


def _call_hub(hub: HubSource, part: str, call: Callable[[Any, dict[str, Any]], Answer]) -> Answer:
    import datasets

    # On the converted branch nothing names the configurations: they are folders.
    key = "data_dir" if hub.revision == PARQUET_REVISION and hub.config else "name"
    try:
        return call(datasets, {key: hub.config, "revision": hub.revision})
    except datasets.exceptions.DatasetNotFoundError as error:
        if "gated" in str(error).lower():
            terms = f" ({hub.terms})" if hub.terms else ""
            raise DataError(
                f"{hub.dataset}: is gated; accept its terms{terms} at "
                f"https://huggingface.co/datasets/{hub.dataset} and log in with `hf auth login` or "
                f"HF_TOKEN, or {OFFLINE_HINT}"
            ) from error
        raise DataError(
            f"{hub.dataset}: no such data set on the hub, or it is private; check task.dataset and "
            f"task.revision, or {OFFLINE_HINT}"
        ) from error
    except ConnectionError as error:
        raise DataError(f"{hub.dataset}: the hub cannot be reached; {OFFLINE_HINT}") from error
    except Exception as error:
        # The libraries below raise their own classes for everything from a proxy to a bad shard.
        reason = " ".join(str(error).split())[:REASON_CHARACTERS] or type(error).__name__
        raise DataError(
            f"{hub.dataset}{part}: cannot be loaded ({reason}); check task.dataset, task.subset "
            f"and task.revision, or {OFFLINE_HINT}"
        ) from error


def _find_commit(table: Any) -> str | None:
    """Commit that was read, from the address of any downloaded file."""
    for address in table.info.download_checksums or {}:
        if match := re.search(r"@([0-9a-f]{40})/", address):
            return match[1]
    return None
