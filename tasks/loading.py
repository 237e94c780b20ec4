"""A task's source -> its examples: one split, selected and ordered by a seed, and checked.

The same source, split and seed give the same examples in the same order, and a smaller `limit`
gives the first of them. Parts that are cut from a set without splits are disjoint only under one
seed: pass the same to every call.

Bad rows. Of a local file every row of the split is checked, drawn or not, for a file of one's own
is to be right as a whole, and that takes no longer than to read it (a scan's text alone is read
only where it is drawn). Of a hub data set the rows that are drawn are checked: MedMCQA has 182,822,
and one that is not drawn changes nothing. Either way a bad row raises DataError with its place, or
under `on_bad_row="skip"` is counted.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from tasks.base import DataError, Example, Row, Split, TaskSpec
from tasks.evaluate_metrics import read_prediction
from tasks.hub import read_hub
from tasks.rows import check_characters, show_value
from tasks.scans import ScannerMissing, postpone_reading
from tasks.sources import Source, SourceRows, read_embedded, read_local
from tasks.splits import assign_split, hash_content, shuffle_indices

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
    loaded: dict[Split, LoadedExamples] = {}
    whole: _WholeSet | None = None
    for split, limit in limits.items():
        if limit is not None and limit < 1:
            raise DataError(f"the number of {split} examples is {limit}; expected 1 or more")
        read = whole.read if whole else _read_rows(task, split, source, seed)
        reader = RowReader(task, read, split, is_strict=on_bad_row == "fail")
        wanted: Sequence[int] = range(len(read.rows))
        if read.is_whole_set:
            is_new = whole is None
            whole = whole or _WholeSet(task, read, seed)
            own = {split, "validation"} if joins_validation and split == "train" else {split}
            wanted = [index for index in wanted if whole.sides[index] in own]
        if read.is_checked_whole and not reader.is_strict:
            reader.check(wanted)
        elif read.is_checked_whole and (not read.is_whole_set or is_new):
            reader.check(range(len(read.rows)))
        examples = reader.draw(_order(task, read, wanted, seed), limit)
        if not examples:
            raise DataError(_say_empty(read, split, reader.bad))
        loaded[split] = LoadedExamples(
            tuple(examples),
            _name_source(read, split),
            task.stand_in if source.kind == "embedded" else None,
            len(reader.bad),
        )
    return loaded


class _WholeSet:
    """A set without splits, and the side of each of its rows."""

    def __init__(self, task: TaskSpec, read: SourceRows, seed: int) -> None:
        self.read = read
        self.sides = [_find_side(task, read, index, seed) for index in range(len(read.rows))]


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


def _order(task: TaskSpec, read: SourceRows, wanted: Sequence[int], seed: int) -> Sequence[int]:
    """The order in which rows are drawn, by a seeded hash.

    That of local rows is by their content, so that another order of the lines of a file changes
    nothing; that of a published set by their position.
    """
    if not read.is_checked_whole:
        return shuffle_indices(wanted, seed)
    columns = sorted({name for columns in task.columns for name in columns})
    keys = {index: hash_content(_write_content(read, index, columns), seed) for index in wanted}
    return sorted(wanted, key=lambda index: (keys[index], index))


def _write_content(read: SourceRows, index: int, columns: Sequence[str]) -> str:
    row = read.rows[index]
    if isinstance(row, DataError):  # is not drawn
        return ""
    # As text: another format of the same rows, of which CSV has texts alone, changes nothing.
    values = (row.get(name) for name in columns)
    return "\0".join("" if value is None else str(value) for value in values)


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise DataError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")


def _read_rows(task: TaskSpec, split: Split, source: Source, seed: int) -> SourceRows:
    _check_choice("task.source", source.kind, SOURCES)
    if source.kind == "embedded":
        return read_embedded(task, split, seed)
    if source.kind == "local":
        return read_local(task, split, source)
    return read_hub(task, split, source)


def _find_side(task: TaskSpec, read: SourceRows, index: int, seed: int) -> Split:
    try:
        return assign_split(task.split_key(read_row(read, index)), seed)
    except ScannerMissing:
        raise
    except DataError:
        # A row without a side goes along with train, to be reported or counted there, once.
        return "train"


def read_row(read: SourceRows, index: int) -> Row:
    """One row of a source; DataError where there is no such row to read."""
    try:
        row = read.rows[index]
    except UnicodeDecodeError as error:
        raise DataError(f"a text that is not UTF-8 ({error}), expected UTF-8") from error
    if isinstance(row, DataError):
        raise row
    return row


def _say_empty(read: SourceRows, split: Split, bad: Mapping[int, DataError]) -> str:
    if not bad:
        return f"{read.dataset}: no row falls to {split}; give it more rows, or a {split} file"
    first = min(bad)
    return (
        f"{read.dataset}: no usable row for {split}, {len(bad)} skipped as bad, the first of them "
        f"{read.place(first)}: {bad[first]}; correct the rows or pick another source"
    )


OWN_SLACK = 1e-6
"""Rounding of a score of 1."""


class RowReader:
    """Turns a source's rows into examples, and keeps what was bad."""

    def __init__(self, task: TaskSpec, read: SourceRows, split: Split, *, is_strict: bool) -> None:
        """Where strict, the first bad row raises DataError with its place."""
        self.bad: dict[int, DataError] = {}
        self._task = task
        self._read = read
        self.is_strict = is_strict
        self._ids = name_rows(read, split)

    def check(self, indices: Sequence[int]) -> None:
        """Find the bad ones of these rows, without reading scans."""
        with postpone_reading():
            for index in indices:
                self._try_row(index)

    def draw(self, order: Sequence[int], limit: int | None) -> list[Example]:
        """The examples of the first rows in this order that are not bad, at most `limit`."""
        examples: list[Example] = []
        for index in order:
            if len(examples) == limit:
                break
            if index not in self.bad and (example := self._try_row(index)):
                cluster = self._find_cluster(read_row(self._read, index))
                examples.append(replace(example, cluster=cluster))
        return examples

    def _try_row(self, index: int) -> Example | None:
        try:
            return self._make_example(index)
        except ScannerMissing:
            raise
        except DataError as error:
            if self.is_strict:
                hint = "correct the row, or leave such rows out with task.on_bad_row=skip"
                raise DataError(f"{self._read.place(index)}: {error}; {hint}") from error
            self.bad[index] = error
            return None

    def _make_example(self, index: int) -> Example:
        row = read_row(self._read, index)
        name = self._ids[index]
        if isinstance(name, DataError):
            raise name
        example = self._task.to_example({**row, "id": name})
        # What a task puts together itself, such as a template's text, is checked here.
        check_characters(example.prompt, "the prompt")
        check_characters(example.completion, "the answer")
        self._check_own_score(example)
        return example

    def _check_own_score(self, example: Example) -> None:
        """Raise DataError for an example whose right answer would not be right."""
        task = self._task
        if task.own_score is not None:
            own = task.own_score(example)
        else:
            own = task.score(example, read_prediction(task, example.completion))[task.metric]
        if own < 1 - OWN_SLACK:
            raise DataError(
                f"its own answer scores {own:.3g} on {task.metric} against "
                f"{show_value(example.reference)}, expected 1: the metric cannot tell its answer"
            )

    def _find_cluster(self, row: Row) -> str:
        try:
            key = self._task.split_key(row)
        except DataError:  # a split that is not cut here needs no key
            return ""
        return hashlib.sha256(key.encode()).hexdigest()[:16]


def name_rows(read: SourceRows, split: Split) -> list[str | DataError]:
    """Each row's id: its own, or else its split and position; why, where it can have none."""
    names: list[str | DataError] = []
    holders: dict[str, int] = {}
    for index in range(len(read.rows)):
        own = read.ids[index] if len(read.ids) else None
        names.append(_name_row(own, f"{split}-{index + 1:06d}", read, holders))
        if isinstance(name := names[-1], str):
            holders[name] = index
    return names


def _name_row(
    own: object, position: str, read: SourceRows, holders: Mapping[str, int]
) -> str | DataError:
    column = f"column {read.id_name!r}"
    if own is not None and (isinstance(own, bool) or not isinstance(own, (str, int))):
        return DataError(f"{column} is {show_value(own)}, expected text or a whole number")
    name = "" if own is None else str(own).strip()
    try:
        check_characters(name, column)
    except DataError as error:
        return error
    name = name or position
    if name in holders:
        return DataError(
            f"{column} is {show_value(name)}, already used by {read.place(holders[name])}, "
            "expected unique ids"
        )
    return name
