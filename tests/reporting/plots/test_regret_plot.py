"""The regret plot: the comparison's numbers, the rule's limits, and nothing on top of anything."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from synthetic_study import ELEVEN, FIVE, write_run, write_study

from harness.analysis.comparison import Comparison, compare
from harness.analysis.results import load_examples, load_results
from harness.records.record import BASE, ErrorRecord
from harness.reporting.plots.regret_plot import plot_regret
from harness.reporting.plots.style import assign_styles, save_plot

TASKS = ("fincot", "medmcqa")
TWENTY = (*ELEVEN, "q", "k", "v", "q+k", "k+v", "q+o_proj", "v+o_proj", "q+fc1", "v+fc1")
DELTA = 0.025


def compare_study(study: Path) -> Comparison:
    return compare(load_results(study), load_examples(study, texts=False))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compare_study(write_study(tmp_path_factory.mktemp("study"), tasks=TASKS, rounds=3))


def read_rows(axes: Axes) -> dict[str, list[Line2D]]:
    """Variant -> its lines from the top: bar and marker of the mean, marker of the worst task."""
    names = [label.get_text() for label in axes.get_yticklabels()]
    lines = [line for line in axes.get_lines() if line.get_marker() != "None"]
    own: dict[str, list[Line2D]] = {name: [] for name in names}
    for line in lines:
        own[names[round(float(line.get_ydata()[0]))]].append(line)
    return own


def test_points_and_bars_stand_where_the_numbers_are(comparison: Comparison) -> None:
    (axes,) = plot_regret(comparison, DELTA).axes
    rows = comparison.overall.set_index("variant")
    own = read_rows(axes)
    # The base takes part, and has a row like any set.
    assert list(own) == list(rows.sort_values("mean_regret").index)
    assert BASE in own
    low, high = axes.get_xlim()
    for name, (bar, mean, worst) in own.items():
        bounds = [rows.loc[name, f"mean_regret_{end}"] for end in ("low", "high")]
        assert list(bar.get_xdata()) == bounds
        assert list(mean.get_xdata()) == [rows.loc[name, "mean_regret"]]
        assert list(worst.get_xdata()) == [rows.loc[name, "worst_regret"]]
        assert low < bounds[0] <= bounds[1] < high
        assert low < rows.loc[name, "worst_regret"] < high
        ys = [float(line.get_ydata()[0]) for line in (bar, mean, worst)]
        # The axis points down, so the mean stands above the worst task.
        assert ys[0] == ys[1] < ys[2]


def test_the_rules_limits_are_drawn_and_named(comparison: Comparison) -> None:
    figure = plot_regret(comparison, DELTA)
    drawn = {
        line.get_linestyle(): set(line.get_xdata())
        for line in figure.axes[0].get_lines()
        if line.get_linestyle() in ("--", ":")
    }
    assert drawn == {"--": {DELTA}, ":": {2 * DELTA}}
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["Mean over tasks", "Allowed: 0.025", "Worst task", "Allowed: 0.05"]


def test_sets_look_as_in_the_other_plots_and_the_worst_task_is_hollow(
    comparison: Comparison,
) -> None:
    styles = assign_styles([BASE, *FIVE])
    for name, lines in read_rows(plot_regret(comparison, DELTA).axes[0]).items():
        for line in lines:
            assert to_hex(line.get_color()) == styles[name].colour.lower()
        _, mean, worst = lines
        assert mean.get_marker() == worst.get_marker() == styles[name].marker
        faces = [to_hex(line.get_markerfacecolor()) for line in (mean, worst)]
        assert faces == [styles[name].colour.lower(), "#ffffff"]


def test_sets_without_all_scores_say_so(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), TASKS, rounds=3)
    write_run(study, "o_proj", "fincot", rounds=3)
    write_run(study, "fc1", "fincot", error=ErrorRecord("E", "x", "t"))
    figure = plot_regret(compare_study(study), DELTA)
    assert set(read_rows(figure.axes[0])) == {BASE, "qkv", "all", "o_proj (1 of 2 tasks)"}
    assert any("Not shown (no scores): fc1." in text.get_text() for text in figure.texts)


def list_boxes(figure: Figure) -> list[tuple[str, Any]]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (axes,) = figure.axes
    parts = [*axes.get_yticklabels(), axes.xaxis.label, *figure.legends, *figure.texts, axes.patch]
    return [(str(each), each.get_window_extent(canvas.get_renderer())) for each in parts]


@pytest.mark.parametrize("case", ["one", "twenty", "long names", "formula"])
def test_nothing_overlaps_or_leaves_the_figure(tmp_path: Path, case: str) -> None:
    sets = {
        "one": ("qkv",),
        "twenty": TWENTY,
        "long names": ("a_long_name_of_a_set_" * 3, "qkv"),
        "formula": (r"$\frac{", "$a$", "qkv"),
    }[case]
    study = write_study(tmp_path / "study", sets, ("fincot",), rounds=0)
    figure = plot_regret(compare_study(study), DELTA)
    assert len(read_rows(figure.axes[0])) == len(sets) + 1
    boxes = list_boxes(figure)
    for (one, a), (two, b) in combinations(boxes, 2):
        assert not a.overlaps(b), (one, two)
    for name, box in boxes:
        assert box.x0 >= 0, name
        assert box.y0 >= 0, name
        assert box.x1 <= figure.bbox.x1, name
        assert box.y1 <= figure.bbox.y1, name


def test_one_example_has_points_and_no_bars(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", ("qkv", "all"), ("fincot",), examples=1, rounds=0)
    figure = plot_regret(compare_study(study), DELTA)
    for bar, marker, *_ in read_rows(figure.axes[0]).values():
        assert np.isnan(np.asarray(bar.get_xdata(), float)).all()
        assert np.isfinite(marker.get_xdata()).all()
    FigureCanvasAgg(figure).draw()


def test_no_set_at_all_still_draws(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", ("qkv",), ("fincot",), rounds=0)
    results, examples = load_results(study), load_examples(study)
    is_base = results["target_set"] == BASE
    for rows in (results[is_base], results.iloc[:0]):
        ids = examples["run_id"].isin(rows["run_id"])
        figure = plot_regret(compare(rows, examples[ids]), DELTA)
        FigureCanvasAgg(figure).draw()
        (notice,) = figure.axes[0].texts
        assert notice.get_text() == "No target set has scores to compare."


def test_the_files_are_the_same_every_time(tmp_path: Path, comparison: Comparison) -> None:
    saved = [save_plot(plot_regret(comparison, DELTA), tmp_path / name, "x") for name in "ab"]
    assert saved[0].svg.read_bytes() == saved[1].svg.read_bytes()
    assert saved[0].png.read_bytes() == saved[1].png.read_bytes()
