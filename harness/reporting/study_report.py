"""Builds everything derived from a study's records: tables, plots, recommendation, report.

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
from harness.analysis.results import Study, list_evidence, load_study
from harness.analysis.size_choice import describe_larger_size, describe_size
from harness.analysis.verdict.decision import BALANCED, check_delta, find_profile
from harness.analysis.verdict.recommendation import Recommendation, to_json
from harness.errors import UserError
from harness.formatting import pluralize
from harness.records.files import write_table, write_text
from harness.records.looks import count_look
from harness.records.race_record import read_race
from harness.records.record import BASE
from harness.records.study_size import read_size
from harness.reporting.latency_report import LatencyReport, build_latency_report
from harness.reporting.model_report import ModelReport, report_model
from harness.reporting.race_tables import make_rounds_table
from harness.reporting.rendering import render
from harness.reporting.report_tables import (
    make_environment_table,
)

MAJORITY_NOTE = (
    " A row in italics is the majority-class baseline: the score of always giving the same answer, "
    'with its 95% interval (Wilson). A score that is not above this interval is marked "not above '
    'baseline".'
)
SCORES_NOTE = (
    "Means over all examples and runs; corpus-level scores are computed once per run and averaged."
)
CERTAINTY_NOTE = (
    "Percentages are chances over new examples and seeds, with latency varied within its "
    "interval and those of pairs. Ranks are averaged over tasks (1 is best), with 95% intervals. "
    "The last column also draws the tasks anew, and is rough with few tasks."
)
PAIRS_NOTE = (
    "The set with the highest mean against each other set: paired difference with its 95% "
    "interval, p value of a t test with Holm's correction over all pairs, and the detectable "
    "difference: the true difference that a study of this size finds with 80% power. The ratio of "
    "times is paired by round where both were timed in one session."
)
PROFILES_NOTE = "The verdict under each profile. The profile of this report is highlighted."
RATES_NOTE = (
    "Learning rates were tuned on examples held out from training, with another seed. Differences "
    "are of means over tasks, with 95% intervals; p values are corrected over all pairs of sets."
)
CLAIMS_NOTE = (
    "Each claim is tested on this study's data: by 95% intervals it holds, fails or is undecided."
)
DUELS_NOTE = (
    "Numbers of examples whose mean score over seeds is higher (won), lower (lost) or equal (tied)."
)
ROUNDS_NOTE = (
    "A round runs the seeds and test examples that are expected to bring the decision nearest for "
    "their time. What is ruled out gets no more runs."
)
MOST_WARNINGS = 5
"""Files that the terminal names; the page names all."""

LENGTHS_NOTE = "Mean output tokens per example; in brackets, the reasoning tokens before the answer"


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
    """One per base model."""
    text: str
    """The verdict, the table, and what could not be read, for a terminal."""


def build_report(study: Path, delta: float | None = None, profile: str = BALANCED.name) -> Report:
    """Write every derived file into the folder `study`, from its records alone.

    `delta` is the tolerance, by default that of a race, else the profile's. Raises UserError if
    `study` is not a study's folder, if delta is not above 0 and below 1, if the profile is unknown,
    or if writing fails.
    """
    weighed = find_profile(profile)
    check_delta(weighed.delta if delta is None else delta)
    study = Path(study)
    race = read_race(study)
    if delta is None and race is not None:
        delta = race.tolerance
    if not (study / "runs").is_dir():
        raise UserError(
            f"{study} has neither runs/ nor latency.json; pass a study's folder, such as "
            "results/quickstart or results/latency"
        )
    loaded = load_study(study)
    problems = list(loaded.problems)
    size = _describe_size(study, problems)
    models = sorted(loaded.results["model"].unique()) or [None]
    comparisons = {model: compare(*_select_model(loaded, model)) for model in models}
    # What can choose nothing is no look.
    if any(each.can_choose for each in comparisons.values()):
        count_look(study, list_evidence(loaded.results))
    parts = [
        report_model(
            study,
            loaded,
            comparison,
            delta,
            weighed,
            is_only=len(models) == 1,
            is_race=race is not None,
        )
        for comparison in comparisons.values()
    ]
    name = study.resolve().name
    warnings = [f"warning: {line}" for line in _shorten([*problems, *loaded.lost_looks])]
    report = Report(
        folder=study,
        markdown=study / "report.md",
        html=study / "report.html",
        summary_csv=study / "summary.csv",
        summary_parquet=study / "summary.parquet",
        recommendation_json=study / "recommendation.json",
        recommendations=tuple(part.recommendation for part in parts),
        text="\n\n".join([*(part.text for part in parts), *warnings]),
    )
    summary = pd.concat([summarize(each) for each in comparisons.values()], ignore_index=True)
    write_table(report.summary_parquet, summary)
    write_text(report.summary_csv, summary.to_csv(index=False))
    write_text(report.recommendation_json, to_json(name, report.recommendations))
    values = _gather_values(study, loaded, parts) | {"size": size, "problems": problems}
    values["rounds"] = make_rounds_table(race) if race else None
    write_text(report.markdown, render("report.md.j2", values))
    write_text(report.html, render("report.html.j2", values))
    return report


def _shorten(lines: Sequence[str]) -> list[str]:
    """What a terminal bears of what went wrong with the study's files."""
    rest = len(lines) - MOST_WARNINGS
    if rest <= 1:
        return list(lines)
    return [*lines[:MOST_WARNINGS], f"{rest} more; the report lists them under Failures"]


def summarize(comparison: Comparison) -> pd.DataFrame:
    """Return one row per variant and task, and one per variant over all tasks (task `(all)`)."""
    over_all = comparison.overall.assign(task="(all)")
    frame = pd.concat([comparison.by_task, over_all], ignore_index=True)
    frame.insert(0, "model", comparison.model)
    return frame.sort_values(["variant", "task"], ignore_index=True)


def _select_model(loaded: Study, model: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    if model is None:
        return loaded.results, loaded.examples
    results, examples = loaded.results, loaded.examples
    return results[results["model"] == model], examples[examples["model"] == model]


def _gather_values(study: Path, loaded: Study, parts: Sequence[ModelReport]) -> dict[str, Any]:
    results = loaded.results
    trained = results[results["target_set"] != BASE]
    variants, sets = trained["variant"].nunique(), trained["target_set"].nunique()
    tasks = sorted(results["task"].unique())
    of_sets = pluralize(sets, "target set")
    counts = of_sets if variants == sets else f"{pluralize(variants, 'variant')} of {of_sets}"
    counts = f"{counts} on {pluralize(len(tasks), 'task')}"
    return {
        "study": study.resolve().name,
        "parts": parts,
        "runs": len(results),
        "counts": counts,
        "tasks": tasks,
        "sources": list(list_sources(results)),
        "stand_ins": list_stand_ins(results),
        "truncation": list(list_truncation(results)),
        "untrusted": list_untrusted_timing(results),
        "failures": list(list_failures(results)),
        "environment": make_environment_table(loaded.environments),
        "majority_note": MAJORITY_NOTE,
        "scores_note": SCORES_NOTE,
        "lengths_note": LENGTHS_NOTE,
        "certainty_note": CERTAINTY_NOTE,
        "pairs_note": PAIRS_NOTE,
        "profiles_note": PROFILES_NOTE,
        "rates_note": RATES_NOTE,
        "claims_note": CLAIMS_NOTE,
        "rounds_note": ROUNDS_NOTE,
        "duels_note": DUELS_NOTE,
    }


def _describe_size(study: Path, problems: list[str]) -> list[str]:
    """What a sweep that fitted itself to the machine took, and what more would add."""
    choice = read_size(study, problems)
    return [] if choice is None else [describe_size(choice), describe_larger_size(choice)]


def _list_builders(
    study: Path, delta: float | None, profile: str
) -> Iterator[Callable[[], Report | LatencyReport]]:
    """Yield what builds each kind of report that the folder has the raw files of.

    Raises UserError for a tolerance or a profile that makes no sense, whatever is built.
    """
    check_delta(find_profile(profile).delta if delta is None else delta)
    has_latency = (study / "latency.json").exists()
    if has_latency:
        yield partial(build_latency_report, study)
    if (study / "runs").is_dir() or not has_latency:
        yield partial(build_report, study, delta, profile)
