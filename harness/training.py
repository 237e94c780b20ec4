"""Train an adapter: AdamW, warm-up and decay, clipping, loss on completion tokens only."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import get_scheduler

from harness.adapters import trainable_parameters
from harness.data import EncodedExample, collate, cut_into_passes
from harness.errors import UserError
from harness.memory import PeakMemory
from harness.models import compute_logits


class DivergedError(UserError):
    """The loss or its gradient stopped being finite: the variant has failed."""


@dataclass(frozen=True)
class TrainResult:
    loss: tuple[float, ...]
    """Mean loss per completion token of each optimizer step."""
    tokens: int
    """Tokens that went through the model, padding left out."""
    completion_tokens: int
    """Tokens that carried loss."""
    seconds: float
    peak_memory_bytes: int


def train_adapter(
    model: nn.Module,
    steps: Sequence[Sequence[EncodedExample]],
    *,
    learning_rate: float,
    schedule: str,
    warmup_ratio: float,
    weight_decay: float,
    max_grad_norm: float,
    gradient_accumulation: int,
    max_tokens_per_pass: int,
    gradient_checkpointing: bool,
    pad_token_id: int,
    seed: int,
    on_step: Callable[[float], None] = lambda loss: None,
) -> TrainResult:
    """Train the trainable parameters of `model` over `steps`, one optimizer step each.

    The loss of a step is the mean over all completion tokens of its examples, however they are cut
    into micro-batches. `seed` feeds dropout. Raises DivergedError where it is not finite.
    """
    parameters = trainable_parameters(model)
    device = parameters[0].device
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    scheduler = get_scheduler(
        "constant_with_warmup" if schedule == "constant" else schedule,
        optimizer,
        num_warmup_steps=math.ceil(warmup_ratio * len(steps)),
        num_training_steps=len(steps),
    )
    if gradient_checkpointing:
        _enable_checkpointing(model)
    model.train()
    losses = []
    started = time.perf_counter()
    with PeakMemory(device) as memory, torch.random.fork_rng():
        torch.manual_seed(seed)
        for number, examples in enumerate(steps, start=1):
            passes = cut_into_passes(
                examples, parts=gradient_accumulation, max_tokens=max_tokens_per_pass
            )
            loss = _accumulate(model, passes, pad_token_id, device)
            norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm)
            if not (math.isfinite(loss) and torch.isfinite(norm)):
                raise DivergedError(
                    f"training: the loss is {loss} and its gradient's norm {norm.item()} at step "
                    f"{number} of {len(steps)}; lower train.learning_rate, {learning_rate}"
                )
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss)
            on_step(loss)
    seconds = time.perf_counter() - started
    model.eval()
    seen = [example for examples in steps for example in examples]
    return TrainResult(
        loss=tuple(losses),
        tokens=sum(example.length for example in seen),
        completion_tokens=sum(len(example.completion_ids) for example in seen),
        seconds=seconds,
        peak_memory_bytes=memory.peak_bytes,
    )


def _accumulate(
    model: nn.Module,
    passes: Sequence[Sequence[EncodedExample]],
    pad_token_id: int,
    device: torch.device,
) -> float:
    """Add up the gradients of a step's micro-batches; return the step's mean loss per token."""
    total = sum(len(example.completion_ids) for examples in passes for example in examples)
    step_loss = 0.0
    for examples in passes:
        batch = collate(examples, pad_token_id)
        logits = compute_logits(
            model,
            batch.input_ids.to(device),
            batch.attention_mask.to(device),
            batch.picked.to(device),
        )
        loss = (
            functional.cross_entropy(logits.float(), batch.labels.to(device), reduction="sum")
            / total
        )
        loss.backward()  # type: ignore[no-untyped-call]
        step_loss += loss.item()
    return step_loss


def _enable_checkpointing(model: nn.Module) -> None:
    inner = model.get_base_model()  # type: ignore[operator]
    inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
