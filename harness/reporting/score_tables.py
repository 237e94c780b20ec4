"""The report's tables of every score of a task, and of the length of each set's outputs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.analysis.comparison import Comparison
from harness.formatting import UNKNOWN, format_score, format_tokens, join_words
from harness.reporting.report_tables import Table, sort_rows
from harness.reporting.score_names import name_score, order_scores

PREFIX = "score_"
"""What the columns of scores begin with, in what `load_results` returns."""


@dataclass(frozen=True)
class ScoreTable:
    caption: str
    """The task, and how it was scored where that is known."""
    table: Table


def make_score_tables(
    comparison: Comparison, results: pd.DataFrame, chosen: str | None = None
) -> tuple[ScoreTable, ...]:
    """Return a table a task with every score by target set, the headline first.

    `results` are the rows of the comparison's model. A cell is the mean over a set's runs of what
    their records hold, corpus scores included.
    """
    return tuple(
        _make_score_table(comparison, str(task), runs, chosen)
        for task, runs in results.groupby("task")
        if runs["score"].notna().any()
    )


def make_length_table(comparison: Comparison, chosen: str | None = None) -> Table | None:
    """Return the mean output tokens by set and task, for the tasks where they are known.

    None where they are known nowhere, as where every answer was picked by likelihood.
    """
    known = comparison.by_task.dropna(subset=["completion_tokens"])
    tasks = sorted(known["task"].unique())
    if not tasks:
        return None
    cells = {(row["variant"], row["task"]): row for row in known.to_dict("records")}
    rows = [
        (name, *(_describe_length(cells.get((name, task))) for task in tasks))
        for name in (row["variant"] for row in sort_rows(comparison))
    ]
    return Table(("Target set", *tasks), tuple(rows), chosen)


def _make_score_table(
    comparison: Comparison, task: str, runs: pd.DataFrame, chosen: str | None
) -> ScoreTable:
    headline = str(runs["metric"].mode().iloc[0])
    names = [headline, *order_scores(set(_list_scores(runs)) - {headline})]
    means = runs.groupby("variant")[[f"{PREFIX}{name}" for name in names]].mean()
    rows = tuple(
        (name, *(format_score(value) for value in means.loc[name]))
        for name in (row["variant"] for row in sort_rows(comparison))
        if name in means.index
    )
    headers = (f"{name_score(headline)} (headline)", *(name_score(name) for name in names[1:]))
    caption = f"{task}{_describe_scoring(runs)}"
    return ScoreTable(caption, Table(("Target set", *headers), rows, chosen))


def _list_scores(runs: pd.DataFrame) -> Iterator[str]:
    """Names of the scores that any of these runs has."""
    for column in runs.columns[runs.notna().any()]:
        if str(column).startswith(PREFIX):
            yield str(column).removeprefix(PREFIX)


def _describe_scoring(runs: pd.DataFrame) -> str:
    ways = sorted(runs["scoring"].dropna().unique())
    return f", scored by {join_words(ways)}" if ways else ""


def _describe_length(cell: dict[Any, Any] | None) -> str:
    if cell is None:
        return UNKNOWN
    written = format_tokens(cell["completion_tokens"])
    if pd.isna(cell["reasoning_tokens"]):
        return written
    return f"{written} ({format_tokens(cell['reasoning_tokens'])})"
