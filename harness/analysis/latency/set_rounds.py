"""The rounds in which the base and every target set were timed, as ratios lined up by round.

Differences between sets are smaller than what a machine's state does to all of them at once, so the
sets are compared inside the rounds that have them all. For the cost model.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.config.target_sets import ROLES, label_roles, parse_target_set
from harness.errors import UserError

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
    sets: tuple[tuple[str, ...], ...]
    """Roles of each set, small sets first."""
    left_out: tuple[str, ...]
    """Labels of sets timed in too few rounds."""


def collect_rounds(calls: pd.DataFrame, arm: str, column: str) -> SetRounds:
    """Line up base and sets of one point by round, and keep the rounds that timed all of them.

    `arm` is the sets' (unmerged or merged), `column` a time such as `end_to_end_seconds`. A set
    timed in under half of the rounds is left out. Raises UserError where the rows are of several
    points, have no such arm or no usable time, or under 6 rounds are left.
    """
    table = _pair_sets(calls, arm, column)
    labels = sorted(
        table.columns.drop("base"), key=lambda label: rank_roles(parse_target_set(label))
    )
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
        sets=tuple(parse_target_set(label) for label in kept),
        left_out=tuple(label for label in labels if label not in kept),
    )


def _pair_sets(calls: pd.DataFrame, arm: str, column: str) -> pd.DataFrame:
    """(process, round), in order of time -> `base` in seconds, and each set's ratio to it.

    Several calls in a round count as their median; a time that is not positive was not taken.
    """
    _check_calls(calls, arm, column)
    rows = calls[calls["arm"].isin(["base", arm])]
    names = rows.loc[rows["arm"] == arm, "variant"].unique()
    labels = {name: label_roles(parse_target_set(name)) for name in names}
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


def rank_roles(roles: tuple[str, ...]) -> tuple[int, tuple[int, ...]]:
    """Order of sets: small ones first, then by role."""
    return len(roles), tuple(ROLES.index(role) for role in roles)
