"""Roles -> the modules that play them in a given model, by exact path."""

import fnmatch
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.config.target_sets import ROLES, WHOLE_MODEL, order_roles
from harness.errors import UserError
from harness.models import architectures


@dataclass(frozen=True)
class Projection:
    path: str
    """Full path in the model: a module, or a 3-D parameter of one."""
    pattern: str
    """Path relative to its block, with `*` for indices."""
    block: int
    """Index of its transformer block."""
    roles: tuple[str, ...]
    """One role, or several where the projection is fused."""
    in_features: int
    out_features: int
    experts: int
    """Number of experts stacked in a 3-D parameter; 0 for a module."""

    def count_parameters(self, rank: int) -> int:
        """Trainable parameters of a LoRA pair: rank x (in + out), for each expert."""
        return max(self.experts, 1) * rank * (self.in_features + self.out_features)


@dataclass(frozen=True)
class ModuleMap:
    architecture: str
    """transformers' model type."""
    block_count: int
    """Number of transformer blocks."""
    projections: tuple[Projection, ...]
    """Every projection that plays a role, in the model's own order."""

    def select(self, roles: tuple[str, ...]) -> tuple[Projection, ...]:
        """Return the projections of a target set; none for the model as a whole.

        Raises UserError where a role matches nothing, is missing from a block, or shares a fused
        projection with a role that was not asked for.
        """
        wanted = order_roles(roles)
        if wanted == (WHOLE_MODEL,):
            return ()
        chosen = [p for p in self.projections if set(p.roles) & set(wanted)]
        for projection in chosen:
            if not set(projection.roles) <= set(wanted):
                raise UserError(self._explain_fused(projection, wanted))
        for role in wanted:
            covered = {p.block for p in chosen if role in p.roles}
            missing = sorted(set(range(self.block_count)) - covered)
            if missing:
                raise UserError(self._explain_missing(role, missing))
        return tuple(chosen)

    def _explain_fused(self, projection: Projection, wanted: tuple[str, ...]) -> str:
        asked = [role for role in projection.roles if role in wanted]
        return (
            f"target_modules: {self.architecture} cannot adapt {', '.join(asked)} separately: "
            f"{', '.join(projection.roles)} share one projection, {projection.pattern}; choose all "
            "of them or none"
        )

    def _explain_missing(self, role: str, missing: list[int]) -> str:
        where = "any block" if len(missing) == self.block_count else f"block {missing[0]}"
        return (
            f"target_modules: {self.architecture} has no {role} in {where}; set its path, for "
            f"example model.roles.{role}='path.inside.block'; python -m harness.modules with the "
            "same model lists the projections"
        )


def map_modules(model: nn.Module, config: Any, roles: Mapping[str, Any] | None = None) -> ModuleMap:
    """Find the projections of every block and the roles they play.

    `model` may be on the meta device. `roles` names paths inside a block by hand (a string with
    commas, or a list; `*` and `?` as in file names) and wins over what the harness knows. Raises
    UserError where the blocks or the roles are ambiguous, listing the model's linear modules.
    """
    architecture = str(getattr(config, "model_type", type(model).__name__))
    prefix, blocks = find_blocks(model, config)
    found = [
        (index, f"{prefix}.{index}.{path}", path, shape)
        for index, block in enumerate(blocks)
        for path, shape in list_projections(block)
    ]
    patterns = list(dict.fromkeys(generalize(path) for _, _, path, _ in found))
    known = resolve_roles(architecture, patterns, roles or {})
    projections = tuple(
        Projection(full, generalize(path), index, known[generalize(path)], *shape)
        for index, full, path, shape in found
        if generalize(path) in known
    )
    return ModuleMap(architecture, len(blocks), projections)


def find_blocks(model: nn.Module, config: Any) -> tuple[str, nn.ModuleList]:
    """Return the path and the list of the text model's transformer blocks."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    expected = getattr(text, "num_hidden_layers", None)
    outermost: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) == 0:
            continue
        if any(word in path for word in architectures.OTHER_TOWERS):
            continue
        if any(path.startswith(f"{outer}.") for outer in outermost):
            continue
        if all(any(True for _ in list_projections(block)) for block in module):
            outermost[path] = module
    exact = {path: blocks for path, blocks in outermost.items() if len(blocks) == expected}
    candidates = exact or outermost
    if len(candidates) != 1:
        raise UserError(
            f"model: the transformer blocks of {type(model).__name__} were not found: expected one "
            f"list of {expected} blocks, found {sorted(candidates) or 'none'}"
        )
    return next(iter(candidates.items()))


def list_projections(block: nn.Module) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Yield (path, (in, out, experts)) of a block's linear modules and stacked experts."""
    for path, module in block.named_modules():
        if isinstance(module, nn.Linear):
            yield path, (module.in_features, module.out_features, 0)
        elif isinstance(module, Conv1D):
            yield path, (module.nx, module.nf, 0)
        elif "expert" in path or "expert" in type(module).__name__.lower():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.dim() == 3:
                    experts, out_features, in_features = parameter.shape
                    yield f"{path}.{name}", (in_features, out_features, experts)


def generalize(path: str) -> str:
    """Replace every index in a path by `*`."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path)


def shorten_paths(model: nn.Module, paths: Collection[str]) -> tuple[str, ...]:
    """Return the shortest endings of `paths` that PEFT matches with these and no other path.

    A path is a module's or a parameter's. PEFT matches whole names from the end of a path. Where no
    ending without an index tells a path apart, it stands as a whole, with `*` for indices.
    """
    wanted = set(paths)
    others = {name for name, _ in [*model.named_modules(), *model.named_parameters()]} - wanted
    endings = {part for other in others for part in _list_endings(other)}
    short: dict[str, None] = {}
    for path in paths:
        free = (each for each in _list_endings(generalize(path)) if each not in endings)
        short[next((each for each in free if "*" not in each), generalize(path))] = None
    return tuple(short)


def _list_endings(path: str) -> list[str]:
    """`a.b.c` -> `c`, `b.c`, `a.b.c`."""
    parts = path.split(".")
    return [".".join(parts[start:]) for start in reversed(range(len(parts)))]


def resolve_roles(
    architecture: str, patterns: list[str], by_hand: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    """Give each pattern its roles: by hand, else from the table, else from unambiguous names."""
    named = {role: _as_list(value) for role, value in by_hand.items() if value}
    known = architectures.ARCHITECTURES.get(architecture)
    if known is not None:
        resolved = {pattern: known[pattern] for pattern in patterns if pattern in known}
    elif set(named) >= set(ROLES):
        resolved = {}
    else:
        resolved = _infer_roles(architecture, patterns, named)
    # A role named by hand loses the paths that it had, and its paths lose the roles they had.
    taken: dict[str, list[str]] = defaultdict(list)
    for role, wanted in named.items():
        for pattern in _match(role, wanted, patterns):
            taken[pattern].append(role)
    kept = {
        pattern: tuple(role for role in roles if role not in named)
        for pattern, roles in resolved.items()
        if pattern not in taken
    }
    merged = {pattern: roles for pattern, roles in kept.items() if roles}
    return merged | {pattern: order_roles(roles) for pattern, roles in taken.items()}


def _as_list(value: Any) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [str(part) for part in value]


def _match(role: str, wanted: list[str], patterns: list[str]) -> list[str]:
    matched = []
    for name in wanted:
        hits = [p for p in patterns if p == name or fnmatch.fnmatchcase(p, name)]
        if not hits:
            raise UserError(
                f"model.roles.{role} is {name!r}: no linear module of a block has that path; "
                f"expected one of {', '.join(patterns)}"
            )
        matched += hits
    return matched


def _infer_roles(
    architecture: str, patterns: list[str], named: Mapping[str, list[str]]
) -> dict[str, tuple[str, ...]]:
    """Infer the roles of an unlisted architecture, or refuse with what there is."""
    inferred = {pattern: _infer_role(pattern) for pattern in patterns}
    by_hand = {pattern for names in named.values() for pattern in names}
    unclear = [
        pattern
        for pattern, roles in inferred.items()
        if roles is None and pattern not in by_hand and not _is_router(pattern)
    ]
    resolved = {pattern: roles for pattern, roles in inferred.items() if roles is not None}
    missing = set(ROLES) - {role for roles in resolved.values() for role in roles} - set(named)
    if unclear or missing:
        why = f"unclear: {', '.join(unclear)}" if unclear else f"no {', '.join(sorted(missing))}"
        raise UserError(
            f"model: architecture {architecture!r} is unknown and its structure is ambiguous "
            f"({why}); its linear modules are {', '.join(patterns)}; set the path of every role, "
            "for example model.roles.o='self_attn.o_proj'"
        )
    return resolved


def _infer_role(pattern: str) -> tuple[str, ...] | None:
    *parents, leaf = pattern.split(".")
    in_attention = any(word in part for part in parents for word in architectures.ATTENTION_PARENTS)
    in_feed_forward = any(part in architectures.FEED_FORWARD_PARENTS for part in parents)
    if in_attention and not in_feed_forward:
        return architectures.ATTENTION_LEAVES.get(leaf)
    if in_feed_forward and not in_attention:
        return architectures.FEED_FORWARD_LEAVES.get(leaf)
    # Outside any named parent only names that cannot be attention's count (OPT's fc1, fc2).
    return architectures.FEED_FORWARD_LEAVES.get(leaf) if leaf in ("fc1", "fc2") else None


def _is_router(pattern: str) -> bool:
    return pattern.rsplit(".", 1)[-1] in ("gate", "router", "shared_expert_gate")
