"""Lists a model's projections by role, without loading weights.

    python -m harness.modules model=hub model.path=gpt2 adapter.rank=16

prints role, paths, count, shape and trainable parameters.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence

import torch

from harness.cli.quiet_end import end_quietly
from harness.config.composing import compose
from harness.config.schema import AdapterConfig
from harness.config.target_sets import ROLES
from harness.errors import UserError
from harness.formatting import pad_columns
from harness.models.loading import load_structure
from harness.models.projections import ModuleMap, Projection, map_modules


def format_table(mapped: ModuleMap, rank: int) -> str:
    """Format a map as text: one line a path pattern and role, with a total a role."""
    rows = [("role", "module path inside a block", "count", "in x out", f"parameters at r={rank}")]
    groups: dict[tuple[str, str], list[Projection]] = defaultdict(list)
    for projection in mapped.projections:
        groups[(",".join(projection.roles), projection.pattern)].append(projection)
    order = {role: position for position, role in enumerate(ROLES)}
    for (roles, pattern), members in sorted(
        groups.items(), key=lambda item: order[item[0][0].split(",")[0]]
    ):
        shapes = Counter(
            f"{p.in_features} x {p.out_features}" + (f" x {p.experts} experts" if p.experts else "")
            for p in members
        )
        total = sum(p.count_parameters(rank) for p in members)
        rows.append((roles, pattern, str(len(members)), ", ".join(shapes), f"{total:,}"))
    total = sum(p.count_parameters(rank) for p in mapped.projections)
    first = next((p.path for p in mapped.projections), "none")
    return "\n".join(
        [
            f"{mapped.architecture}: {mapped.block_count} blocks, first path {first}",
            *pad_columns(rows),
            f"all roles together: {total:,} trainable parameters",
        ]
    )


@end_quietly
def main(arguments: Sequence[str]) -> int:
    """Entry of `python -m harness.modules`; returns the exit status."""
    torch.set_num_threads(1)
    try:
        config = compose(arguments)
        structure = load_structure(config.model)
        mapped = map_modules(structure.model, structure.config, config.model.roles)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(format_table(mapped, config.adapter.rank or AdapterConfig().rank or 0))
    return 0
