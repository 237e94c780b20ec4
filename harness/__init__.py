"""Target-module ablation harness: which projections should LoRA adapt?

The public API of notebooks and scripts: functions that load, that return DataFrames, and that
return matplotlib figures. Importing it loads neither torch nor Hydra.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.claims import check_claims
    from harness.comparison import compare, restrict_tasks
    from harness.exports import export_choice
    from harness.latency_analysis.comparison import compare_latency
    from harness.latency_analysis.plots import plot_forest, plot_predictions
    from harness.latency_analysis.results import load_latency_study
    from harness.latency_analysis.tables import (
        check_gates,
        tabulate_costs,
        tabulate_pairs,
        tabulate_ratios,
    )
    from harness.plots import plot_learning_curves, plot_tradeoff
    from harness.regret_plot import plot_regret
    from harness.results import load_examples, load_latency, load_losses, load_results
    from harness.selection import compare_pairs, rank_sets
    from harness.stability import choose_by_profile, leave_tasks_out, trace_delta
    from harness.studies import compare_studies
    from harness.won_and_lost import count_wins, find_examples

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
    "rank_sets",
    "restrict_tasks",
    "tabulate_costs",
    "tabulate_pairs",
    "tabulate_ratios",
    "trace_delta",
]

_NAMES = {
    "claims": ("check_claims",),
    "comparison": ("compare", "restrict_tasks"),
    "exports": ("export_choice",),
    "latency_analysis.comparison": ("compare_latency",),
    "latency_analysis.plots": ("plot_forest", "plot_predictions"),
    "latency_analysis.results": ("load_latency_study",),
    "latency_analysis.tables": (
        *("check_gates", "tabulate_costs", "tabulate_pairs", "tabulate_ratios"),
    ),
    "plots": ("plot_learning_curves", "plot_tradeoff"),
    "regret_plot": ("plot_regret",),
    "results": ("load_examples", "load_latency", "load_losses", "load_results"),
    "selection": ("compare_pairs", "rank_sets"),
    "stability": ("choose_by_profile", "leave_tasks_out", "trace_delta"),
    "studies": ("compare_studies",),
    "won_and_lost": ("count_wins", "find_examples"),
}
_HOMES = {name: f"harness.{module}" for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: a process that only times should not wait for pandas and scipy.
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
