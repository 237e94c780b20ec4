"""Rows -> examples, one by one: named, checked, and bad ones kept with their reason."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tasks.base import DataError, Example, Row, SourceError, Split, TaskSpec
from tasks.evaluate_metrics import read_prediction
from tasks.rows import check_characters, show_value
from tasks.schemas.scans import postpone_reading
from tasks.sources import SourceRows, read_row

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
