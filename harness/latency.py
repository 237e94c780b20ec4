"""Interleaved, paired timing of inference: base, each variant unmerged, each variant merged.

Every round runs every arm once, in a seeded random order, on the same token ids and with a forced
output length; ratios to the base are taken inside a round, so that a machine's drift cancels.
"""

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from harness.environment import read_load
from harness.errors import UserError


@dataclass(frozen=True)
class Arm:
    variant: str
    """Run id of the variant, or of the base."""
    kind: str
    """`base`, `unmerged` or `merged`."""
    model: Any
    """In eval mode, on its device."""


@dataclass(frozen=True)
class TimedCall:
    variant: str
    arm: str
    round: int
    position: int
    """Place in the round's order, from 0."""
    batch_size: int
    prompt_tokens: int
    output_tokens: int
    ttft_seconds: float
    """Time to first token: from the call to the first token chosen."""
    tpot_seconds: float
    """Time per output token after the first; NaN where only one is written."""
    end_to_end_seconds: float


@dataclass(frozen=True)
class LatencyResult:
    calls: tuple[TimedCall, ...]
    load_before: float
    load_after: float


def time_arms(
    arms: Sequence[Arm],
    input_ids: torch.Tensor,
    *,
    output_tokens: int,
    rounds: int,
    warmup_rounds: int,
    seed: int,
    on_call: Callable[[], None] = lambda: None,
) -> LatencyResult:
    """Time every arm `rounds` times on `input_ids` [batch, length], after the warm-up rounds.

    Warm-up calls run at the full shape and are not kept. Nothing else may run meanwhile.
    """
    for arm in arms:
        if arm.model.training:
            raise UserError(
                f"latency: {arm.variant} ({arm.kind}) is in train mode; call eval() first"
            )
    order = random.Random(seed)
    calls: list[TimedCall] = []
    load_before = read_load()
    with _collector_frozen():
        for number in range(-warmup_rounds, rounds):
            shuffled = list(arms)
            order.shuffle(shuffled)
            for position, arm in enumerate(shuffled):
                timed = _time_call(arm, input_ids, output_tokens, number, position)
                if number >= 0:
                    calls.append(timed)
                on_call()
    return LatencyResult(tuple(calls), load_before, read_load())


def _time_call(
    arm: Arm, input_ids: torch.Tensor, output_tokens: int, number: int, position: int
) -> TimedCall:
    first, last = decode_forced(arm.model, input_ids, output_tokens)
    rest = output_tokens - 1
    return TimedCall(
        variant=arm.variant,
        arm=arm.kind,
        round=number,
        position=position,
        batch_size=input_ids.shape[0],
        prompt_tokens=input_ids.shape[1],
        output_tokens=output_tokens,
        ttft_seconds=first,
        tpot_seconds=(last - first) / rest if rest else float("nan"),
        end_to_end_seconds=last,
    )


@torch.inference_mode()
def decode_forced(model: Any, input_ids: torch.Tensor, output_tokens: int) -> tuple[float, float]:
    """Greedily write exactly `output_tokens`; return the seconds to the first and to the last.

    The end-of-text token does not stop it: every call does the same work. The mask is allocated
    and the device idle before the clock starts.
    """
    batch, length = input_ids.shape
    mask = torch.ones(batch, length + output_tokens, dtype=torch.long, device=input_ids.device)
    _synchronize(input_ids.device)
    started = time.perf_counter()
    output = model(
        input_ids=input_ids, attention_mask=mask[:, :length], use_cache=True, logits_to_keep=1
    )
    token = output.logits[:, -1].argmax(-1, keepdim=True)
    _synchronize(input_ids.device)
    first = time.perf_counter() - started
    written = 1
    while written < output_tokens:
        output = model(
            input_ids=token,
            attention_mask=mask[:, : length + written],
            past_key_values=output.past_key_values,
            use_cache=True,
            logits_to_keep=1,
        )
        token = output.logits[:, -1].argmax(-1, keepdim=True)
        written += 1
    _synchronize(input_ids.device)
    assert output.past_key_values.get_seq_length() == length + output_tokens - 1
    return first, time.perf_counter() - started


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def _collector_frozen() -> Iterator[None]:
    """A garbage collection inside a timed call would be charged to whoever was running."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
