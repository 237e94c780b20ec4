"""The examples that the leading set wins and loses, as the report shows them.

The leading set is compared with the base, which shows what training changed, and with the next best
set, which shows what the recommendation rests on.
"""

import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.comparison import Comparison
from harness.analysis.examples import count_wins, find_examples
from harness.formatting import UNKNOWN, format_p, format_score
from harness.records.record import BASE
from harness.reporting.report_tables import Table

LONGEST_TEXT = 400
"""Characters of a prediction or a reference that the page shows."""


@dataclass(frozen=True)
class Shown:
    title: str
    """Id, and how far the scores are apart."""
    texts: tuple[tuple[str, str], ...]
    """What it is, and the text, cut to what a page bears."""


@dataclass(frozen=True)
class TaskExamples:
    task: str
    anchor: str
    """Where on the page they stand."""
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Duel:
    one: str
    other: str
    counts: Table
    examples: tuple[TaskExamples, ...]


def list_duels(
    study: Path, results: pd.DataFrame, comparison: Comparison, choice: str | None
) -> Iterator[Duel]:
    """Yield the leading set against the base and against the next best set, where there are any.

    The leading set is the chosen one or, where none is, the one of the highest mean score.
    """
    ranked = comparison.overall.dropna(subset=["score"]).sort_values(
        ["score", "variant"], ascending=[False, True]
    )
    sets = [name for name in ranked["variant"] if name != BASE]
    if not sets:
        return
    leader = choice if choice and choice != BASE else sets[0]
    others = [BASE] if BASE in set(ranked["variant"]) else []
    others += [name for name in sets if name != leader][:1]
    for other in others:
        yield _make_duel(study, results, comparison, leader, other)


def _make_duel(
    study: Path, results: pd.DataFrame, comparison: Comparison, one: str, other: str
) -> Duel:
    with warnings.catch_warnings():
        # Files that cannot be read are named among the study's problems already.
        warnings.simplefilter("ignore")
        found = find_examples(study, results, comparison, one, other)
    examples = [
        TaskExamples(
            str(task),
            re.sub(r"[^\w+-]+", "-", f"examples-{comparison.model}-{one}-{other}-{task}"),
            tuple(_show(row, one, other) for row in rows.to_dict("records")),
        )
        for task, rows in found.groupby("task", sort=False)
    ]
    return Duel(one, other, _tabulate_wins(comparison, one, other), tuple(examples))


def _tabulate_wins(comparison: Comparison, one: str, other: str) -> Table:
    rows = [
        (
            *(str(row["task"]), str(row["won"]), str(row["lost"]), str(row["tied"])),
            # Added to 0, a zero has no sign.
            *(f"{round(row['difference'], 3) + 0:+.3f}", format_p(row["p"])),
        )
        for row in count_wins(comparison, one, other).to_dict("records")
    ]
    headers = ("Task", "Won", "Lost", "Tied", "Mean difference", "p of the sign test")
    return Table(headers, tuple(rows))


def _show(row: dict[Any, Any], one: str, other: str) -> Shown:
    outcome = "won" if row["difference"] > 0 else "lost"
    texts = (
        (f"{one}, {format_score(row['score_one'])}", row["prediction_one"]),
        (f"{other}, {format_score(row['score_other'])}", row["prediction_other"]),
        ("Reference", row["reference"]),
    )
    return Shown(
        f"{row['id']}: {outcome} by {format_score(abs(row['difference']))}",
        tuple((name, _shorten(text)) for name, text in texts),
    )


def _shorten(text: object) -> str:
    if not isinstance(text, str):
        return UNKNOWN
    return textwrap.shorten(text, LONGEST_TEXT, placeholder=" …") or "(empty)"
