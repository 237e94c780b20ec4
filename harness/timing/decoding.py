"""One timed piece of work: read a prompt and write a fixed number of tokens, greedily."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import StaticCache


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


class Decoder:
    """Writes a forced number of tokens with one model; every call does the same work.

    The end-of-text token does not stop it. `model` is in eval mode, on its device; `step` computes
    the tokens after the first and is the model unless it was compiled; `surround` makes the context
    of a whole call, such as the rows' adapters. `planted` adds that share of its own time to every
    call: a slowdown whose size is known.
    """

    def __init__(
        self,
        model: Any,
        *,
        step: Callable[..., Any] | None = None,
        cache: str = "dynamic",
        surround: Callable[[], AbstractContextManager[Any]] = nullcontext,
        planted: float = 0.0,
    ) -> None:
        self._model = model
        self._step = model if step is None else step
        self._surround = surround
        self._planted = planted
        self._is_static = cache == "static"
        self._cache: Any = None
        self._cache_size = (0, 0)

    @torch.inference_mode()
    def run(self, input_ids: torch.Tensor, output_tokens: int) -> CallTimes:
        """Write `output_tokens` after `input_ids` [batch, length], and say how long it took.

        The mask, the positions and a static cache are on the device, and the device idle, before
        the clock starts.
        """
        batch, length = input_ids.shape
        total = length + output_tokens
        mask = torch.ones(batch, total, dtype=torch.long, device=input_ids.device)
        positions = torch.arange(total, device=input_ids.device).expand(batch, total)
        cache = self._take_static_cache(batch, total) if self._is_static else None
        # A compiled step must see one shape; elsewhere the mask grows with the text.
        masks = [mask if cache is not None else mask[:, :end] for end in range(length, total)]
        synchronize(input_ids.device)
        started = time.perf_counter()
        with self._surround():
            output = self._model(
                input_ids=input_ids,
                attention_mask=masks[0][:, :length],
                position_ids=positions[:, :length],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            token = output.logits[:, -1].argmax(-1, keepdim=True)
            synchronize(input_ids.device)
            self._slow_down(started)
            first = time.perf_counter() - started
            for written in range(1, output_tokens):
                end = length + written
                output = self._step(
                    input_ids=token,
                    attention_mask=masks[written],
                    position_ids=positions[:, end - 1 : end],
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

    def _take_static_cache(self, batch: int, total: int) -> Any:
        """The same tensors call after call: CUDA graphs record their addresses."""
        if self._cache is None or self._cache_size != (batch, total):
            self._cache = StaticCache(config=self._model.config, max_cache_len=total)
            self._cache_size = (batch, total)
        self._cache.reset()
        return self._cache

    def forget(self) -> None:
        """Drop the static cache, whose size is that of one point."""
        self._cache, self._cache_size = None, (0, 0)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
