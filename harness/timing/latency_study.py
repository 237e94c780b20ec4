"""A latency study: every target set against the base, paired, interleaved and gated.

    python -m harness.latency target_modules=qkv,o_proj,qkv+o_proj,o_proj+fc2,all
    python -m harness.latency model=local model.path=/models/mine target_modules=qkv,o_proj \\
        latency.batch_size=1,8 latency.prompt_tokens=128,2048 study=my-latency

Takes the configuration of `python -m harness`; every value that is a comma list is an axis. The
adapters get random weights: speed does not depend on what they have learned. Running it again goes
on where it was cut off, and adds axes and target sets that the study does not have.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.adapters.storage import write_random_adapter
from harness.config.catalog import METHODS
from harness.config.schema import AdapterConfig, Config
from harness.errors import UserError
from harness.formatting import format_duration
from harness.models.devices import describe_environment, resolve_device
from harness.models.embedded import embedded_folder
from harness.models.loading import (
    Structure,
    check_checkpoint,
    find_context_length,
    load_structure,
    name_base,
)
from harness.models.projections import ModuleMap, map_modules
from harness.progress import Progress, announce
from harness.records.machine import identify_machine
from harness.timing.budget import Budget, make_budget
from harness.timing.controller import PointState, Series, measure
from harness.timing.latency_folder import (
    LatencyFolder,
    Recorder,
    StudyFacts,
    describe_rule,
    open_folder,
)
from harness.timing.noise import check_clock
from harness.timing.points import Build, Point, TimedAdapter
from harness.timing.processes import choose_host

DEFAULT_PROMPT_TOKENS = 128
DEFAULT_OUTPUT_TOKENS = 32

AXIS_KEYS = (
    *("latency.batch_size", "latency.prompt_tokens", "latency.output_tokens", "model.dtype"),
    *("latency.adapter_dtype", "adapter.rank", "model.attention", "latency.cache"),
    "latency.compile",
)
"""What may be swept within a study, beside target_modules."""

VERSIONS = ("torch", "transformers", "peft")
"""What must not change while a study grows."""


@dataclass(frozen=True)
class PlannedPoint:
    """One combination of the axes and the configurations of the target sets to time there."""

    config: Config
    """Any of them: they differ in the target set alone."""
    structure: Structure
    modules: ModuleMap
    axes: dict[str, Any]
    target_sets: dict[str, Config]

    def __str__(self) -> str:
        shape = (
            f"batch {self.axes['batch_size']}, prompt {self.axes['prompt_tokens']}, output "
            f"{self.axes['output_tokens']}"
        )
        rest = f"dtype {self.axes['dtype']}, rank {self.axes['rank']}, {self.axes['cache']} cache"
        compiled = "" if self.axes["compile"] == "off" else f", compiled ({self.axes['compile']})"
        return f"{shape}, {rest}{compiled}"


def plan_points(configs: Sequence[Config]) -> list[PlannedPoint]:
    """Sort configurations into points; those of one point differ in the target set alone.

    Raises UserError for what cannot work: files that lack weights, roles that the model has not,
    and a prompt and output that its context does not hold.
    """
    structures: dict[str, tuple[Structure, ModuleMap]] = {}
    points: dict[str, PlannedPoint] = {}
    for config in configs:
        key = str(config.model)
        if key not in structures:
            loaded = load_structure(config.model)
            check_checkpoint(config.model)
            structures[key] = loaded, map_modules(loaded.model, loaded.config, config.model.roles)
        structure, mapped = structures[key]
        mapped.select(config.roles, config.target.layers)
        if not METHODS[config.adapter.method].is_packable:
            raise UserError(
                f"adapter.method is {config.adapter.method}: a latency study times LoRA with "
                "random weights; a sweep (python -m harness) times every method as trained"
            )
        axes = _read_axes(config)
        longest = find_context_length(structure.config)
        if axes["prompt_tokens"] + axes["output_tokens"] > longest:
            raise UserError(
                f"latency.prompt_tokens={axes['prompt_tokens']} and latency.output_tokens="
                f"{axes['output_tokens']} are {axes['prompt_tokens'] + axes['output_tokens']} "
                f"tokens together; {config.model_name} takes {longest}: lower one of them"
            )
        planned = PlannedPoint(config, structure, mapped, axes, {})
        point = points.setdefault(str(axes), planned)
        point.target_sets[config.target_set] = config
    return list(points.values())


def _read_axes(config: Config) -> dict[str, Any]:
    latency = config.latency
    return {
        "batch_size": latency.batch_size,
        "prompt_tokens": latency.prompt_tokens or DEFAULT_PROMPT_TOKENS,
        "output_tokens": latency.output_tokens or DEFAULT_OUTPUT_TOKENS,
        "dtype": config.model.dtype,
        "adapter_dtype": latency.adapter_dtype,
        "rank": config.adapter.rank,
        "attention": config.model.attention,
        "cache": latency.cache,
        "compile": latency.compile,
    }


def run_study(configs: Sequence[Config]) -> tuple[LatencyFolder, bool]:
    """Measure every configuration that the study does not have yet.

    Returns its folder, and whether all that was to be measured now came to be. All configurations
    are checked before the first is measured. Raises UserError for what cannot work.
    """
    check_clock()
    first = configs[0]
    _check_one_study(configs)
    if any(config.model.source in ("embedded", "random") for config in configs):
        embedded_folder()
    points = plan_points(configs)
    device = resolve_device(first.model.device)
    budget = make_budget(first, device)
    environment = describe_environment(device)
    study = StudyFacts(
        model=first.model_name,
        model_settings=_list_model_settings(first),
        device=str(device),
        seed=first.seed,
        rule=describe_rule(first, budget),
        machine=identify_machine(environment),
        versions={name: environment[name] for name in VERSIONS},
    )
    folder = open_folder(first.study_folder, study)
    series = _gather_series(folder, points)
    left = sum(len(each.states) for each in series)
    _announce_plan(points, left, budget)
    progress = Progress(left * budget.max_seconds)
    with progress.heartbeat():
        measured = [_measure_series(folder, each, budget, progress) for each in series]
    return folder, all(measured)


def _check_one_study(configs: Sequence[Config]) -> None:
    """Axes may differ; nothing else may, since it would be dropped or mixed without a word."""
    first, *others = (_list_fixed(config) for config in configs)
    for other in others:
        for key, value in first.items():
            if other[key] != value:
                raise UserError(
                    f"{key} is {value} and {other[key]}; a latency study needs a single value: "
                    f"sweep only target_modules, {', '.join(AXIS_KEYS)}"
                )


def _list_fixed(config: Config) -> dict[str, Any]:
    """Every setting by its key, but for target sets and axes."""
    values = dataclasses.asdict(config)
    del values["target_modules"]
    flat = {
        f"{section}.{name}" if isinstance(content, dict) else section: value
        for section, content in values.items()
        for name, value in (content.items() if isinstance(content, dict) else [("", content)])
    }
    return {key: value for key, value in flat.items() if key not in AXIS_KEYS}


def _list_model_settings(config: Config) -> dict[str, Any]:
    """What makes the model another one; its name may be shared."""
    values = config.as_record()["model"]
    axes = [key.removeprefix("model.") for key in AXIS_KEYS]
    return {name: value for name, value in values.items() if name not in (*axes, "name")}


def _gather_series(folder: LatencyFolder, points: Sequence[PlannedPoint]) -> list[Series]:
    """What is left to measure: points that share a build are one series."""
    found: dict[str, Series] = {}
    for planned in points:
        missing = set(planned.target_sets) - folder.list_measured(planned.axes)
        for entry in folder.find_points(planned.axes):
            # One that was cut off or failed is tried again, as the comparison that it was.
            if entry["status"] != "done" and set(entry["target_sets"]) <= missing:
                missing -= set(entry["target_sets"])
                _add_state(found, folder, planned, entry)
        if missing:
            covered = {
                name: planned.modules.find_shares(
                    planned.modules.select(config.roles, config.target.layers)
                )
                for name, config in planned.target_sets.items()
                if name in missing
            }
            _add_state(found, folder, planned, folder.add_point(planned.axes, covered))
    return list(found.values())


def _add_state(
    found: dict[str, Series],
    folder: LatencyFolder,
    planned: PlannedPoint,
    entry: dict[str, Any],
) -> None:
    target_sets = {name: planned.target_sets[name] for name in entry["target_sets"]}
    build = _make_build(folder.path, planned, target_sets)
    point = Point(entry["point"], _draw_prompts(planned), planned.axes["output_tokens"])
    series = found.setdefault(str(build), Series(build, []))
    series.states.append(folder.resume(entry["point"], point))


def _make_build(path: Path, planned: PlannedPoint, target_sets: dict[str, Config]) -> Build:
    """The build of one point; adapters that are not there yet are written."""
    config = planned.config
    adapters = []
    for label, each in target_sets.items():
        folder = path / "adapters" / f"{label}--r{config.adapter.rank}"
        if not (folder / "adapter_model.safetensors").exists():
            write_random_adapter(
                planned.structure.model,
                planned.modules.select(each.roles, each.target.layers),
                AdapterConfig(rank=config.adapter.rank, alpha=config.adapter.alpha),
                folder,
                seed=config.seed,
                base_name=name_base(config.model),
            )
        adapters.append(TimedAdapter(label, str(folder), config.latency.merged))
    return Build(
        model=config.model,
        adapters=tuple(adapters),
        adapter_dtype=config.latency.adapter_dtype,
        cache=config.latency.cache,
        compile=config.latency.compile,
        is_mixed_too=config.latency.mixed,
        seed=config.seed,
    )


def _draw_prompts(planned: PlannedPoint) -> tuple[tuple[int, ...], ...]:
    """Random token ids: what they say does not change how long they take."""
    generator = torch.Generator().manual_seed(planned.config.seed)
    size = (planned.axes["batch_size"], planned.axes["prompt_tokens"])
    vocabulary = planned.structure.config.get_text_config().vocab_size
    rows = torch.randint(vocabulary, size, generator=generator).tolist()
    return tuple(tuple(row) for row in rows)


def _announce_plan(points: Sequence[PlannedPoint], left: int, budget: Budget) -> None:
    rule = budget.rule
    sets = ", ".join(dict.fromkeys(name for point in points for name in point.target_sets))
    announce(
        f"plan: {len(points)} points, {left} to measure; {sets}; until every ratio is known to "
        f"±{rule.half_width:.1%} (at least {rule.min_rounds} rounds in {rule.min_processes} "
        f"processes), for at most {format_duration(left * budget.max_seconds)}"
    )
    for point in points:
        note = ""
        if point.axes["output_tokens"] == 1:
            note = ": time per output token needs at least 2 output tokens"
        announce(f"  {point}{note}")


def _measure_series(
    folder: LatencyFolder, series: Series, budget: Budget, progress: Progress
) -> bool:
    recorder = Recorder(folder, series)
    seconds = len(series.states) * budget.max_seconds
    with progress.stage("timing", seconds, seconds) as stage:

        def show(state: PointState, spent: float) -> None:
            point = state.point
            stage.advance(
                spent,
                doing=f"batch {point.batch_size}, prompt {point.prompt_tokens}, output "
                f"{point.output_tokens}: process {state.processes + 1}, round {state.rounds}",
            )

        measured = measure(
            series,
            budget,
            choose_host(budget.is_fresh),
            earlier=folder.earlier,
            keep=recorder.keep,
            on_time=show,
        )
    for state in measured.states:
        if state.message:
            announce(f"{state.status}: {state.message}")
    for failure in {(f["arm"], f["variant"], f["message"]): f for f in measured.failures}.values():
        announce(f"failed: {failure['variant']} ({failure['arm']}): {failure['message']}")
    return all(state.status == "done" for state in measured.states) and not measured.failures
