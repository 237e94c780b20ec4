"""The times in a run's record: medians and paired ratios of its arms, and whether to trust them."""

import hashlib
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pandas as pd

from harness.analysis.latency.ratios import paired_ratio
from harness.analysis.latency.timing_verdicts import Rule, check_gate, find_rule
from harness.analysis.runs import Run, Runs, read_run_table
from harness.records.record import BASE

TIMES = ("ttft", "tpot", "end_to_end")
"""Time to first token, time per output token, and end to end."""

ARMS = {"unmerged": "", "merged": "merged_"}
"""Arm of a timed call -> prefix of its columns."""

SECONDS_COLUMNS = tuple(f"{prefix}{time}_seconds" for prefix in ARMS.values() for time in TIMES)
RATIO_COLUMNS = tuple(
    f"{prefix}{time}_ratio{bound}"
    for prefix in ARMS.values()
    for time in TIMES
    for bound in ("", "_low", "_high")
)

BASE_CALLS = "base_calls"
"""Column that tells sessions apart while the table is made."""

CALL_COLUMNS = ("round", "position", "arm", *(f"{time}_seconds" for time in TIMES))


def list_times(found: Runs, problems: list[str]) -> Iterator[dict[str, Any]]:
    """Describe the times of each run, in order; of a session's copies of one file only once."""
    known: dict[tuple[bytes, bool, Rule | None], dict[str, Any]] = {}
    for run in found.runs:
        key = (_digest_calls(run), run.target_set == BASE, find_rule(run.record.latency))
        times = known.get(key)
        if times is None:
            calls = read_calls(run, problems)
            times = _describe_times(run, calls)
            if len(calls):  # where there are none, each run has a problem of its own
                known[key] = times
        yield times


def _digest_calls(run: Run) -> bytes:
    """Digest of a run's timed calls; empty where it has none."""
    if run.record.latency is not None:
        with suppress(OSError):
            return hashlib.sha256((run.folder / "latency.parquet").read_bytes()).digest()
    return b""


def _describe_times(run: Run, calls: pd.DataFrame) -> dict[str, Any]:
    """Medians and paired ratios of a run's own arms; the base's ratios are left unknown."""
    row: dict[str, Any] = {}
    coverages: list[float] = []
    for arm, prefix in ARMS.items():
        own = BASE if run.target_set == BASE and arm == "unmerged" else arm
        times = calls[calls["arm"] == own]
        for time in TIMES:
            column = f"{time}_seconds"
            row[f"{prefix}{column}"] = pd.to_numeric(times[column], errors="coerce").median()
            if run.target_set != BASE:
                ratio = paired_ratio(calls, column, arm)
                name = f"{prefix}{time}_ratio"
                row |= {name: ratio.estimate, f"{name}_low": ratio.low, f"{name}_high": ratio.high}
                coverages.append(ratio.coverage)
    known = [coverage for coverage in coverages if not math.isnan(coverage)]
    row["latency_interval_coverage"] = min(known, default=math.nan)
    row[BASE_CALLS] = _digest_base(calls)
    return row | _check_timing(run, calls)


def _digest_base(calls: pd.DataFrame) -> str:
    """Digest of the base's times, by which a session is known; empty where there are none."""
    seconds = pd.to_numeric(calls.loc[calls["arm"] == BASE, "end_to_end_seconds"], errors="coerce")
    values = seconds.to_numpy(dtype=float)
    return hashlib.sha256(values.tobytes()).hexdigest()[:8] if len(values) else ""


def _check_timing(run: Run, calls: pd.DataFrame) -> dict[str, Any]:
    """What the gate says; nothing for records from before it."""
    rule = find_rule(run.record.latency)
    if rule is None:
        return {}
    gate = check_gate(calls, rule)
    return {"latency_trusted": gate.is_trusted, "latency_distrust": "; ".join(gate.reasons) or None}


def tell_sessions_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Name each session by its base, and by the base's calls where that was timed again.

    A seed that is added later is timed with the same base in a session of its own.
    """
    if frame.empty:
        return frame
    sessions = frame[frame[BASE_CALLS] != ""].groupby(["study", "latency_session"])
    is_several = sessions[BASE_CALLS].transform("nunique") > 1
    several = is_several.index[is_several]
    names = frame["latency_session"].copy()
    names[several] += "@" + frame.loc[several, BASE_CALLS]
    return frame.assign(latency_session=names)


def read_calls(run: Run, problems: list[str]) -> pd.DataFrame:
    if run.record.latency is None:
        return pd.DataFrame(columns=list(CALL_COLUMNS))
    return read_run_table(run, "latency.parquet", CALL_COLUMNS, problems)
