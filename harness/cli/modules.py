"""Lists a model's projections by role, without loading weights.

    python -m harness.modules model=hub model.path=gpt2 adapter.rank=16

prints, for each role and for each of the usual target sets, the modules, the blocks that have them,
shapes, trainable parameters and PEFT's `target_modules`, and then what no role covers.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence

import torch

from harness.cli.quiet_end import end_quietly
from harness.config.composing import compose
from harness.config.schema import AdapterConfig
from harness.config.target_sets import EMBEDDINGS, ROLES, TargetSet, label_roles, parse_target_set
from harness.errors import UserError
from harness.formatting import pad_columns, pluralize
from harness.models.loading import Structure, load_structure
from harness.models.projections import (
    ModuleMap,
    Projection,
    list_targets,
    map_modules,
    shorten_paths,
)

USUAL_SETS = ("qkv", "o_proj", "qkv+o_proj", "o_proj+fc2", "mixer", "all")
NAMES_SHOWN = 12


def format_roles(mapped: ModuleMap, rank: int) -> list[str]:
    """A line a path pattern and role: paths, modules, blocks, shapes and parameters."""
    rows = [
        ("role", "module path inside a block", "modules", "blocks", "in x out")
        + (f"parameters at r={rank}",)
    ]
    groups: dict[tuple[tuple[str, ...], str], list[Projection]] = defaultdict(list)
    for projection in mapped.projections:
        groups[projection.roles, projection.pattern].append(projection)
    order = (*ROLES, *EMBEDDINGS)
    for (roles, pattern), members in sorted(groups.items(), key=lambda i: order.index(i[0][0][0])):
        shapes = Counter(
            f"{p.in_features} x {p.out_features}" + (f" x {p.experts} experts" if p.experts else "")
            for p in members
        )
        is_inside = roles[0] in ROLES
        blocks = f"{len(mapped.find_blocks(members))} of {mapped.block_count}" if is_inside else "-"
        total = sum(p.count_parameters(rank) for p in members)
        cells = ",".join(roles), pattern, str(len(members)), blocks, ", ".join(shapes)
        rows.append((*cells, f"{total:,}"))
    return pad_columns(rows)


def format_sets(
    structure: Structure, mapped: ModuleMap, wanted: Sequence[TargetSet], rank: int
) -> list[str]:
    """A line a target set that the model can have: modules, blocks, parameters, PEFT's names."""
    rows = [
        ("target set", "modules", "blocks", f"parameters at r={rank}")
        + ("PEFT target_modules (target_parameters after /)",)
    ]
    for target in wanted:
        try:
            chosen = mapped.select(target.roles, target.layers)
        except UserError:
            continue
        modules, parameters = list_targets(chosen)
        names = shorten_paths(structure.model, modules)
        stacked = shorten_paths(structure.model, parameters)
        total = sum(p.count_parameters(rank) for p in chosen)
        blocks = f"{len(mapped.find_blocks(chosen))} of {mapped.block_count}"
        shown = [_list_first(names), *([_list_first(stacked)] if stacked else [])]
        rows.append((target.label, str(len(chosen)), blocks, f"{total:,}", " / ".join(shown)))
    return pad_columns(rows)


def _list_first(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (", ".join(names[:NAMES_SHOWN]) or "none") + more


def format_uncovered(mapped: ModuleMap) -> list[str]:
    """What of the model no role covers, and why."""
    if not mapped.uncovered:
        return ["every linear module of the blocks has a role"]
    rows = [(each.pattern, str(each.count), each.reason) for each in mapped.uncovered]
    return ["no role covers:", *pad_columns([("module path", "modules", "why"), *rows])]


@end_quietly
def main(arguments: Sequence[str]) -> int:
    """Entry of `python -m harness.modules`; returns the exit status."""
    torch.set_num_threads(1)
    try:
        config = compose(arguments)
        structure = load_structure(config.model)
        mapped = map_modules(structure.model, structure.config, config.model.roles)
        is_asked = any(each.startswith(("target_modules=", "layers=")) for each in arguments)
        if is_asked:
            mapped.select(config.roles, config.target.layers)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rank = config.adapter.rank or AdapterConfig().rank or 0
    singles = [TargetSet((role,)) for role in mapped.roles]
    usual = [parse_target_set(name) for name in USUAL_SETS]
    asked = [config.target] if is_asked else []
    has = ", ".join(label_roles([role]) for role in mapped.roles)
    lines = [
        f"{mapped.architecture}: {pluralize(mapped.block_count, 'block')} with {has}",
        *format_roles(mapped, rank),
        "",
        *format_sets(structure, mapped, list(dict.fromkeys([*asked, *usual, *singles])), rank),
        "",
        *format_uncovered(mapped),
    ]
    print("\n".join(lines))
    return 0
