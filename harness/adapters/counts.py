"""How many parameters a method trains on given projections, before anything is loaded."""

from collections.abc import Sequence

from harness.config.schema import AdapterConfig
from harness.models.projections import Projection


def count_parameters(projections: Sequence[Projection], adapter: AdapterConfig) -> int:
    """Trainable parameters on `projections`, at the start of training; biases are left out."""
    return sum(_count(projection, adapter) for projection in projections)


def _count(p: Projection, adapter: AdapterConfig) -> int:
    rank = adapter.rank or 0
    match adapter.method:
        case "full":
            return max(p.experts, 1) * p.in_features * p.out_features
        case "lora_fa":
            return rank * p.out_features
        case "dora":
            return p.count_parameters(rank) + p.out_features
        case "adalora" | "increlora":
            # A singular value goes with every component.
            initial = adapter.initial_rank or 0
            return p.count_parameters(initial) + initial
        case "vera":
            return rank + p.out_features
        case "ia3":
            return p.in_features if "fc2" in p.roles else p.out_features
        case "bottleneck":
            return rank * 2 * p.out_features + rank + p.out_features
        case _:
            return p.count_parameters(rank)
