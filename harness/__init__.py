"""Target-module ablation harness: which projections should LoRA adapt?

The public API of notebooks and scripts; importing it loads neither torch nor Hydra.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.latency_analysis.comparison import compare_latency
    from harness.latency_analysis.results import load_latency_study
    from harness.results import load_results

__all__ = ["compare_latency", "load_latency_study", "load_results"]

_HOMES = {
    "compare_latency": "harness.latency_analysis.comparison",
    "load_latency_study": "harness.latency_analysis.results",
    "load_results": "harness.results",
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: a process that only times should not wait for pandas and scipy.
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
