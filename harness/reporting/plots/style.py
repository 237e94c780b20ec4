"""How every plot looks, and how it is written: colours, markers, axes, text, files.

Figures are made without pyplot, so drawing one leaves no state behind. Colours are told apart with
any common colour blindness, and every set has a marker shape of its own as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.records.files import write_atomically
from harness.records.record import BASE

# Okabe and Ito's palette, without its yellow (too pale on white) and its black (the base's).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
INK = "#222222"
CAPTION_INK = "#444444"
NOTICE_INK = "#555555"
FAINT = "#8a8a8a"
RED = "#B00020"
"""Of what must not be believed; no set has it."""

CHARACTER_INCHES = 0.078
"""Of text of 9 points."""
BOLD_CHARACTER_INCHES = 0.083
"""Of bold text of 9 points, and so enough for plain text too."""


@dataclass(frozen=True)
class Style:
    colour: str
    marker: str


@dataclass(frozen=True)
class SavedPlot:
    png: Path
    svg: Path


def assign_styles(variants: Sequence[str]) -> dict[str, Style]:
    """Give every variant a colour and a marker; the same names always get the same ones."""
    styles = {BASE: Style("#000000", "*")}
    for index, name in enumerate(sorted(set(variants) - {BASE})):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        styles[name] = Style(colour, marker)
    return styles


def style_axes(axes: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    """Open the frame at the top and right, with faint lines of a `grid` behind what is drawn."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#ececec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def put_notice(axes: Axes, text: str) -> None:
    """Write what there is to say where there is nothing to draw."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=NOTICE_INK)
    axes.set_xticks([])
    axes.set_yticks([])


def escape_dollars(text: str) -> str:
    """Keep a dollar sign in a name from starting a formula."""
    return str(text).replace("$", r"\$")


def save_plot(figure: Figure, folder: Path, name: str) -> SavedPlot:
    """Write `name`.png and `name`.svg atomically; the same figure gives the same SVG bytes."""
    saved = SavedPlot(folder / f"{name}.png", folder / f"{name}.svg")
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        write_atomically(saved.png, lambda path: figure.savefig(path, format="png", dpi=150))
        undated = {"Date": None}
        write_atomically(
            saved.svg, lambda path: figure.savefig(path, format="svg", metadata=undated)
        )
    return saved
