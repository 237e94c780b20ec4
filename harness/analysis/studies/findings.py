"""The findings over several studies, in sentences."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.analysis.verdict.decision import VERDICT_NAMES
from harness.formatting import join_words


def describe_findings(
    verdicts: pd.DataFrame, rankings: pd.DataFrame, pairs: pd.DataFrame
) -> Iterator[str]:
    """Yield how recommendation and ranking change, one or two sentences each."""
    yield _describe_choices(verdicts)
    left = set.intersection(*(set(names) for names in verdicts["candidates"]))
    if left:
        yield f"No study rules out {join_words(sorted(left))}."
    else:
        yield "Every target set is ruled out in at least one study."
    for row in rankings.to_dict("records"):
        own = pairs[(pairs["study"] == row["study"]) & (pairs["other"] == row["other"])]
        yield _describe_ranking(row, own[own["order"] == "opposite"])
    single = verdicts.loc[verdicts["seeds"] == 1, "study"]
    if len(single):
        yield (
            f"{join_words(list(single))} has sets with one seed only, so seed noise is assumed or "
            "taken from other sets."
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
        if only:
            return f"The recommendation is {only} in every study."
        return f"The recommendation changes: {listed}."
    if only:
        return f"No study recommends a set: {only} in every study."
    return f"{'Not every' if chosen.any() else 'No'} study recommends a set: {listed}."


def describe_outcome(verdict: str, choice: str | None) -> str:
    """Return the recommended set, or else the verdict."""
    return str(choice) if verdict == "chosen" else VERDICT_NAMES[verdict]


def _describe_ranking(row: dict[Any, Any], opposite: pd.DataFrame) -> str:
    both = f"{row['study']} and {row['other']}"
    if row["sets"] < 2:
        return f"{both} share fewer than two target sets with scores on every task: no ranking."
    tau = "unknown (all gains are equal)" if math.isnan(row["tau"]) else f"{row['tau']:.2f}"
    told = row["same"] + row["opposite"]
    text = f"{both} rank {row['sets']} sets; Kendall's tau between the rankings is {tau}. "
    if not told:
        return (
            f"{text}None of the {row['pairs']} pairs is separated in both, so their order is open."
        )
    text += (
        f"Of {row['pairs']} pairs, {told} are separated in both: {row['same']} in the same order"
    )
    if not row["opposite"]:
        return f"{text}, none in the opposite order."
    listed = "; ".join(_describe_reversal(each) for each in opposite.to_dict("records"))
    return f"{text}, {row['opposite']} in the opposite order: {listed}."


def _describe_reversal(pair: dict[Any, Any]) -> str:
    return (
        f"{pair['better']} is {pair['difference']:.3f} above {pair['worse']} in {pair['study']} "
        f"and {-pair['difference_other']:.3f} below it in {pair['other']}"
    )
