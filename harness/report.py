"""Builds all that is derived from a study's records: tables, plots, recommendation, report.

    python -m harness.report results/quickstart
    python -m harness.report results/quickstart --delta 0.03

Reads records only, needs neither a model nor a GPU, and writes into the study's folder:
summary.csv and .parquet, report.md, report.html (one file, no network), plots/, and
recommendation.json. Running it again replaces them.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from harness.caveats import (
    list_failures,
    list_sources,
    list_stand_ins,
    list_truncation,
    list_unskilled_tasks,
    list_untrusted_timing,
)
from harness.comparison import Comparison, compare
from harness.errors import UserError
from harness.formatting import join_words
from harness.latency_analysis.report import LatencyReport, build_latency_report
from harness.plots import plot_learning_curves, plot_tradeoff
from harness.recommend import DELTA, Recommendation, decide, to_json
from harness.records import BASE, write_table, write_text
from harness.rendering import Picture, render, save_picture
from harness.report_tables import (
    Table,
    make_certainty_table,
    make_environment_table,
    make_evidence_table,
    make_gain_table,
    make_main_table,
    make_pair_table,
    text_table,
)
from harness.results import Study, load_study
from harness.score_tables import ScoreTable, make_length_table, make_score_tables

MAJORITY_NOTE = (
    " A row in italics is no target set: it is what always giving one answer scores, with its 95% "
    "interval (Wilson). A score that is not above that interval shows no skill, and is marked so."
)
SCORES_NOTE = "Means over every example of every run; corpus scores are of the run's whole set."
CERTAINTY_NOTE = (
    "Shares of resamples of examples and seeds, in which latency varies within its interval; ranks "
    "are averaged over tasks, 1 the best, with 95% intervals."
)
PAIRS_NOTE = (
    "The set of the highest mean against each other one: paired difference with its 95% interval, "
    "p of a t test after Holm's correction for all pairs of sets, and the true difference that a "
    "study of this size would find 4 times in 5."
)
LENGTHS_NOTE = "Mean tokens an example; in brackets, those of the reasoning before the answer"


@dataclass(frozen=True)
class ModelReport:
    """One base model's part of the report."""

    recommendation: Recommendation
    main: Table
    gains: Table
    scores: tuple[ScoreTable, ...]
    """Every score, a table a task."""
    lengths: Table | None
    """Mean tokens written; None where they are known nowhere."""
    evidence: Table
    certainty: Table
    pairs: Table
    pictures: tuple[Picture, ...]
    unskilled: tuple[str, ...]
    """A sentence for each task on which no set shows skill."""
    text: str
    """Verdict and table for a terminal."""


@dataclass(frozen=True)
class Report:
    """What `build_report` wrote."""

    folder: Path
    markdown: Path
    html: Path
    summary_csv: Path
    summary_parquet: Path
    recommendation_json: Path
    recommendations: tuple[Recommendation, ...]
    """One a base model."""
    text: str
    """The verdict and the table, for a terminal."""


def build_report(study: Path, delta: float = DELTA) -> Report:
    """Write every derived file into `study`, from its records alone.

    Raises UserError where `study` is no study's folder, where delta is not positive, or where the
    disk refuses.
    """
    study = Path(study)
    if not (study / "runs").is_dir():
        raise UserError(
            f"{study}: neither runs/ nor latency.json there; pass a study's folder, such as "
            "results/quickstart or results/latency"
        )
    loaded = load_study(study)
    models = sorted(loaded.results["model"].unique()) or [None]
    comparisons = {model: compare(*_select_model(loaded, model)) for model in models}
    parts = [
        _report_model(study, loaded, comparison, delta, is_only=len(models) == 1)
        for comparison in comparisons.values()
    ]
    name = study.resolve().name
    report = Report(
        folder=study,
        markdown=study / "report.md",
        html=study / "report.html",
        summary_csv=study / "summary.csv",
        summary_parquet=study / "summary.parquet",
        recommendation_json=study / "recommendation.json",
        recommendations=tuple(part.recommendation for part in parts),
        text="\n\n".join(part.text for part in parts),
    )
    summary = pd.concat([summarize(each) for each in comparisons.values()], ignore_index=True)
    write_table(report.summary_parquet, summary)
    write_text(report.summary_csv, summary.to_csv(index=False))
    write_text(report.recommendation_json, to_json(name, report.recommendations))
    values = _gather_values(name, loaded, parts)
    write_text(report.markdown, render("report.md.j2", values))
    write_text(report.html, render("report.html.j2", values))
    return report


def summarize(comparison: Comparison) -> pd.DataFrame:
    """Return one row a variant and task, and one a variant over all tasks (task `(all)`)."""
    over_all = comparison.overall.assign(task="(all)")
    frame = pd.concat([comparison.by_task, over_all], ignore_index=True)
    frame.insert(0, "model", comparison.model)
    return frame.sort_values(["variant", "task"], ignore_index=True)


def _select_model(loaded: Study, model: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    if model is None:
        return loaded.results, loaded.examples
    results, examples = loaded.results, loaded.examples
    return results[results["model"] == model], examples[examples["model"] == model]


def _report_model(
    study: Path, loaded: Study, comparison: Comparison, delta: float, *, is_only: bool
) -> ModelReport:
    losses = loaded.losses
    results = loaded.results[loaded.results["model"] == comparison.model]
    recommendation = decide(comparison, results, delta)
    choice = recommendation.choice
    suffix = "" if is_only else "_" + re.sub(r"[^\w.]+", "-", comparison.model)
    own = losses[losses["model"] == comparison.model]
    curves = plot_learning_curves(own, list(comparison.overall["variant"]))
    tradeoff = plot_tradeoff(comparison)
    pictures = (
        save_picture(
            *(tradeoff, study, f"accuracy_against_latency{suffix}", "Accuracy against latency"),
            _describe_tradeoff(comparison),
        ),
        save_picture(
            *(curves, study, f"learning_curves{suffix}", "Learning curves"),
            f"Training loss by optimizer step, a panel a task: {_list_tasks(own)}.",
        ),
    )
    return ModelReport(
        recommendation,
        main=make_main_table(comparison, choice),
        gains=make_gain_table(comparison, choice),
        scores=make_score_tables(comparison, results, choice),
        lengths=make_length_table(comparison, choice),
        evidence=make_evidence_table(recommendation),
        certainty=make_certainty_table(comparison, recommendation.delta, choice),
        pairs=make_pair_table(comparison),
        pictures=pictures,
        unskilled=tuple(list_unskilled_tasks(comparison)),
        text=f"{text_table(comparison, choice)}\n\n{comparison.model}: {recommendation.headline}",
    )


def _describe_tradeoff(comparison: Comparison) -> str:
    rows = comparison.overall
    front = rows[rows["on_front"]].sort_values("end_to_end_ratio", na_position="first")
    names = join_words(list(front["variant"])) or "no set"
    lines = [f"{line.name} on {task}" for task, line in comparison.majority.items()]
    dashed = f" Dashed lines: {join_words(lines)}." if lines else ""
    return (
        "Score against end-to-end latency as a ratio to the base, over all tasks and a panel a "
        f"task, with 95% intervals. On the Pareto front over all tasks: {names}.{dashed} The table "
        "has the numbers."
    )


def _list_tasks(losses: pd.DataFrame) -> str:
    return join_words(sorted(losses["task"].unique())) or "no run left a curve"


def _gather_values(name: str, loaded: Study, parts: Sequence[ModelReport]) -> dict[str, Any]:
    results = loaded.results
    trained = results[results["target_set"] != BASE]
    variants, tasks = trained["variant"].nunique(), sorted(results["task"].unique())
    counts = f"{_count(variants, 'target set')} on {_count(len(tasks), 'task')}"
    return {
        "study": name,
        "parts": parts,
        "runs": len(results),
        "counts": counts,
        "tasks": tasks,
        "sources": list(list_sources(results)),
        "stand_ins": list_stand_ins(results),
        "truncation": list(list_truncation(results)),
        "untrusted": list_untrusted_timing(results),
        "failures": list(list_failures(results)),
        "problems": loaded.problems,
        "environment": make_environment_table(loaded.environments),
        "majority_note": MAJORITY_NOTE,
        "scores_note": SCORES_NOTE,
        "lengths_note": LENGTHS_NOTE,
        "certainty_note": CERTAINTY_NOTE,
        "pairs_note": PAIRS_NOTE,
    }


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `python -m harness.report`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.report", description="Rebuild a study's report from its records."
    )
    parser.add_argument("study", type=Path, help="a study's folder, such as results/quickstart")
    parser.add_argument(
        "--delta", type=float, default=DELTA, help="loss in mean score that you do not mind"
    )
    options = parser.parse_args(arguments)
    status = 0
    for build in _list_builders(options.study, options.delta):
        try:
            report = build()
        except UserError as error:
            # The folder's other report, where it has one, can still be built.
            print(f"error: {error}", file=sys.stderr)
            status = 2
        else:
            print(f"{report.text}\n\nReport: {report.html}")
    return status


def _list_builders(study: Path, delta: float) -> Iterator[Callable[[], Report | LatencyReport]]:
    """Yield what builds each kind of report that the folder has the raw files of."""
    has_latency = (study / "latency.json").exists()
    if has_latency:
        yield partial(build_latency_report, study)
    if (study / "runs").is_dir() or not has_latency:
        yield partial(build_report, study, delta)


if __name__ == "__main__":
    sys.exit(main())
