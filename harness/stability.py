"""How the choice depends on what the user weighs, and on the tasks: what would flip it."""

import pandas as pd

from harness.comparison import Comparison, restrict_tasks
from harness.evidence import gather_evidence
from harness.profiles import PROFILES, Profile
from harness.rule import Ruling, apply_rule


def choose_by_profile(comparison: Comparison) -> pd.DataFrame:
    """Return what the rule says under each profile: profile, meaning, delta, verdict, choice."""
    rows = [
        {"profile": each.name, "meaning": each.meaning, "delta": each.delta}
        | _sum_up(apply_rule(comparison, each.delta, each))
        for each in PROFILES
    ]
    return pd.DataFrame(rows)


def leave_tasks_out(comparison: Comparison, delta: float, profile: Profile) -> pd.DataFrame:
    """Return what the rule says without each task in turn: without_task, verdict, choice.

    No rows where there is one task only.
    """
    rows = []
    for task in comparison.tasks if len(comparison.tasks) > 1 else ():
        rest = restrict_tasks(comparison, set(comparison.tasks) - {task})
        rows.append({"without_task": task} | _sum_up(apply_rule(rest, delta, profile)))
    return pd.DataFrame(rows, columns=["without_task", "verdict", "choice"])


def trace_delta(comparison: Comparison, profile: Profile) -> pd.DataFrame:
    """Return what the rule says from each delta on: delta_from, verdict, choice.

    One row a change of the verdict or the choice; the first is from 0.
    """
    inputs = gather_evidence(comparison)
    steps = sorted({each.needed_delta for each in inputs if each.is_complete and each.is_bounded})
    rows: list[dict[str, object]] = []
    for delta in (0.0, *steps):
        said = _sum_up(apply_rule(comparison, delta, profile))
        if not rows or {key: rows[-1][key] for key in said} != said:
            rows.append({"delta_from": delta} | said)
    return pd.DataFrame(rows, columns=["delta_from", "verdict", "choice"])


def _sum_up(ruling: Ruling) -> dict[str, object]:
    choice = ruling.choice.variant if ruling.choice else None
    return {"verdict": ruling.verdict, "choice": choice}
