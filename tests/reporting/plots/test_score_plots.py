"""Plots: labels that never collide, nothing lost, and the same bytes every time."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from synthetic_study import ELEVEN, FIVE, write_run, write_study

from harness.analysis.comparison import Comparison, compare
from harness.analysis.results import load_examples, load_losses, load_results
from harness.records.record import BASE
from harness.reporting.plots.label_placement import Label, place_labels
from harness.reporting.plots.score_plots import plot_learning_curves, plot_tradeoff
from harness.reporting.plots.style import assign_styles, save_plot


def compare_study(study: Path) -> Comparison:
    return compare(load_results(study), load_examples(study, texts=False))


def find_labels(figure: Figure) -> list[list[Annotation]]:
    return [
        [child for child in axes.get_children() if isinstance(child, Annotation)]
        for axes in figure.axes
    ]


def assert_apart(labels: list[Annotation], figure: Figure) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    # An annotation's own extent includes its leader line; only the text must stay clear.
    boxes = [Text.get_window_extent(each, renderer) for each in labels]
    for one, two in itertools.combinations(range(len(labels)), 2):
        texts = labels[one].get_text(), labels[two].get_text()
        assert not boxes[one].overlaps(boxes[two]), f"{texts} overlap"
    for label, box in zip(labels, boxes, strict=True):
        frame = label.axes.bbox if label.axes else figure.bbox
        assert frame.x0 <= box.x0, label.get_text()
        assert box.x1 <= frame.x1, label.get_text()


@pytest.mark.parametrize("spread", [0.0, 0.002, 0.03])
def test_labels_do_not_overlap_however_clustered(tmp_path: Path, spread: float) -> None:
    study = write_study(
        tmp_path / "study",
        sets=ELEVEN,
        gains={name: 0.2 + spread * index for index, name in enumerate(ELEVEN)},
        ratios={name: 1.05 + spread * (index % 4) for index, name in enumerate(ELEVEN)},
        tasks=("fincot",),
    )
    figure = plot_tradeoff(compare_study(study))
    panels = find_labels(figure)
    assert [len(labels) for labels in panels] == [12]
    for labels in panels:
        assert {label.get_text() for label in labels} == {*ELEVEN, BASE}
        assert_apart(labels, figure)


def test_identical_points_get_labels_apart() -> None:
    figure = Figure(figsize=(5, 4))
    axes = figure.subplots()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    labels = place_labels(axes, [Label(0.5, 0.5, f"o_proj+fc{index}") for index in range(14)])
    assert_apart(labels, figure)


def test_a_dollar_in_a_name_is_no_formula() -> None:
    figure = Figure()
    axes = figure.subplots()
    place_labels(axes, [Label(0.5, 0.5, r"$\frac{"), Label(0.2, 0.2, "")])
    FigureCanvasAgg(figure).draw()


@pytest.mark.parametrize(("slowest", "scale"), [(1.4, "linear"), (6.0, "log")])
def test_one_slow_set_does_not_squeeze_the_others(
    tmp_path: Path, slowest: float, scale: str
) -> None:
    ratios = dict(zip(FIVE, (1.02, 1.05, 1.1, 1.3, slowest), strict=True))
    study = write_study(tmp_path / "study", ratios=ratios, tasks=("fincot",))
    figure = plot_tradeoff(compare_study(study))
    (axes,) = figure.axes
    assert axes.get_xscale() == scale
    (labels,) = find_labels(figure)
    assert_apart(labels, figure)
    left, right = axes.transAxes.inverted().transform(
        axes.transData.transform([(1.02, 0.1), (1.3, 0.1)])
    )[:, 0]
    assert right - left > 0.08


def test_panels_are_one_over_all_and_one_a_task(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    titles = [axes.get_title("left") for axes in plot_tradeoff(compare_study(study)).axes]
    assert titles == ["All tasks (4 tasks)", "fincot", "govreport", "invoice_ocr", "medmcqa"]


def test_a_single_task_has_one_panel(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", tasks=("fincot",))
    assert len(plot_tradeoff(compare_study(study)).axes) == 1


def test_points_stand_where_the_numbers_are(tmp_path: Path) -> None:
    comparison = compare_study(write_study(tmp_path / "study", tasks=("fincot",)))
    (axes,) = plot_tradeoff(comparison).axes
    markers = [line for line in axes.get_lines() if line.get_marker() not in ("None", "", "_", "|")]
    drawn = {
        (float(x), float(y)) for line in markers for x, y in zip(*line.get_data(), strict=True)
    }
    rows = comparison.by_task
    expected = set(zip(rows["end_to_end_ratio"].fillna(1.0), rows["score"], strict=True))
    assert drawn == expected
    labels = {label.get_text(): label.xy for label in find_labels(axes.figure)[0]}
    for _, row in rows.iterrows():
        x, y = labels[row["variant"]]
        assert (x, y) == (
            1.0 if row["target_set"] == BASE else row["end_to_end_ratio"],
            row["score"],
        )


def write_lined_study(study: Path, prediction: str = "A") -> Path:
    """Five sets and the base crowd around medmcqa's majority line; fincot has none."""
    line = {"majority_prediction": prediction, "majority_score": 0.55}
    return write_study(study, tasks=("fincot", "medmcqa"), scored={"medmcqa": line})


def test_a_majority_line_is_drawn_in_its_own_panel(tmp_path: Path) -> None:
    comparison = compare_study(write_lined_study(tmp_path / "study"))
    line = comparison.majority["medmcqa"]
    for axes in plot_tradeoff(comparison).axes:
        dashed = [each for each in axes.get_lines() if each.get_linestyle() == "--"]
        texts = [label.get_text() for label in axes.texts]
        if axes.get_title("left") == "medmcqa":
            assert [set(each.get_ydata()) for each in dashed] == [{line.score}]
            (band,) = axes.patches
            edges = band.get_extents().transformed(axes.transData.inverted())
            assert (edges.y0, edges.y1) == (pytest.approx(line.low), pytest.approx(line.high))
            low, high = axes.get_ylim()
            assert low < line.low
            assert line.high < high
            assert texts.count("always A") == 1
        else:
            assert not dashed
            assert not axes.patches
            assert "always A" not in texts


def test_the_caption_stays_within_a_single_panel(tmp_path: Path) -> None:
    line = {"majority_prediction": "A", "majority_score": 0.55}
    study = write_study(tmp_path / "study", tasks=("medmcqa",), scored={"medmcqa": line})
    figure = plot_tradeoff(compare_study(study))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (caption,) = figure.texts
    box = caption.get_window_extent(canvas.get_renderer())
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1
    assert "above the baseline" in caption.get_text()


@pytest.mark.parametrize("prediction", ["A", r"$\frac{", "a wordy answer " * 30])
def test_a_majority_lines_label_covers_no_other(tmp_path: Path, prediction: str) -> None:
    figure = plot_tradeoff(compare_study(write_lined_study(tmp_path / "study", prediction)))
    for labels in find_labels(figure):
        assert_apart(labels, figure)
    assert [len(labels) for labels in find_labels(figure)] == [6, 6, 7]


def test_the_captions_stay_clear_of_each_other(tmp_path: Path) -> None:
    study = write_lined_study(tmp_path / "study")
    write_run(study, "fc1", "medmcqa", rounds=0)
    figure = plot_tradeoff(compare_study(study))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (caption,) = figure.texts
    assert "Dashed" in caption.get_text()
    below = caption.get_window_extent(canvas.get_renderer())
    for axes in figure.axes:
        for text in axes.texts:
            if "Not shown" in text.get_text():
                assert not below.overlaps(text.get_window_extent(canvas.get_renderer()))
        assert not below.overlaps(axes.xaxis.label.get_window_extent(canvas.get_renderer()))


def test_a_set_without_latency_is_named_under_its_panel(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",))
    write_run(study, "o_proj", "fincot", rounds=0)
    (axes,) = plot_tradeoff(compare_study(study)).axes
    assert any(
        "o_proj" in text.get_text() and "Not shown" in text.get_text() for text in axes.texts
    )


def test_timing_that_is_not_trusted_is_drawn_hollow_and_said(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",))
    results, examples = load_results(study), load_examples(study)
    measured = results.set_index("variant")["end_to_end_ratio"].dropna()
    results["latency_trusted"] = False
    figure = plot_tradeoff(compare(results, examples))
    (axes,) = figure.axes
    marks = [line for line in axes.lines if line.get_marker() not in ("", "None", None, "*")]
    hollow = [line for line in marks if line.get_markerfacecolor() == "white"]
    places = sorted(float(line.get_xdata()[0]) for line in hollow)  # type: ignore[index]
    assert places == pytest.approx(sorted(measured))
    (caption,) = (text.get_text() for text in figure.texts)
    assert "untrusted" in caption
    assert "latency.remeasure=true" in caption
    assert not any("Not shown" in text.get_text() for text in axes.texts)


def test_nothing_to_draw_still_draws(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv",), tasks=("fincot",), base=False, rounds=0)
    results = load_results(study)
    figure = plot_tradeoff(compare_study(study))
    FigureCanvasAgg(figure).draw()
    empty = compare(results.iloc[:0], load_examples(study).iloc[:0])
    FigureCanvasAgg(plot_tradeoff(empty)).draw()
    FigureCanvasAgg(plot_learning_curves(load_losses(study).iloc[:0])).draw()


def test_styles_tell_sets_apart_twice() -> None:
    styles = assign_styles(ELEVEN)
    assert len({(style.colour, style.marker) for style in styles.values()}) == 12
    assert len({style.marker for style in styles.values()}) == 12
    assert assign_styles(reversed(ELEVEN)) == styles  # type: ignore[arg-type]


def test_learning_curves_are_means_over_seeds(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", tasks=("fincot", "medmcqa"), seeds=(0, 1))
    losses = load_losses(study)
    figure = plot_learning_curves(losses)
    assert [axes.get_title("left") for axes in figure.axes] == ["fincot", "medmcqa"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [2 * 5] * 2
    own = losses[(losses["task"] == "fincot") & (losses["variant"] == sorted(FIVE)[0])]
    drawn = np.asarray(figure.axes[0].get_lines()[0].get_ydata(), dtype=float)
    by_seed = own.pivot(index="step", columns="seed", values="loss")
    np.testing.assert_allclose(drawn, by_seed.mean(axis=1))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == sorted(FIVE)


def test_a_short_or_broken_curve_is_drawn() -> None:
    losses = pd.DataFrame(
        {
            "run_id": "r",
            "task": "t",
            "variant": "qkv",
            "step": [1, 2],
            "loss": [math.nan, 1.0],
        }
    )
    figure = plot_learning_curves(losses)
    FigureCanvasAgg(figure).draw()
    FigureCanvasAgg(plot_learning_curves(losses.iloc[:1])).draw()
    # A moving average over three of three steps would show none of them.
    (line,) = figure.axes[0].get_lines()
    np.testing.assert_array_equal(line.get_ydata(), [math.nan, 1.0])


def test_files_are_the_same_every_time(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", tasks=("fincot",))
    written = []
    for name in ("one", "two"):
        saved = save_plot(plot_tradeoff(compare_study(study)), tmp_path / name, "plot")
        written.append((saved.png.read_bytes(), saved.svg.read_bytes()))
    assert written[0] == written[1]
    assert np.frombuffer(written[0][0][:4], "u1").tolist() == [0x89, 0x50, 0x4E, 0x47]
