"""Several studies read for a comparison, one side a model; what is no study of its own is left out.

For `harness.analysis.studies.study_comparison`.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.analysis.results import load_study
from harness.analysis.runs import Paths, Run, read_runs
from harness.errors import UserError
from harness.formatting import join_words
from harness.records.record import BASE


@dataclass(frozen=True)
class Side:
    """One model of one study."""

    name: str
    """The study's folder, and the model where it holds several."""
    model: str
    runs: tuple[Run, ...]
    results: pd.DataFrame
    """Its rows of `load_results`."""
    examples: pd.DataFrame
    """Its rows of `load_examples`."""

    @property
    def scored(self) -> pd.DataFrame:
        """Runs that have a score."""
        return self.results[self.results["score"].notna()]

    @property
    def sets(self) -> set[str]:
        """Variants that have a score somewhere; the base is none."""
        return set(self.scored["variant"]) - {BASE}

    def restrict(self, tasks: Iterable[str], sets: Iterable[str]) -> "Side":
        """Return what it has of these tasks and sets, the base included."""
        table, names = self.results, [BASE, *sets]
        kept = table[table["task"].isin(list(tasks)) & table["variant"].isin(names)]
        ids = set(kept["run_id"])
        runs = tuple(run for run in self.runs if run.record.run_id in ids)
        return dataclasses.replace(self, runs=runs, results=kept)


def load_sides(paths: Paths, notes: list[str]) -> list[Side]:
    """Read the studies, one side a model, in the order given; `notes` gets what was left out.

    Raises UserError where a path holds no study, or where fewer than two sides have scores.
    """
    found, loaded = read_runs(paths), load_study(paths)
    notes += [*loaded.problems, *loaded.lost_looks]
    models = loaded.results.groupby("study")["model"].nunique()
    sides: list[Side] = []
    for (study, model), results in loaded.results.groupby(["study", "model"], sort=False):
        name = f"{study}" if models[study] == 1 else f"{study} ({model})"
        runs = tuple(run for run in found.runs if (run.study, run.model) == (study, model))
        is_own = (loaded.examples["study"] == study) & (loaded.examples["model"] == model)
        side = Side(name, str(model), runs, results, loaded.examples[is_own])
        reason = _find_objection(side, sides, notes)
        if reason is None:
            sides.append(side)
        else:
            notes.append(f"{name} is left out: {reason}")
    if len(sides) < 2:
        names = join_words([side.name for side in sides]) or "none"
        raise UserError(
            f"fewer than two studies to compare: {'; '.join([names, *notes])}; pass the folders of "
            "two or more studies, such as results/before results/after"
        )
    return sides


def _find_objection(side: Side, others: Sequence[Side], notes: list[str]) -> str | None:
    """Why a side is not compared with those before it; None where it is."""
    if not side.sets:
        return "no target set has a score"
    own = _identify_runs(side)
    for other in others:
        theirs = _identify_runs(other)
        shared = len(own & theirs)
        if shared and shared == min(len(own), len(theirs)):
            return (
                f"it has the same runs as {other.name}, or one contains the other: scores and "
                "times are identical"
            )
        if shared:
            notes.append(
                f"{shared} of the {len(own)} runs of {side.name} are copies of runs of "
                f"{other.name}, so the two studies agree there by construction"
            )
    return None


def _identify_runs(side: Side) -> set[tuple[Any, ...]]:
    """A run done again, even of the same configuration, takes other seconds in some digit."""
    columns = ["run_id", "score", "eval_seconds", "train_seconds"]
    return set(side.scored[columns].fillna({"train_seconds": 0}).itertuples(index=False, name=None))
