"""Places the labels of a scatter plot so that none covers another, a marker, or the axes' edge.

Every label tries a fixed fan of places around its point and takes the cheapest, in a fixed order,
so the same data always gives the same picture. A label that ends up away from its point is tied to
it by a thin line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation

from harness.reporting.plots.style import INK, escape_dollars

DISTANCES = (7, 12, 20, 30, 42, 56, 72, 90, 110, 135, 165, 200)
"""Tried distances from point to label, in points."""
ANGLES = tuple(2 * math.pi * step / 24 for step in range(24))
# Every tried place, as a direction (unit vector) and a distance.
FAN = np.array([(math.cos(a), math.sin(a), d) for d in DISTANCES for a in ANGLES])
MARKER_RADIUS = 6.0
PADDING = 1.5
LEADER_FROM = 12
"""Labels farther away than this, in points, get a line to their point."""


@dataclass(frozen=True)
class Label:
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Obstacles:
    """What a label had better not cover, all in pixels."""

    frame: np.ndarray
    """The axes' box: x0, y0, x1, y1."""
    markers: np.ndarray
    """Boxes around the points: [points, 4]."""
    lines: np.ndarray
    """Segments: [lines, 4]."""


def place_labels(
    axes: Axes, labels: Sequence[Label], lines: Sequence[tuple[float, float, float, float]] = ()
) -> list[Annotation]:
    """Draw the labels and return them in the given order.

    `lines` are segments (x0, y0, x1, y1) in data units that labels had better not cover. The axes'
    limits have to be final.
    """
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    scale = axes.figure.dpi / 72
    points = axes.transData.transform([(each.x, each.y) for each in labels]).reshape(-1, 2)
    ends = axes.transData.transform(np.reshape(lines, (-1, 2))).reshape(-1, 4)
    reach = MARKER_RADIUS * scale
    markers = np.hstack([points - reach, points + reach])
    obstacles = Obstacles(np.ravel(axes.bbox.get_points()), markers, ends)
    notes = [_annotate(axes, label) for label in labels]
    taken, leaders = np.empty((0, 4)), np.empty((0, 4))
    # The topmost first: the others then find room beside and below it.
    for index in sorted(range(len(labels)), key=lambda i: (-points[i][1], points[i][0], i)):
        size = notes[index].get_window_extent(renderer)
        half = np.array([size.width, size.height]) / 2
        centres = points[index] + FAN[:, :2] * (FAN[:, 2:] * scale + half)
        boxes = np.hstack([centres - half - PADDING * scale, centres + half + PADDING * scale])
        ties = np.hstack([np.broadcast_to(points[index], centres.shape), centres])
        best = int(np.argmin(_weigh(boxes, ties, index, obstacles, taken, leaders)))
        notes[index].set_position((centres[best] - points[index]) / scale)
        is_far = bool(FAN[best, 2] > LEADER_FROM)
        if (leader := notes[index].arrow_patch) is not None:
            leader.set_visible(is_far)
        taken = np.vstack([taken, boxes[best]])
        leaders = np.vstack([leaders, ties[best : best + is_far]])
    return notes


def _annotate(axes: Axes, label: Label) -> Annotation:
    # An empty text would have no size.
    return axes.annotate(
        escape_dollars(label.text) or " ",
        (label.x, label.y),
        xytext=(0, 0),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=8.5,
        color=INK,
        zorder=6,
        path_effects=[withStroke(linewidth=2.2, foreground="white")],
        arrowprops={"arrowstyle": "-", "lw": 0.6, "color": "#888888", "shrinkA": 0, "shrinkB": 4},
    )


def _weigh(
    boxes: np.ndarray,
    ties: np.ndarray,
    own: int,
    obstacles: Obstacles,
    taken: np.ndarray,
    leaders: np.ndarray,
) -> np.ndarray:
    """Cost of each place: covering a label is worst, then leaving the frame, markers, lines."""
    is_far = FAN[:, 2] > LEADER_FROM
    frame, others = obstacles.frame, np.delete(obstacles.markers, own, axis=0)
    outside = (boxes[:, :2] < frame[:2]).any(axis=1) | (boxes[:, 2:] > frame[2:]).any(axis=1)
    cost = FAN[:, 2] / 10 + 3_000.0 * outside
    cost += 10_000 * _count_overlaps(boxes, taken)
    cost += 300 * _count_overlaps(boxes, obstacles.markers)
    cost += 30 * _meet(boxes, leaders).sum(axis=1) + 2 * _meet(boxes, obstacles.lines).sum(axis=1)
    cost += is_far * (60 * _meet(taken, ties).sum(axis=0) + 8 * _meet(others, ties).sum(axis=0))
    return np.asarray(cost)


def _count_overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Number of `others` [m, 4] that each of `boxes` [n, 4] overlaps: [n]."""
    apart = (boxes[:, None, :2] >= others[None, :, 2:]).any(axis=2)
    apart |= (boxes[:, None, 2:] <= others[None, :, :2]).any(axis=2)
    return np.asarray((~apart).sum(axis=1))


def _meet(boxes: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Whether each box [n, 4] meets each segment [m, 4], by Liang and Barsky's clipping: [n, m]."""
    start, step = segments[None, :, :2], segments[None, :, 2:] - segments[None, :, :2]
    # A segment along an axis gives infinities of the right sign, once exact zeros are moved.
    step = np.where(step == 0, 1e-9, step)
    one, two = (boxes[:, None, :2] - start) / step, (boxes[:, None, 2:] - start) / step
    first = np.minimum(one, two).max(axis=2).clip(min=0)
    last = np.maximum(one, two).min(axis=2).clip(max=1)
    return np.asarray(first <= last)
