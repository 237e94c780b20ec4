"""Roles of a model's projections, and the names that users give to sets of them.

A target set is stored as roles and layers and labelled from them, so two spellings of one set are
one set and a label means the same in every architecture.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import UserError

ATTENTION = ("q", "k", "v", "o")
FEED_FORWARD = ("fc1", "fc2")
ROLES = (*ATTENTION, "mix_in", "mix_out", *FEED_FORWARD)
"""Roles inside a block in canonical order: query, key, value and output of attention, input and
output of a recurrent or linear-attention mixer, up (with gate) and down of the feed-forward."""

EMBEDDINGS = ("embed", "unembed")
"""Roles outside the blocks: the input embeddings, and the head that gives the logits."""

EVERY_ROLE = "all"
"""Every role that the blocks of a model have, whichever these are."""

WHOLE_MODEL = "model"
"""The target set of methods that act on the model as a whole rather than on projections."""

EVERY_LAYER = "all"

_ORDER = (EVERY_ROLE, *ROLES, *EMBEDDINGS)

ALIASES: dict[str, tuple[str, ...]] = {
    "qkv": ("q", "k", "v"),
    "o_proj": ("o",),
    "fc1": ("fc1",),
    "fc2": ("fc2",),
    EVERY_ROLE: (EVERY_ROLE,),
    **{role: (role,) for role in ("q", "k", "v", "o", "mix_in", "mix_out", *EMBEDDINGS)},
    "q_proj": ("q",),
    "k_proj": ("k",),
    "v_proj": ("v",),
    "kv": ("k", "v"),
    "qkv_proj": ("q", "k", "v"),
    "out_proj": ("o",),
    "attn": ATTENTION,
    "attention": ATTENTION,
    "mixer": ("mix_in", "mix_out"),
    "gate_proj": ("fc1",),
    "up_proj": ("fc1",),
    "gate_up_proj": ("fc1",),
    "down_proj": ("fc2",),
    "mlp": FEED_FORWARD,
    "ffn": FEED_FORWARD,
    "all-linear": (EVERY_ROLE,),
    "embed_tokens": ("embed",),
    "lm_head": ("unembed",),
    WHOLE_MODEL: (WHOLE_MODEL,),
}
"""Names of roles as people type them, in lower case. `gate_proj` alone stands for the gate and the
up projection, because these are one role."""


@dataclass(frozen=True)
class TargetSet:
    roles: tuple[str, ...]
    """In canonical order; `all` for every role that the model's blocks have."""
    layers: str = EVERY_LAYER
    """The blocks that it is limited to, see `parse_layers`."""

    @property
    def label(self) -> str:
        """Its one name: `qkv+o_proj`, `q+v`, `all`, `o_proj@0-7`."""
        return label_roles(self.roles, self.layers)


def order_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """Return distinct roles in canonical order, or `model` alone for the model as a whole.

    `all` takes in every other role of the blocks. An unknown or missing role raises UserError.
    """
    wanted = set(roles)
    if wanted == {WHOLE_MODEL}:
        return (WHOLE_MODEL,)
    if WHOLE_MODEL in wanted:
        raise UserError(
            f"target_modules: {WHOLE_MODEL!r} means the whole model and cannot be combined with "
            f"roles; found {', '.join(sorted(wanted))}"
        )
    unknown = sorted(wanted - set(_ORDER))
    if unknown:
        raise UserError(
            f"target_modules: unknown role {unknown[0]!r}; roles are {', '.join(_ORDER)}"
        )
    if not wanted:
        raise UserError(
            "target_modules: the set is empty; name at least one role, for example "
            "target_modules=o_proj or target_modules=q+fc2"
        )
    if EVERY_ROLE in wanted or wanted.issuperset(ROLES):
        wanted = wanted - set(ROLES) | {EVERY_ROLE}
    return tuple(role for role in _ORDER if role in wanted)


def label_roles(roles: Iterable[str], layers: str = EVERY_LAYER) -> str:
    """Label a set from its roles and layers: `qkv+o_proj`, `q+v`, `all`, `o_proj@0-7`."""
    parts = list(order_roles(roles))
    if parts[:3] == ["q", "k", "v"]:
        parts[:3] = ["qkv"]
    label = "+".join("o_proj" if part == "o" else part for part in parts)
    return label if layers == EVERY_LAYER else f"{label}@{layers}"


def parse_target_set(name: str) -> TargetSet:
    """Read a name such as `o_proj+fc2`, `v+q` or `o_proj@0-7`; an unknown part raises UserError."""
    spelled, separator, layers = name.partition("@")
    roles: list[str] = []
    for part in spelled.split("+"):
        known = ALIASES.get(part.strip().lower())
        if known is None:
            raise UserError(_explain_unknown(part, name))
        roles += known
    return TargetSet(order_roles(roles), parse_layers(layers) if separator else EVERY_LAYER)


def _explain_unknown(part: str, name: str) -> str:
    close = difflib.get_close_matches(part.strip().lower(), ALIASES, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return (
        f"target_modules: {part!r} in {name!r} is not a role; {meant}Join any of "
        f"{', '.join(ALIASES)} with '+'"
    )


MOST_BLOCKS = 10_000
"""Far more than any model has."""

_LAYERS = re.compile(r"(?:(first|last|every):?)?(\d+)(?:-(\d+))?")


def parse_layers(spelled: object) -> str:
    """Read a choice of blocks and return its one spelling; a bad one raises UserError.

    `all`, `first:8`, `last:8`, `every:2` (block 0, 2, 4 ...), `3`, `0-7`, and several of these
    numbers joined by a dot, `0-3.12`. `first:8` is `0-7`.
    """
    text = str(spelled).strip().lower()
    if text == EVERY_LAYER:
        return EVERY_LAYER
    parts = [_LAYERS.fullmatch(part.strip()) for part in re.split(r"[.,]", text.strip("[]"))]
    if not all(parts) or any(part and part[1] and (part[3] or len(parts) > 1) for part in parts):
        raise UserError(
            f"layers is {spelled!r}; expected all, first:8, last:8, every:2, 0-7, or numbers from "
            "0 and ranges joined by a dot, such as 0-3.12"
        )
    word, count = (parts[0][1], int(parts[0][2])) if parts[0] else (None, 0)
    if word and count < 1:
        raise UserError(f"layers is {spelled!r}; expected at least 1 after {word}")
    named = [int(number) for part in parts if part for number in part.group(2, 3) if number]
    if max(named) > MOST_BLOCKS:
        raise UserError(
            f"layers is {spelled!r}; expected numbers of blocks, at most {MOST_BLOCKS:,}: no model "
            "has as many"
        )
    if word in ("last", "every"):
        return EVERY_LAYER if (word, count) == ("every", 1) else f"{word}{count}"
    blocks = set(range(count)) if word else _list_numbers(spelled, parts)
    return _spell_ranges(sorted(blocks))


def _list_numbers(spelled: object, parts: Iterable[re.Match[str] | None]) -> set[int]:
    blocks: set[int] = set()
    for part in parts:
        assert part is not None
        first, last = int(part[2]), int(part[3] or part[2])
        if last < first:
            raise UserError(f"layers is {spelled!r}: {first}-{last} is empty; write {last}-{first}")
        blocks |= set(range(first, last + 1))
    return blocks


def _spell_ranges(blocks: list[int]) -> str:
    starts = [block for block in blocks if block - 1 not in blocks]
    ends = [block for block in blocks if block + 1 not in blocks]
    pairs = zip(starts, ends, strict=True)
    return ".".join(f"{a}" if a == b else f"{a}-{b}" for a, b in pairs)


def resolve_layers(layers: str, block_count: int) -> frozenset[int]:
    """Return the blocks of a model that `parse_layers`' spelling names.

    Raises UserError where it names a block that the model has not.
    """
    if layers == EVERY_LAYER:
        return frozenset(range(block_count))
    if layers.startswith("every"):
        return frozenset(range(0, block_count, int(layers.removeprefix("every"))))
    if layers.startswith("last"):
        count = int(layers.removeprefix("last"))
        blocks = set(range(block_count - count, block_count))
    else:
        parts = [_LAYERS.fullmatch(part) for part in layers.split(".")]
        blocks = _list_numbers(layers, parts)
    if not blocks <= set(range(block_count)):
        raise UserError(
            f"layers is {layers}, but the model has {block_count} blocks, 0 to {block_count - 1}; "
            "name blocks among them"
        )
    return frozenset(blocks)
