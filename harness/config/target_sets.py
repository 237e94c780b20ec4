"""Roles of a transformer block's projections, and the names that users give to sets of them.

A target set is stored as roles and labelled from them, so two spellings of one set are one set and
a label means the same in every architecture.
"""

from collections.abc import Iterable

from harness.errors import UserError

ROLES = ("q", "k", "v", "o", "fc1", "fc2")
"""Canonical order: query, key, value, output, up (with gate), down."""

WHOLE_MODEL = "model"
"""The target set of methods that act on the model as a whole rather than on projections."""

ALIASES: dict[str, tuple[str, ...]] = {
    "q": ("q",),
    "q_proj": ("q",),
    "k": ("k",),
    "k_proj": ("k",),
    "v": ("v",),
    "v_proj": ("v",),
    "o": ("o",),
    "o_proj": ("o",),
    "fc1": ("fc1",),
    "fc2": ("fc2",),
    "qkv": ("q", "k", "v"),
    "all": ROLES,
    WHOLE_MODEL: (WHOLE_MODEL,),
}


def order_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """Return distinct roles in canonical order, or `model` alone for the model as a whole.

    An unknown or missing role raises UserError.
    """
    wanted = set(roles)
    if wanted == {WHOLE_MODEL}:
        return (WHOLE_MODEL,)
    if WHOLE_MODEL in wanted:
        raise UserError(
            f"target_modules: {WHOLE_MODEL!r} means the whole model and cannot be combined with "
            f"roles; found {', '.join(sorted(wanted))}"
        )
    unknown = sorted(wanted - set(ROLES))
    if unknown:
        raise UserError(
            f"target_modules: unknown role {unknown[0]!r}; roles are {', '.join(ROLES)}"
        )
    if not wanted:
        raise UserError(
            "target_modules: the set is empty; name at least one role, for example "
            "target_modules=o_proj or target_modules=q+fc2"
        )
    return tuple(role for role in ROLES if role in wanted)


def label_roles(roles: Iterable[str]) -> str:
    """Label a set from its roles: `qkv+o_proj`, `q+v`, `all`."""
    ordered = order_roles(roles)
    if ordered == ROLES:
        return "all"
    parts = list(ordered)
    if parts[:3] == ["q", "k", "v"]:
        parts[:3] = ["qkv"]
    return "+".join("o_proj" if part == "o" else part for part in parts)


def parse_target_set(name: str) -> tuple[str, ...]:
    """Read a name such as `o_proj+fc2` or `v+q`; an unknown part raises UserError."""
    roles: list[str] = []
    for part in name.split("+"):
        if part.strip() not in ALIASES:
            raise UserError(
                f"target_modules: {part!r} in {name!r} is not a role; join any of "
                f"{', '.join(ALIASES)} with '+'"
            )
        roles += ALIASES[part.strip()]
    return order_roles(roles)
