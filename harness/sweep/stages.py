"""The stages of a run, each from a plan and a loaded base to a record on disk."""

import dataclasses
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.adapters.attach import Adapted, attach_adapter, trainable_parameters
from harness.adapters.storage import has_adapter, is_saved_as_trained, load_adapter, save_adapter
from harness.config.catalog import METHODS
from harness.config.schema import ModelConfig
from harness.data.preparation import PreparedTask, share_cut
from harness.data.turns import TurnWriter
from harness.errors import UserError
from harness.evaluation.constrained import JsonConstraint
from harness.evaluation.generation import WritingRules, find_end_tokens
from harness.evaluation.respondents import Respondents
from harness.evaluation.scoring import ScoredExample, measure_losses, score_pack
from harness.evaluation.summary import summarize, tabulate
from harness.models.loading import LoadedModel, name_base
from harness.models.memory import is_out_of_memory, release
from harness.models.projections import list_targets, shorten_paths
from harness.progress import Progress, announce
from harness.records.files import write_table
from harness.records.record import (
    AdapterRecord,
    ErrorRecord,
    Record,
    Status,
    TrainRecord,
    write_record,
)
from harness.sweep.plan import VariantPlan, estimate_scoring, label_run
from harness.training.checkpoints import Checkpoints
from harness.training.loop import DivergedError, Passes, Recipe, TrainResult, train_pack
from harness.training.packed_model import BASE_ROW, Pack


@dataclass(frozen=True)
class Outcome:
    run_id: str
    status: Status
    score: float | None
    """The headline score, where there is one."""
    error: str | None
    """One line, where the run failed."""


def conclude(record: Record) -> Outcome:
    """Sum a record up."""
    scored, error = record.eval, record.error
    return Outcome(
        run_id=record.run_id,
        status=record.status,
        score=scored.scores[scored.metric] if scored else None,
        error=None if error is None else error.message.splitlines()[0],
    )


@dataclass
class Run:
    """One run in progress: its plan, its folder, and its record as far as it has come."""

    plan: VariantPlan
    folder: Path
    record: Record

    @property
    def label(self) -> str:
        """Target set, and the method where it is not LoRA; or `base`."""
        return label_run(*self.record.run_id.split("--")[2:4])

    @property
    def title(self) -> str:
        return f"{self.plan.config.task.name} · {self.label}"

    @property
    def is_base(self) -> bool:
        return self.record.run_id == self.plan.config.base_run_id

    @property
    def is_over(self) -> bool:
        return self.record.status in ("ok", "failed")

    @property
    def is_trained(self) -> bool:
        """Whether there is a trained adapter, from this run or an earlier one; the base is one."""
        return self.is_base or (
            self.record.train is not None and has_adapter(self.folder / "adapter")
        )

    @property
    def is_scored(self) -> bool:
        return self.is_trained and self.record.eval is not None

    def save(self, **changes: Any) -> None:
        """Change the record, here and on disk."""
        self.record = dataclasses.replace(self.record, **changes)
        write_record(self.folder, self.record)

    def fail(self, error: BaseException, status: Status = "failed") -> None:
        """Record why the run ended; a disk that refuses even that leaves the outcome in memory."""
        text = "".join(traceback.format_exception(error))
        reason = ErrorRecord(type(error).__name__, str(error) or type(error).__name__, text)
        self.record = dataclasses.replace(self.record, status=status, error=reason)
        try:
            write_record(self.folder, self.record)
        except UserError as unwritten:
            announce(f"error: {unwritten}")


@contextmanager
def failures_recorded(runs: Sequence[Run]) -> Iterator[None]:
    """Record an exception as the failure of these runs, and go on."""
    try:
        yield
    except Exception as error:
        for run in runs:
            report_failure(run, error)


def report_failure(run: Run, error: Exception) -> None:
    """Record a failure, and say so."""
    run.fail(error)
    announce(f"failed: {run.title}: {str(error).splitlines()[0] if str(error) else error!r}")


def halve_on_failure(runs: Sequence[Run], work: Callable[[Sequence[Run]], None]) -> bool:
    """Do `work` on all runs at once; where that fails, on each half; record what fails alone.

    What lacks memory may fit in halves, and what one run breaks does not take the others with it.
    Returns whether it went at once.
    """
    try:
        work(runs)
        return True
    except Exception as error:
        if len(runs) == 1:
            report_failure(runs[0], error)
            return False
        reason = "out of memory" if is_out_of_memory(error) else repr(error).splitlines()[0]
        announce(f"{name_pack(runs)}: {reason}; retrying with half of them at a time")
    # Only now has the error let go of what it kept alive.
    middle = (len(runs) + 1) // 2
    for half in (runs[:middle], runs[middle:]):
        halve_on_failure(half, work)
    return False


Members = dict[str, Adapted]
"""Run id -> the variant's model, from its training to its scoring."""


def train(runs: Sequence[Run], loaded: LoadedModel, progress: Progress, trained: Members) -> None:
    """Attach, train and save the variants of a pack, and put them into `trained`.

    Each is recorded as it is saved. One that diverges is recorded as failed, and does not stop the
    others.
    """
    for run in runs:
        # What an earlier run left may be half overwritten if this one is cut off.
        run.save(train=None, eval=None)
    members, results, passes = _train_within_memory(runs, loaded, progress)
    names = tuple(run.record.run_id for run in runs)
    for run, member, result in zip(runs, members, results, strict=True):
        if not isinstance(result, TrainResult):
            report_failure(run, result)
            continue
        with failures_recorded([run]):
            summary = _summarize_training(run, result, names, passes)
            run.save(adapter=_save(run, member, loaded), train=summary, eval=None)
            if is_saved_as_trained(run.plan.adapter):
                trained[run.record.run_id] = member
    open_checkpoints(runs, passes).remove()


def _train_within_memory(
    runs: Sequence[Run], loaded: LoadedModel, progress: Progress
) -> tuple[list[Adapted], list[TrainResult | DivergedError], Passes]:
    """Train, and begin again with smaller passes where one variant alone lacks memory for them.

    The loss does not depend on passes. Several variants are left to be halved.
    """
    tried = _list_passes(runs)
    for place, passes in enumerate(tried):
        try:
            return *_attach_and_train(runs, passes, loaded, progress), passes
        except Exception as error:
            if len(runs) > 1 or not is_out_of_memory(error):
                raise
            if place == len(tried) - 1:
                raise UserError(
                    f"out of memory with train.max_tokens_per_pass={passes.max_tokens} and "
                    f"train.gradient_checkpointing={passes.gradient_checkpointing}; lower "
                    "task.max_prompt_tokens and task.max_completion_tokens, or choose "
                    "adapter=qlora or a smaller model"
                ) from error
        # Only now has the error let go of what it kept alive.
        release(loaded.model.device)
        following = tried[place + 1]
        announce(
            f"{name_pack(runs)}: out of memory; training again with passes of "
            f"{following.max_tokens:,} tokens"
            + (" and gradient checkpointing" if following.gradient_checkpointing else "")
        )
    raise AssertionError("there is always a way to try")


def _attach_and_train(
    runs: Sequence[Run], passes: Passes, loaded: LoadedModel, progress: Progress
) -> tuple[list[Adapted], list[TrainResult | DivergedError]]:
    members = [_attach(run, loaded) for run in runs]
    pack = _pack(runs, members, loaded)
    return members, _train_pack(runs, pack, passes, loaded, progress)


def _list_passes(runs: Sequence[Run]) -> list[Passes]:
    """Passes as planned, then smaller ones down to one row, then the same with checkpointing."""
    plan = runs[0].plan
    longest = max(plan.prepared.train[i].length for step in plan.steps for i in step)
    tokens = [plan.max_tokens_per_pass]
    while tokens[-1] > longest:
        tokens.append(max(longest, tokens[-1] // 2))
    modes = {plan.gradient_checkpointing, METHODS[plan.adapter.method].takes_checkpointing}
    accumulation = plan.config.train.gradient_accumulation
    return [
        Passes(each, accumulation, checkpointing)
        for checkpointing in sorted(modes)
        for each in tokens
        if checkpointing or not plan.gradient_checkpointing
    ]


def _attach(run: Run, loaded: LoadedModel) -> Adapted:
    plan = run.plan
    return attach_adapter(
        loaded.model,
        plan.projections,
        plan.adapter,
        seed=plan.config.seed,
        steps=len(plan.steps),
        # In the order in which the variant will meet them.
        sample=[
            plan.prepared.train[i] for i in dict.fromkeys(i for step in plan.steps for i in step)
        ],
    )


def _pack(runs: Sequence[Run], members: Sequence[Adapted], loaded: LoadedModel) -> Pack:
    seeds = [run.plan.config.seed for run in runs if not run.is_base]
    return Pack(loaded.model, members, seeds, runs[0].plan.config.model.attention)


def _train_pack(
    runs: Sequence[Run], pack: Pack, passes: Passes, loaded: LoadedModel, progress: Progress
) -> list[TrainResult | DivergedError]:
    length = max(len(run.plan.steps) for run in runs)
    planned = sum(run.plan.train_seconds for run in runs)
    with progress.stage(f"{name_pack(runs)} · training", length, planned) as stage:

        def show(losses: Mapping[int, float]) -> None:
            if losses:
                stage.advance(loss=sum(losses.values()) / len(losses))

        def resume(steps: int) -> None:
            announce(f"{name_pack(runs)}: training goes on after step {steps} of {length}")
            stage.advance(steps)

        checkpoints = open_checkpoints(runs, passes)
        checkpoints.on_resume = resume
        return train_pack(
            pack,
            [_make_recipe(run) for run in runs],
            passes,
            pad_token_id=int(loaded.tokenizer.pad_token_id),
            on_step=show,
            checkpoints=checkpoints,
        )


def open_checkpoints(runs: Sequence[Run], passes: Passes) -> Checkpoints:
    """Where the state of a pack's training is kept: by its variants, in order, and its passes."""
    facts = {
        "run_ids": [run.record.run_id for run in runs],
        "learning_rates": [run.plan.learning_rate for run in runs],
        "max_tokens_per_pass": passes.max_tokens,
        "gradient_checkpointing": passes.gradient_checkpointing,
        "torch": torch.__version__,
    }
    return Checkpoints(runs[0].plan.config.study_folder / "checkpoints", facts)


def _make_recipe(run: Run) -> Recipe:
    plan, train = run.plan, run.plan.config.train
    return Recipe(
        steps=[[plan.prepared.train[i] for i in step] for step in plan.steps],
        learning_rate=plan.learning_rate,
        schedule=train.schedule,
        warmup_ratio=train.warmup_ratio,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        seed=plan.config.seed,
        adapter=plan.adapter,
    )


def _save(run: Run, member: Adapted, loaded: LoadedModel) -> AdapterRecord:
    config, adapter, projections = run.plan.config, run.plan.adapter, run.plan.projections
    modules, parameters = list_targets(projections)
    revision = config.model.revision or config.model_digest
    written = save_adapter(member, run.folder / "adapter", name_base(config.model), revision)
    return AdapterRecord(
        target_set=config.target_set,
        roles=config.roles,
        layers=config.target.layers,
        method=adapter.method,
        rank=adapter.rank or 0,
        alpha=adapter.alpha or 0.0,
        module_count=len(projections),
        trainable_parameters=sum(p.numel() for p in trainable_parameters(member)),
        adapter_bytes=written,
        mergeable=METHODS[adapter.method].is_mergeable,
        module_names=shorten_paths(loaded.model, modules),
        parameter_names=shorten_paths(loaded.model, parameters),
        covered_blocks=len(run.plan.modules.find_blocks(projections)),
        block_count=run.plan.modules.block_count,
    )


def _summarize_training(
    run: Run, trained: TrainResult, pack: tuple[str, ...], passes: Passes
) -> TrainRecord:
    plan = run.plan
    seen = {i for step in plan.steps for i in step}
    tail = trained.loss[-max(1, len(trained.loss) // 10) :]
    seconds = trained.seconds / len(pack)
    return TrainRecord(
        steps=len(plan.steps),
        examples=sum(len(step) for step in plan.steps),
        tokens=trained.tokens,
        completion_tokens=trained.completion_tokens,
        truncated_examples=sum(plan.prepared.train[i].is_cut for i in seen),
        seconds=seconds,
        tokens_per_second=trained.tokens / seconds,
        peak_memory_bytes=trained.peak_memory_bytes,
        loss=trained.loss,
        final_loss=sum(tail) / len(tail),
        truncated_tokens_ratio=share_cut([plan.prepared.train[i] for i in seen]),
        skipped_rows=plan.prepared.train_skipped_rows,
        pack=pack,
        gradient_energy=_sum_by_role(plan, trained.first_gradients),
        learning_rate=plan.learning_rate,
        max_tokens_per_pass=passes.max_tokens,
        gradient_checkpointing=passes.gradient_checkpointing,
    )


def _sum_by_role(plan: VariantPlan, by_path: Mapping[str, float]) -> dict[str, float]:
    """Squared norms of the first gradients, a sum for each role (`q+k+v` where it is fused).

    Empty for methods that have no B.
    """
    energy: dict[str, float] = {}
    for projection in plan.projections if by_path else ():
        role = "+".join(projection.roles)
        energy[role] = energy.get(role, 0.0) + by_path.get(
            projection.parameter or projection.path, math.nan
        )
    return energy


def score(runs: Sequence[Run], loaded: LoadedModel, progress: Progress, trained: Members) -> None:
    """Score the variants of a pack, and the base where it is among them.

    Those that are not in `trained` come from their saved adapters. Writes each one's
    `examples.parquet` and record.
    """
    adapted = [run for run in runs if not run.is_base]
    members = [
        trained.get(run.record.run_id) or load_adapter(loaded.model, run.folder / "adapter")
        for run in adapted
    ]
    numbers = iter(range(len(adapted)))
    owners = [BASE_ROW if run.is_base else next(numbers) for run in runs]
    scored, seconds = _score_pack(runs, _pack(runs, members, loaded), owners, loaded, progress)
    for run, examples in zip(runs, scored, strict=True):
        with failures_recorded([run]):
            write_table(run.folder / "examples.parquet", tabulate(examples))
            run.save(eval=summarize(examples, run.plan.prepared, seconds / len(runs)))


def _score_pack(
    runs: Sequence[Run],
    pack: Pack,
    owners: Sequence[int],
    loaded: LoadedModel,
    progress: Progress,
) -> tuple[list[list[ScoredExample]], float]:
    config, prepared = runs[0].plan.config, runs[0].plan.prepared
    respondents = Respondents(pack, owners, loaded.tokenizer)
    planned = estimate_scoring([run.plan for run in runs])
    title = f"{name_pack(runs)} · scoring"
    with progress.stage(title, len(prepared.test), planned) as stage:
        started = time.perf_counter()
        if prepared.split == "validation":
            measured = measure_losses(
                respondents, prepared.test, limits=config.evaluation, on_examples=stage.advance
            )
            return measured, time.perf_counter() - started
        constraint = _constrain(prepared, loaded, config.model)
        length = config.task.max_completion_tokens
        scored = score_pack(
            respondents,
            prepared.test,
            prepared.spec,
            limits=config.evaluation,
            writing=WritingRules.of(loaded.model, loaded.tokenizer, length, constraint),
            on_examples=stage.advance,
        )
        return scored, time.perf_counter() - started


def name_pack(runs: Sequence[Run]) -> str:
    """How a pack is called on a terminal."""
    if len(runs) <= 3:
        return f"{runs[0].plan.config.task.name} · {', '.join(run.label for run in runs)}"
    return f"{runs[0].plan.config.task.name} · {len(runs)} at once"


def _constrain(
    prepared: PreparedTask, loaded: LoadedModel, model: ModelConfig
) -> JsonConstraint | None:
    if prepared.schema is None:
        return None
    uses_template = model.chat_template == "auto"
    writer = TurnWriter.of(loaded.tokenizer, uses_template, model.chat_template_kwargs)
    return JsonConstraint(
        loaded.tokenizer,
        prepared.schema,
        lead=writer.lead,
        end_tokens=find_end_tokens(loaded.model, loaded.tokenizer),
    )
