"""Several studies side by side, as tables of text."""

import math
from typing import Any

import pandas as pd

from harness.analysis.studies.findings import describe_outcome
from harness.analysis.studies.study_gains import ALL_TASKS
from harness.formatting import (
    UNKNOWN,
    format_difference_interval,
    format_ratio_interval,
    format_score,
    join_words,
)
from harness.records.record import BASE
from harness.reporting.report_tables import Table, read_interval, sort_by_score


def make_verdict_table(verdicts: pd.DataFrame) -> Table:
    """Return the verdict of each study: in its report, and on the common tasks and sets."""
    rows = tuple(
        (
            str(row["study"]),
            str(row["model"]),
            describe_outcome(row["own_verdict"], row["own_choice"]),
            describe_outcome(row["verdict"], row["choice"]),
            join_words(row["candidates"]) or "none",
        )
        for row in verdicts.to_dict("records")
    )
    headers = (
        *("Study", "Model", "In the study's report", "On common tasks and sets"),
        "Not ruled out on those",
    )
    return Table(headers, rows)


def make_side_by_side(table: pd.DataFrame, changes: pd.DataFrame) -> Table:
    """Return the means over the common tasks: a row per target set, columns by study."""
    studies, cells = _list_studies(table), _index_rows(table)
    moved = {(row["study"], row["variant"], row["task"]): row for row in _to_rows(changes)}
    rows = []
    for variant in _sort_variants(table):
        groups = [_describe_row(cells.get((study, variant, ALL_TASKS))) for study in studies]
        shifts = [_describe_change(moved.get((study, variant, ALL_TASKS))) for study in studies[1:]]
        rows.append((variant, *(cell for group in groups for cell in group), *shifts))
    names = ("mean score", "gain", "mean score lost", "end to end / base")
    headers = [f"{study}: {name}" for study in studies for name in names]
    headers += [f"Change of gain, {study} against {studies[0]}" for study in studies[1:]]
    return Table(("Target set", *headers), tuple(rows))


def make_task_table(table: pd.DataFrame, changes: pd.DataFrame) -> Table:
    """Return the gains by task: a row per task and target set, a column per study, changes."""
    studies, cells = _list_studies(table), _index_rows(table)
    moved = {(row["study"], row["variant"], row["task"]): row for row in _to_rows(changes)}
    rows = []
    for task in sorted(set(table["task"]) - {ALL_TASKS}):
        for variant in _sort_variants(table):
            if variant != BASE:
                gains = [_describe_gain(cells.get((study, variant, task))) for study in studies]
                shifts = [_describe_change(moved.get((s, variant, task))) for s in studies[1:]]
                rows.append((f"{task}: {variant}", *gains, *shifts))
    headers = [*studies, *(f"Change, {study} against {studies[0]}" for study in studies[1:])]
    return Table(("Task and target set", *headers), tuple(rows))


def text_studies(table: pd.DataFrame) -> str:
    """Return the terminal's table: means over the common tasks, a line per set and study."""
    studies, cells = _list_studies(table), _index_rows(table)
    lines = [
        (
            variant if study == studies[0] else "",
            study,
            *_describe_row(cells.get((study, variant, ALL_TASKS))),
        )
        for variant in _sort_variants(table)
        for study in studies
    ]
    headers = ["target set", "study", "mean", "gain", "mean score lost", "end to end / base"]
    return str(pd.DataFrame(lines, columns=headers).to_string(index=False))


def _list_studies(table: pd.DataFrame) -> list[str]:
    return [str(study) for study in table["study"].unique()]


def _to_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _index_rows(table: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(row["study"], row["variant"], row["task"]): row for row in _to_rows(table)}


def _sort_variants(table: pd.DataFrame) -> list[str]:
    """By the first study's mean score."""
    rows = table[(table["task"] == ALL_TASKS) & (table["study"] == table["study"].iloc[0])]
    return list(sort_by_score(rows)["variant"])


def _describe_row(row: dict[str, Any] | None) -> tuple[str, ...]:
    if row is None:
        return (UNKNOWN,) * 4
    ratio = (
        "1x"
        if row["target_set"] == BASE
        else format_ratio_interval(*read_interval(row, "end_to_end_ratio"))
    )
    return format_score(row["score"]), _describe_gain(row), _describe_regret(row), ratio


def _describe_gain(row: dict[str, Any] | None) -> str:
    return UNKNOWN if row is None else format_difference_interval(*read_interval(row, "gain"))


def _describe_change(row: dict[str, Any] | None) -> str:
    return UNKNOWN if row is None else format_difference_interval(*read_interval(row, "change"))


def _describe_regret(row: dict[str, Any]) -> str:
    if row["target_set"] == BASE or math.isnan(row["regret"]):
        return UNKNOWN
    return f"{format_score(row['regret'])}, up to {format_score(row['regret_high'])}"
