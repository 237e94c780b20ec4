"""Builds everything derived from a latency study: tables, plots and the page.

    python -m harness.report results/latency

Reads latency.parquet, operations.parquet and latency.json only, needs neither a model nor a GPU,
and writes into the study's folder: ratios.csv and .parquet, pairs.csv, costs.csv, checks.csv,
operations.csv, latency.md, latency.html (one file, no network) and plots/. Running it again
replaces them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.latency.cost_model import CostModel
from harness.analysis.latency.latency_results import LatencyStudy, Point, load_latency_study
from harness.analysis.latency.latency_tables import (
    Costs,
    check_gates,
    list_arms,
    list_timed_points,
    select_held_out,
    tabulate_costs,
    tabulate_noise,
    tabulate_operations,
    tabulate_pairs,
    tabulate_ratios,
    tabulate_times,
)
from harness.analysis.latency.latency_wording import (
    DOUBT,
    describe_checks,
    describe_fit,
    describe_gate,
    describe_layout,
    describe_mixed,
    describe_one_process,
    describe_other_gates,
    describe_publishability,
    describe_rule,
    describe_shared_axes,
    describe_states,
    describe_status,
    describe_stop,
    describe_undefined,
    describe_verdicts,
    describe_versions,
    list_troubles,
    name_points,
)
from harness.analysis.latency.run_times import TIMES
from harness.analysis.latency.timing_verdicts import Gate
from harness.records.files import write_table, write_text
from harness.reporting.latency_cells import (
    make_noise_table,
    make_operation_table,
    make_pair_table,
    make_prediction_table,
    make_ratio_table,
    make_term_table,
    make_text_table,
)
from harness.reporting.plots.latency_plots import (
    list_batch_groups,
    plot_batches,
    plot_forest,
    plot_predictions,
)
from harness.reporting.rendering import Picture, render, save_picture
from harness.reporting.report_tables import Table, make_environment_table

OPERATIONS_NOTE = (
    "A value without a range was measured once or was the same each time. A measurement that a "
    "process made once for several points appears at each of them."
)


@dataclass(frozen=True)
class PointReport:
    """One point's part of the page."""

    title: str
    state: str
    """One of wording.STATES."""
    headline: str
    """The gate in a sentence, or why there are no calls."""
    lines: tuple[str, ...]
    """Verdicts, what the controls say, whether it is publishable, and why the rounds ended."""
    text: str
    """The same, with a table, for a terminal."""
    forest: Picture | None = None
    ratios: Table | None = None
    pairs: Mapping[str, Table] = field(default_factory=dict)
    """Arm -> its target sets against each other."""
    operations: Table | None = None
    costs: "CostReport | None" = None

    @property
    def doubt(self) -> str:
        """Prefix of the captions of a point that is not trusted."""
        return DOUBT if self.state == "untrusted" else ""


@dataclass(frozen=True)
class PredictionReport:
    """Sets as they were measured, against what a cost model that was not fitted on them says."""

    caption: str
    table: Table
    picture: Picture


@dataclass(frozen=True)
class CostReport:
    """What the cost model says at a point."""

    sentence: str
    """Whether the roles' terms add up, or why there are none."""
    terms: Table | None = None
    predictions: tuple[PredictionReport, ...] = ()
    """Of the point's own model, and of that of the first point of its axes."""


@dataclass(frozen=True)
class LatencyReport:
    """What `build_latency_report` wrote."""

    folder: Path
    markdown: Path
    html: Path
    ratios_csv: Path
    ratios_parquet: Path
    pairs_csv: Path
    costs_csv: Path
    checks_csv: Path
    operations_csv: Path
    is_trusted: bool
    """Every point was measured and passed its gate."""
    text: str
    """Verdicts and tables, for a terminal."""


@dataclass(frozen=True)
class _Derived:
    """All tables of a study."""

    study: LatencyStudy
    gates: Mapping[int, Gate]
    """End to end."""
    other_gates: Mapping[str, Mapping[int, Gate]]
    """By time: of those in which nothing stops and nothing is headlined."""
    ratios: pd.DataFrame
    pairs: pd.DataFrame
    times: pd.DataFrame
    operations: pd.DataFrame
    costs: Costs
    names: Mapping[int, str]


def build_latency_report(study: str | Path) -> LatencyReport:
    """Write every derived file into the folder `study`, from its raw files alone.

    Raises UserError if it is not a latency study, or if writing fails.
    """
    folder = Path(study)
    derived = _derive(load_latency_study(folder))
    parts = [_report_point(folder, derived, point) for point in derived.study.facts.points]
    troubles = list_troubles(derived.study, derived.names)
    report = LatencyReport(
        folder=folder,
        markdown=folder / "latency.md",
        html=folder / "latency.html",
        ratios_csv=folder / "ratios.csv",
        ratios_parquet=folder / "ratios.parquet",
        pairs_csv=folder / "pairs.csv",
        costs_csv=folder / "costs.csv",
        checks_csv=folder / "checks.csv",
        operations_csv=folder / "operations.csv",
        is_trusted=all(part.state == "trusted" for part in parts),
        text="\n\n".join([*(part.text for part in parts), *troubles]),
    )
    write_table(report.ratios_parquet, derived.ratios)
    write_text(report.ratios_csv, derived.ratios.to_csv(index=False))
    write_text(report.pairs_csv, derived.pairs.to_csv(index=False))
    write_text(report.costs_csv, derived.costs.predictions.to_csv(index=False))
    write_text(report.checks_csv, derived.costs.checks.to_csv(index=False))
    write_text(report.operations_csv, derived.operations.to_csv(index=False))
    values = _gather_values(folder, derived, parts)
    write_text(report.markdown, render("latency.md.j2", values))
    write_text(report.html, render("latency.html.j2", values))
    return report


def _derive(study: LatencyStudy) -> _Derived:
    return _Derived(
        study=study,
        gates=check_gates(study),
        other_gates={time: check_gates(study, time) for time in TIMES if time != "end_to_end"},
        ratios=tabulate_ratios(study),
        pairs=tabulate_pairs(study),
        times=tabulate_times(study),
        operations=tabulate_operations(study),
        costs=tabulate_costs(study),
        names=name_points(study.facts.points),
    )


def _report_point(folder: Path, derived: _Derived, point: Point) -> PointReport:
    title, study = derived.names[point.number], derived.study
    if point.number not in derived.gates:
        headline = f"Not measured: {describe_status(point)}."
        return PointReport(title, "not measured", headline, (), f"{title}\n{headline}")
    gate, rule = derived.gates[point.number], study.facts.rule
    ratios, pairs, times, operations = (
        table[table["point"] == point.number]
        for table in (derived.ratios, derived.pairs, derived.times, derived.operations)
    )
    verdicts = tuple(describe_verdicts(ratios, rule)) if gate.is_trusted else ()
    controls = tuple(_describe_controls(derived, point, ratios)) if gate.is_trusted else ()
    ended = (
        *describe_mixed(point, ratios),
        *describe_one_process(ratios),
        describe_publishability(ratios, rule),
        describe_stop(point, ratios, study.facts),
    )
    headline = describe_gate(gate)
    forest = save_picture(
        plot_forest(ratios, gate, rule, title),
        folder,
        f"forest_point_{point.number}",
        "End-to-end time against the base",
        f"One row per arm, with 95% intervals, at {title}. {' '.join((headline, *verdicts))} The "
        "table has the numbers.",
    )
    arms = list_arms(study.calls_of(point.number), point)
    return PointReport(
        title=title,
        state="trusted" if gate.is_trusted else "untrusted",
        headline=headline,
        lines=(*verdicts, *controls, *ended),
        text="\n".join([title, headline, make_text_table(ratios), *controls, *ended]),
        forest=forest,
        ratios=make_ratio_table(ratios, times),
        pairs={str(arm): make_pair_table(own) for arm, own in pairs.groupby("arm", sort=False)},
        operations=None if operations.empty else make_operation_table(operations, arms),
        costs=_report_costs(folder, derived, point),
    )


def _describe_controls(derived: _Derived, point: Point, ratios: pd.DataFrame) -> Iterator[str]:
    yield from describe_layout(ratios, derived.study.facts.rule)
    number = point.number
    others = {time: gates[number] for time, gates in derived.other_gates.items() if number in gates}
    yield from describe_other_gates(others)


def _report_costs(folder: Path, derived: _Derived, point: Point) -> CostReport:
    number, costs, names = point.number, derived.costs, derived.names
    model, checks = costs.models.get(number), costs.checks[costs.checks["point"] == number]
    terms, said, predictions = None, [], []
    # A later point's own model is worth showing where it has sets that the first one's lacks.
    if model is not None and not _list_measured(model) <= set(checks["target_set"]):
        is_trusted = derived.gates[number].is_trusted
        terms, held_out = make_term_table(model), select_held_out(model)
        said.append(_doubt(is_trusted, f"{model.additivity.sentence} {describe_fit(model)}"))
        if len(held_out):
            title = f"{names[number]}: sets that the cost model was not fitted on"
            name = f"predictions_point_{number}"
            predictions.append(_report_predictions(folder, name, title, held_out, is_trusted))
    if len(checks):
        first, is_trusted = names[checks["added_to"].iloc[0]], bool(checks["trusted"].all())
        said.append(_doubt(is_trusted, describe_checks(checks, first)))
        title, name = (
            f"{names[number]}: compared with the first point's cost model",
            f"checks_point_{number}",
        )
        predictions.append(_report_predictions(folder, name, title, checks, is_trusted))
    if not said:
        problem = f"No cost model: {costs.problems[number].rstrip('.')}."
        said.append(f"{problem} A model uses the sets of one run only.")
    return CostReport(" ".join(said), terms, tuple(predictions))


def _list_measured(model: CostModel) -> set[str]:
    return set(model.predictions.loc[model.predictions["measured"].notna(), "target_set"])


def _report_predictions(
    folder: Path, name: str, title: str, rows: pd.DataFrame, is_trusted: bool
) -> PredictionReport:
    table, caption = make_prediction_table(rows, is_trusted), _doubt(is_trusted, title)
    listed = "; ".join(f"{row[0]} {row[2]}, predicted {row[1]}, {row[4]}" for row in table.rows)
    picture = save_picture(
        plot_predictions(rows, caption),
        folder,
        name,
        "Measured against predicted",
        f"Time relative to the base, measured against predicted. {caption}. {listed}.",
    )
    return PredictionReport(caption, table, picture)


def _doubt(is_trusted: bool, text: str) -> str:
    return text if is_trusted else f"{DOUBT}{text}"


def _plot_batches(folder: Path, derived: _Derived) -> list[Picture]:
    pictures = []
    for index, group in enumerate(list_batch_groups(derived.ratios)):
        points = [p for p in derived.study.facts.points if p.number in set(group["point"])]
        first = points[0].axes
        title = f"prompt {first['prompt_tokens']}, output {first['output_tokens']}"
        shared = describe_shared_axes(points)
        later = any(point.added_to is not None for point in points)
        note = f"{shared}. Sets added later were timed in separate runs." if later else shared
        alt = (
            f"Time per output token and its ratio to the base by batch size: {title}, "
            f"{shared}. The tables have the numbers."
        )
        pictures.append(
            save_picture(
                plot_batches(group, title, note),
                folder,
                f"tpot_against_batch_{index}",
                f"TPOT by batch size: {title}, {shared}",
                alt,
            )
        )
    return pictures


def _gather_values(folder: Path, derived: _Derived, parts: Sequence[PointReport]) -> dict[str, Any]:
    study, facts = derived.study, derived.study.facts
    environments = {
        str(index): process["environment"]
        for index, process in enumerate(facts.processes)
        if process.get("environment")
    }
    return {
        "study": study.name,
        "model": facts.model,
        "device": facts.device,
        "machine": facts.machine.get("gpu") or facts.machine.get("cpu") or "unknown machine",
        "shared_axes": describe_shared_axes(facts.points),
        "versions": describe_versions(study),
        "calls": len(study.calls),
        "parts": parts,
        "states": describe_states([part.state for part in parts]),
        "undefined": list(describe_undefined(facts.points)),
        "troubles": list_troubles(study, derived.names),
        "batches": _plot_batches(folder, derived),
        "rule": describe_rule(facts),
        "operations_note": OPERATIONS_NOTE,
        "noise": make_noise_table(tabulate_noise(study), derived.names),
        "is_timed": bool(list_timed_points(study)),
        "environment": make_environment_table(environments or {"machine": facts.machine}),
    }
