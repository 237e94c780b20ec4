"""One base model's part of a study's report: its verdict, tables and plots."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.analysis.caveats import list_unskilled_tasks
from harness.analysis.comparison import Comparison
from harness.analysis.published_claims import check_claims
from harness.analysis.results import Study
from harness.analysis.verdict.decision import Profile
from harness.analysis.verdict.recommendation import Recommendation, decide
from harness.formatting import join_words
from harness.records.record import BASE
from harness.reporting.duels import Duel, list_duels
from harness.reporting.exports import Export, export_choice
from harness.reporting.plots.regret_plot import plot_regret
from harness.reporting.plots.score_plots import plot_learning_curves, plot_tradeoff
from harness.reporting.recipe_tables import describe_order, make_rate_table, make_recipe_table
from harness.reporting.rendering import Picture, save_picture
from harness.reporting.report_tables import (
    Table,
    make_certainty_table,
    make_claim_table,
    make_evidence_table,
    make_gain_table,
    make_main_table,
    make_pair_table,
    make_profile_table,
    text_table,
)
from harness.reporting.score_tables import ScoreTable, make_length_table, make_score_tables


@dataclass(frozen=True)
class ModelReport:
    """One base model's part of the report."""

    recommendation: Recommendation
    main: Table
    gains: Table
    scores: tuple[ScoreTable, ...]
    """Every score, one table per task."""
    recipes: Table | None
    """Methods, ranks and rates; None where all sets have the same."""
    rates: Table | None
    """Gain of tuned over given learning rates; None where there are not both."""
    order: tuple[str, ...]
    """Whether tuned rates change the order of the sets, one sentence per method."""
    lengths: Table | None
    """Mean output tokens; None where none are known."""
    evidence: Table
    profiles: Table
    certainty: Table
    pairs: Table
    claims: Table
    """A published study's claims, each with its outcome and evidence."""
    duels: tuple[Duel, ...]
    """Examples that the leading set wins and loses."""
    exports: tuple[Export, ...]
    """What to take, as text for other tools; empty where that is nothing."""
    pictures: tuple[Picture, ...]
    unskilled: tuple[str, ...]
    """A sentence for each task on which no set is above the majority-class baseline."""
    text: str
    """Verdict and table for a terminal."""


def report_model(
    study: Path,
    loaded: Study,
    comparison: Comparison,
    delta: float | None,
    profile: Profile,
    *,
    is_only: bool,
    is_race: bool = False,
) -> ModelReport:
    """Draw, and write the plots of, one model's part of the report into `study`."""
    losses = loaded.losses
    results = loaded.results[loaded.results["model"] == comparison.model]
    recommendation = decide(comparison, results, delta, profile, loaded.lost_looks, is_race=is_race)
    choice = recommendation.choice
    suffix = "" if is_only else "_" + re.sub(r"[^\w.]+", "-", comparison.model)
    own = losses[losses["model"] == comparison.model]
    curves = plot_learning_curves(own, list(comparison.overall["variant"]))
    tradeoff = plot_tradeoff(comparison)
    regret = plot_regret(comparison, recommendation.delta)
    pictures = (
        save_picture(
            *(tradeoff, study, f"accuracy_against_latency{suffix}", "Accuracy against latency"),
            _describe_tradeoff(comparison),
        ),
        save_picture(
            *(regret, study, f"regret{suffix}", "Score lost against the best variant"),
            "Score lost against the best variant, on average and on the worst task, with 95% "
            "bounds and the rule's limits. The table of the evidence has the numbers.",
        ),
        save_picture(
            *(curves, study, f"learning_curves{suffix}", "Learning curves"),
            "Training loss by optimizer step, mean over seeds, one panel per task: "
            f"{_list_tasks(own)}.",
        ),
    )
    return ModelReport(
        recommendation,
        main=make_main_table(comparison, choice),
        gains=make_gain_table(comparison, choice),
        scores=make_score_tables(comparison, results, choice),
        recipes=make_recipe_table(results, comparison),
        rates=make_rate_table(results, comparison),
        order=describe_order(results, comparison),
        lengths=make_length_table(comparison, choice),
        evidence=make_evidence_table(recommendation),
        profiles=make_profile_table(recommendation),
        certainty=make_certainty_table(comparison, recommendation.delta, choice),
        pairs=make_pair_table(comparison),
        claims=make_claim_table(check_claims(comparison)),
        duels=tuple(list_duels(study, results, comparison, choice)),
        exports=_export(results, recommendation.if_today),
        pictures=pictures,
        unskilled=tuple(list_unskilled_tasks(comparison)),
        text=f"{text_table(comparison, choice)}\n\n{comparison.model}: {recommendation.headline}",
    )


def _export(results: pd.DataFrame, variant: str | None) -> tuple[Export, ...]:
    """What to take, as text for other tools; nothing where that is the base."""
    return export_choice(results, variant) if variant and variant != BASE else ()


def _describe_tradeoff(comparison: Comparison) -> str:
    rows = comparison.overall
    front = rows[rows["on_front"]].sort_values("end_to_end_ratio", na_position="first")
    names = join_words(list(front["variant"])) or "no set"
    lines = [f"{line.name} on {task}" for task, line in comparison.majority.items()]
    dashed = f" Dashed lines, the majority-class baseline: {join_words(lines)}." if lines else ""
    return (
        "Score against end-to-end latency relative to the base, over all tasks and in one panel "
        f"per task, with 95% intervals. On the Pareto front over all tasks: {names}.{dashed} The "
        "table has the numbers."
    )


def _list_tasks(losses: pd.DataFrame) -> str:
    return join_words(sorted(losses["task"].unique())) or "no run has a loss curve"
