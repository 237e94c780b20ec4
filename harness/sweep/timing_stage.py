"""The last stage of a group: time its variants with the base, and close their records."""

import contextlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config.catalog import METHODS
from harness.errors import UserError
from harness.models.devices import describe_environment, resolve_device
from harness.models.loading import LoadedModel
from harness.progress import Progress, announce
from harness.records.files import write_table
from harness.records.machine import describe_difference, identify_machine
from harness.records.record import LatencyRecord, Record, read_record
from harness.sweep.plan import VariantPlan
from harness.sweep.stages import Run, failures_recorded
from harness.timing.budget import Budget, make_budget
from harness.timing.controller import Measurement, PointState, Series, measure
from harness.timing.points import Build, Point, TimedAdapter
from harness.timing.processes import choose_host

BASE_ARMS = ("base", "base_again", "base_cloned")
"""Arms whose calls stand beside every variant's own, so that one file is enough to pair by."""


def close_untimed(runs: Sequence[Run]) -> None:
    """Close the records of a group that is not to be timed."""
    for run in runs:
        if run.record.status == "running":
            run.save(status="ok" if run.record.eval is not None else "failed")


def describe_calls(base: Run, runs: Sequence[Run]) -> str | None:
    """What the times of a group depend on: runs of which it is the same have the same times.

    Neither task nor seed, but the model, the shape of a call, and the adapters that are left to be
    timed. None where nothing is.
    """
    values = base.plan.config.as_record()
    adapters = {_name_adapter(run) for run in runs if run.record.status == "running"}
    if not adapters or not base.plan.config.latency.enabled:
        return None
    shape = [values["model"], values["latency"], base.plan.timed_lengths, sorted(adapters)]
    return json.dumps(shape, sort_keys=True)


def reuse_times(runs: Sequence[Run]) -> None:
    """Close the runs whose kind of adapter was timed earlier in the study, on this machine.

    Latency does not depend on training, so another seed or more examples need no timing;
    `latency.remeasure` times again.
    """
    waiting = [run for run in runs if run.record.status == "running" and run.record.eval]
    waiting = [run for run in waiting if run.plan.config.latency.enabled]
    for run in waiting:
        if run.record.latency is not None:
            run.save(status="ok")
    waiting = [run for run in waiting if not run.is_over and not run.plan.config.is_timed_again]
    if not waiting:
        return
    device = resolve_device(waiting[0].plan.config.model.device)
    known = _find_timed(waiting[0].plan.config.study_folder, describe_environment(device))
    for run in waiting:
        folder = known.get(_name_calls(run.record, run.plan.timed_lengths))
        if folder is None:
            continue
        with failures_recorded([run]):
            _copy_times(read_record(folder), folder, run)


def _find_timed(study: Path, environment: Mapping[str, Any]) -> dict[str, Path]:
    """Folder of a run that was timed on this machine, for each kind of call."""
    machine = identify_machine(environment)
    known: dict[str, Path] = {}
    for path in sorted(study.glob("runs/*/record.json")):
        with contextlib.suppress(UserError):
            record = read_record(path.parent)
            timed = record.latency
            if record.status != "ok" or timed is None:
                continue
            name = _name_calls(record, (timed.prompt_tokens, timed.output_tokens))
            is_here = describe_difference(identify_machine(record.environment), machine) is None
            if is_here:
                known.setdefault(name, path.parent)
    return known


def _name_calls(record: Record, lengths: tuple[int, int]) -> str:
    """What the times of a run depend on: neither task nor seed."""
    config, adapter = record.config, record.adapter
    kind = [config["target_modules"]["label"], config["adapter"].get("method")]
    kind += [adapter.rank if adapter else 0, config["adapter"].get("virtual_tokens")]
    return json.dumps([config["model"], config["latency"], lengths, kind], sort_keys=True)


def _copy_times(source: Record, folder: Path, run: Run) -> None:
    shutil.copyfile(folder / "latency.parquet", run.folder / "latency.parquet")
    run.save(latency=source.latency, environment=source.environment, status="ok")


def pick_timed(runs: Sequence[Run]) -> list[VariantPlan]:
    """One run of each kind of adapter, the first that is left to be timed; without timing, all."""
    picked: dict[tuple[object, ...], Run] = {}
    for run in runs:
        name = _name_adapter(run)
        is_better = name in picked and picked[name].is_over and not run.is_over
        if name not in picked or is_better:
            picked[name] = run
    is_timed = any(run.plan.config.latency.enabled for run in runs)
    return [run.plan for run in (picked.values() if is_timed else runs)]


def share_times(timed: Sequence[Run], runs: Sequence[Run]) -> None:
    """Give `runs` the times of those in `timed` with the same adapter, and close their records.

    Both begin with their base.
    """
    by_adapter = {_name_adapter(run): run for run in timed}
    for run in runs:
        if run.record.status != "running" or run.record.eval is None:
            continue
        with failures_recorded([run]):
            source = by_adapter[_name_adapter(run)]
            if source.record.latency is None:
                reason = source.record.error.message if source.record.error else "not timed"
                raise UserError(f"latency, timed with {source.title}: {reason}")
            _copy_times(source.record, source.folder, run)


def _name_adapter(run: Run) -> tuple[object, ...]:
    return () if run.is_base else run.plan.timed_kind


def time_runs(
    base: Run, runs: Sequence[Run], loaded: LoadedModel | None, progress: Progress
) -> None:
    """Time all variants with the base, interleaved, and close their records.

    In fresh processes, or with `loaded` in this one. Nothing else may run meanwhile.
    """
    timed = [run for run in runs if run.record.status == "running"]
    if not timed and base.record.status != "running":
        return
    with failures_recorded([run for run in (base, *timed) if not run.is_over]):
        config = base.plan.config
        budget = make_budget(config, resolve_device(config.model.device))
        measured = _measure(base, timed, budget, loaded, progress)
        state = measured.states[0]
        if state.status != "done":
            raise UserError(f"latency: {state.message}")
        _close(base, timed, measured, budget)


def _measure(
    base: Run,
    timed: Sequence[Run],
    budget: Budget,
    loaded: LoadedModel | None,
    progress: Progress,
) -> Measurement:
    config = base.plan.config
    latency = config.latency
    build = Build(
        model=config.model,
        adapters=tuple(_describe_adapter(run) for run in timed),
        adapter_dtype=latency.adapter_dtype,
        cache=latency.cache,
        compile=latency.compile,
        is_mixed_too=latency.mixed,
        seed=config.seed,
    )
    length, output_tokens = base.plan.timed_lengths
    prompts = pick_prompts(base.plan, latency.batch_size, length)
    point = Point(0, prompts, output_tokens)
    seconds = sum(run.plan.latency_seconds for run in timed)
    title = f"{config.task.name} \N{MIDDLE DOT} timing"
    with progress.stage(title, budget.max_seconds, seconds) as stage:

        def show(state: PointState, spent: float) -> None:
            doing = f"process {state.processes + 1}, round {state.rounds}"
            stage.advance(spent, doing=f"{doing}, at most {budget.max_seconds:.0f} s")

        def keep(measurement: Measurement) -> None:
            _write_calls(base, measurement, (*BASE_ARMS, "mixed"))
            for run in timed:
                _write_calls(run, measurement, BASE_ARMS)

        series = Series(build, [PointState(point)])
        open_host = choose_host(budget.is_fresh, loaded)
        return measure(series, budget, open_host, keep=keep, on_time=show)


def _describe_adapter(run: Run) -> TimedAdapter:
    is_mergeable = run.record.adapter is not None and run.record.adapter.mergeable
    return TimedAdapter(
        variant=run.record.run_id,
        folder=str(run.folder / "adapter"),
        is_merged_too=run.plan.config.latency.merged and is_mergeable,
        is_mixable=METHODS[run.plan.adapter.method].is_mixable,
    )


def pick_prompts(plan: VariantPlan, batch_size: int, length: int) -> tuple[tuple[int, ...], ...]:
    """Real prompts, `batch_size` rows of one length.

    Prompts at and above the median, cut to it, so that no row is padded; taken again where the
    task has fewer, and repeated where they are shorter than `length`.
    """
    prompts = sorted((item.prompt_ids for item in plan.prepared.test), key=len)
    upper = prompts[len(prompts) // 2 :]
    rows = (upper[row % len(upper)] for row in range(batch_size))
    return tuple(tuple((ids * -(-length // len(ids)))[:length]) for ids in rows)


def _write_calls(run: Run, measured: Measurement, shared: Sequence[str]) -> None:
    """Write what there is of a run's own calls, beside those of the `shared` arms."""
    rows = [
        {name: value for name, value in row.items() if name not in ("point", "variant")}
        for row in measured.calls
        if row["arm"] in shared or row["variant"] == run.record.run_id
    ]
    if rows:
        write_table(run.folder / "latency.parquet", rows)


def _close(base: Run, timed: Sequence[Run], measured: Measurement, budget: Budget) -> None:
    summary = _summarize(base, measured, budget)
    lost = {failure["variant"]: failure["message"] for failure in measured.failures}
    lines = [f"{each['variant']} ({each['arm']}): {each['message']}" for each in measured.failures]
    for line in dict.fromkeys(lines):
        announce(f"failed: timing {line}")
    ran = {row["variant"] for row in measured.calls if row["arm"] == "unmerged"}
    for run in timed:
        with failures_recorded([run]):
            if run.record.run_id not in ran:
                raise UserError(f"latency: {lost.get(run.record.run_id, 'not timed')}")
            run.save(latency=summary, status="ok")
    if base.record.status == "running" and base.record.eval is not None:
        with failures_recorded([base]):
            base.save(latency=summary, status="ok")


def _summarize(base: Run, measured: Measurement, budget: Budget) -> LatencyRecord:
    state = measured.states[0]
    rule = budget.rule
    loads = [row["load_average"] for row in measured.calls]
    return LatencyRecord(
        batch_size=state.point.batch_size,
        prompt_tokens=state.point.prompt_tokens,
        output_tokens=state.point.output_tokens,
        rounds=state.rounds,
        load_before=loads[0],
        load_after=loads[-1],
        processes=state.processes if budget.is_fresh else 1,
        stopped=state.stopped or "",
        half_width=rule.half_width,
        margin=rule.margin,
        min_rounds=rule.min_rounds,
        min_processes=rule.min_processes if budget.is_fresh else 1,
        adapter_dtype=str(state.settings["adapter_dtype"] or ""),
        session=base.record.run_id,
    )
