"""The regret plot: score that each target set loses against the best, and the rule's limits.

    save_plot(plot_regret(comparison, delta=0.02), Path("plots"), "regret")

A set has the colour and marker that the other plots of its study give it.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.analysis.comparison import Comparison
from harness.analysis.verdict.decision import check_delta
from harness.reporting.plots.style import (
    CAPTION_INK,
    CHARACTER_INCHES,
    FAINT,
    INK,
    Style,
    assign_styles,
    escape_dollars,
    put_notice,
    style_axes,
)

ROW_INCHES = 0.42
AXES_INCHES = 6.2


@dataclass(frozen=True)
class Measure:
    """One of the two regrets that the rule limits."""

    column: str
    """Of `Comparison.overall`, where its bounds stand too, if it has any."""
    name: str
    limits: int
    """How many times delta the rule allows."""
    shift: float
    """Place inside a set's row; positive is down."""
    is_hollow: bool
    linestyle: str
    """Of the line at what is allowed."""


MEASURES = (
    Measure("mean_regret", "Mean over tasks", 1, -0.17, False, "--"),
    Measure("worst_regret", "Worst task", 2, 0.17, True, ":"),
)
CAPTION = (
    "Left is better. Bars end at 95% bounds that hold for all sets at once. A set qualifies if its "
    "bar ends before the dashed line and its hollow mark stands before the dotted line."
)


def plot_regret(comparison: Comparison, delta: float) -> Figure:
    """Plot the score lost on average and on the worst task (regret), one row per variant.

    The variant that loses least is on top; the base has a row of its own.

    `delta` is the tolerance in score: the rule allows it in the mean, and twice as much on the
    worst task. Sets without scores have no row; they are named below the plot. Raises UserError if
    delta is not above 0 and below 1.
    """
    check_delta(delta)
    sets = comparison.overall
    columns = [measure.column for measure in MEASURES]
    is_known = sets[columns].notna().all(axis=1)
    rows = sets[is_known].sort_values([*columns, "variant"]).to_dict("records")
    styles = assign_styles(comparison.overall["variant"])
    names = [_name_row(row, len(comparison.tasks)) for row in rows]
    remarks = [*([CAPTION] if rows else []), *_name_unknown(sets.loc[~is_known, "variant"])]
    figure, axes = _make_axes(names, " ".join(remarks))
    if not rows:
        put_notice(axes, "No target set has scores to compare.")
        return figure
    for place, row in enumerate(rows):
        for measure in MEASURES:
            _draw_regret(axes, place + measure.shift, row, measure, styles[row["variant"]])
    handles = list(_draw_limits(axes, delta))
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    _limit_width(axes, rows, delta)
    height = figure.get_figheight()
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, axes.get_position().y0 - 0.5 / height),
        ncols=2,
        frameon=False,
        fontsize=9,
    )
    return figure


def _name_row(row: dict[str, Any], tasks: int) -> str:
    """A set's name, and how many of the tasks its regret is over where that is not all."""
    lacking = "" if row["is_complete"] else f" ({row['tasks']} of {tasks} tasks)"
    return escape_dollars(f"{row['variant']}{lacking}")


def _name_unknown(variants: Iterable[str]) -> Iterator[str]:
    if names := ", ".join(sorted(variants)):
        yield f"Not shown (no scores): {names}."


def _make_axes(names: Sequence[str], remarks: str) -> tuple[Figure, Axes]:
    """All in inches, so that neither many sets nor long names squeeze anything."""
    left = 0.3 + CHARACTER_INCHES * max(map(len, names), default=0)
    width = left + AXES_INCHES + 0.2
    lines = textwrap.wrap(remarks, int(width / CHARACTER_INCHES))
    top, bottom = 0.15, 1.2 + 0.17 * len(lines)
    height = top + ROW_INCHES * max(len(names), 3) + bottom
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    axes = figure.subplots(
        gridspec_kw={
            "left": left / width,
            "right": (left + AXES_INCHES) / width,
            "top": 1 - top / height,
            "bottom": bottom / height,
        }
    )
    style_axes(axes, grid="x")
    axes.set_xlabel("Score lost against the best variant (regret)")
    figure.text(
        0.1 / width, 0.1 / height, escape_dollars("\n".join(lines)), fontsize=9, color=CAPTION_INK
    )
    return figure, axes


def _draw_regret(
    axes: Axes, place: float, row: dict[str, Any], measure: Measure, style: Style
) -> None:
    look: dict[str, Any] = {"color": style.colour, "zorder": 2}
    if not measure.is_hollow:
        # One example gives no bounds, and no bar.
        bounds = [row[f"{measure.column}_low"], row[f"{measure.column}_high"]]
        axes.plot(bounds, [place, place], linewidth=1.4, marker="|", markersize=7, **look)
    axes.plot(
        row[measure.column],
        place,
        marker=style.marker,
        markersize=7,
        markerfacecolor="white" if measure.is_hollow else style.colour,
        markeredgewidth=1.4,
        **look | {"zorder": 3},
    )


def _draw_limits(axes: Axes, delta: float) -> Iterator[Artist]:
    """Draw a line at each of the rule's limits; yield the legend's markers and lines."""
    for measure in MEASURES:
        allowed = measure.limits * delta
        face = "white" if measure.is_hollow else INK
        marked: dict[str, Any] = {"marker": "o", "markerfacecolor": face, "linestyle": "none"}
        yield Line2D([], [], color=INK, markersize=7, label=measure.name, **marked)
        label = f"Allowed: {allowed:g}"
        yield axes.axvline(allowed, color=INK, linestyle=measure.linestyle, label=label, zorder=1)


def _limit_width(axes: Axes, rows: Sequence[dict[str, Any]], delta: float) -> None:
    """Start the axis at 0, with room for a marker that stands there."""
    names = ("mean_regret", "mean_regret_high", "worst_regret")
    right = np.nanmax([2 * delta, *(row[name] for row in rows for name in names)])
    axes.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
    axes.set_xlim(-0.02 * right, 1.04 * right)
