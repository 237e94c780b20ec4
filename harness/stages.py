"""The stages of a run, each from a plan and a loaded base to a record on disk."""

import dataclasses
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel

from harness import records
from harness.adapters import attach_adapter, save_adapter, trainable_parameters
from harness.constrained import JsonConstraint
from harness.data import TurnWriter
from harness.errors import UserError
from harness.evaluation import find_end_tokens, score_examples
from harness.models import LoadedModel, name_base
from harness.plan import VariantPlan
from harness.prepare import PreparedTask, share_cut
from harness.progress import Progress, announce
from harness.records import AdapterRecord, ErrorRecord, EvalRecord, Record
from harness.scores import summarize, tabulate
from harness.training import TrainResult, train_adapter


@dataclass(frozen=True)
class Outcome:
    run_id: str
    status: records.Status
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
    def title(self) -> str:
        adapter = self.record.run_id.split("--")[2]
        return f"{self.plan.config.task.name} · {adapter}"

    @property
    def is_over(self) -> bool:
        return self.record.status in ("ok", "failed")

    @property
    def is_trained(self) -> bool:
        """Whether an earlier run left a trained and scored adapter."""
        done = self.record.train is not None and self.record.eval is not None
        return done and (self.folder / "adapter" / "adapter_config.json").is_file()

    def save(self, **changes: Any) -> None:
        """Change the record, here and on disk."""
        self.record = dataclasses.replace(self.record, **changes)
        records.write_record(self.folder, self.record)

    def fail(self, error: BaseException, status: records.Status = "failed") -> None:
        """Record why the run ended; a disk that refuses even that leaves the outcome in memory."""
        text = "".join(traceback.format_exception(error))
        reason = ErrorRecord(type(error).__name__, str(error) or type(error).__name__, text)
        self.record = dataclasses.replace(self.record, status=status, error=reason)
        try:
            records.write_record(self.folder, self.record)
        except UserError as unwritten:
            announce(f"error: {unwritten}")


@contextmanager
def failures_recorded(runs: Sequence[Run]) -> Iterator[None]:
    """Record an exception as the failure of these runs, and go on."""
    try:
        yield
    except Exception as error:
        for run in runs:
            run.fail(error)
            announce(
                f"failed: {run.title}: {str(error).splitlines()[0] if str(error) else error!r}"
            )


def score_base(run: Run, loaded: LoadedModel, progress: Progress) -> None:
    """Score the frozen base and record it."""
    scored = _score(run, loaded, loaded.model, progress)
    run.save(eval=scored)


def train_and_score(run: Run, loaded: LoadedModel, progress: Progress) -> None:
    """Attach, train, save and score one variant; record each as it comes."""
    config = run.plan.config
    projections = run.plan.modules.select(config.roles)
    model = attach_adapter(
        loaded.model,
        projections,
        method=config.adapter.method,
        rank=config.adapter.rank,
        alpha=config.adapter.alpha,
        dropout=config.adapter.dropout,
        seed=config.seed,
    )
    trained = _train(run, loaded, model, progress)
    adapter_bytes = save_adapter(model, run.folder / "adapter", name_base(config.model))
    run.save(
        adapter=AdapterRecord(
            target_set=config.target_set,
            roles=config.roles,
            method=config.adapter.method,
            rank=config.adapter.rank,
            alpha=config.adapter.alpha,
            module_count=len(projections),
            trainable_parameters=sum(p.numel() for p in trainable_parameters(model)),
            adapter_bytes=adapter_bytes,
            mergeable=True,
        ),
        train=_summarize_training(run, trained),
        eval=None,
    )
    run.save(eval=_score(run, loaded, model, progress))


def _train(run: Run, loaded: LoadedModel, model: PeftModel, progress: Progress) -> TrainResult:
    config, plan = run.plan.config, run.plan
    steps = [[plan.prepared.train[i] for i in step] for step in plan.steps]
    title = f"{run.title} · training"
    with progress.stage(title, len(steps), plan.train_seconds) as stage:
        return train_adapter(
            model,
            steps,
            learning_rate=config.train.learning_rate,
            schedule=config.train.schedule,
            warmup_ratio=config.train.warmup_ratio,
            weight_decay=config.train.weight_decay,
            max_grad_norm=config.train.max_grad_norm,
            gradient_accumulation=config.train.gradient_accumulation,
            max_tokens_per_pass=config.train.max_tokens_per_pass,
            gradient_checkpointing=config.train.gradient_checkpointing,
            pad_token_id=int(loaded.tokenizer.pad_token_id),
            seed=config.seed,
            on_step=lambda loss: stage.advance(loss=loss),
        )


def _summarize_training(run: Run, trained: TrainResult) -> records.TrainRecord:
    plan = run.plan
    seen = {i for step in plan.steps for i in step}
    tail = trained.loss[-max(1, len(trained.loss) // 10) :]
    return records.TrainRecord(
        steps=len(plan.steps),
        examples=sum(len(step) for step in plan.steps),
        tokens=trained.tokens,
        completion_tokens=trained.completion_tokens,
        truncated_examples=sum(plan.prepared.train[i].is_cut for i in seen),
        seconds=trained.seconds,
        tokens_per_second=trained.tokens / trained.seconds,
        peak_memory_bytes=trained.peak_memory_bytes,
        loss=trained.loss,
        final_loss=sum(tail) / len(tail),
        truncated_tokens_ratio=share_cut([plan.prepared.train[i] for i in seen]),
        skipped_rows=plan.prepared.train_skipped_rows,
    )


def _score(run: Run, loaded: LoadedModel, model: Any, progress: Progress) -> EvalRecord:
    """Score `model`, write `examples.parquet`, and return the summary."""
    config, prepared = run.plan.config, run.plan.prepared
    with progress.stage(
        f"{run.title} · scoring", len(prepared.test), run.plan.score_seconds
    ) as stage:
        started = time.perf_counter()
        scored = score_examples(
            model,
            loaded.tokenizer,
            prepared.test,
            prepared.spec,
            batch_size=config.evaluation.batch_size,
            max_tokens_per_batch=config.evaluation.max_tokens_per_batch,
            max_new_tokens=config.task.max_completion_tokens,
            constraint=_constrain(prepared, loaded, config.model.chat_template),
            on_examples=stage.advance,
        )
        seconds = time.perf_counter() - started
    records.write_table(run.folder / "examples.parquet", tabulate(scored))
    return summarize(scored, prepared, seconds)


def _constrain(
    prepared: PreparedTask, loaded: LoadedModel, chat_template: str
) -> JsonConstraint | None:
    if prepared.schema is None:
        return None
    writer = TurnWriter.of(loaded.tokenizer, chat_template == "auto")
    return JsonConstraint(
        loaded.tokenizer,
        prepared.schema,
        lead=writer.lead,
        end_tokens=find_end_tokens(loaded.model, loaded.tokenizer),
    )
