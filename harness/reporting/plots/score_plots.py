"""The plots of a study: accuracy against latency, and learning curves.

figure = plot_tradeoff(compare(load_results(study), load_examples(study)))
save_plot(figure, Path("plots"), "accuracy_against_latency")
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from harness.analysis.comparison import Comparison
from harness.analysis.latency.variant_ratios import UNTRUSTED, base_as_one
from harness.analysis.majority import MajorityLine
from harness.analysis.verdict.wording import REMEASURE
from harness.formatting import join_words
from harness.records.record import BASE
from harness.reporting.plots.label_placement import Label, place_labels
from harness.reporting.plots.style import (
    CAPTION_INK,
    CHARACTER_INCHES,
    FAINT,
    INK,
    NOTICE_INK,
    Style,
    assign_styles,
    escape_dollars,
    put_notice,
    style_axes,
)
from harness.reporting.score_names import name_score

PANEL_INCHES = (5.4, 4.1)
CROWDED_INCHES = (8.0, 5.6)
"""Of a panel with more than MOST_IN_PANEL variants."""
MOST_IN_PANEL = 12
FEWEST_SMOOTHED = 10
"""Steps of a curve from which it has a moving average."""
WIDE_SPAN = 2.0
"""Ratios that are farther apart than this, one over the other, stand on a logarithmic axis."""
LONGEST_NOTE = 45
"""Characters of names that fit under a panel."""


@dataclass(frozen=True)
class Panel:
    title: str
    score: str
    """What the vertical axis is."""
    rows: pd.DataFrame
    """One row a variant."""
    majority: MajorityLine | None = None


def plot_tradeoff(comparison: Comparison) -> Figure:
    """Plot score against end-to-end latency (unmerged / base): all tasks, then one panel per task.

    Bars are 95% intervals both ways. The Pareto front is the stepped line; its points are ringed.
    The dashed line is the majority-class baseline, its band the 95% interval. Hollow marks with
    dashed bars are timings that are not trusted.
    """
    styles = assign_styles(comparison.overall["variant"])
    panels = list(_list_panels(comparison))
    inches = CROWDED_INCHES if len(styles) > MOST_IN_PANEL else PANEL_INCHES
    width = int(_count_columns(len(panels)) * inches[0] / CHARACTER_INCHES)
    caption = [line for each in _write_caption(comparison) for line in textwrap.wrap(each, width)]
    # Each line of the caption after the first takes the room of a row of a legend.
    figure, grid = _make_grid(len(panels), len(caption) - 1, inches)
    for axes, panel in zip(grid, panels, strict=True):
        _draw_tradeoff(axes, panel, styles)
        axes.set_title(escape_dollars(panel.title), loc="left", fontsize=11, color=INK)
        axes.set_ylabel(escape_dollars(panel.score))
        axes.set_xlabel("End-to-end latency, unmerged / base")
    figure.text(0.01, 0.01, "\n".join(caption), fontsize=9, color=CAPTION_INK)
    return figure


def _write_caption(comparison: Comparison) -> Iterator[str]:
    yield "Up and left is better. Bars: 95% intervals. Stepped line and rings: Pareto front."
    if comparison.majority:
        yield (
            "Dashed line and band: majority-class baseline with its 95% interval. Only scores "
            "above the band are above the baseline."
        )
    if comparison.latency_doubts:
        doubts = join_words(sorted(set(comparison.latency_doubts.values())))
        yield f"Hollow, dashed: this timing {doubts} and takes no part in the verdict; {REMEASURE}."


def plot_learning_curves(losses: pd.DataFrame, variants: Sequence[str] = ()) -> Figure:
    """Plot loss by optimizer step, one panel per task: pale means over seeds, bold moving averages.

    A curve of few steps is drawn as it is.

    `losses` as `analysis.results.load_losses` returns it; `variants` fixes the colours to those of
    another plot.
    """
    styles = assign_styles([*variants, *losses["variant"]])
    tasks = sorted(losses["task"].unique())
    names = [name for name in styles if name != BASE]
    columns = _count_legend_columns(names, max(len(tasks), 1))
    figure, grid = _make_grid(max(len(tasks), 1), legend_rows=math.ceil(len(names) / columns))
    if not tasks:
        put_notice(grid[0], "No run has a loss curve.")
    for axes, task in zip(grid, tasks, strict=False):
        for variant, runs in losses[losses["task"] == task].groupby("variant"):
            mean = runs.groupby("step", as_index=False)["loss"].mean()
            _draw_curve(axes, mean, str(variant), styles[str(variant)])
        axes.set_title(escape_dollars(task), loc="left", fontsize=11, color=INK)
        axes.set_xlabel("Optimizer step")
        is_smoothed = any(np.size(line.get_xdata()) >= FEWEST_SMOOTHED for line in axes.lines)
        average = " (bold: moving average)" if is_smoothed else ""
        axes.set_ylabel(f"Loss per completion token{average}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    _add_legend(figure, grid, columns)
    return figure


def _list_panels(comparison: Comparison) -> Iterator[Panel]:
    tasks = comparison.by_task
    names = sorted(tasks["task"].unique())
    if len(names) != 1:
        count = len(comparison.tasks)
        title = f"All tasks ({count} tasks)" if count else "All tasks (no common task)"
        if 0 < count < len(names):
            title = f"Tasks of the verdict ({count} of {len(names)})"
        yield Panel(title, "Mean score over tasks", comparison.overall)
    for task in names:
        rows = tasks[tasks["task"] == task]
        metric = rows["metric"].dropna()
        score = f"Score ({name_score(metric.iloc[0])})" if len(metric) else "Score"
        yield Panel(task, score, rows, comparison.majority.get(task))


def _count_columns(panels: int) -> int:
    return 1 if panels == 1 else 2 if panels <= 6 else 3


def _count_legend_columns(names: Sequence[str], panels: int) -> int:
    """As many as the longest name lets stand side by side, at most four."""
    inches = 0.75 + CHARACTER_INCHES * max(map(len, names), default=0)
    return max(1, min(4, int(_count_columns(panels) * PANEL_INCHES[0] / inches)))


def _make_grid(
    panels: int, legend_rows: int = 0, inches: tuple[float, float] = PANEL_INCHES
) -> tuple[Figure, list[Axes]]:
    columns = _count_columns(panels)
    rows = math.ceil(panels / columns)
    width, height = columns * inches[0], rows * inches[1] + 0.35 + 0.2 * legend_rows
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.85 / width,
        right=1 - 0.2 / width,
        top=1 - 0.4 / height,
        bottom=(0.85 + 0.2 * legend_rows) / height,
        wspace=0.95 / (inches[0] - 0.95),
        hspace=1.0 / (inches[1] - 1.0),
    )
    for axes in grid.flat:
        style_axes(axes)
    for axes in list(grid.flat)[panels:]:
        axes.remove()
    return figure, list(grid.flat)[:panels]


def _draw_tradeoff(axes: Axes, panel: Panel, styles: dict[str, Style]) -> None:
    points = _place_points(panel.rows)
    unplaced = points[points["x"].isna() | points["score"].isna()]["variant"]
    points = points[points["x"].notna() & points["score"].notna()].sort_values("variant")
    if points.empty:
        put_notice(axes, "No target set has both a score and a trusted latency.")
        return
    _draw_front(axes, points[points["on_front"]])
    for _, row in points.iterrows():
        _draw_point(axes, row, styles[row["variant"]])
    if panel.majority is not None:
        _draw_majority(axes, panel.majority)
    axes.axvline(1, color=FAINT, linewidth=0.8, linestyle=":", zorder=1)
    axes.margins(0.16, 0.18)
    if points["x"].max() > WIDE_SPAN * points["x"].min():
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}x"))
    # Limits have to stand still from here on: labels are placed in pixels.
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    labels = [Label(row["x"], row["score"], row["variant"]) for _, row in points.iterrows()]
    lines = list(_list_lines(points))
    if panel.majority is not None:
        left, right = axes.get_xlim()
        labels.append(Label(right, panel.majority.score, panel.majority.name))
        lines.append((left, panel.majority.score, right, panel.majority.score))
    place_labels(axes, labels, lines)
    if len(unplaced):
        names = join_words(sorted(unplaced))
        listed = names if len(names) <= LONGEST_NOTE else f"{len(unplaced)} sets"
        text = f"Not shown (no score, or no latency): {listed}"
        axes.text(
            0, -0.2, escape_dollars(text), transform=axes.transAxes, fontsize=8, color=NOTICE_INK
        )


def _place_points(rows: pd.DataFrame) -> pd.DataFrame:
    """Add x with its bounds, and whether it is trusted: one that is not is shown as well."""
    is_trusted = base_as_one(rows).notna()
    places = {
        f"x{bound}": rows[f"end_to_end_ratio{bound}"].fillna(
            rows[f"{UNTRUSTED}end_to_end_ratio{bound}"]
        )
        for bound in ("_low", "_high")
    }
    x = base_as_one(rows).fillna(rows[f"{UNTRUSTED}end_to_end_ratio"])
    return rows.assign(x=x, **places, is_trusted=is_trusted)


def _draw_point(axes: Axes, row: pd.Series, style: Style) -> None:
    bars = axes.errorbar(
        row["x"],
        row["score"],
        xerr=_distances(row["x"], row["x_low"], row["x_high"]),
        yerr=_distances(row["score"], row["score_low"], row["score_high"]),
        fmt="none",
        ecolor=style.colour,
        elinewidth=1.1,
        alpha=0.45,
        zorder=2,
    )
    axes.plot(
        row["x"],
        row["score"],
        marker=style.marker,
        color=style.colour,
        markersize=12 if style.marker == "*" else 8,
        linestyle="none",
        zorder=4,
        **_outline(style, row),
    )
    if not row["is_trusted"]:
        for line in bars.lines[2]:
            line.set_linestyle("dashed")


def _outline(style: Style, row: pd.Series) -> dict[str, Any]:
    """Hollow where the timing is not trusted, ringed on the front."""
    if not row["is_trusted"]:
        return {
            "markerfacecolor": "white",
            "markeredgecolor": style.colour,
            "markeredgewidth": 1.4,
        }
    is_ringed = row["on_front"]
    return {
        "markeredgecolor": INK if is_ringed else "white",
        "markeredgewidth": 1.4 if is_ringed else 0.6,
    }


def _draw_majority(axes: Axes, line: MajorityLine) -> None:
    axes.axhspan(line.low, line.high, color=FAINT, alpha=0.16, linewidth=0, zorder=0.5)
    axes.axhline(line.score, color=INK, linewidth=1, linestyle="--", alpha=0.7, zorder=1.2)


def _distances(value: float, low: float, high: float) -> np.ndarray | None:
    if math.isnan(low) or math.isnan(high):
        return None
    return np.maximum([[value - low], [high - value]], 0)


def _draw_front(axes: Axes, front: pd.DataFrame) -> None:
    if len(front) > 1:
        ordered = front.sort_values(["x", "score"])
        axes.plot(
            ordered["x"],
            ordered["score"],
            drawstyle="steps-post",
            color=FAINT,
            linewidth=1.2,
            zorder=1.5,
        )


def _list_lines(points: pd.DataFrame) -> Iterator[tuple[float, float, float, float]]:
    for _, row in points.iterrows():
        x, y = row["x"], row["score"]
        if not math.isnan(row["score_low"]):
            yield x, row["score_low"], x, row["score_high"]
        if not math.isnan(row["x_low"]):
            yield row["x_low"], y, row["x_high"], y
    front = points[points["on_front"]].sort_values(["x", "score"])[["x", "score"]].to_numpy()
    for (x0, y0), (x1, y1) in pairwise(front):
        yield x0, y0, x1, y0
        yield x1, y0, x1, y1


def _draw_curve(axes: Axes, run: pd.DataFrame, variant: str, style: Style) -> None:
    smooth = run["loss"]
    if len(run) >= FEWEST_SMOOTHED:
        axes.plot(run["step"], run["loss"], color=style.colour, linewidth=0.7, alpha=0.22)
        # Centred, so that the smoothed curve does not lag behind the loss.
        smooth = smooth.rolling(max(3, len(run) // 8), center=True, min_periods=1).mean()
    axes.plot(
        run["step"],
        smooth,
        color=style.colour,
        linewidth=1.6,
        marker=style.marker,
        markersize=5,
        markevery=(len(run) // 12, max(1, len(run) // 5)),
        label=escape_dollars(variant),
    )


def _add_legend(figure: Figure, grid: Sequence[Axes], columns: int) -> None:
    """One legend for all panels; every variant once."""
    handles: dict[str, Artist] = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        names = sorted(handles)
        figure.legend(
            [handles[name] for name in names],
            names,
            loc="lower center",
            ncols=min(columns, len(names)),
            frameon=False,
            fontsize=9,
        )
