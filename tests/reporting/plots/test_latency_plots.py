"""Latency plots: nothing overlaps or leaves the picture, and no doubt is hidden."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from synthetic_latency import SINGLES, write_latency_study

from harness.analysis.latency.latency_results import LatencyStudy, load_latency_study
from harness.analysis.latency.latency_tables import (
    check_gates,
    select_held_out,
    tabulate_costs,
    tabulate_ratios,
)
from harness.analysis.latency.ratios import Interval
from harness.analysis.latency.timing_verdicts import Gate
from harness.reporting.plots.latency_plots import (
    ARM_STYLES,
    RED,
    list_batch_groups,
    plot_batches,
    plot_forest,
    plot_predictions,
)
from harness.reporting.plots.style import save_plot

SETS = ("qkv", "o_proj", "all")


def draw_forest(study: LatencyStudy, gate: Gate | None = None) -> Figure:
    rows = tabulate_ratios(study)
    return plot_forest(rows, gate or check_gates(study)[0], study.facts.rule, "batch 1")


def list_texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is drawn, with its box in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    hidden = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        # Ticks beyond the limits exist, and are not drawn.
        outside = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
        hidden |= {label for tick in outside for label in (tick.label1, tick.label2)}
    texts = [each for each in figure.findobj(Text) if each.get_visible() and each.get_text()]
    return [
        (each.get_text(), Text.get_window_extent(each, renderer))
        for each in texts
        if each not in hidden
    ]


def check_texts(figure: Figure) -> list[str]:
    """No text covers another or leaves the picture; return them all."""
    texts = list_texts(figure)
    for (one, box), (two, other) in itertools.combinations(texts, 2):
        assert not box.overlaps(other), f"{one!r} overlaps {two!r}"
    for text, box in texts:
        assert box.x0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
        assert box.y0 >= 0, text
        assert box.y1 <= figure.bbox.y1, text
    return [text for text, _ in texts]


@pytest.mark.parametrize(
    "sets", [("qkv",), SETS, (*SINGLES, *SETS, "qkv+o_proj+fc1", "q+k+o_proj+fc1+fc2")]
)
def test_the_forest_names_every_arm_once(tmp_path: Path, sets: tuple[str, ...]) -> None:
    study = load_latency_study(write_latency_study(tmp_path / "s", tuple(dict.fromkeys(sets))))
    texts = check_texts(draw_forest(study))
    for name in {*sets}:
        assert texts.count(f"unmerged {name}") == texts.count(f"merged {name}") == 1
    assert "base again (A/A)" in texts
    assert "mixed batch" in texts
    assert {"slower", "equivalent"} <= set(texts)


def test_the_forest_shades_the_base_against_itself(tmp_path: Path) -> None:
    study = load_latency_study(write_latency_study(tmp_path / "s"))
    axes = draw_forest(study).axes[0]
    ratio = check_gates(study)[0].ratio
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((ratio.low, ratio.high))
    lines = {line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1}
    assert {1.0, 1.03, 1 / 1.03} <= lines


def test_an_untrusted_point_is_red_and_says_why(tmp_path: Path) -> None:
    study = load_latency_study(
        write_latency_study(tmp_path / "s", ratios={("base_again", "base"): 1.1})
    )
    reasons = (
        "the base against itself is 1.100x (1.090 to 1.110), which excludes 1",
        "other programs took 0.41 of 2 cores during the calls",
        "the hypervisor stole 12% of the time",
        "the one-minute load average was 4.20 on 2 cores",
    )
    gate = Gate(False, reasons, Interval(1.1, 1.09, 1.11, 0.95, 24, 3))
    figure = draw_forest(study, gate)
    texts = check_texts(figure)
    said = " ".join(" ".join(texts).split())
    assert "UNTRUSTED" in said
    assert all(reason in said for reason in reasons)
    assert "slower" not in texts
    assert texts.count("untrusted") == 9
    assert figure.patch.get_edgecolor() == to_rgba(RED)
    assert figure.patch.get_linewidth() > 0


def test_arms_differ_by_marker_and_none_is_red() -> None:
    markers = [style.marker for style in ARM_STYLES.values()]
    assert len(set(markers)) == len(markers)
    assert RED not in {style.colour for style in ARM_STYLES.values()}


def test_unknown_intervals_are_drawn_without_bars(tmp_path: Path) -> None:
    study = load_latency_study(write_latency_study(tmp_path / "s", processes=1, rounds=1))
    rows = tabulate_ratios(study).assign(ratio_low=float("nan"), ratio_high=float("nan"))
    nan = float("nan")
    gate = Gate(False, ("too few rounds",), Interval(1.0, nan, nan, nan, 1, 1))
    figure = plot_forest(rows, gate, study.facts.rule, "batch 1")
    assert any("interval unknown" in text for text in check_texts(figure))


@pytest.mark.parametrize("bound", [float("nan"), float("inf")])
def test_unknown_and_endless_bounds_leave_the_rest_readable(tmp_path: Path, bound: float) -> None:
    points = [{"batch_size": 1}, {"batch_size": 8}]
    sets = (*SINGLES, "all", "qkv")
    study = load_latency_study(write_latency_study(tmp_path / "s", sets, points=points))
    rows = tabulate_ratios(study)
    hit = (rows["arm"] == "unmerged") & (rows["variant"] == "all")
    rows.loc[hit, ["ratio_low", "ratio_high", "half_width"]] = [-bound, bound, bound]
    gate = Gate(False, ("its interval is unknown",), Interval(1, -bound, bound, 0.95, 24, 3))
    forest = plot_forest(rows[rows["point"] == 0], gate, study.facts.rule, "batch 1")
    assert "unmerged all" in check_texts(forest)
    (group,) = list_batch_groups(rows)
    batches = plot_batches(group, "prompt 128")
    check_texts(batches)
    held_out = select_held_out(tabulate_costs(study).models[0])
    columns = [f"{name}{side}" for name in ("ratio", "measured") for side in ("_low", "_high")]
    for some in (held_out["target_set"] == "all", held_out["target_set"] != ""):
        damaged = held_out.copy()
        damaged.loc[some, columns] = [-bound, bound] * 2
        predictions = plot_predictions(damaged, "batch 1")
        assert {"all", "qkv"} <= set(check_texts(predictions))
        assert predictions.axes[0].get_xlim()[1] < 1.5
    for figure in (forest, batches):
        for axes in figure.axes:
            assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()


def test_batches_of_later_runs_have_one_base(tmp_path: Path) -> None:
    points = [{"batch_size": size, "target_sets": ["qkv"]} for size in (1, 8)]
    points += [point | {"target_sets": ["all"], "added_to": i} for i, point in enumerate(points)]
    study = load_latency_study(write_latency_study(tmp_path / "s", points=points, rounds=3))
    (group,) = list_batch_groups(tabulate_ratios(study))
    lines = {line.get_label(): line for line in plot_batches(group, "prompt 128").axes[0].lines}
    for name in ("base", "qkv", "all"):
        assert list(lines[name].get_xdata()) == [1, 8]


def test_batches_are_grouped_by_all_else(tmp_path: Path) -> None:
    points = [
        *({"batch_size": size, "prompt_tokens": 128} for size in (1, 8)),
        *({"batch_size": size, "prompt_tokens": 512} for size in (1, 8)),
        {"batch_size": 1, "prompt_tokens": 64},
        *({"batch_size": size, "output_tokens": 1} for size in (1, 8)),
    ]
    folder = write_latency_study(tmp_path / "s", ("all",), points=points, rounds=2)
    study = load_latency_study(folder)
    groups = list_batch_groups(tabulate_ratios(study))
    assert [set(group["point"]) for group in groups] == [{0, 1}, {2, 3}]


@pytest.mark.parametrize("sets", [SETS, (*SINGLES, *SETS, "fc1+fc2", "q+k+fc2", "qkv+o_proj")])
def test_tpot_against_batch(tmp_path: Path, sets: tuple[str, ...]) -> None:
    sets = tuple(dict.fromkeys(sets))
    points = [{"batch_size": size} for size in (1, 32)]
    study = load_latency_study(write_latency_study(tmp_path / "s", sets, points=points, rounds=3))
    (group,) = list_batch_groups(tabulate_ratios(study).assign(trusted=lambda x: x["point"] != 1))
    figure = plot_batches(group, "prompt 128", "float32 base")
    texts = check_texts(figure)
    assert {"base", *sets} <= set(texts)
    assert "Hollow: UNTRUSTED" in texts
    left = figure.axes[0]
    base = next(line for line in left.lines if line.get_label() == "base")
    assert list(base.get_xdata()) == [1, 32]
    growth = base.get_ydata()[1] / base.get_ydata()[0]
    assert growth == pytest.approx(32 ** (1 / 3), rel=0.2)


def test_predictions_show_the_sets_that_were_not_fitted(tmp_path: Path) -> None:
    sets = (*SINGLES, "qkv", "qkv+o_proj", "o_proj+fc2", "all")
    study = load_latency_study(write_latency_study(tmp_path / "s", sets, interaction=0.03))
    rows = select_held_out(tabulate_costs(study).models[0])
    texts = check_texts(plot_predictions(rows, "batch 1"))
    assert {"qkv", "qkv+o_proj", "o_proj+fc2", "all"} <= set(texts)
    assert "departs from its prediction" in texts
    assert "fc1" not in texts


def test_predictions_name_what_was_found_and_long_titles_fit(tmp_path: Path) -> None:
    sets = (*SINGLES, "qkv", "all")
    study = load_latency_study(write_latency_study(tmp_path / "s", sets))
    rows = select_held_out(tabulate_costs(study).models[0])
    name = "batch 1, prompt 128, output 33, float32 base, float32 adapter, sdpa attention"
    title = f"UNTRUSTED: {name}, added later: against the model of {name}"
    assert "no departure found" in check_texts(plot_predictions(rows, title))
    untested = rows.assign(found="not tested")
    texts = check_texts(plot_predictions(untested, title))
    assert "not tested" in texts
    assert "no departure found" not in texts


def test_nothing_is_held_out_of_single_roles(tmp_path: Path) -> None:
    study = load_latency_study(write_latency_study(tmp_path / "s", SINGLES))
    assert select_held_out(tabulate_costs(study).models[0]).empty


def test_the_same_study_gives_the_same_bytes(tmp_path: Path) -> None:
    study = load_latency_study(write_latency_study(tmp_path / "s"))
    one, two = (save_plot(draw_forest(study), tmp_path / name, "forest") for name in "ab")
    assert one.svg.read_bytes() == two.svg.read_bytes()
