"""Train the variants of a pack: AdamW, warm-up and decay, clipping, loss on completions only.

All of it is a variant's own: its examples, its rate, its clipping, its end. The gradient of the sum
of the variants' losses is each one's own gradient, for a row's activations depend on no other row.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise, zip_longest
from typing import Any

import torch
from torch import nn
from transformers import Cache, get_scheduler

from harness.adapters.attach import Adapted, name_target, trainable_parameters
from harness.adapters.hooks import Hooks, find_hooks, make_optimizer
from harness.config.catalog import METHODS
from harness.config.schema import AdapterConfig
from harness.data.batching import (
    SHORTEST_BEGINNING,
    collate,
    count_common_tokens,
    cut_into_passes,
)
from harness.data.encoding import EncodedExample
from harness.errors import UserError
from harness.models.forward import Head, differentiate_loss, make_cache, run_body
from harness.models.memory import PeakMemory
from harness.training.checkpoints import Checkpoints
from harness.training.loss_scale import LossScale
from harness.training.packed_model import Pack, lora_layers


class DivergedError(UserError):
    """The loss or its gradient stopped being finite: the variant has failed."""


@dataclass(frozen=True)
class Recipe:
    """What one variant is trained on, and how."""

    steps: Sequence[Sequence[EncodedExample]]
    """Examples of each optimizer step."""
    learning_rate: float
    schedule: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    seed: int
    """Feeds dropout."""
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    """The method has its own part in how it is trained."""


@dataclass(frozen=True)
class Passes:
    """How the examples of a step go through the model; its loss does not depend on it."""

    max_tokens: int
    """Tokens of a pass at most, of all members together, but at least a row of one."""
    gradient_accumulation: int = 1
    """Micro-batches of a step."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass."""


@dataclass(frozen=True)
class TrainResult:
    loss: tuple[float, ...]
    """Mean loss per completion token of each optimizer step."""
    tokens: int
    """Tokens of the variant that went through the model, padding left out."""
    completion_tokens: int
    """Tokens that carried loss."""
    seconds: float
    """Wall time until the variant had finished, shared with the pack's others."""
    peak_memory_bytes: int
    """Of the whole pack."""
    first_gradients: dict[str, float]
    """Projection -> squared norm of the first step's gradient of B, before clipping."""


@dataclass
class _Learner:
    """One variant's state of training."""

    number: int
    """Its place in the pack."""
    recipe: Recipe
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    scheduler: Any
    hooks: Hooks
    loss: list[float] = field(default_factory=list)
    first_gradients: dict[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    error: DivergedError | None = None

    @property
    def can_be_kept(self) -> bool:
        """Whether weights, moments and schedule are all its state; methods with hooks have more."""
        return type(self.hooks) is Hooks and isinstance(self.optimizer, torch.optim.AdamW)

    @property
    def is_over(self) -> bool:
        return self.error is not None or len(self.loss) == len(self.recipe.steps)

    @property
    def examples(self) -> Sequence[EncodedExample]:
        """Of the step that comes next."""
        return self.recipe.steps[len(self.loss)]

    def keep_first_gradients(self, member: Adapted) -> None:
        """Note what the first step's gradient is, while it is that: not clipped, not yet spent."""
        if self.loss:
            return
        for path, layer in lora_layers(member):
            # Of what begins at 0, which of embeddings is the other factor.
            zeros = [*layer.lora_B.parameters(), *layer.lora_embedding_A.parameters()]
            gradients = (weight.grad for weight in zeros)
            squares = [each.double().square().sum() for each in gradients if each is not None]
            self.first_gradients[name_target(path, layer)] = float(sum(squares))

    def check_weights(self) -> None:
        """The last step, too, may have left what is not finite."""
        if self.error is None and not _are_finite(self.parameters):
            self.error = DivergedError(
                f"training: weights are not finite after the last step; lower train.learning_rate, "
                f"{self.recipe.learning_rate}"
            )

    def check(self, loss: float, norm: float) -> bool:
        """Whether loss and gradient are finite; where not, the learner has failed."""
        if math.isfinite(loss) and math.isfinite(norm):
            return True
        self.error = DivergedError(
            f"training: the loss is {loss} and its gradient's norm {norm} at step "
            f"{len(self.loss) + 1} of {len(self.recipe.steps)}; lower train.learning_rate, "
            f"{self.recipe.learning_rate}"
        )
        return False


@torch.no_grad()
def _are_finite(tensors: Sequence[torch.Tensor]) -> bool:
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())


def train_pack(
    pack: Pack,
    recipes: Sequence[Recipe],
    passes: Passes,
    *,
    pad_token_id: int,
    on_step: Callable[[Mapping[int, float]], None] = lambda losses: None,
    checkpoints: Checkpoints | None = None,
) -> list[TrainResult | DivergedError]:
    """Train every member of `pack` by its own recipe; return each one's result, in order.

    The loss of a member's step is the mean over all completion tokens of its examples, however they
    are cut into `passes`. A member whose loss is not finite leaves the pack, before its weights
    change, and so does one that has finished.
    `on_step` gets the loss of each member that took a step. `checkpoints` keep the state, where all
    of it can be kept, and a training that they have the beginning of goes on from there.
    """
    learners = [_start(pack, number, recipe) for number, recipe in enumerate(recipes)]
    device = learners[0].parameters[0].device
    head, scale = Head(pack.model), LossScale(pack.model.dtype)
    pack.train(checkpointing=passes.gradient_checkpointing)
    if not all(learner.can_be_kept for learner in learners):
        checkpoints = None
    started = time.perf_counter()
    with PeakMemory(device) as memory, torch.random.fork_rng():
        torch.manual_seed(recipes[0].seed)
        if checkpoints and (state := checkpoints.load(device)):
            scale.value, started = state["scale"], started - state["seconds"]
            _restore(learners, state, device)
            checkpoints.on_resume(max(len(learner.loss) for learner in learners))
        while running := [learner for learner in learners if not learner.is_over]:
            step = _Step(pack, head, running, pad_token_id, scale.value)
            losses = step.accumulate(passes)
            weights = [weight for learner in running for weight in learner.parameters]
            if losses.isfinite().all() and scale.was_too_large(weights):
                continue
            scale.remove(weights)
            taken = _update(pack, running, losses.tolist())
            if any(learner.error for learner in running):
                scale.restart()
            for learner in running:
                learner.seconds = time.perf_counter() - started
            on_step(taken)
            if checkpoints:
                elapsed = time.perf_counter() - started
                checkpoints.save_if_due(
                    partial(_describe, learners, device, scale=scale.value, seconds=elapsed)
                )
    pack.eval()
    for learner in learners:
        learner.check_weights()
    return [each.error or _conclude(each, memory.peak_bytes) for each in learners]


def _describe(
    learners: Sequence[_Learner], device: torch.device, **others: float
) -> dict[str, Any]:
    """What the steps to come depend on, as tensors and plain values."""
    is_gpu = device.type == "cuda"
    return others | {
        "random": torch.get_rng_state(),
        "gpu_random": torch.cuda.get_rng_state(device) if is_gpu else None,
        "learners": [
            {
                "weights": [weight.detach() for weight in learner.parameters],
                "optimizer": learner.optimizer.state_dict(),
                "scheduler": learner.scheduler.state_dict(),
                "loss": learner.loss,
                "first_gradients": learner.first_gradients,
                "seconds": learner.seconds,
                "error": str(learner.error) if learner.error else None,
            }
            for learner in learners
        ],
    }


def _restore(learners: Sequence[_Learner], state: Mapping[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["random"].cpu())
    if state["gpu_random"] is not None:
        torch.cuda.set_rng_state(state["gpu_random"].cpu(), device)
    for learner, kept in zip(learners, state["learners"], strict=True):
        with torch.no_grad():
            for weight, value in zip(learner.parameters, kept["weights"], strict=True):
                weight.copy_(value)
        learner.optimizer.load_state_dict(kept["optimizer"])
        learner.scheduler.load_state_dict(kept["scheduler"])
        learner.loss, learner.first_gradients = kept["loss"], kept["first_gradients"]
        learner.seconds = kept["seconds"]
        learner.error = DivergedError(kept["error"]) if kept["error"] else None


def _start(pack: Pack, number: int, recipe: Recipe) -> _Learner:
    member = pack.members[number]
    hooks = find_hooks(member, recipe.adapter, len(recipe.steps))
    optimizer = make_optimizer(
        member,
        recipe.adapter,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )
    scheduler = get_scheduler(
        "constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule,
        optimizer,
        num_warmup_steps=math.ceil(recipe.warmup_ratio * len(recipe.steps)),
        num_training_steps=len(recipe.steps),
    )
    hooks.begin(optimizer, scheduler)
    return _Learner(number, recipe, trainable_parameters(member), optimizer, scheduler, hooks)


class _Step:
    """One optimizer step of the learners that are still running."""

    def __init__(
        self,
        pack: Pack,
        head: Head,
        learners: Sequence[_Learner],
        pad_token_id: int,
        scale: float,
    ) -> None:
        self._pack = pack
        self._head = head
        self._learners = learners
        self._pad = pad_token_id
        self._scale = scale
        self._device = learners[0].parameters[0].device
        self._is_shared = self._can_be_shared()

    def _can_be_shared(self) -> bool:
        """Whether all learners' activations are the base's: same examples, B = 0, no dropout.

        Then one pass of one copy gives the first gradients of all.
        """
        first = self._learners[0]
        return self._pack.is_untouched and all(
            not learner.loss and learner.examples == first.examples for learner in self._learners
        )

    def accumulate(self, passes: Passes) -> torch.Tensor:
        """Add up the gradients of the step's micro-batches; return each learner's mean loss."""
        lengths = [each.length for learner in self._learners for each in learner.examples]
        most = len(self._learners)
        if not self._is_shared:
            most = min(most, max(1, passes.max_tokens // max(lengths)))
            if min(lengths) <= self._pack.boundary < max(lengths):
                # Their rows need not lie on the same sides.
                most = 1
        losses = [self._run_passes(group, passes) for group in _cut_evenly(self._learners, most)]
        return torch.cat(losses)

    def _run_passes(self, learners: Sequence[_Learner], passes: Passes) -> torch.Tensor:
        """Add up the gradients of learners that share their passes; return their mean losses."""
        of_each = [learner.examples for learner in learners]
        places = list(zip_longest(*of_each))
        lengths = [max(example.length for example in place if example) for place in places]
        losses = torch.zeros(len(of_each), dtype=torch.float64, device=self._device)
        each = passes.max_tokens // (1 if self._is_shared else len(of_each))
        parts = passes.gradient_accumulation
        for indices in cut_into_passes(
            lengths, parts=parts, max_tokens=each, boundary=self._pack.boundary
        ):
            columns = [places[index] for index in indices]
            losses += self._run_pass(learners, columns, first_row=indices.start)
        return losses

    def _run_pass(
        self,
        learners: Sequence[_Learner],
        columns: Sequence[Sequence[EncodedExample | None]],
        first_row: int,
    ) -> torch.Tensor:
        rows = self._pack.rows
        numbers = [learner.number for learner in learners]
        totals = [
            sum(len(each.completion_ids) for each in learner.examples) for learner in learners
        ]
        if self._is_shared:
            rows.share(numbers)
            blocks = [[column[0] for column in columns]]
        else:
            step = len(learners[0].loss)
            rows.split(numbers, height=len(columns), step=step, first_row=first_row)
            blocks = [[column[k] for column in columns] for k in range(len(numbers))]
        cache, read = self._read_beginnings(blocks)
        # Member by member: all rows of the first, then all of the second.
        flat = [
            item and replace(item, prompt_ids=item.prompt_ids[read:])
            for block in blocks
            for item in block
        ]
        batch = collate(flat, self._pad)
        owners = (batch.rows // len(columns)).to(self._device)
        labels = batch.labels.to(self._device)
        weights = torch.tensor(totals, dtype=torch.float64).reciprocal()
        hidden = run_body(
            self._pack.model,
            batch.input_ids.to(self._device),
            batch.picked.to(self._device),
            cache,
        )
        weights = weights.to(self._device, torch.promote_types(hidden.dtype, torch.float32))
        scaled = weights[owners] * self._scale
        losses, gradient = differentiate_loss(self._head, hidden, labels, scaled)
        # Where the head alone is trained, nothing below it learns.
        if hidden.requires_grad:
            hidden.backward(gradient)  # type: ignore[no-untyped-call]
        sums = torch.zeros(len(totals), dtype=torch.float64, device=self._device)
        sums.index_add_(0, owners, losses.double())
        if self._is_shared:
            sums = sums[0].expand(len(totals))
        return sums * weights

    def _read_beginnings(
        self, blocks: Sequence[Sequence[EncodedExample | None]]
    ) -> tuple[Cache | None, int]:
        """What the rows of a block begin with, read once for all of them, and how many tokens.

        The gradients of a block's rows add up in what they share. The token before the first label
        is each row's own.
        """
        width = len(blocks[0])
        prompts = [[item.prompt_ids[:-1] for item in block if item] for block in blocks]
        shared = min(count_common_tokens(block) for block in prompts if block)
        longest = max(item.length for block in blocks for item in block if item)
        if (
            width == 1
            or shared < SHORTEST_BEGINNING
            or longest > self._pack.boundary
            or not self._pack.can_share_beginnings
        ):
            return self._pack.start_cache(len(blocks) * width), 0
        cache = make_cache(self._pack.model)
        assert cache is not None
        # A member without an example here has rows that carry no loss.
        starts = [block[0][:shared] if block else [self._pad] * shared for block in prompts]
        nothing = torch.empty(0, dtype=torch.long, device=self._device)
        run_body(self._pack.model, torch.tensor(starts, device=self._device), nothing, cache)
        cache.batch_repeat_interleave(width)
        return cache, shared


def _cut_evenly(learners: Sequence[_Learner], most: int) -> list[Sequence[_Learner]]:
    """Cut into as few groups of at most `most` as can be, of nearly one size, in order."""
    groups = -(-len(learners) // most)
    edges = [len(learners) * place // groups for place in range(groups + 1)]
    return [learners[start:end] for start, end in pairwise(edges)]


def _update(pack: Pack, learners: Sequence[_Learner], losses: Sequence[float]) -> dict[int, float]:
    """Clip and step every learner whose loss and gradient are finite; return their losses."""
    for learner in learners:
        learner.keep_first_gradients(pack.members[learner.number])
        learner.hooks.add_to_gradients()
    norms = [
        nn.utils.clip_grad_norm_(learner.parameters, learner.recipe.max_grad_norm)
        for learner in learners
    ]
    taken = {}
    # One wait for the device, not one a learner.
    for learner, loss, norm in zip(learners, losses, torch.stack(norms).tolist(), strict=True):
        if learner.check(loss, norm):
            learner.optimizer.step()
            learner.scheduler.step()
            learner.hooks.finish_step(len(learner.loss))
            if METHODS[learner.recipe.adapter.method].has_growing_rank:
                learner.parameters = trainable_parameters(pack.members[learner.number])
            learner.loss.append(loss)
            taken[learner.number] = loss
        learner.optimizer.zero_grad(set_to_none=True)
    return taken


def _conclude(learner: _Learner, peak_memory_bytes: int) -> TrainResult:
    seen = [example for examples in learner.recipe.steps for example in examples]
    return TrainResult(
        loss=tuple(learner.loss),
        tokens=sum(example.length for example in seen),
        completion_tokens=sum(len(example.completion_ids) for example in seen),
        seconds=learner.seconds,
        peak_memory_bytes=peak_memory_bytes,
        first_gradients=learner.first_gradients,
    )
