"""What several studies say together, in sentences."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.formatting import (
    join_words,
)


def describe_findings(
    verdicts: pd.DataFrame, rankings: pd.DataFrame, pairs: pd.DataFrame
) -> Iterator[str]:
    """Yield what becomes of the choice and of the ranking, a sentence or two each."""
    yield _describe_choices(verdicts)
    left = set.intersection(*(set(names) for names in verdicts["candidates"]))
    if left:
        yield f"No study rules out {join_words(sorted(left))}."
    else:
        yield "Every target set is ruled out in one study or another."
    for row in rankings.to_dict("records"):
        own = pairs[(pairs["study"] == row["study"]) & (pairs["other"] == row["other"])]
        yield _describe_ranking(row, own[own["order"] == "opposite"])
    single = verdicts.loc[verdicts["seeds"] == 1, "study"]
    if len(single):
        yield (
            f"With one seed, the intervals of {join_words(list(single))} say nothing of what "
            "another seed would change."
        )


def _describe_choices(verdicts: pd.DataFrame) -> str:
    outcomes = {
        str(row["study"]): describe_outcome(row["verdict"], row["choice"])
        for row in verdicts.to_dict("records")
    }
    listed = "; ".join(f"{outcome} in {study}" for study, outcome in outcomes.items())
    only = next(iter(set(outcomes.values()))) if len(set(outcomes.values())) == 1 else None
    chosen = verdicts["verdict"] == "chosen"
    if chosen.all():
        return f"The choice is {only} in every study." if only else f"The choice changes: {listed}."
    if only:
        return f"No study makes a choice: {only} in every one."
    return f"{'Not every' if chosen.any() else 'No'} study makes a choice: {listed}."


def describe_outcome(verdict: str, choice: str | None) -> str:
    """Return the chosen set, else the verdict."""
    return str(choice) if verdict == "chosen" else verdict


def _describe_ranking(row: dict[Any, Any], opposite: pd.DataFrame) -> str:
    both = f"{row['study']} and {row['other']}"
    if row["sets"] < 2:
        return f"{both} share fewer than two sets that have every task, so there is no ranking."
    tau = "unknown, for gains are all equal" if math.isnan(row["tau"]) else f"{row['tau']:.2f}"
    told = row["same"] + row["opposite"]
    text = f"{both} rank {row['sets']} sets with a Kendall's tau of {tau}. "
    if not told:
        return (
            f"{text}None of the {row['pairs']} pairs is told apart by both, so the order is open."
        )
    text += f"Of {row['pairs']} pairs both tell {told} apart, {row['same']} in the same order"
    if not row["opposite"]:
        return f"{text} and none in the opposite one."
    listed = "; ".join(_describe_reversal(each) for each in opposite.to_dict("records"))
    return f"{text} and {row['opposite']} in the opposite one: {listed}."


def _describe_reversal(pair: dict[Any, Any]) -> str:
    return (
        f"{pair['better']} over {pair['worse']} by {pair['difference']:.3f} in {pair['study']}, "
        f"under it by {-pair['difference_other']:.3f} in {pair['other']}"
    )
