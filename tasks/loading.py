"""A task's source -> its examples: one split, selected and ordered by a seed, every row checked.

The same source, split and seed give the same examples in the same order, and a smaller `limit`
gives the first of them. Parts that are cut from a set without splits are disjoint only under one
seed: pass the same to every call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from tasks.base import DataError, Example, Row, Split, TaskSpec
from tasks.sources import SourceRows, read_embedded, read_hub, read_local
from tasks.splits import assign_split, shuffle_indices

SOURCES = ("hub", "local", "embedded")
BAD_ROW_RULES = ("fail", "skip")


@dataclass(frozen=True)
class LoadedExamples:
    examples: tuple[Example, ...]
    """At most `limit`, in the seeded order."""
    dataset: str
    """What was read: hub id@revision (the resolved commit where known), file, or the embedded
    data's name."""
    stand_in: str | None
    """What the embedded data stands in for; None where it does not."""
    skipped_rows: int
    """Bad rows met and left out under `on_bad_row="skip"`."""


def load_examples(
    task: TaskSpec,
    split: Split,
    *,
    source: str,
    path: str | None = None,
    dataset: str | None = None,
    revision: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    on_bad_row: str = "fail",
) -> LoadedExamples:
    """Load a split's examples; where it has fewer than `limit`, all of them.

    Raises DataError, in one line that names the place and the remedy, for an unknown source or
    rule, a source that cannot be read, and (unless `on_bad_row` is `skip`) the first bad row.
    """
    _check_choice("split", split, get_args(Split))
    _check_choice("task.on_bad_row", on_bad_row, BAD_ROW_RULES)
    if limit is not None and limit < 1:
        raise DataError(f"the number of {split} examples is {limit}; expected 1 or more")
    read = _read_rows(task, split, source, path, dataset, revision, seed)
    wanted = _find_part(task, read, split, seed)
    examples, skipped = _make_examples(
        task, read, split, shuffle_indices(wanted, seed), limit, on_bad_row
    )
    if not examples:
        raise DataError(f"{read.dataset}: no usable row for {split}, {skipped} skipped as bad")
    stand_in = task.stand_in if source == "embedded" else None
    return LoadedExamples(tuple(examples), read.dataset, stand_in, skipped)


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise DataError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")


def _read_rows(
    task: TaskSpec,
    split: Split,
    source: str,
    path: str | None,
    dataset: str | None,
    revision: str | None,
    seed: int,
) -> SourceRows:
    _check_choice("task.source", source, SOURCES)
    if source == "embedded":
        return read_embedded(task, split, seed)
    if source == "local":
        return read_local(task, split, path)
    return read_hub(task, split, dataset, revision)


def _find_part(task: TaskSpec, read: SourceRows, split: Split, seed: int) -> Sequence[int]:
    if not read.is_whole_set:
        return range(len(read.rows))
    return [i for i, row in enumerate(read.rows) if _belongs(task, row, split, seed)]


def _belongs(task: TaskSpec, row: Row | DataError, split: Split, seed: int) -> bool:
    try:
        return assign_split(task.split_key(_check_row(row)), seed) == split
    except DataError:
        # Bad rows go along, to be reported or counted where rows are turned into examples.
        return True


def _check_row(row: Row | DataError) -> Row:
    if isinstance(row, DataError):
        raise row
    return row


def _make_examples(
    task: TaskSpec,
    read: SourceRows,
    split: Split,
    order: Sequence[int],
    limit: int | None,
    on_bad_row: str,
) -> tuple[list[Example], int]:
    ids = _make_ids(read, split)
    # A file with a broken line is refused, or the line counted, wherever the selection falls.
    broken = read.broken
    known = set(broken)
    order = [*broken, *(index for index in order if index not in known)]
    examples: list[Example] = []
    skipped = 0
    for index in order:
        if len(examples) == limit:
            break
        try:
            examples.append(task.to_example({**_check_row(read.rows[index]), "id": ids[index]}))
        except DataError as error:
            if on_bad_row == "fail":
                hint = "correct the row, or leave such rows out with task.on_bad_row=skip"
                raise DataError(f"{read.place(index)}: {error}; {hint}") from error
            skipped += 1
    return examples, skipped


def _make_ids(read: SourceRows, split: Split) -> list[str]:
    """The rows' own ids, or split and position; a repeated id gets #2, #3 in the source's order."""
    ids: list[str] = []
    taken: set[str] = set()
    counts: dict[str, int] = {}
    for index in range(len(read.rows)):
        own = read.ids[index] if len(read.ids) else None
        has_own = isinstance(own, (str, int)) and str(own).strip() != ""
        base = str(own).strip() if has_own else f"{split}-{index + 1:06d}"
        unique = base
        while unique in taken:
            counts[base] = counts.get(base, 1) + 1
            unique = f"{base}#{counts[base]}"
        taken.add(unique)
        ids.append(unique)
    return ids
