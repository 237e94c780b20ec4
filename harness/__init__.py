"""Target-module ablation harness: which projections should LoRA adapt?

The public API for notebooks and scripts: functions that load studies, return DataFrames, or return
matplotlib figures. Importing it loads neither torch nor Hydra.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.analysis.comparison import compare, restrict_tasks
    from harness.analysis.examples import count_wins, find_examples
    from harness.analysis.latency.latency_comparison import compare_latency
    from harness.analysis.latency.latency_results import load_latency_study
    from harness.analysis.latency.latency_tables import (
        check_gates,
        tabulate_costs,
        tabulate_pairs,
        tabulate_ratios,
    )
    from harness.analysis.published_claims import check_claims
    from harness.analysis.ranking import compare_pairs, rank_sets
    from harness.analysis.results import load_examples, load_latency, load_losses, load_results
    from harness.analysis.studies.study_comparison import compare_studies
    from harness.analysis.verdict.decision import choose_by_profile, leave_tasks_out, trace_delta
    from harness.analysis.verdict.recommendation import recommend
    from harness.cli.racing import race
    from harness.reporting.exports import export_choice
    from harness.reporting.plots.latency_plots import plot_forest, plot_predictions
    from harness.reporting.plots.regret_plot import plot_regret
    from harness.reporting.plots.score_plots import plot_learning_curves, plot_tradeoff

__all__ = [
    "check_claims",
    "check_gates",
    "choose_by_profile",
    "compare",
    "compare_latency",
    "compare_pairs",
    "compare_studies",
    "count_wins",
    "export_choice",
    "find_examples",
    "leave_tasks_out",
    "load_examples",
    "load_latency",
    "load_latency_study",
    "load_losses",
    "load_results",
    "plot_forest",
    "plot_learning_curves",
    "plot_predictions",
    "plot_regret",
    "plot_tradeoff",
    "race",
    "rank_sets",
    "recommend",
    "restrict_tasks",
    "tabulate_costs",
    "tabulate_pairs",
    "tabulate_ratios",
    "trace_delta",
]

_NAMES = {
    "analysis.published_claims": ("check_claims",),
    "analysis.comparison": ("compare", "restrict_tasks"),
    "reporting.exports": ("export_choice",),
    "analysis.latency.latency_comparison": ("compare_latency",),
    "reporting.plots.latency_plots": ("plot_forest", "plot_predictions"),
    "analysis.latency.latency_results": ("load_latency_study",),
    "analysis.latency.latency_tables": (
        *("check_gates", "tabulate_costs", "tabulate_pairs", "tabulate_ratios"),
    ),
    "reporting.plots.score_plots": ("plot_learning_curves", "plot_tradeoff"),
    "reporting.plots.regret_plot": ("plot_regret",),
    "analysis.results": ("load_examples", "load_latency", "load_losses", "load_results"),
    "analysis.ranking": ("compare_pairs", "rank_sets"),
    "analysis.verdict.recommendation": ("recommend",),
    "analysis.verdict.decision": ("choose_by_profile", "leave_tasks_out", "trace_delta"),
    "analysis.studies.study_comparison": ("compare_studies",),
    "analysis.examples": ("count_wins", "find_examples"),
    "cli.racing": ("race",),
}
_HOMES = {name: f"harness.{module}" for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: a process that only times should not wait for pandas and scipy.
    if name == "__version__":
        return _find_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *(name for name in globals() if name[:2] == "__")})


def _find_version() -> str:
    """The installed version; `unknown` in a clone that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("target-module-harness")
    except PackageNotFoundError:
        return "unknown"
