"""Studies side by side: other models, machines, versions or recipes. Does the choice change?

    python -m harness.studies results/before results/after
    python -m harness.studies results/before results/after --out results/compared

    import harness
    compared = harness.compare_studies(["results/before", "results/after"])
    compared.table      # one row a study, target set and task

Compared are the tasks that all studies scored on the same data, and the target sets that all of
them have. What is left out, and what else differs, is named (harness.comparability).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.comparability import find_common_sets, find_common_tasks, list_differences
from harness.comparison import Comparison, compare
from harness.errors import UserError
from harness.formatting import join_words
from harness.profiles import BALANCED
from harness.recommend import decide
from harness.records import write_text
from harness.rendering import render
from harness.rule import apply_rule
from harness.runs import Paths
from harness.studies_wording import (
    describe_findings,
    make_side_by_side,
    make_task_table,
    make_verdict_table,
    text_studies,
)
from harness.study_gains import compare_orders, rank_alike, tabulate_changes, tabulate_scores
from harness.study_sides import Side, load_sides


@dataclass(frozen=True)
class StudiesComparison:
    names: tuple[str, ...]
    """The studies; the first is what the others are held against."""
    tasks: tuple[str, ...]
    """Tasks that all of them scored on the same data."""
    sets: tuple[str, ...]
    """Target sets that all of them have."""
    verdicts: pd.DataFrame
    """One row a study: study, model; own_verdict, own_choice and headline of its own report;
    seeds, and verdict, choice and candidates by the same rule, of the common tasks and sets."""
    table: pd.DataFrame
    """One row a study, variant and task, of `harness.study_gains.tabulate_scores`."""
    changes: pd.DataFrame
    """How gains differ from the first study's, of `tabulate_changes`."""
    rankings: pd.DataFrame
    """One row a pair of studies, of `rank_alike`."""
    pairs: pd.DataFrame
    """One row a pair of studies and pair of sets, of `compare_orders`."""
    findings: tuple[str, ...]
    """What becomes of the choice and of the ranking, in sentences."""
    notes: tuple[str, ...]
    """What is left out, and why."""
    differences: tuple[str, ...]
    """What else differs between the studies."""


def compare_studies(paths: Paths, delta: float = BALANCED.delta) -> StudiesComparison:
    """Put two or more studies side by side; a study with several models counts as one each.

    `paths` are studies' folders, or folders of studies; `delta` is the loss in mean score that the
    user does not mind. Raises UserError where fewer than two studies, no task or no target set can
    be compared, with the reasons, and where delta is not positive.
    """
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


def write_studies(compared: StudiesComparison, folder: Path) -> Path:
    """Write studies.csv and studies.md into `folder`; return the latter's path."""
    page = folder / "studies.md"
    write_text(folder / "studies.csv", compared.table.to_csv(index=False))
    values = {
        "compared": compared,
        "verdicts": make_verdict_table(compared.verdicts),
        "means": make_side_by_side(compared.table, compared.changes),
        "gains": make_task_table(compared.table, compared.changes),
        "headlines": _list_headlines(compared),
    }
    write_text(page, render("studies.md.j2", values))
    return page


def _list_headlines(compared: StudiesComparison) -> list[str]:
    rows = compared.verdicts[["study", "headline"]].itertuples(index=False, name=None)
    return [f"{study}: {headline}" for study, headline in rows]


def _describe(compared: StudiesComparison) -> str:
    """What the terminal gets."""
    lines = [*compared.findings, "", *_list_headlines(compared), ""]
    lines += [f"Over {join_words(compared.tasks)}:", text_studies(compared.table), ""]
    lines += ["Left out:", *(f"- {note}" for note in compared.notes or ["nothing"]), ""]
    lines += ["Differing:", *(f"- {line}" for line in compared.differences or ["nothing"])]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `python -m harness.studies`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.studies", description="Put two or more studies side by side."
    )
    parser.add_argument(
        "studies", nargs="+", type=Path, help="studies' folders, or folders of them"
    )
    parser.add_argument(
        "--delta",
        type=float,
        default=BALANCED.delta,
        help="loss in mean score that you do not mind",
    )
    parser.add_argument("--out", type=Path, help="folder for studies.md and studies.csv")
    options = parser.parse_args(arguments)
    try:
        compared = compare_studies(options.studies, options.delta)
        print(_describe(compared))
        if options.out is not None:
            print(f"\nPage: {write_studies(compared, options.out)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
