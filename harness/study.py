"""The one pipeline: load, train, score, time, record, for a group of variants that share a base.

A group of one is the plain job. Every stage ends in a record on disk, so that what was measured
survives a crash, a failure of another variant or Ctrl-C, and a rerun goes on from there.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness import records
from harness.config import Config
from harness.environment import describe_environment
from harness.errors import UserError
from harness.models import LoadedModel, load_model
from harness.plan import VariantPlan, format_plan, plan_sweep, warm_cache
from harness.progress import Progress, announce
from harness.records import AdapterRecord, Record
from harness.stages import (
    Outcome,
    Run,
    conclude,
    failures_recorded,
    score_base,
    train_and_score,
)
from harness.timing_stage import close_untimed, release, time_runs


def run_sweep(configs: Sequence[Config]) -> list[Outcome]:
    """Plan, then run every variant group by group; return an outcome a variant, in order.

    Variants that have run to their end before are left as they are. Raises UserError before
    anything trains where any of the others cannot work.
    """
    distinct = {config.run_id: config for config in configs}
    outcomes = {run_id: done for run_id, c in distinct.items() if (done := find_finished(c))}
    pending = [config for run_id, config in distinct.items() if run_id not in outcomes]
    warm_cache(pending)
    plan = plan_sweep(pending)
    announce(format_plan(plan, finished=len(outcomes)))
    progress = Progress(plan.seconds)
    groups: dict[str, list[VariantPlan]] = {}
    for item in plan.variants:
        groups.setdefault(item.config.group, []).append(item)
    for group in groups.values():
        outcomes |= {outcome.run_id: outcome for outcome in run_group(group, progress)}
    return [outcomes[config.run_id] for config in configs]


def find_finished(config: Config) -> Outcome | None:
    """How this very configuration ended, if it and its base have run to their end before."""
    runs = config.study_folder / "runs"
    ends = [read_previous(runs / run_id) for run_id in (config.base_run_id, config.run_id)]
    finished = [record for record in ends if record is not None and record.status == "ok"]
    return conclude(finished[1]) if len(finished) == 2 else None


def run_group(plans: Sequence[VariantPlan], progress: Progress | None = None) -> list[Outcome]:
    """Run the variants of one group: same base model, task, data order and recipe.

    Finished variants are skipped; a failing one is recorded and does not stop the others. Ctrl-C
    marks what is unfinished as interrupted and is passed on. Where the base failed, no variant has
    succeeded: there is nothing to compare it to.
    """
    progress = progress or Progress()
    runs = [open_run(plan) for plan in plans]
    pending = [run for run in runs if run.record.status != "ok"]
    base = open_base(plans[0])
    if pending or base.record.status != "ok":
        with _interrupts_recorded([base, *pending]):
            _run_pending(base, pending, progress)
    outcomes = [conclude(run.record) for run in runs]
    if base.record.status != "failed":
        return outcomes
    reason = f"the base failed: {conclude(base.record).error}"
    return [dataclasses.replace(each, status="failed", error=reason) for each in outcomes]


def _run_pending(base: Run, pending: Sequence[Run], progress: Progress) -> None:
    for run in pending:
        with failures_recorded([run]):
            run.save(status="running", error=None)
    running = [run for run in pending if not run.is_over]
    loaded: LoadedModel | None = None
    if not running and pending:
        return
    with failures_recorded([*running, *([] if base.record.status == "ok" else [base])]):
        loaded = load_model(base.plan.config.model)
    if loaded is None:
        return
    environment = describe_environment(loaded.model.device)
    for run in (base, *running):
        if run.record.status == "running":
            run.record = dataclasses.replace(run.record, environment=environment)
    if base.record.status != "ok" and base.record.eval is None:
        with failures_recorded([base]):
            score_base(base, loaded, progress)
    for run in running:
        if not run.is_trained:
            with failures_recorded([run]):
                train_and_score(run, loaded, progress)
    left = [run for run in running if not run.is_over]
    latency = base.plan.config.latency
    if not latency.enabled:
        close_untimed([base, *left])
        return
    if latency.fresh_processes:
        device, loaded = loaded.model.device, None
        release(device)
    time_runs(base, left, loaded, progress)


def open_run(plan: VariantPlan) -> Run:
    """Continue a variant's record where an earlier run left it, else begin one."""
    config = plan.config
    folder = config.study_folder / "runs" / config.run_id
    previous = read_previous(folder)
    fresh = Record(run_id=config.run_id, status="running", config=config.as_record())
    if previous is None:
        return Run(plan, folder, fresh)
    if previous.status == "ok":
        return Run(plan, folder, previous)
    # The same configuration has the same run id: stages that it finished still hold.
    kept = dataclasses.replace(
        fresh, adapter=previous.adapter, train=previous.train, eval=previous.eval
    )
    return Run(plan, folder, kept)


def open_base(plan: VariantPlan) -> Run:
    """The base's own run: scored once for all variants that share model, task and scoring."""
    config = plan.config
    folder = config.study_folder / "runs" / config.base_run_id
    values = config.as_record()
    values["target_modules"] = {"label": records.BASE, "roles": []}
    values["adapter"] = {"method": "none", "rank": 0, "alpha": 0.0, "dropout": 0.0}
    values["seed"] = 0
    fresh = Record(
        run_id=config.base_run_id,
        status="running",
        config=values,
        adapter=AdapterRecord(records.BASE, (), "none", 0, 0.0, 0, 0, 0, True),
    )
    previous = read_previous(folder)
    if previous is not None and previous.status == "ok":
        return Run(plan, folder, previous)
    kept = previous.eval if previous is not None else None
    return Run(plan, folder, dataclasses.replace(fresh, eval=kept))


def read_previous(folder: Path) -> Record | None:
    """An earlier record of the run, or None where there is none that can be read."""
    if not (folder / "record.json").exists():
        return None
    try:
        return records.read_record(folder)
    except UserError as error:
        announce(f"warning: {error}; the run is done again")
        return None


@contextmanager
def _interrupts_recorded(runs: Sequence[Run]) -> Iterator[None]:
    """Mark unfinished runs as interrupted when the process is told to end, and pass that on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        for run in runs:
            if not run.is_over:
                run.fail(error, status="interrupted")
        raise
