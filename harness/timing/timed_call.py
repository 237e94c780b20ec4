"""One timed piece of work: read a prompt and write a fixed number of tokens, greedily."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import StaticCache

from harness.adapters.virtual_tokens import VirtualTokens


@dataclass(frozen=True)
class CallTimes:
    first_seconds: float
    """From the call to the first token chosen."""
    last_seconds: float
    """From the call to the last token chosen."""


def spin(seconds: float) -> None:
    """Wait without giving the core away, as a slower computation would."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class CacheHolder:
    """One static cache for all arms: each call begins by resetting it.

    A cache an arm would take a dozen times the memory; and CUDA graphs record its addresses, so it
    stays the same from call to call.
    """

    def __init__(self) -> None:
        self._cache: Any = None
        self._size = (0, 0)

    def take(self, model: Any, batch: int, total: int) -> Any:
        """The cache for `batch` rows of `total` tokens, empty."""
        if self._cache is None or self._size != (batch, total):
            self._cache = StaticCache(config=model.config, max_cache_len=total)
            self._size = (batch, total)
        self._cache.reset()
        return self._cache

    def drop(self) -> None:
        """Free it: another point has another size."""
        self._cache, self._size = None, (0, 0)

    @property
    def bytes(self) -> int:
        """What it takes; 0 before its first use."""
        layers = self._cache.layers if self._cache is not None else ()
        tensors = [t for layer in layers for t in (layer.keys, layer.values) if t is not None]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Decoder:
    """Writes a forced number of tokens with one model; every call does the same work.

    The end-of-text token does not stop it. `model` is in eval mode, on its device; `step` computes
    the tokens after the first and is the model unless it was compiled; `caches` holds the static
    cache, without which it grows call by call; `surround` makes the context of a whole call, such
    as the rows' adapters; `virtual` are trained tokens before every prompt, which every call puts
    into its cache, as PEFT's `generate` does. `planted` adds that share of its own time to every
    call: a slowdown whose size is known.
    """

    def __init__(
        self,
        model: Any,
        *,
        step: Callable[..., Any] | None = None,
        caches: CacheHolder | None = None,
        surround: Callable[[], AbstractContextManager[Any]] = nullcontext,
        planted: float = 0.0,
        virtual: VirtualTokens | None = None,
    ) -> None:
        self._model = model
        self._step = model if step is None else step
        self._surround = surround
        self._planted = planted
        self._caches = caches
        self._virtual = virtual

    @torch.inference_mode()
    def run(self, input_ids: torch.Tensor, output_tokens: int) -> CallTimes:
        """Write `output_tokens` after `input_ids` [batch, length], and say how long it took.

        The mask, the positions and a static cache are on the device, and the device idle, before
        the clock starts.
        """
        batch, length = input_ids.shape
        lead = self._virtual.count if self._virtual else 0
        length += lead
        total = length + output_tokens
        mask = torch.ones(batch, total, dtype=torch.long, device=input_ids.device)
        positions = torch.arange(total, device=input_ids.device).expand(batch, total)
        # Tensors of their own, so that a compiled step sees the same strides every time.
        steps = [positions[:, place : place + 1].clone() for place in range(length, total - 1)]
        cache = self._caches.take(self._model, batch, total) if self._caches else None
        # A compiled step must see one shape; elsewhere the mask grows with the text.
        masks = [mask if cache is not None else mask[:, :end] for end in range(length, total)]
        synchronize(input_ids.device)
        started = time.perf_counter()
        with self._surround():
            if self._virtual is not None:
                cache = self._virtual.start(self._model, batch)
            output = self._model(
                input_ids=input_ids,
                attention_mask=masks[0][:, :length],
                position_ids=positions[:, lead:length],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            token = output.logits[:, -1].argmax(-1, keepdim=True)
            synchronize(input_ids.device)
            self._slow_down(started)
            first = time.perf_counter() - started
            for written in range(1, output_tokens):
                output = self._step(
                    input_ids=token,
                    attention_mask=masks[written],
                    position_ids=steps[written - 1],
                    past_key_values=output.past_key_values,
                    use_cache=True,
                    logits_to_keep=1,
                )
                token = output.logits[:, -1].argmax(-1, keepdim=True)
            synchronize(input_ids.device)
            self._slow_down(started + first)
            last = time.perf_counter() - started
        held = int(output.past_key_values.get_seq_length())
        assert held == total - 1, f"wrote {held - length + 1} tokens, not {output_tokens}"
        return CallTimes(first, last)

    def _slow_down(self, since: float) -> None:
        if self._planted:
            spin(self._planted * (time.perf_counter() - since))


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
