"""Rows as they were read, and the sources that need no network: a task's own, and local files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.base import DataError, Row, Split, TaskSpec
from tasks.files import FORMATS, digest_files, find_files, read_file, refuse_shard
from tasks.rows import show_names
from tasks.splits import SPLIT_NAMES, SplitChoice, choose_split

ID_COLUMN = "id"
FEW_ROWS = 5
OFFLINE_HINT = "use task.source=local with task.path, or task.source=embedded"


@dataclass(frozen=True)
class Source:
    """Where a task's rows come from."""

    kind: str
    """`hub`, `local` or `embedded`."""
    path: str | None = None
    """Local: a file, or a folder with a file for each split."""
    encoding: str | None = None
    """Local: of text files; None is UTF-8."""
    id_column: str | None = None
    """Local and hub: the column of the rows' ids; None is `id`, where there is one."""
    dataset: str | None = None
    """Hub: the data set to read in place of the task's own."""
    revision: str | None = None
    """Hub: goes before that of the task's `HubSource`."""
    subset: str | None = None
    """Hub: the name of a configuration, which goes before that of the `HubSource`."""
    test: str | None = None
    """The place of the test rows, where it is another one; see `tasks.test_rows`."""

    @property
    def id_name(self) -> str:
        return self.id_column or ID_COLUMN


@dataclass(frozen=True)
class SourceRows:
    dataset: str
    """What was read, for the record."""
    part: str
    """The source's own name of the part that was read; empty where it has none."""
    rows: Sequence[Row | DataError]
    """Every row of the part that was read; for a line that is no row, why."""
    place: Callable[[int], str]
    """Index of a row -> where it stands, for messages."""
    ids: Sequence[object]
    """The rows' own ids; empty where they have none."""
    id_name: str = ID_COLUMN
    """The column that they stand in."""
    is_whole_set: bool = False
    """Whether these are all rows of a set without splits, of which one part is wanted."""
    is_checked_whole: bool = False
    """Whether a bad row is an error wherever it stands, and not only where it is drawn."""


def read_row(read: SourceRows, index: int) -> Row:
    """One row of a source; DataError where there is no such row to read."""
    try:
        row = read.rows[index]
    except UnicodeDecodeError as error:
        raise DataError(f"a text that is not UTF-8 ({error}), expected UTF-8") from error
    if isinstance(row, DataError):
        raise row
    return row


def read_embedded(task: TaskSpec, split: Split, seed: int) -> SourceRows:
    """The task's own rows; DataError where it has none."""
    if task.embedded is None:
        raise DataError(
            f"task {task.name} has no embedded data; set task.source=local with task.path, or "
            "task.source=hub with task.dataset"
        )
    rows = task.embedded(split, seed)
    name = task.embedded_name
    return SourceRows(
        dataset=name,
        part=split,
        rows=rows,
        place=lambda index: f"{name}, {split} row {index + 1}",
        ids=[row.get("id") for row in rows],
    )


def read_local(task: TaskSpec, split: Split, source: Source) -> SourceRows:
    """Read a file, which is a whole set, or the files of a split in a folder.

    A folder's files are taken by the names of `tasks.splits.SPLIT_NAMES` or by the public set's.
    Raises DataError where there is no such file, or it cannot be read.
    """
    if not source.path:
        raise DataError("task.source is local but task.path is not set; set it to a file or folder")
    place = Path(source.path).expanduser()
    if place.is_file():
        refuse_shard(place)
        whole = SplitChoice(place.name, is_whole_set=True)
        return _read_files(task, whole, (place,), source)
    if not place.is_dir():
        raise DataError(f"{place}: no such file or folder; set task.path to an existing one")
    files = find_files(place)
    choice = choose_split(list(files), split, known_splits(task))
    if choice is None:
        raise DataError(_say_missing(place, split))
    return _read_files(task, choice, files[choice.name], source)


def known_splits(task: TaskSpec) -> Mapping[Split, str]:
    """The split names of the task's default public set; empty where it has none."""
    return task.hub[0].splits if task.hub else {}


def _say_missing(folder: Path, split: Split) -> str:
    has = ", ".join(sorted(entry.name for entry in folder.iterdir())[:10]) or "nothing"
    return (
        f"{folder}: has no {SPLIT_NAMES[split][0]} file (it has {has}), expected one such as "
        f"{SPLIT_NAMES[split][0]}.jsonl in {FORMATS}; set "
        "task.path to a folder with one, or read a folder laid out as on the hub with "
        "task.source=hub task.dataset=<folder>"
    )


def _read_files(
    task: TaskSpec, choice: SplitChoice, files: Sequence[Path], source: Source
) -> SourceRows:
    """The rows of a file, or of the shards of one."""
    used = {name for columns in (*task.columns, task.optional_columns) for name in columns}
    rows: list[Row | DataError] = []
    places: list[str] = []
    for file in files:
        read = read_file(file, {source.id_name, *used}, source.encoding)
        # Rows of JSON may differ: a column that no row has is the setting's fault, not theirs.
        present = read.columns or _gather_columns(read.rows.values())
        if present:
            choose_columns(task, present, str(file))
            check_id_column(source, present, str(file))
        rows += [_locate_image(_check_id(row, source), file.parent) for row in read.rows.values()]
        places += [read.locate(file, number) for number in read.rows]
    # The content is named too: results from before an edit must not be taken for the same data.
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return SourceRows(
        dataset=f"{files[0]}{more}@{digest_files(files)}",
        part=choice.name,
        rows=rows,
        place=places.__getitem__,
        ids=[None if isinstance(row, DataError) else row.get(source.id_name) for row in rows],
        id_name=source.id_name,
        is_whole_set=choice.is_whole_set,
        is_checked_whole=True,
    )


def _gather_columns(rows: Iterable[Row | DataError]) -> tuple[str, ...]:
    """All columns that any row has; none where there are too few rows to tell."""
    known = [row for row in rows if not isinstance(row, DataError)]
    if len(known) < FEW_ROWS:
        return ()
    return tuple(dict.fromkeys(name for row in known for name in row))


def _check_id(row: Row | DataError, source: Source) -> Row | DataError:
    """The row; why it is none, where it lacks the id that was asked for by name."""
    if source.id_column is None or isinstance(row, DataError):
        return row
    if row.get(source.id_column) is None:
        return DataError(
            f"column {source.id_column!r} is missing (the row has {show_names(row)}), expected an "
            "id, because of task.id_column"
        )
    return row


def _locate_image(row: Row | DataError, folder: Path) -> Row | DataError:
    """The row, with the path of its image taken from the folder that its file is in."""
    if isinstance(row, DataError) or not isinstance(row.get("image"), str) or not row["image"]:
        return row
    return {**row, "image": str(folder / row["image"])}


def choose_columns(task: TaskSpec, present: Sequence[str], name: str) -> tuple[str, ...]:
    """The first of the task's sets of columns that is all there; DataError where none is."""
    for columns in task.columns:
        if set(columns) <= set(present):
            return columns
    closest = min(task.columns, key=lambda columns: len(set(columns) - set(present)))
    missing = [column for column in closest if column not in present]
    needed = ", or ".join(", ".join(columns) for columns in task.columns)
    raise DataError(
        f"{name}: has no column {', '.join(map(repr, missing))} (it has {show_names(present)}); "
        f"task {task.name} needs {needed}"
    )


def check_id_column(source: Source, present: Sequence[str], name: str) -> None:
    """Raise DataError where the column of ids that was asked for is not there."""
    if source.id_column is not None and source.id_column not in present:
        raise DataError(
            f"{name}: has no column {source.id_column!r} for ids (it has {show_names(present)}); "
            "correct task.id_column"
        )
