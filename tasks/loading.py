"""A task's source -> its examples: one split, selected and ordered by a seed, and checked.

The same source, split and seed give the same examples in the same order, and a smaller `limit`
gives the first of them. Parts that are cut from a set without splits are disjoint only under one
seed: pass the same to every call.

Bad rows. Of a local file every row of the split is checked, drawn or not, for a file of one's own
is to be right as a whole, and that takes no longer than to read it (a scan's text alone is read
only where it is drawn). Of a hub data set the rows that are drawn are checked: MedMCQA has 182,822,
and one that is not drawn changes nothing. Either way a bad row raises DataError with its place, or
under `on_bad_row="skip"` is counted.

Rows left out. No row is trained on whose split key is one of `Source.test`, the test rows of
another place, or one that the task holds out (`TaskSpec.find_held_out`). A note says how many they
are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

from tasks.base import DataError, Example, HeldOut, SourceError, Split, TaskSpec
from tasks.files import IMAGE_COLUMN
from tasks.hub import read_hub
from tasks.row_reader import RowReader
from tasks.sources import Source, SourceRows, read_embedded, read_local, read_row
from tasks.splits import assign_split, hash_content, normalise_content, shuffle_indices
from tasks.test_rows import list_test_keys, read_test

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
    left_out_rows: int = 0
    """Rows that are not trained on because they, or rows of the same key, are tested on."""
    notes: tuple[str, ...] = ()
    """How many those are, and why, in sentences."""


def load_examples(
    task: TaskSpec,
    split: Split,
    source: Source,
    *,
    limit: int | None = None,
    seed: int = 0,
    on_bad_row: str = "fail",
) -> LoadedExamples:
    """Load a split's examples; where it has fewer than `limit`, all of them.

    Raises DataError, in one line that names the place and the remedy, for an unknown source or
    rule, a source that cannot be read, and (unless `on_bad_row` is `skip`) the first bad row.
    """
    _check_choice("split", split, get_args(Split))
    return load_parts(task, source, {split: limit}, seed=seed, on_bad_row=on_bad_row)[split]


def load_parts(
    task: TaskSpec,
    source: Source,
    limits: Mapping[Split, int | None],
    *,
    seed: int = 0,
    on_bad_row: str = "fail",
    joins_validation: bool = False,
) -> dict[Split, LoadedExamples]:
    """Load several splits, each as `load_examples` does, and read what they share once.

    With `joins_validation`, a set that is cut here is cut in two: its validation part is trained
    on.
    """
    _check_choice("task.on_bad_row", on_bad_row, BAD_ROW_RULES)
    is_strict = on_bad_row == "fail"
    loaded: dict[Split, LoadedExamples] = {}
    whole: _Part | None = None
    for split, limit in limits.items():
        if limit is not None and limit < 1:
            raise DataError(f"the number of {split} examples is {limit}; expected 1 or more")
        is_elsewhere = split == "test" and source.test is not None
        known = whole if not is_elsewhere else None
        part = known or _Part(task, _read_rows(task, split, source, seed), seed)
        wanted: Sequence[int] = range(len(part.read.rows))
        if part.read.is_whole_set:
            whole = part
            own = _name_sides(split, source, joins_validation=joins_validation)
            wanted = [index for index in wanted if part.sides[index] in own]
        drawn, notes = _leave_out(part, wanted, source) if split == "train" else (wanted, [])
        reader = RowReader(task, part.read, split, is_strict=is_strict)
        if part.read.is_checked_whole and not is_strict:
            reader.check(drawn)
        elif part.read.is_checked_whole and known is None:
            reader.check(range(len(part.read.rows)))
        examples = reader.draw(_order(part, drawn), limit)
        if not examples:
            if len(drawn) < len(wanted):
                raise DataError(
                    f"{part.read.dataset}: all {len(wanted)} rows for {split} are left out, "
                    "because they are tested on; set task.test or task.path to other rows"
                )
            raise DataError(_say_empty(part.read, split, reader.bad))
        loaded[split] = LoadedExamples(
            tuple(examples),
            _name_source(part.read, split),
            # Of test rows of another place too: what was trained on stands in for something.
            stand_in=task.stand_in if source.kind == "embedded" else None,
            skipped_rows=len(reader.bad),
            left_out_rows=len(wanted) - len(drawn),
            notes=tuple(notes),
        )
    return loaded


class _Part:
    """Rows that were read, and of each, once, where it belongs."""

    def __init__(self, task: TaskSpec, read: SourceRows, seed: int) -> None:
        self.task, self.read, self.seed = task, read, seed

    @cached_property
    def keys(self) -> list[str | None]:
        """Each row's split key; None for a row of no use."""
        return [_find_key(self.task, self.read, index) for index in range(len(self.read.rows))]

    @cached_property
    def sides(self) -> list[Split]:
        """Each row's side, where the rows are a whole set.

        A row without a key goes along with train, to be reported or counted there, once.
        """
        return ["train" if key is None else assign_split(key, self.seed) for key in self.keys]


def _find_key(task: TaskSpec, read: SourceRows, index: int) -> str | None:
    try:
        return task.split_key(read_row(read, index))
    except SourceError:
        raise
    except DataError:
        return None


def _name_sides(split: Split, source: Source, *, joins_validation: bool) -> set[Split]:
    """The sides of a whole set that are a split."""
    sides: set[Split] = {split}
    if split == "train" and joins_validation:
        sides.add("validation")
    if split == "train" and source.test is not None:
        # With test rows of another place, the part that would be tested on is trained on.
        sides.add("test")
    return sides


def _name_source(read: SourceRows, split: Split) -> str:
    if not read.is_whole_set:
        return read.dataset
    # A local file is named already.
    name = "" if read.is_checked_whole else f"{read.part}, "
    return f"{read.dataset} ({name}{split} part by content hash)"


def has_validation(task: TaskSpec, source: Source, seed: int = 0) -> bool:
    """Whether a source has a validation part that is not its test part as well."""
    try:
        part = _read_rows(task, "validation", source, seed)
        return part.is_whole_set or part.part != _read_rows(task, "test", source, seed).part
    except DataError:
        return False


def _order(part: _Part, wanted: Sequence[int]) -> Sequence[int]:
    """The order in which rows are drawn, by a seeded hash.

    That of local rows is by their content, so that another order of the lines of a file changes
    nothing; that of a published set by their position.
    """
    if not part.read.is_checked_whole:
        return shuffle_indices(wanted, part.seed)
    task = part.task
    columns = sorted({name for each in (*task.columns, task.optional_columns) for name in each})
    keys = {i: hash_content(_write_content(part.read, i, columns), part.seed) for i in wanted}
    return sorted(wanted, key=lambda index: (keys[index], index))


def _write_content(read: SourceRows, index: int, columns: Sequence[str]) -> str:
    row = read.rows[index]
    if isinstance(row, DataError):  # is not drawn
        return ""
    # As text: another format of the same rows, of which CSV has texts alone, changes nothing. Of an
    # image's path the folder is left out, which is spelled in several ways.
    values = (
        Path(value).name if name == IMAGE_COLUMN and isinstance(value, str) else value
        for name, value in ((name, row.get(name)) for name in columns)
    )
    return "\0".join("" if value is None else str(value) for value in values)


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise DataError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")


def _read_rows(task: TaskSpec, split: Split, source: Source, seed: int) -> SourceRows:
    _check_choice("task.source", source.kind, SOURCES)
    if split == "test" and source.test is not None:
        return read_test(task, source)
    if source.kind == "embedded":
        return read_embedded(task, split, seed)
    if source.kind == "local":
        return read_local(task, split, source)
    return read_hub(task, split, source)


def _leave_out(
    part: _Part, wanted: Sequence[int], source: Source
) -> tuple[Sequence[int], list[str]]:
    """The training rows that are not tested on elsewhere, and what to say of the others."""
    task, read = part.task, part.read
    of_task = task.find_held_out(source.kind) if task.find_held_out else None
    of_test = list_test_keys(task, source) if source.test is not None else None
    known = [held for held in (of_test, of_task) if held and held.keys]
    notes = [of_task.reason] if of_task and not of_task.keys else []
    if not known:
        return wanted, notes
    counts = dict.fromkeys(range(len(known)), 0)
    kept = []
    for index in wanted:
        place = _find_holder(part.keys[index], known)
        if place is None:
            kept.append(index)
        else:
            counts[place] += 1
    said = [
        f"{count} rows of {read.dataset} were left out of training: {known[place].reason}."
        for place, count in counts.items()
        if count
    ]
    return kept, [*notes, *said]


def _find_holder(key: str | None, held_out: Sequence[HeldOut]) -> int | None:
    """Place of the first that holds a key out."""
    if key is None:
        return None
    content = normalise_content(key)
    return next((place for place, held in enumerate(held_out) if content in held.keys), None)


def _say_empty(read: SourceRows, split: Split, bad: Mapping[int, DataError]) -> str:
    if not bad:
        return f"{read.dataset}: no row falls to {split}; give it more rows, or a {split} file"
    first = min(bad)
    return (
        f"{read.dataset}: no usable row for {split}, {len(bad)} skipped as bad, the first of them "
        f"{read.place(first)}: {bad[first]}; correct the rows or pick another source"
    )
