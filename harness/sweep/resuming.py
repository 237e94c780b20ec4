"""What earlier sweeps left of each run, and where a sweep goes on from it."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.adapters.storage import has_adapter
from harness.config.schema import Config
from harness.errors import UserError
from harness.progress import announce
from harness.records.files import is_table
from harness.records.record import BASE, AdapterRecord, Record, read_record
from harness.sweep.packing import PackPlan
from harness.sweep.plan import Plan, VariantPlan
from harness.sweep.stages import Outcome, Run, conclude
from harness.training.checkpoints import list_checkpoints


def find_finished(config: Config) -> Outcome | None:
    """How this very configuration ended, if it and its base have run to their end before.

    None too where it is to be timed again; UserError where its adapter for that is gone.
    """
    runs = config.study_folder / "runs"
    ends = [read_previous(runs / run_id) for run_id in (config.base_run_id, config.run_id)]
    finished = [record for record in ends if record is not None and record.status == "ok"]
    if len(finished) < 2 or not all(has_enough_scores(record, config) for record in finished):
        return None
    if not config.is_timed_again:
        return conclude(finished[1])
    adapter = runs / config.run_id / "adapter"
    if not has_adapter(adapter):
        raise UserError(
            f"latency.remeasure: {adapter} has no adapter, so the run cannot be timed again: "
            "restore the folder, or delete the run's folder to train it again"
        )
    return None


def leave_out_done(plan: Plan) -> Plan:
    """Take from a plan's estimates the training and timing that earlier sweeps have done."""
    return dataclasses.replace(plan, variants=tuple(map(_leave_out_done, plan.variants)))


def _leave_out_done(plan: VariantPlan) -> VariantPlan:
    run = open_run(plan)
    if run.is_trained and not _was_cut_off(run):
        plan = dataclasses.replace(plan, is_trained=True, train_seconds=0.0)
    if run.record.latency is not None:
        plan = dataclasses.replace(plan, latency_seconds=0.0)
    return plan


def _was_cut_off(run: Run) -> bool:
    """Whether an interruption left others of the pack that trained it without their training."""
    pack = run.record.train.pack if run.record.train else ()
    others = [read_previous(run.folder.parent / run_id) for run_id in pack]
    return any(
        other is not None and other.train is None and other.status in ("running", "interrupted")
        for other in others
    )


def find_begun(plans: Sequence[VariantPlan]) -> list[PackPlan]:
    """Packs whose training was cut off and can go on from a checkpoint, as they were."""
    left = {plan.config.run_id: plan for plan in plans if not plan.is_trained}
    packs = []
    for facts in list_checkpoints(plans[0].config.study_folder / "checkpoints") if plans else ():
        names = facts.get("run_ids", [])
        if not names or not all(name in left for name in names):
            continue
        begun = (
            dataclasses.replace(
                left.pop(name),
                max_tokens_per_pass=facts["max_tokens_per_pass"],
                gradient_checkpointing=facts["gradient_checkpointing"],
            )
            for name in names
        )
        packs.append(PackPlan(tuple(begun), is_begun=True))
    return packs


def find_runs(pack: PackPlan) -> list[Run]:
    """A pack's runs as they stand on disk, the base first where it is one of them."""
    bases = [find_base(pack.base)] if pack.base else []
    return bases + [find_run(plan) for plan in pack.plans]


def find_run(plan: VariantPlan) -> Run:
    """A variant's run as it stands on disk, which it has been since `begin`."""
    folder = plan.config.study_folder / "runs" / plan.config.run_id
    return Run(plan, folder, read_record(folder))


def find_base(plan: VariantPlan) -> Run:
    """The base's run as it stands on disk."""
    folder = plan.config.study_folder / "runs" / plan.config.base_run_id
    return Run(plan, folder, read_record(folder))


def begin(run: Run) -> Outcome | None:
    """Put a run that is not over on disk; return its outcome where even that cannot be done."""
    if run.record.status == "ok":
        return None
    try:
        run.save(status="running", error=None)
    except UserError as error:
        run.fail(error)
        return conclude(run.record)
    return None


def open_run(plan: VariantPlan) -> Run:
    """Continue a variant's record where an earlier sweep left it, else begin one."""
    config = plan.config
    folder = config.study_folder / "runs" / config.run_id
    previous = read_previous(folder)
    fresh = Record(run_id=config.run_id, status="running", config=config.as_record())
    if previous is None:
        return Run(plan, folder, fresh)
    if is_done(previous, config):
        return Run(plan, folder, previous)
    # The same configuration has the same run id: stages that it finished still hold.
    kept = dataclasses.replace(fresh, adapter=previous.adapter, train=previous.train)
    return Run(plan, folder, _keep_results(kept, previous, config))


def open_base(plan: VariantPlan) -> Run:
    """The base's own run: scored once for all variants that share model, task and scoring."""
    config = plan.config
    folder = config.study_folder / "runs" / config.base_run_id
    values = config.as_record()
    values["target_modules"] = {"label": BASE, "roles": []}
    values["adapter"] = {"method": "none", "rank": 0, "alpha": 0.0, "dropout": 0.0}
    values["seed"] = 0
    fresh = Record(
        run_id=config.base_run_id,
        status="running",
        config=values,
        adapter=AdapterRecord(BASE, (), "none", 0, 0.0, 0, 0, 0, True),
    )
    previous = read_previous(folder)
    if previous is not None and is_done(previous, config):
        return Run(plan, folder, previous)
    if previous is not None:
        fresh = _keep_results(fresh, previous, config)
    return Run(plan, folder, fresh)


def is_done(record: Record, config: Config) -> bool:
    """Whether an earlier sweep left nothing to do."""
    is_over = record.status == "ok" and not config.is_timed_again
    return is_over and has_enough_scores(record, config)


def has_enough_scores(record: Record, config: Config) -> bool:
    """Whether as many test examples were asked for as are now; a smaller source had fewer."""
    # The run id holds `test_examples`, so that it is the same.
    asked = record.config.get("task", {}).get("extra_test_examples", 0)
    return bool(asked >= config.task.extra_test_examples)


def _keep_results(fresh: Record, previous: Record, config: Config) -> Record:
    """Take over what still holds of earlier scores and times, and the machine they are from."""
    return dataclasses.replace(
        fresh,
        eval=previous.eval if has_enough_scores(previous, config) else None,
        latency=None if config.is_timed_again else previous.latency,
        environment=previous.environment,
    )


def read_previous(folder: Path) -> Record | None:
    """An earlier record of the run, or None where there is none that can be read.

    Scores and times whose tables are gone or damaged are left out, so that they are made again.
    """
    if not (folder / "record.json").exists():
        return None
    try:
        record = read_record(folder)
    except UserError as error:
        announce(f"warning: {error}; running it again")
        return None
    if record.eval is not None and not is_table(folder / "examples.parquet"):
        announce(f"warning: {folder / 'examples.parquet'}: missing or damaged; scoring it again")
        record = dataclasses.replace(record, eval=None, status="interrupted")
    if record.latency is not None and not is_table(folder / "latency.parquet"):
        announce(f"warning: {folder / 'latency.parquet'}: missing or damaged; timing it again")
        record = dataclasses.replace(record, latency=None, status="interrupted")
    return record


@contextmanager
def interrupts_recorded(plans: Sequence[VariantPlan]) -> Iterator[None]:
    """Mark unfinished runs as interrupted when the process is told to end, and pass that on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        names = {name: p for p in plans for name in (p.config.run_id, p.config.base_run_id)}
        for name, plan in names.items():
            folder = plan.config.study_folder / "runs" / name
            record = read_previous(folder)
            if record is not None and record.status == "running":
                Run(plan, folder, record).fail(error, status="interrupted")
        raise
