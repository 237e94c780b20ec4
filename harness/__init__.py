"""Target-module ablation harness: which projections should LoRA adapt?

The public API of notebooks and scripts; importing it loads neither torch nor Hydra.
"""

from harness.results import load_results

__all__ = ["load_results"]
