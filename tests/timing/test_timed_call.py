"""Forced decoding does the same work on every call, and the work that generate does."""

import contextlib
import functools
import itertools
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny_models import load_tiny
from torch import nn

from harness.models.loading import clone_sharing_weights
from harness.timing.arms import compile_step
from harness.timing.timed_call import CacheHolder, Decoder

PROMPT = torch.arange(40).reshape(2, 20) + 100


@pytest.fixture(scope="module", params=["llama", "gpt2", "phi3"])
def model(request: pytest.FixtureRequest) -> Any:
    return load_tiny(request.param).model


def watch(model: Any) -> tuple[Any, list[torch.Tensor]]:
    """A clone, and the tokens that its head chooses, [batch] a call."""
    watched = clone_sharing_weights(model)
    chosen: list[torch.Tensor] = []
    head: nn.Module = watched.get_output_embeddings()
    head.register_forward_hook(lambda _, __, logits: chosen.append(logits[:, -1].argmax(-1)))
    return watched, chosen


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_writes_what_generate_writes(model: Any, cache: str) -> None:
    expected = model.generate(
        PROMPT,
        attention_mask=torch.ones_like(PROMPT),
        do_sample=False,
        min_new_tokens=6,
        max_new_tokens=6,
        pad_token_id=0,
        eos_token_id=None,
    )[:, PROMPT.shape[1] :]
    watched, chosen = watch(model)
    decoder = Decoder(watched, caches=CacheHolder() if cache == "static" else None)
    for _ in range(2):  # a cache that is used again must have forgotten the call before
        chosen.clear()
        decoder.run(PROMPT, 6)
        assert torch.equal(torch.stack(chosen, dim=1), expected)


@pytest.mark.parametrize(
    "backend",
    [
        # As often compiled, without the minute that generated C++ takes.
        "eager",
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
            ],
        ),
    ],
)
def test_a_compiled_step_writes_the_same_and_is_compiled_once(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_ = torch.compile
    choose = functools.wraps(compile_)(lambda *a, **named: compile_(*a, backend=backend, **named))
    monkeypatch.setattr(torch, "compile", choose)
    model = load_tiny().model  # one architecture is enough for a compiler
    watched, chosen = watch(model)
    Decoder(watched).run(PROMPT, 6)
    expected = torch.stack(chosen, dim=1)
    written: list[torch.Tensor] = []
    compiled = compile_step(model, "default")

    def step(**inputs: Any) -> Any:
        output = compiled(**inputs)
        written.append(output.logits[:, -1].argmax(-1))
        return output

    decoder = Decoder(model, step=step, caches=CacheHolder())
    torch._dynamo.utils.counters.clear()
    for _ in range(3):
        written.clear()
        decoder.run(PROMPT, 6)
        assert torch.equal(torch.stack(written, dim=1), expected[:, 1:])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_end_of_text_does_not_shorten_a_call(model: Any) -> None:
    """A head that always says end-of-text: still one call for each token."""
    watched, chosen = watch(model)
    end = min(watched.config.eos_token_id or 2, watched.config.vocab_size - 1)
    watched.get_output_embeddings().register_forward_hook(
        lambda *a: a[2].index_fill_(-1, torch.tensor([end]), 1e9)
    )
    times = Decoder(watched).run(PROMPT, 6)
    assert len(chosen) == 6
    assert 0 < times.first_seconds < times.last_seconds


@pytest.mark.parametrize("tokens", [1, 4])
def test_every_token_costs_a_call_and_the_first_ends_with_its_own(
    model: Any, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that each call of the model moves on by a second."""
    watched, chosen = watch(model)
    monkeypatch.setattr("harness.timing.timed_call.time.perf_counter", lambda: float(len(chosen)))
    times = Decoder(watched).run(PROMPT, tokens)
    assert (times.first_seconds, times.last_seconds) == (1, tokens)


def test_a_planted_slowdown_has_its_size(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half again as long at both times, by a clock that reading it moves on as well."""
    watched, chosen = watch(model)
    reads = itertools.count()
    clock = "harness.timing.timed_call.time.perf_counter"
    monkeypatch.setattr(clock, lambda: len(chosen) + next(reads) / 1000)
    times = Decoder(watched, planted=0.5).run(PROMPT, 3)
    assert (times.first_seconds, times.last_seconds) == pytest.approx((1.5, 4.5), rel=0.01)


def test_a_model_that_loses_its_cache_is_caught(model: Any) -> None:
    """The length is asserted on every call: here the steps write into another cache."""

    def forget(**inputs: Any) -> Any:
        return model(**{**inputs, "past_key_values": None})

    with pytest.raises(AssertionError, match="not 4"):
        Decoder(model, step=forget).run(PROMPT, 4)


def test_the_surrounding_context_spans_the_whole_call(model: Any) -> None:
    events: list[str] = []

    @contextlib.contextmanager
    def surround() -> Iterator[None]:
        events.append("in")
        yield
        events.append("out")

    watched, chosen = watch(model)
    watched.register_forward_pre_hook(lambda *_: events.append("call"))
    Decoder(watched, surround=surround).run(PROMPT, 3)
    assert events == ["in", "call", "call", "call", "out"]
    assert len(chosen) == 3
