"""A latency study's tables as plain text cells, which page and terminal lay out."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.analysis.latency.cost_model import CostModel
from harness.analysis.latency.latency_results import OPERATIONS
from harness.analysis.latency.latency_wording import (
    TIME_NAMES,
    format_half_width,
    format_interval,
    format_milliseconds,
    name_arm,
)
from harness.formatting import UNKNOWN, format_bytes, rule_table
from harness.reporting.report_tables import Table

Row = Mapping[Any, Any]

INTERVAL_UNKNOWN = "interval unknown"
CONTROLS = ("base", "base_again", "base_cloned")
OPERATION_NAMES = dict(
    zip(
        OPERATIONS,
        ("Load adapter", "Switch adapter", "Merge", "Unmerge", "First call", "Peak memory"),
        strict=True,
    )
)


def make_ratio_table(rows: pd.DataFrame, times: pd.DataFrame) -> Table:
    """Return a point's ratios to base and its times, a row an arm, in the order of `rows`.

    `rows` are of tabulate_ratios and `times` of tabulate_times, both of one point.
    """
    cells: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows.to_dict("records"):
        cells.setdefault((row["arm"], row["variant"]), {})[row["time"]] = row
    measured = {(row["arm"], row["variant"]): row for row in times.to_dict("records")}
    table = []
    for key, by_time in cells.items():
        total, seconds = by_time["end_to_end"], measured[key]
        table.append(
            (
                name_arm(*key),
                _format_ratio(total),
                _format_verdict(total),
                _format_marked_ratio(by_time["ttft"]),
                _format_marked_ratio(by_time["tpot"]),
                *(format_milliseconds(seconds[f"{time}_seconds"]) for time in TIME_NAMES),
                _format_number(seconds["tokens_per_second"], ".4g"),
                format_milliseconds(seconds["cpu_seconds"]),
                f"{total['outliers']} of {total['rounds']}",
            )
        )
    headers = (
        *("Arm", "End to end / base", "Verdict", "TTFT / base", "TPOT / base"),
        *(*TIME_NAMES.values(), "Tokens per second", "CPU time per call", "Outlier rounds"),
    )
    references = tuple(name_arm(arm, "base") for arm in CONTROLS)
    return Table(headers, tuple(table), references=references)


def make_pair_table(rows: pd.DataFrame) -> Table:
    """Return one arm's pairs of target sets, of tabulate_pairs: row against column."""
    cells = {(row["variant"], row["reference_variant"]): row for row in rows.to_dict("records")}
    references = list(dict.fromkeys(rows["reference_variant"]))
    table = tuple(
        (variant, *(_format_pair(cells.get((variant, reference))) for reference in references))
        for variant in dict.fromkeys(rows["variant"])
    )
    return Table(("Time of row / column", *references), table)


def make_operation_table(rows: pd.DataFrame, order: Sequence[tuple[str, str]]) -> Table:
    """Return a point's operations, of tabulate_operations: median, and range over processes."""
    kept = [name for name in OPERATIONS if rows[_name_column(name)].notna().any()]
    by_arm = {(row["arm"], row["variant"]): row for row in rows.to_dict("records")}
    ordered = [key for key in order if key in by_arm] + [key for key in by_arm if key not in order]
    table = tuple(
        (name_arm(*key), *(_format_operation(by_arm[key], name) for name in kept))
        for key in ordered
    )
    return Table(("Arm", *(OPERATION_NAMES[name] for name in kept)), table)


def make_noise_table(rows: pd.DataFrame, names: Mapping[int, str]) -> Table:
    """Return what the machine did at each point, of tabulate_noise."""
    headers = (
        *("Point", "Load average", "Steal (cores)", "Other programs (cores)"),
        *("Involuntary switches per call", "GPU clock", "GPU temperature", "GPU throttling"),
    )
    table = tuple(
        (
            names[row["point"]],
            _format_number(row["load_average"], ".2f"),
            _format_number(row["steal_cores"], ".3f"),
            _format_number(row["other_cores"], ".3f"),
            _format_number(row["involuntary_switches"], ".1f"),
            _format_clock(row),
            _format_number(row["gpu_temperature_celsius_max"], ".0f", " °C maximum"),
            row["gpu_throttle"] or UNKNOWN,
        )
        for row in rows.to_dict("records")
    )
    return Table(headers, table)


def make_term_table(model: CostModel) -> Table:
    """Return what each role adds to the base."""
    table = tuple(
        (
            row["role"],
            _format_share_interval(row, "share"),
            _format_milliseconds_interval(row, "seconds"),
        )
        for row in model.terms.to_dict("records")
    )
    return Table(("Role", "Added share of the base's time", "Added time per call"), table)


def make_prediction_table(rows: pd.DataFrame, is_trusted: bool) -> Table:
    """Return sets against their predictions; `rows` of select_held_out, or of Costs.checks."""
    doubt = "" if is_trusted else " (untrusted)"
    table = tuple(
        (
            row["target_set"],
            format_interval(row["ratio"], row["ratio_low"], row["ratio_high"]),
            format_interval(row["measured"], row["measured_low"], row["measured_high"]),
            _format_share_interval(row, "excess"),
            f"{row['found']}{doubt}",
        )
        for row in rows.to_dict("records")
    )
    headers = ("Target set", "Predicted / base", "Measured / base", "Excess", "Joint test")
    return Table(headers, table)


def make_text_table(rows: pd.DataFrame) -> str:
    """Return a point's end-to-end ratios for a terminal: arm, ratio, interval, rounds, verdict."""
    totals = rows[(rows["time"] == "end_to_end") & (rows["verdict"] != "reference")]
    lines = [("arm", "end to end / base", "rounds", "verdict")]
    lines += [
        (
            name_arm(row["arm"], row["variant"]),
            _format_ratio(row),
            f"{row['rounds']} in {row['processes']}",
            _format_verdict(row),
        )
        for row in totals.to_dict("records")
    ]
    return rule_table(lines)


def _format_ratio(row: Row) -> str:
    if row["verdict"] == "reference":
        return "1x"
    if row["verdict"] == "undefined":
        return "undefined"
    return format_interval(row["ratio"], row["ratio_low"], row["ratio_high"])


def _format_verdict(row: Row) -> str:
    if row["verdict"] == "reference":
        return ""
    return str(row["verdict"]) if row["trusted"] else f"{row['verdict']} (untrusted)"


def _format_marked_ratio(row: Row) -> str:
    """A ratio of a time that has no column for its verdict: the cell itself says if it failed."""
    is_doubted = row["verdict"] not in ("reference", "undefined") and not row["trusted"]
    return f"{_format_ratio(row)}{', untrusted' if is_doubted else ''}"


def _format_pair(row: Row | None) -> str:
    if row is None:
        return ""
    if row["rounds"] == 0:
        return "not timed together"
    return f"{format_half_width(row)}, {_format_verdict(row)}"


def _format_share_interval(row: Row, name: str) -> str:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(value):
        return UNKNOWN
    bounds = INTERVAL_UNKNOWN if pd.isna([low, high]).any() else f"{low:+.2%} to {high:+.2%}"
    return f"{value:+.2%} ({bounds})"


def _format_milliseconds_interval(row: Row, name: str) -> str:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna([low, high]).any():
        return f"{format_milliseconds(value)} ({INTERVAL_UNKNOWN})"
    return f"{format_milliseconds(value)} ({1000 * low:.4g} to {1000 * high:.4g})"


def _format_operation(row: Row, name: str) -> str:
    column = _name_column(name)
    describe = format_bytes if name == "memory" else format_milliseconds
    if pd.isna(row[column]):
        return UNKNOWN
    low, high = describe(row[f"{column}_min"]), describe(row[f"{column}_max"])
    return describe(row[column]) if low == high else f"{describe(row[column])} ({low} to {high})"


def _name_column(operation: str) -> str:
    return "memory_bytes" if operation == "memory" else f"{operation}_seconds"


def _format_clock(row: Row) -> str:
    if pd.isna(row["gpu_clock_mhz_min"]):
        return UNKNOWN
    return f"{row['gpu_clock_mhz_min']:.0f} to {row['gpu_clock_mhz_max']:.0f} MHz"


def _format_number(value: float, spec: str, unit: str = "") -> str:
    return UNKNOWN if pd.isna(value) else f"{value:{spec}}{unit}"
