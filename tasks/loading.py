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

from tasks.base import DataError, Example, Row, SourceError, Split, TaskSpec
from tasks.evaluate_metrics import leave_out_thinking
from tasks.hub import read_hub
from tasks.rows import check_characters, show_value
from tasks.scans import postpone_reading
from tasks.sources import Source, SourceRows, read_embedded, read_local
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
    _check_choice("task.on_bad_row", on_bad_row, BAD_ROW_RULES)
    if limit is not None and limit < 1:
        raise DataError(f"the number of {split} examples is {limit}; expected 1 or more")
    read = _read_rows(task, split, source, seed)
    reader = RowReader(task, read, split, is_strict=on_bad_row == "fail")
    wanted = _find_part(task, read, split, seed)
    if read.is_checked_whole:
        reader.check(range(len(read.rows)) if reader.is_strict else wanted)
    examples = reader.draw(shuffle_indices(wanted, seed), limit)
    if not examples:
        raise DataError(_say_empty(read, split, reader.bad))
    stand_in = task.stand_in if source.kind == "embedded" else None
    return LoadedExamples(tuple(examples), read.dataset, stand_in, len(reader.bad))


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise DataError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")


def _read_rows(task: TaskSpec, split: Split, source: Source, seed: int) -> SourceRows:
    _check_choice("task.source", source.kind, SOURCES)
    if source.kind == "embedded":
        return read_embedded(task, split, seed)
    if source.kind == "local":
        return read_local(task, split, source.path)
    return read_hub(task, split, source)


def _find_part(task: TaskSpec, read: SourceRows, split: Split, seed: int) -> Sequence[int]:
    if not read.is_whole_set:
        return range(len(read.rows))
    return [i for i in range(len(read.rows)) if _belongs(task, read, i, split, seed)]


def _belongs(task: TaskSpec, read: SourceRows, index: int, split: Split, seed: int) -> bool:
    try:
        return assign_split(task.split_key(read_row(read, index)), seed) == split
    except SourceError:
        raise
    except DataError:
        # A row without a side goes along with train, to be reported or counted there, once.
        return split == "train"


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
                examples.append(example)
        return examples

    def _try_row(self, index: int) -> Example | None:
        try:
            return self._make_example(index)
        except SourceError:
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
        return replace(example, cluster=self._find_cluster(row))

    def _check_own_score(self, example: Example) -> None:
        """Raise DataError for an example whose right answer would not be right."""
        task = self._task
        if task.own_score is not None:
            own = task.own_score(example)
        else:
            own = task.score(example, leave_out_thinking(example.completion))[task.metric]
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
    if own is not None and (isinstance(own, bool) or not isinstance(own, (str, int))):
        return DataError(f"column 'id' is {show_value(own)}, expected text or a whole number")
    name = "" if own is None else str(own).strip()
    try:
        check_characters(name, "column 'id'")
    except DataError as error:
        return error
    name = name or position
    if name in holders:
        return DataError(
            f"column 'id' is {show_value(name)}, already used by {read.place(holders[name])}, "
            "expected unique ids"
        )
    return name
