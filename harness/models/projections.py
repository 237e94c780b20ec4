"""Roles -> the modules that play them in a given model, by exact path."""

import fnmatch
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peft import LoraConfig
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from torch import nn

from harness.config.target_sets import (
    EMBEDDINGS,
    EVERY_LAYER,
    EVERY_ROLE,
    ROLES,
    WHOLE_MODEL,
    label_roles,
    order_roles,
    resolve_layers,
)
from harness.errors import UserError
from harness.formatting import pluralize
from harness.models import architectures
from harness.models.architectures import Part
from harness.models.blocks import Weight, find_blocks, generalize, list_weights

OUTSIDE = -1
"""Block number of a projection that is in none."""


@dataclass(frozen=True)
class Projection:
    path: str
    """Full path in the model: a module, or a 3-D parameter of one."""
    pattern: str
    """Path relative to its block, with `*` for indices."""
    block: int
    """Number of its transformer block; OUTSIDE for embeddings and head."""
    roles: tuple[str, ...]
    """One role, or several where the projection is fused."""
    in_features: int
    out_features: int
    experts: int
    """Number of experts stacked in a 3-D parameter; 0 for a module."""
    parameter: str | None = None
    """Path of the parameter that PEFT has to be told of; None where it takes the module by its
    path."""

    def count_parameters(self, rank: int) -> int:
        """Trainable parameters of a LoRA pair: rank x (in + out), for each expert."""
        return max(self.experts, 1) * rank * (self.in_features + self.out_features)

    @property
    def is_packable(self) -> bool:
        """Whether rows of several variants can go through it together."""
        # Experts and head see rows that no longer stand in their batch's order.
        return self.block != OUTSIDE and not self.parameter and ".experts." not in self.path


@dataclass(frozen=True)
class Uncovered:
    """Linear modules that no role covers."""

    pattern: str
    """Full path, `*` for indices."""
    count: int
    reason: str


@dataclass(frozen=True)
class ModuleMap:
    architecture: str
    """transformers' model type."""
    block_count: int
    """Number of transformer blocks."""
    projections: tuple[Projection, ...]
    """Every projection that plays a role, in the model's own order."""
    uncovered: tuple[Uncovered, ...] = ()

    @property
    def inside(self) -> tuple[Projection, ...]:
        """Those of the blocks, without embeddings and head."""
        return tuple(p for p in self.projections if p.block != OUTSIDE)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that the blocks have."""
        found = {role for p in self.projections for role in p.roles}
        return tuple(role for role in ROLES if role in found)

    def select(self, roles: Iterable[str], layers: str = EVERY_LAYER) -> tuple[Projection, ...]:
        """Return the projections of a target set; none for the model as a whole.

        A role is taken in the blocks that have it. Raises UserError where a role is in no block, in
        none of `layers`, or shares a fused projection with a role that was not asked for.
        """
        named = order_roles(roles)
        if named == (WHOLE_MODEL,):
            if layers != EVERY_LAYER:
                raise UserError(
                    f"layers is {layers}, but target_modules=model has no blocks to choose from; "
                    "leave layers out"
                )
            return ()
        wanted = {*named, *(self.roles if EVERY_ROLE in named else ())}
        blocks = resolve_layers(layers, self.block_count) | {OUTSIDE}
        in_model = [p for p in self.projections if wanted & set(p.roles)]
        for projection in in_model:
            if not wanted >= set(projection.roles):
                raise UserError(self._explain_fused(projection, wanted))
        for role in named:
            covered = {p.block for p in in_model if role in (*p.roles, EVERY_ROLE)}
            if not covered:
                raise UserError(self._explain_missing(role))
            if not covered & blocks:
                numbers = _list_numbers(covered)
                raise UserError(
                    f"layers is {layers}, and no block among these has {label_roles([role])}; "
                    f"{self.architecture} has it in {'blocks' if len(covered) > 1 else 'block'} "
                    f"{numbers}: choose layers with one of them, or run this set without layers in "
                    "a command of its own, in the same study"
                )
        if layers != EVERY_LAYER and all(p.block == OUTSIDE for p in in_model):
            raise UserError(
                f"layers is {layers}, but {label_roles(named)} is in no block; leave layers out"
            )
        return tuple(p for p in in_model if p.block in blocks)

    def find_blocks(self, projections: Iterable[Projection]) -> frozenset[int]:
        """Numbers of the blocks that hold any of these projections."""
        return frozenset(p.block for p in projections) - {OUTSIDE}

    def describe_coverage(self, projections: Sequence[Projection]) -> str:
        """How many blocks these projections are in: `12 of 48 blocks`."""
        return f"{len(self.find_blocks(projections))} of {pluralize(self.block_count, 'block')}"

    def find_shares(self, projections: Sequence[Projection]) -> dict[str, float]:
        """Role -> share of the blocks that have it in which it is among these projections."""
        shares = {}
        for role in dict.fromkeys(role for p in projections for role in p.roles):
            chosen = {p.block for p in projections if role in p.roles}
            every = {p.block for p in self.projections if role in p.roles}
            shares[role] = len(chosen) / len(every)
        return shares

    def list_partial_roles(self) -> tuple[str, ...]:
        """The roles that only some blocks have, with how many: `q, k in 12 of 48 blocks`."""
        alike: dict[str, list[str]] = {}
        for role in self.roles:
            found = [p for p in self.projections if role in p.roles]
            if len(self.find_blocks(found)) < self.block_count:
                alike.setdefault(self.describe_coverage(found), []).append(label_roles([role]))
        return tuple(f"{', '.join(names)} in {blocks}" for blocks, names in alike.items())

    def _explain_fused(self, projection: Projection, wanted: Collection[str]) -> str:
        asked = [role for role in projection.roles if role in wanted]
        return (
            f"target_modules: {self.architecture} cannot adapt {', '.join(asked)} separately: "
            f"{', '.join(projection.roles)} share one projection, {projection.pattern}; choose all "
            "of them or none"
        )

    def _explain_missing(self, role: str) -> str:
        free = [each.pattern.split(".*.", 1)[1] for each in self.uncovered if ".*." in each.pattern]
        bypassed = [each for each in self.uncovered if each.reason == BYPASSED]
        why = f" ({bypassed[0].pattern}: {BYPASSED})" if role == "mix_out" and bypassed else ""
        has = ", ".join(label_roles([each]) for each in self.roles)
        return (
            f"target_modules: {self.architecture} has no {role} in any block{why}; it has {has}: "
            "choose among these"
            + (f", or name a path, for example model.roles.{role}='{free[0]}'" if free else "")
        )


BYPASSED = "its kernel reads the weight past an adapter"


def _list_numbers(numbers: Iterable[int]) -> str:
    listed = [str(number) for number in sorted(numbers)]
    return ", ".join(listed[:12]) + (" ..." if len(listed) > 12 else "")


@dataclass(frozen=True)
class _Found:
    """A weight of a block, with what is to be known of its role."""

    block: int
    path: str
    pattern: str
    weight: Weight


def map_modules(model: nn.Module, config: Any, roles: Mapping[str, Any] | None = None) -> ModuleMap:
    """Find the projections of every block, of embeddings and head, and the roles they play.

    `model` may be on the meta device. `roles` names paths inside a block by hand (a string with
    commas, or a list; `*` and `?` as in file names) and wins over what the harness knows. Raises
    UserError where the blocks are not found, and where a block's attention or feed-forward has a
    projection without a role, listing the linear modules.
    """
    architecture = str(getattr(config, "model_type", type(model).__name__))
    blocks = find_blocks(model, config)
    found = [
        _Found(block.number, f"{block.path}.{weight.path}", generalize(weight.path), weight)
        for block in blocks
        for weight in list_weights(block.module)
    ]
    resolved = _resolve_roles([(each.pattern, infer_roles(each.weight)) for each in found], roles)
    inside = tuple(
        Projection(
            each.path,
            each.pattern,
            each.block,
            played,
            each.weight.in_features,
            each.weight.out_features,
            each.weight.experts,
            _find_parameter(each, model),
        )
        for each, played in zip(found, resolved, strict=True)
        if played
    )
    _check_complete(architecture, inside, found)
    projections = inside + _find_embeddings(model)
    taken = {p.path for p in projections}
    block_count = len({block.number for block in blocks})
    return ModuleMap(architecture, block_count, projections, _list_uncovered(model, taken))


def infer_roles(weight: Weight) -> tuple[str, ...]:
    """The roles that a weight of a block plays; none where it is no target of adapters."""
    *parents, leaf = generalize(weight.path).split(".")
    if leaf == "linear" and parents:  # Moshi's projections are modules around one.
        leaf = parents.pop()
    if weight.is_bypassed or leaf in architectures.ROUTERS:
        return ()
    if weight.path in architectures.PATHS:
        return architectures.PATHS[weight.path]
    chain = zip(["", *parents], weight.parents, strict=False)
    parts = [_find_part(name, type(module).__name__) for name, module in chain]
    inmost = next((part for part in reversed(parts) if part is not None), Part.OTHER)
    return () if Part.OTHER in parts else architectures.LEAVES[inmost].get(leaf, ())


def _find_parameter(found: _Found, model: nn.Module) -> str | None:
    """The parameter by which PEFT adapts a weight that it does not take as a module.

    Experts are stacked in one. PEFT also takes names such as `down_proj` for those of experts where
    an architecture once had these as modules, whatever path the name stands in.
    """
    if found.weight.experts:
        return found.path
    return f"{found.path}.weight" if _is_renamed(found.path.rpartition(".")[2], model) else None


def _is_renamed(leaf: str, model: nn.Module) -> bool:
    config = LoraConfig(target_modules=[leaf])
    try:
        convert_peft_config_for_transformers(config, model, None)
    except ValueError:  # a part of what was fused
        return True
    return leaf not in (config.target_modules or ())


def list_targets(projections: Iterable[Projection]) -> tuple[list[str], list[str]]:
    """Paths of the modules and of the parameters, as PEFT is told of them."""
    modules = [p.path for p in projections if p.parameter is None]
    return modules, [p.parameter for p in projections if p.parameter is not None]


def _find_part(name: str, kind: str) -> Part | None:
    """What a module is for, by its class, else by its name; a block as a whole tells nothing."""
    if not name and kind.endswith(("Layer", "Block")):
        return None
    by_class = [part for part, words in architectures.CLASSES if words.search(kind)]
    by_name = [part for part, words in architectures.NAMES if words.fullmatch(name)]
    if Part.OTHER in by_name:
        return Part.OTHER
    return next(iter([*by_class, *by_name]), None)


def _resolve_roles(
    found: Sequence[tuple[str, tuple[str, ...]]], by_hand: Mapping[str, Any] | None
) -> list[tuple[str, ...]]:
    """Roles of each (pattern, roles as inferred).

    A role named by hand loses the paths that it had, and its paths lose the roles they had.
    """
    named = {role: _as_list(value) for role, value in (by_hand or {}).items() if value}
    patterns = list(dict.fromkeys(pattern for pattern, _ in found))
    taken: dict[str, list[str]] = defaultdict(list)
    for role, wanted in named.items():
        for pattern in _match(role, wanted, patterns):
            taken[pattern].append(role)
    return [
        order_roles(taken[pattern])
        if pattern in taken
        else tuple(role for role in roles if role not in named)
        for pattern, roles in found
    ]


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


def _check_complete(
    architecture: str, projections: Sequence[Projection], found: Sequence[_Found]
) -> None:
    """Refuse a model of which a part was understood and the rest of that part was not."""
    has = {role for p in projections for role in p.roles}
    for group, part in architectures.COMPLETE:
        missing = [role for role in group if role not in has]
        if has and (not missing or len(missing) == len(group)):
            continue
        known = {p.path for p in projections}
        others = list(dict.fromkeys(each.pattern for each in found if each.path not in known))
        others = others or list(dict.fromkeys(each.pattern for each in found))
        raise UserError(
            f"model: architecture {architecture!r} is unknown and its structure is ambiguous (no "
            f"{', '.join(missing)} in {part}); the linear modules of its blocks without a role are "
            f"{', '.join(others)}; set the path of every role, for example "
            f"model.roles.{missing[0]}='{others[0]}'"
        )


def _find_embeddings(model: nn.Module) -> tuple[Projection, ...]:
    """The input embeddings and the head, where PEFT can adapt them."""
    paths = {id(module): path for path, module in model.named_modules()}
    found = []
    for role, getter in zip(
        EMBEDDINGS, ("get_input_embeddings", "get_output_embeddings"), strict=True
    ):
        try:
            module = getattr(model, getter)()
        except (AttributeError, NotImplementedError):
            continue
        path = paths.get(id(module))
        if path is None or not isinstance(module, (nn.Embedding, nn.Linear)):
            continue
        rows, columns = module.weight.shape
        sizes = (rows, columns) if isinstance(module, nn.Embedding) else (columns, rows)
        found.append(Projection(path, path, OUTSIDE, (role,), *sizes, 0))
    return tuple(found)


def _list_uncovered(model: nn.Module, taken: Collection[str]) -> tuple[Uncovered, ...]:
    rest = [weight for weight in list_weights(model) if weight.path not in taken]
    counts = Counter(generalize(weight.path) for weight in rest)
    bypassed = {generalize(weight.path) for weight in rest if weight.is_bypassed}
    return tuple(
        Uncovered(pattern, count, BYPASSED if pattern in bypassed else "no role")
        for pattern, count in counts.items()
    )


def shorten_paths(model: nn.Module, paths: Collection[str]) -> tuple[str, ...]:
    """Return the shortest endings of `paths` that PEFT matches with these and no other path.

    A path is a module's or a parameter's. PEFT matches whole names from the end of a path. Where no
    ending without an index tells a path apart, it stands as a whole, with `*` for indices where
    these are all of that kind.
    """
    wanted = set(paths)
    others = {name for name, _ in [*model.named_modules(), *model.named_parameters()]} - wanted
    endings = {part for other in others for part in _list_endings(other)}
    rest = {generalize(other) for other in others}
    short: dict[str, None] = {}
    for path in paths:
        whole = generalize(path)
        free = (each for each in _list_endings(whole) if each not in endings and "*" not in each)
        if whole in rest:
            # Some blocks only: the names of the others end alike.
            short[path] = None
        else:
            short[next(free, whole)] = None
    return tuple(short)


def _list_endings(path: str) -> list[str]:
    """`a.b.c` -> `c`, `b.c`, `a.b.c`."""
    parts = path.split(".")
    return [".".join(parts[start:]) for start in reversed(range(len(parts)))]
