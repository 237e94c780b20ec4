"""The plots of a latency study: forest of ratios, TPOT against batch, measured against predicted.

    ratios = tabulate_ratios(study)
    save_plot(plot_forest(ratios[ratios["point"] == 0], gate, rule, title), folder, "forest_0")

Arms differ by marker as well as by colour, and all that a colour says is also said in words.
"""

import math
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from harness.analysis.latency.latency_results import AXES
from harness.analysis.latency.latency_wording import describe_gate, format_interval, name_arm
from harness.analysis.latency.timing_verdicts import Gate, Rule
from harness.formatting import join_words
from harness.reporting.plots.label_placement import Label, place_labels
from harness.reporting.plots.style import (
    BOLD_CHARACTER_INCHES,
    CAPTION_INK,
    COLOURS,
    FAINT,
    INK,
    RED,
    Style,
    assign_styles,
    escape_dollars,
    style_axes,
)

ARM_STYLES = {
    "base_again": Style(INK, "v"),
    "base_cloned": Style(INK, "^"),
    "unmerged": Style(COLOURS[0], "o"),
    "merged": Style(COLOURS[1], "s"),
    "mixed": Style(COLOURS[2], "D"),
}
ROW_INCHES = 0.27
FOREST_INCHES = (4.0, 3.4)
"""Width of a forest plot's axes, and of the words at their right."""
LEGEND_COLUMNS = 6


def plot_forest(rows: pd.DataFrame, gate: Gate, rule: Rule, title: str) -> Figure:
    """Plot the end-to-end ratios of one point with 95% intervals, one row per arm.

    `rows` are those of tabulate_ratios. Grey band: interval of the base timed against itself.
    Dashed lines: the margin of equivalence. A point that is not trusted gets a red frame.
    """
    shown = rows[(rows["time"] == "end_to_end") & (rows["verdict"] != "reference")]
    entries = list(_space_groups(shown))
    names = [escape_dollars(name_arm(row["arm"], row["variant"])) for _, row in entries]
    last = entries[-1][0] if entries else 0.0
    # All in inches, so that neither many arms nor long names squeeze anything.
    left = 0.3 + BOLD_CHARACTER_INCHES * max(map(len, names), default=0)
    width = left + sum(FOREST_INCHES)
    said = textwrap.wrap(describe_gate(gate), int(width / BOLD_CHARACTER_INCHES))
    top = 0.6 + 0.19 * len(said)
    rows_end = top + ROW_INCHES * (last + 2)
    height = rows_end + 0.9
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    axes = figure.subplots(
        gridspec_kw={
            "left": left / width,
            "right": (left + FOREST_INCHES[0]) / width,
            "top": 1 - top / height,
            "bottom": 1 - rows_end / height,
        }
    )
    _draw_references(axes, gate, rule)
    for place, row in entries:
        _draw_arm(axes, row, place)
    axes.set_yticks([place for place, _ in entries])
    axes.set_yticklabels(names)
    axes.set_ylim(last + 1, -1)
    axes.set_xlabel("End-to-end time / base")
    style_axes(axes, grid="x")
    _mark_ratios(axes.xaxis)
    figure.text(0.015, 1 - 0.33 / height, escape_dollars(title), fontsize=11, color=INK)
    figure.text(
        0.015,
        1 - 0.45 / height,
        escape_dollars("\n".join(said)),
        va="top",
        fontsize=9,
        color=INK if gate.is_trusted else RED,
        fontweight="normal" if gate.is_trusted else "bold",
    )
    figure.text(
        0.015,
        0.14 / height,
        "Bars: 95% intervals. Grey band: the base against itself (A/A). "
        f"Dashed: equivalence within {rule.margin:.0%}.",
        fontsize=9,
        color=CAPTION_INK,
    )
    if not gate.is_trusted:
        figure.patch.set(edgecolor=RED, linewidth=6)
        for spine in axes.spines.values():
            spine.set(visible=True, color=RED, linewidth=1.6)
    return figure


def list_batch_groups(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the TPOT rows of points that differ in the batch only, where there are two or more.

    `rows` are those of tabulate_ratios. What points of the same axes both have is taken of the
    first: the base, that is.
    """
    tpot = rows[(rows["time"] == "tpot") & rows["seconds"].notna()]
    others = [name for name in AXES if name != "batch_size"]
    once = tpot.drop_duplicates([*AXES, "arm", "variant"])
    groups = once.groupby(others, sort=False, dropna=False)
    return [group for _, group in groups if group["batch_size"].nunique() > 1]


def plot_batches(rows: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Plot the base's and the unmerged sets' TPOT, and its ratio to the base's, against the batch.

    `rows` are one of list_batch_groups; `note` is a line under the title. Values of points that are
    not trusted are hollow.
    """
    shown = rows[rows["arm"].isin(["base", "unmerged"])]
    variants = list(dict.fromkeys(shown["variant"]))
    styles = assign_styles(variants)
    legend = 0.22 * math.ceil(len(variants) / LEGEND_COLUMNS)
    height = 4.9 + legend
    figure = Figure(figsize=(10.4, height), dpi=100, facecolor="white")
    left, right = figure.subplots(
        1,
        2,
        gridspec_kw={
            "left": 0.075,
            "right": 0.985,
            "wspace": 0.2,
            "top": 1 - 0.85 / height,
            "bottom": (0.75 + legend) / height,
        },
    )
    for index, variant in enumerate(variants):
        own = shown[shown["variant"] == variant].sort_values("batch_size")
        # Side by side, so that one interval does not hide another.
        shift = 1.05 ** (index - (len(variants) - 1) / 2)
        style = styles[variant]
        _draw_series(
            left, own, own["batch_size"], 1000 * own["seconds"], style, escape_dollars(variant)
        )
        if variant != "base":
            batches = own["batch_size"] * shift
            _draw_series(right, own, batches, own["ratio"], style, None)
            low, high = _clear_bounds(own["ratio_low"], own["ratio_high"])
            right.vlines(batches, low, high, color=style.colour, linewidth=1.3)
    right.axhline(1, color=INK, linewidth=1)
    left.set_ylim(bottom=0)
    left.set_ylabel("Milliseconds per output token (TPOT)")
    right.set_ylabel("TPOT unmerged / base, 95% intervals")
    for axes in (left, right):
        style_axes(axes)
        axes.set_xlabel("Batch size")
        axes.set_xscale("log", base=2)
        batches = sorted(set(shown["batch_size"]))
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.xaxis.set_minor_locator(NullLocator())
    _mark_ratios(right.yaxis)
    figure.text(0.015, 1 - 0.33 / height, escape_dollars(title), fontsize=11, color=INK)
    figure.text(0.015, 1 - 0.58 / height, escape_dollars(note), fontsize=9, color=CAPTION_INK)
    figure.legend(
        loc="lower left",
        ncols=LEGEND_COLUMNS,
        frameon=False,
        fontsize=9,
        bbox_to_anchor=(0.06, 0),
    )
    if not shown["trusted"].all():
        text = "Hollow: UNTRUSTED"
        right.set_title(text, loc="right", fontsize=9, color=RED, fontweight="bold")
    return figure


def plot_predictions(rows: pd.DataFrame, title: str) -> Figure:
    """Plot the measured ratio against the ratio predicted from the roles, one marker per set.

    `rows` are those of select_held_out, or of Costs.checks.
    """
    departing = rows["found"].str.startswith("departs")
    said = textwrap.wrap(title, 85)
    height = 5.4 + 0.2 * len(said)
    figure = Figure(figsize=(9.2, height), dpi=100, facecolor="white")
    grid = {"left": 0.1, "right": 0.98, "bottom": 0.95 / height}
    axes = figure.subplots(gridspec_kw=grid | {"top": 1 - (0.25 + 0.2 * len(said)) / height})
    for mask, style, label in (
        (~departing, Style(COLOURS[0], "o"), join_words(sorted(set(rows["found"][~departing])))),
        (departing, Style(COLOURS[1], "s"), "departs from its prediction"),
    ):
        own = rows[mask]
        if own.empty:
            continue
        axes.errorbar(
            own["ratio"],
            own["measured"],
            xerr=_distances(own, "ratio"),
            yerr=_distances(own, "measured"),
            fmt=style.marker,
            color=style.colour,
            markersize=6,
            elinewidth=1.1,
            label=label,
        )
    names = [f"{name}{bound}" for name in ("ratio", "measured") for bound in ("", "_low", "_high")]
    values = rows[names].to_numpy(float)
    known = values[np.isfinite(values)]
    low, high = min(1.0, float(known.min())), float(known.max())
    room = 0.08 * (high - low or 0.01)
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(low - room, high + room)
    axes.plot([low, high], [low, high], color=FAINT, linewidth=1, linestyle="--", zorder=1)
    labels = [Label(row["ratio"], row["measured"], row["target_set"]) for _, row in rows.iterrows()]
    place_labels(axes, labels, [(low, low, high, high), *_list_bars(rows)])
    axes.set_xlabel("Time / base, predicted from the role costs")
    axes.set_ylabel("Measured, time / base")
    axes.set_title(escape_dollars("\n".join(said)), loc="left", fontsize=11, color=INK)
    style_axes(axes)
    _mark_ratios(axes.xaxis)
    _mark_ratios(axes.yaxis)
    figure.legend(loc="lower left", ncols=2, frameon=False, fontsize=9, bbox_to_anchor=(0.08, 0))
    return figure


def _space_groups(rows: pd.DataFrame) -> Iterator[tuple[float, pd.Series]]:
    """Rows with their places from the top, and a gap where another kind of arm begins."""
    place, last = 0.0, None
    for _, row in rows.iterrows():
        kind = "control" if row["variant"] == "base" else row["arm"]
        if last is not None:
            place += 1 if kind == last else 1.7
        last = kind
        yield place, row


def _draw_references(axes: Axes, gate: Gate, rule: Rule) -> None:
    band = gate.ratio
    if math.isfinite(band.low) and math.isfinite(band.high):
        axes.axvspan(band.low, band.high, color=FAINT, alpha=0.28, linewidth=0, zorder=0.5)
    axes.axvline(1, color=INK, linewidth=1, zorder=1)
    for edge in (1 / (1 + rule.margin), 1 + rule.margin):
        axes.axvline(edge, color=FAINT, linewidth=1, linestyle="--", zorder=1)


def _draw_arm(axes: Axes, row: pd.Series, place: float) -> None:
    """Marker and bar, and at the right the ratio and the verdict in words."""
    style = ARM_STYLES.get(row["arm"], Style(FAINT, "x"))
    ratio, low, high = row["ratio"], row["ratio_low"], row["ratio_high"]
    axes.plot(
        _clear_bounds(low, high),
        [place, place],
        color=style.colour,
        linewidth=1.4,
        marker="|",
        markersize=7,
        zorder=2,
    )
    axes.plot(ratio, place, color=style.colour, marker=style.marker, markersize=5, zorder=3)
    cell: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 9}
    axes.text(1.02, place, format_interval(ratio, low, high), color=INK, **cell)
    is_trusted = bool(row["trusted"])
    said = row["verdict"] if is_trusted else "untrusted"
    axes.text(1.52, place, said, color=INK if is_trusted else RED, **cell)


def _draw_series(
    axes: Axes, rows: pd.DataFrame, x: pd.Series, y: pd.Series, style: Style, label: str | None
) -> None:
    """A line with a marker a point; markers of points that are not trusted are hollow."""
    look: dict[str, Any] = {
        "color": style.colour,
        "marker": style.marker,
        "markersize": 10 if style.marker == "*" else 7,
    }
    axes.plot(x, y, linewidth=1.2, label=label, **look)
    doubtful = ~rows["trusted"].astype(bool)
    axes.plot(x[doubtful], y[doubtful], markerfacecolor="white", linestyle="none", **look)


def _mark_ratios(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}x"))


def _distances(rows: pd.DataFrame, name: str) -> np.ndarray:
    """Distances from the values to their bounds, [2, rows]; 0 where a bound is unknown."""
    low, high = _clear_bounds(rows[f"{name}_low"], rows[f"{name}_high"])
    value = rows[name].to_numpy(float)
    return np.nan_to_num(np.maximum([value - low, high - value], 0))


def _clear_bounds(low: Any, high: Any) -> np.ndarray:
    """Both bounds of intervals, [2, ...]; NaN where either is not finite, so no bar is drawn."""
    bounds = np.array([low, high], dtype=float)
    return np.where(np.isfinite(bounds).all(axis=0), bounds, math.nan)


def _list_bars(rows: pd.DataFrame) -> Iterator[tuple[float, float, float, float]]:
    for _, row in rows.iterrows():
        x, y = row["ratio"], row["measured"]
        (left, right), (low, high) = (
            _clear_bounds(row[f"{name}_low"], row[f"{name}_high"]) for name in ("ratio", "measured")
        )
        bars = (left, y, right, y), (x, low, x, high)
        yield from (bar for bar in bars if np.isfinite(bar).all())
