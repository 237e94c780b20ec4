"""Builds all that is derived from a study's records: tables, plots, recommendation, report.

    python -m harness.report results/quickstart
    python -m harness.report results/quickstart --delta 0.03
    python -m harness.report results/quickstart --profile merged

Reads records only, needs neither a model nor a GPU, and writes into the study's folder:
summary.csv and .parquet, report.md, report.html (one file, no network), plots/, and
recommendation.json. Running it again replaces them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.caveats import (
    list_failures,
    list_sources,
    list_stand_ins,
    list_truncation,
    list_untrusted_timing,
)
from harness.analysis.comparison import Comparison, compare
from harness.analysis.decision import BALANCED, find_profile
from harness.analysis.recommendation import Recommendation, to_json
from harness.analysis.results import Study, load_study
from harness.errors import UserError
from harness.records.files import write_table, write_text
from harness.records.record import BASE
from harness.reporting.latency_report import LatencyReport, build_latency_report
from harness.reporting.model_report import ModelReport, report_model
from harness.reporting.rendering import render
from harness.reporting.report_tables import (
    make_environment_table,
)

MAJORITY_NOTE = (
    " A row in italics is no target set: it is what always giving one answer scores, with its 95% "
    "interval (Wilson). A score that is not above that interval shows no skill, and is marked so."
)
SCORES_NOTE = "Means over every example of every run; corpus scores are of the run's whole set."
CERTAINTY_NOTE = (
    "Shares of resamples of examples and seeds, in which latency varies within its interval; ranks "
    "are averaged over tasks, 1 the best, with 95% intervals. In the last column tasks are drawn "
    "anew too; with few of them it is rough."
)
PAIRS_NOTE = (
    "The set of the highest mean against each other one: paired difference with its 95% interval, "
    "p of a t test after Holm's correction for all pairs of sets, and the true difference that a "
    "study of this size would find 4 times in 5."
)
PROFILES_NOTE = "What the rule says for others who weigh otherwise."
RATES_NOTE = (
    "Tuned rates were chosen on examples held back from training, under another seed; differences "
    "of means over tasks with 95% intervals, p corrected for all pairs of sets."
)
CLAIMS_NOTE = "Each holds, fails or is undecided by 95% intervals on this study's own data."
DUELS_NOTE = "Examples of which one's mean score over seeds is higher, lower or the same."
LENGTHS_NOTE = "Mean tokens an example; in brackets, those of the reasoning before the answer"


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


def build_report(study: Path, delta: float | None = None, profile: str = BALANCED.name) -> Report:
    """Write every derived file into `study`, from its records alone.

    `delta` is the profile's where none is given. Raises UserError where `study` is no study's
    folder, where delta is not positive, where there is no such profile, or where the disk refuses.
    """
    weighed = find_profile(profile)
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
        report_model(study, loaded, comparison, delta, weighed, is_only=len(models) == 1)
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
        "profiles_note": PROFILES_NOTE,
        "rates_note": RATES_NOTE,
        "claims_note": CLAIMS_NOTE,
        "duels_note": DUELS_NOTE,
    }


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _list_builders(
    study: Path, delta: float | None, profile: str
) -> Iterator[Callable[[], Report | LatencyReport]]:
    """Yield what builds each kind of report that the folder has the raw files of."""
    has_latency = (study / "latency.json").exists()
    if has_latency:
        yield partial(build_latency_report, study)
    if (study / "runs").is_dir() or not has_latency:
        yield partial(build_report, study, delta, profile)
