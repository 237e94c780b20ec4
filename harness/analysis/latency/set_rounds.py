"""The rounds in which the base and every target set were timed, as ratios lined up by round.

Differences between sets are smaller than what a machine's state does to all of them at once, so the
sets are compared inside the rounds that have them all. For the cost model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.config.target_sets import (
    ATTENTION,
    EMBEDDINGS,
    EVERY_LAYER,
    EVERY_ROLE,
    FEED_FORWARD,
    ROLES,
    label_roles,
    parse_target_set,
)
from harness.errors import UserError

COLUMNS = (*ROLES, *EMBEDDINGS)
"""Roles of the columns of shares."""

Covered = Mapping[str, Mapping[str, float]]
"""Target set -> role -> share of the blocks that have the role in which the set adapts it."""

MINIMUM_ROUNDS = 6
"""With fewer no 95% interval of a median exists."""

MINIMUM_SHARE = 0.5
"""A set timed in a smaller share of the rounds is left out, not waited for."""


@dataclass(frozen=True)
class SetRounds:
    process: np.ndarray
    """Process of each round, int [n], in order of time."""
    base: np.ndarray
    """Seconds of the base, [n]."""
    logs: np.ndarray
    """log(set / base), [n, sets]."""
    sets: tuple[str, ...]
    """Label of each set, small sets first."""
    shares: np.ndarray
    """Share of each role's blocks that a set adapts, [sets, COLUMNS]."""
    every: np.ndarray
    """The same of the set `all`, [COLUMNS]."""
    left_out: tuple[str, ...]
    """Labels of sets timed in too few rounds."""


def collect_rounds(
    calls: pd.DataFrame, arm: str, column: str, covered: Covered | None = None
) -> SetRounds:
    """Line up base and sets of one point by round, and keep the rounds that timed all of them.

    `arm` is the sets' (unmerged or merged), `column` a time such as `end_to_end_seconds`. A set
    timed in under half of the rounds is left out. `covered` says what is in a set that names
    layers, and in `all`, which without it is attention and feed-forward. Raises UserError where the
    rows are of several points, have no such arm or no usable time, or under 6 rounds are left.
    """
    every = find_shares(EVERY_ROLE, covered or {})
    table = _pair_sets(calls, arm, column, covered or {}, every)
    shares_of = {label: find_shares(label, covered or {}) for label in table.columns.drop("base")}
    labels = sorted(shares_of, key=lambda label: rank_shares(shares_of[label]))
    shares = table[labels].notna().mean()
    kept = [label for label in labels if shares[label] >= MINIMUM_SHARE]
    complete = table[["base", *kept]].dropna()
    if not kept or len(complete) < MINIMUM_ROUNDS:
        raise UserError(
            f"cost model: {len(complete) if kept else 0} rounds timed all of the base, "
            f"{', '.join(kept or labels)}; at least {MINIMUM_ROUNDS} are needed: time more rounds"
        )
    return SetRounds(
        process=complete.index.get_level_values("process").to_numpy(int),
        base=complete["base"].to_numpy(float),
        logs=np.log(complete[kept].to_numpy(float)),
        sets=tuple(kept),
        shares=np.array([shares_of[label] for label in kept]),
        every=every,
        left_out=tuple(label for label in labels if label not in kept),
    )


def _pair_sets(
    calls: pd.DataFrame, arm: str, column: str, covered: Covered, every: np.ndarray
) -> pd.DataFrame:
    """(process, round), in order of time -> `base` in seconds, and each set's ratio to it.

    Several calls in a round count as their median; a time that is not positive was not taken.
    """
    _check_calls(calls, arm, column)
    rows = calls[calls["arm"].isin(["base", arm])]
    names = rows.loc[rows["arm"] == arm, "variant"].unique()
    labels = {name: _name_once(name, covered, every) for name in names}
    seconds = pd.to_numeric(rows[column], errors="coerce")
    times = pd.DataFrame(
        {
            "process": rows["process"].fillna(0) if "process" in rows else 0,
            "round": rows["round"],
            "label": rows["variant"].map(labels).where(rows["arm"] == arm, "base"),
            "seconds": seconds.where((seconds > 0) & (seconds < math.inf)),
        }
    )
    table = times.pivot_table(
        index=["process", "round"], columns="label", values="seconds", aggfunc="median"
    )
    if "base" not in table:
        raise UserError(
            f"cost model: no call of the base has a usable {column}; calls of one output token "
            "have no time per output token: use end_to_end, or time 2 or more output tokens"
        )
    table = table.reindex(columns=["base", *dict.fromkeys(labels.values())])
    table = table.dropna(subset=["base"])
    return table.div(table["base"], axis=0).assign(base=table["base"])


def _check_calls(calls: pd.DataFrame, arm: str, column: str) -> None:
    arms = sorted(set(calls["arm"]))
    if arm not in arms or "base" not in arms:
        raise UserError(
            f"cost model: needs calls of the arms 'base' and {arm!r}, found "
            f"{', '.join(arms) or 'none'}: time the missing arm"
        )
    if column not in calls:
        raise UserError(f"cost model: no column {column}; time is one of ttft, tpot and end_to_end")
    points = calls["point"].unique() if "point" in calls else [0]
    if len(points) > 1:
        raise UserError(
            f"cost model: the calls belong to {len(points)} points; pass the rows of one, such as "
            f"calls[calls['point'] == {min(points)}]"
        )


def find_shares(name: str, covered: Covered) -> np.ndarray:
    """Share of each role's blocks that a set adapts, [COLUMNS].

    Raises UserError for layers of which `covered` does not say what they hold.
    """
    target = parse_target_set(name)
    if target.label in covered:
        return np.array([float(covered[target.label].get(role, 0.0)) for role in COLUMNS])
    if target.layers != EVERY_LAYER:
        raise UserError(
            f"cost model: {name} names layers, but the study does not say of how many blocks; time "
            "it anew"
        )
    roles = {*target.roles}
    if EVERY_ROLE in roles:
        roles |= {*ATTENTION, *FEED_FORWARD}
    return np.array([float(role in roles) for role in COLUMNS])


def name_shares(shares: np.ndarray, every: np.ndarray) -> str:
    """Label of the set that adapts roles wherever they are; `all` if it is every one."""
    roles = [role for role, share in zip(COLUMNS, shares, strict=True) if share]
    return EVERY_ROLE if np.array_equal(shares, every) else label_roles(roles)


def _name_once(name: str, covered: Covered, every: np.ndarray) -> str:
    """One label for one set: what lists every role of the model is `all`."""
    label = parse_target_set(name).label
    return EVERY_ROLE if np.array_equal(find_shares(name, covered), every) else label


def rank_shares(shares: np.ndarray) -> tuple[int, tuple[int, ...], float]:
    """Order of sets: small ones first, then by role, then by blocks."""
    present = np.flatnonzero(shares)
    return len(present), tuple(present.tolist()), -float(shares.sum())
