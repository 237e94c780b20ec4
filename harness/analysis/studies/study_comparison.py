"""Studies side by side: does the recommendation change with model, machine, version or recipe?

    python -m harness.studies results/before results/after
    python -m harness.studies results/before results/after --out results/compared

    import harness
    compared = harness.compare_studies(["results/before", "results/after"])
    compared.table      # one row per study, target set and task

The comparison covers the tasks that all studies scored on the same data, and the target sets that
all of them ran. It names what is left out and what else differs
(harness.analysis.studies.matching).
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.analysis.comparison import Comparison, compare
from harness.analysis.runs import Paths
from harness.analysis.studies.findings import describe_findings
from harness.analysis.studies.matching import find_common_sets, find_common_tasks, list_differences
from harness.analysis.studies.study_gains import (
    compare_orders,
    rank_alike,
    tabulate_changes,
    tabulate_scores,
)
from harness.analysis.studies.study_sides import Side, load_sides
from harness.analysis.verdict.decision import BALANCED, apply_rule, check_delta
from harness.analysis.verdict.recommendation import decide


@dataclass(frozen=True)
class StudiesComparison:
    names: tuple[str, ...]
    """The studies; the others are compared with the first."""
    tasks: tuple[str, ...]
    """Tasks that all of them scored on the same data."""
    sets: tuple[str, ...]
    """Target sets that all of them ran."""
    verdicts: pd.DataFrame
    """One row per study: study, model; own_verdict, own_choice and headline of its report; seeds;
    and verdict, choice and candidates of the same rule on the common tasks and sets."""
    table: pd.DataFrame
    """One row per study, variant and task, of `analysis.studies.study_gains.tabulate_scores`."""
    changes: pd.DataFrame
    """Differences of gains from the first study's, of `tabulate_changes`."""
    rankings: pd.DataFrame
    """One row per pair of studies, of `rank_alike`."""
    pairs: pd.DataFrame
    """One row per pair of studies and pair of sets, of `compare_orders`."""
    findings: tuple[str, ...]
    """How recommendation and ranking change, in sentences."""
    notes: tuple[str, ...]
    """What is left out, and why."""
    differences: tuple[str, ...]
    """What else differs between the studies."""


def compare_studies(paths: Paths, delta: float = BALANCED.delta) -> StudiesComparison:
    """Compare two or more studies; a study with several models counts as one study per model.

    `paths` are studies' folders, or folders that contain studies; `delta` is the tolerance in mean
    score. Raises UserError, with the reasons, if fewer than two studies, no task or no target set
    can be compared, and if delta is not above 0 and below 1.
    """
    check_delta(delta)
    notes: list[str] = []
    sides = load_sides(paths, notes)
    tasks = find_common_tasks(sides, notes)
    sets = find_common_sets([side.restrict(tasks, side.sets) for side in sides], notes)
    shared = [side.restrict(tasks, sets) for side in sides]
    comparisons = {side.name: compare(side.results, side.examples) for side in shared}
    for name, comparison in comparisons.items():
        notes += [f"{name}: {note}" for note in comparison.notes]
    verdicts = pd.DataFrame(
        [_judge(*each, delta) for each in zip(sides, shared, comparisons.values(), strict=True)]
    )
    table, pairs = tabulate_scores(comparisons), compare_orders(comparisons)
    rankings = rank_alike(comparisons, pairs)
    return StudiesComparison(
        names=tuple(comparisons),
        tasks=tuple(tasks),
        sets=tuple(sets),
        verdicts=verdicts,
        table=table,
        changes=tabulate_changes(table),
        rankings=rankings,
        pairs=pairs,
        findings=tuple(describe_findings(verdicts, rankings, pairs)),
        notes=tuple(notes),
        differences=tuple(list_differences(shared)),
    )


def _judge(whole: Side, shared: Side, comparison: Comparison, delta: float) -> dict[str, Any]:
    """The rule's verdict on what all studies have, and that of the study's own report."""
    is_whole = len(shared.results) == len(whole.results)
    own_comparison = comparison if is_whole else compare(whole.results, whole.examples)
    own = decide(own_comparison, whole.results, delta)
    ruling = apply_rule(comparison, delta, BALANCED)
    return {
        "study": whole.name,
        "model": whole.model,
        "headline": own.headline,
        "own_verdict": own.verdict,
        "own_choice": own.choice,
        "seeds": comparison.seed_count,
        "verdict": ruling.verdict,
        "choice": ruling.choice.variant if ruling.choice else None,
        "candidates": [each.variant for each in ruling.candidates],
    }
