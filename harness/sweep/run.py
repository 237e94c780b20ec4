"""The one pipeline: load, train, score, time, record, for a group of variants that share a base.

A group of one is the plain job. Every stage ends in a record on disk, so that what was measured
survives a crash, a failure of another variant or Ctrl-C, and a rerun goes on from there.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from harness.adapters.storage import has_adapter
from harness.config.schema import Config
from harness.errors import UserError
from harness.models.devices import describe_environment, resolve_device
from harness.models.loading import LoadedModel, load_model
from harness.models.memory import release
from harness.progress import Progress, announce
from harness.records.files import write_json
from harness.sweep.learning_rates import tune_rates
from harness.sweep.packing import (
    PackPlan,
    describe_layout,
    estimate_seconds,
    find_makespan,
    format_layout,
    lay_out,
    survey_room,
)
from harness.sweep.plan import Plan, VariantPlan, format_plan, plan_sweep, warm_cache
from harness.sweep.resuming import (
    begin,
    find_base,
    find_begun,
    find_finished,
    find_run,
    find_runs,
    interrupts_recorded,
    leave_out_done,
    open_base,
    open_run,
)
from harness.sweep.stages import (
    Members,
    Outcome,
    Run,
    conclude,
    failures_recorded,
    halve_on_failure,
    report_failure,
    score,
    train,
)
from harness.sweep.timing_stage import (
    close_untimed,
    describe_calls,
    pick_timed,
    reuse_times,
    share_times,
    time_runs,
)
from harness.sweep.workers import Job, run_apart, run_here
from harness.training.checkpoints import remove_spent

RunJobs = Callable[[Sequence[Job], int, Progress], list[str | None]]


def run_sweep(configs: Sequence[Config], *, in_processes: bool = False) -> list[Outcome]:
    """Plan, then run every variant; return an outcome a variant, in order.

    `in_processes` runs packs in processes of their own, several at a time where there are cores for
    it; else all runs here. Variants that have run to their end before are left as they are. A
    failing one is recorded and does not stop the others. Ctrl-C marks what is unfinished as
    interrupted and is passed on. Raises UserError before anything trains where any of the others
    cannot work.
    """
    distinct = {config.run_id: config for config in configs}
    outcomes = {run_id: done for run_id, c in distinct.items() if (done := find_finished(c))}
    pending = [config for run_id, config in distinct.items() if run_id not in outcomes]
    warm_cache(pending)
    room = survey_room(resolve_device(configs[0].model.device), in_processes)
    finished = [config for run_id, config in distinct.items() if run_id in outcomes]
    plan = leave_out_done(plan_sweep(pending, room.count_workers(len(pending)), finished))
    announce(format_plan(plan, len(outcomes), estimate_seconds(plan, room)))
    rates = tune_rates(plan.variants, partial(run_sweep, in_processes=in_processes))
    variants = [_set_rate(each, rates.get(each.config.run_id)) for each in plan.variants]
    with interrupts_recorded(variants):
        bases = {each.config.base_run_id: begin(open_base(each)) for each in variants}
        lost = {
            each.config.run_id: begin(open_run(each))
            or bases[each.config.base_run_id]
            or _refuse(each, rates.get(each.config.run_id))
            for each in variants
        }
        begun = [each for each in variants if lost[each.config.run_id] is None]
        if begun:
            _run(begun, in_processes)
    for each in plan.variants:
        run_id = each.config.run_id
        outcomes[run_id] = lost[run_id] or _conclude(each)
    return [outcomes[config.run_id] for config in configs]


def _set_rate(plan: VariantPlan, rate: float | UserError | None) -> VariantPlan:
    """Give a variant the rate that was chosen for it."""
    return dataclasses.replace(plan, learning_rate=rate) if isinstance(rate, float) else plan


def _refuse(plan: VariantPlan, rate: float | UserError | None) -> Outcome | None:
    """Record a variant for which no rate could be chosen as failed."""
    if not isinstance(rate, UserError):
        return None
    run = find_run(plan)
    report_failure(run, rate)
    return conclude(run.record)


def _conclude(plan: VariantPlan) -> Outcome:
    """How a variant ended. Where its base failed there is nothing to compare it to."""
    outcome, base = conclude(find_run(plan).record), find_base(plan).record
    if base.status == "failed":
        reason = f"the base failed: {conclude(base).error}"
        return dataclasses.replace(outcome, status="failed", error=reason)
    if outcome.status == "running":
        reason = "its result could not be recorded: is the disk full?"
        return dataclasses.replace(outcome, status="failed", error=reason)
    return outcome


def _find_seconds_done(plans: Sequence[VariantPlan]) -> float:
    """Planned time of what an earlier sweep has trained and scored."""
    bases = {plan.config.base_run_id: plan for plan in plans}
    done = sum(plan.score_seconds for plan in bases.values() if find_base(plan).is_scored)
    for plan in plans:
        run = find_run(plan)
        done += plan.train_seconds if run.is_trained else 0.0
        done += plan.score_seconds if run.is_scored else 0.0
    return done


def _run(plans: Sequence[VariantPlan], in_processes: bool) -> None:
    """Train and score in packs; when all is trained, time."""
    bases = {plan.config.base_run_id: plan for plan in plans}
    left = [plan for plan in plans if not find_run(plan).is_over]
    unscored = {name: plan for name, plan in bases.items() if not find_base(plan).is_scored}
    room = survey_room(resolve_device(plans[0].config.model.device), in_processes)
    layout = lay_out(left, room, unscored, find_begun(left))
    if in_processes:
        announce(format_layout(layout))
    write_json(plans[0].config.study_folder / "plan.json", describe_layout(layout))
    run_jobs: RunJobs = run_apart if in_processes else run_here
    work, makespan = Plan(tuple(plans)), find_makespan(layout.packs, room)
    share_left = 1 - _find_seconds_done(plans) / (work.work_seconds or 1.0)
    progress = Progress(makespan * share_left + work.latency_seconds)
    progress.stages_at_a_time = work.work_seconds / makespan if makespan else 1.0
    with progress.heartbeat():
        _run_packs(layout.packs, run_pack, layout.workers, _needs_scores, run_jobs, progress)
        remove_spent(
            plans[0].config.study_folder / "checkpoints",
            lambda name: has_adapter(plans[0].config.study_folder / "runs" / name / "adapter"),
        )
        reuse_times([run for group in _group_by_base(plans) for run in find_runs(group)])
        sessions = _find_sessions(plans)
        # Nothing runs beside what is timed.
        progress.stages_at_a_time = 1.0
        timed = [each.timed for each in sessions]
        _run_packs(timed, time_pack, 1, _needs_times, run_jobs, progress)
    for each in sessions:
        for others in each.alike:
            share_times(find_runs(each.timed), find_runs(others))


@dataclass
class _Session:
    """What is timed together, and what has the same times."""

    timed: PackPlan
    """A variant of each kind of adapter, with their base."""
    alike: list[PackPlan]
    """All variants that share the times, by base."""


def _find_sessions(plans: Sequence[VariantPlan]) -> list[_Session]:
    """Put all variants of a base together, whatever their seed and recipe, one of each kind.

    Bases whose calls are the same share one session.
    """
    sessions: list[_Session] = []
    places: dict[str, int] = {}
    for every in _group_by_base(plans):
        base, *runs = find_runs(every)
        calls = describe_calls(base, runs)
        if calls is not None and calls in places:
            sessions[places[calls]].alike.append(every)
            continue
        if calls is not None:
            places[calls] = len(sessions)
        timed = PackPlan(tuple(pick_timed(runs)), base=every.base)
        sessions.append(_Session(timed, [every]))
    return sessions


def _group_by_base(plans: Sequence[VariantPlan]) -> list[PackPlan]:
    groups: dict[str, list[VariantPlan]] = {}
    for plan in plans:
        groups.setdefault(plan.config.base_run_id, []).append(plan)
    return [PackPlan(tuple(group), base=group[0]) for group in groups.values()]


def _needs_scores(run: Run) -> bool:
    return not run.is_over and not run.is_scored


def _needs_times(run: Run) -> bool:
    return not run.is_over


def _run_packs(
    packs: Sequence[PackPlan],
    work: Callable[[PackPlan, Progress], None],
    workers: int,
    is_left: Callable[[Run], bool],
    run_jobs: RunJobs,
    progress: Progress,
) -> None:
    """Run packs; the members of one whose process died are tried apart, once."""
    packs = [pack for pack in packs if any(map(is_left, find_runs(pack)))]
    again: list[PackPlan] = []
    for pack, reason in zip(packs, _start(packs, work, workers, run_jobs, progress), strict=True):
        if reason is None:
            continue
        announce(f"{_name(pack, work)}: {reason}; running its variants separately")
        again += [one for one in _take_apart(pack, work) if any(map(is_left, find_runs(one)))]
    for pack, reason in zip(again, _start(again, work, workers, run_jobs, progress), strict=True):
        for run in find_runs(pack) if reason else ():
            if is_left(run):
                report_failure(run, UserError(str(reason)))


def _start(
    packs: Sequence[PackPlan],
    work: Callable[[PackPlan, Progress], None],
    workers: int,
    run_jobs: RunJobs,
    progress: Progress,
) -> list[str | None]:
    jobs = [
        Job(_name(pack, work), work, (pack,), takes_gpu=pack.device.type == "cuda")
        for pack in packs
    ]
    return run_jobs(jobs, workers, progress)


def _name(pack: PackPlan, work: Callable[[PackPlan, Progress], None]) -> str:
    what = "timing" if work is time_pack else ", ".join(pack.labels)
    return f"{pack.first.config.task.name} \N{MIDDLE DOT} {what}"


def _take_apart(pack: PackPlan, work: Callable[[PackPlan, Progress], None]) -> list[PackPlan]:
    if work is time_pack:
        return [PackPlan((plan,), base=pack.base) for plan in pack.plans]
    bases = [PackPlan((), base=pack.base)] if pack.base else []
    return bases + [PackPlan((plan,)) for plan in pack.plans]


def run_pack(pack: PackPlan, progress: Progress) -> None:
    """Train what is to be trained, and score what is to be scored, all at once.

    What a run was trained with shows in its last bits: so of those that are planned to be trained,
    all are unless all have been.
    """
    runs = [run for run in find_runs(pack) if not run.is_over]
    with failures_recorded(runs):
        loaded = load_model(pack.first.config.model, in_4_bits=pack.is_in_4_bits)
        environment = describe_environment(loaded.model.device)
        for run in runs:
            # Times that are kept are those of the machine that the record has.
            if run.record.latency is None:
                run.save(environment=environment)
        _train_and_score(runs, loaded, progress)


def _train_and_score(runs: Sequence[Run], loaded: LoadedModel, progress: Progress) -> None:
    planned = [run for run in runs if not run.is_base and not run.plan.is_trained]
    members: Members = {}
    if not all(run.is_trained for run in planned) and halve_on_failure(
        planned, partial(train, loaded=loaded, progress=progress, trained=members)
    ):
        # What was planned is what ran.
        together = tuple(run.record.run_id for run in planned)
        packs = [run.record.train.pack for run in planned if run.record.train]
        assert all(pack == together for pack in packs)
    left = [run for run in runs if not run.is_over and run.is_trained]
    if not all(run.is_scored for run in left):
        halve_on_failure(left, partial(score, loaded=loaded, progress=progress, trained=members))


def time_pack(pack: PackPlan, progress: Progress) -> None:
    """Time the variants with their base, interleaved, and close their records."""
    base, *runs = find_runs(pack)
    left = [run for run in runs if not run.is_over]
    latency = pack.first.config.latency
    if not latency.enabled:
        close_untimed([base, *left])
        return
    device = resolve_device(pack.first.config.model.device)
    with failures_recorded([base, *left]):
        # Runs that are timed again may have been trained elsewhere.
        environment = describe_environment(device)
        for run in (base, *left):
            if not run.is_over:
                run.save(environment=environment)
    loaded = None
    if latency.fresh_processes:
        # They load the model themselves, and need the memory.
        release(device)
    else:
        with failures_recorded([run for run in (base, *left) if not run.is_over]):
            loaded = load_model(pack.first.config.model)
        if loaded is None:
            return
    time_runs(base, left, loaded, progress)
