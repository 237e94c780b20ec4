import math
import statistics
import time
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from harness.config import ModelConfig
from harness.errors import UserError
from harness.latency import Arm, TimedCall, decode_forced, time_arms
from harness.models import clone_sharing_weights, load_model


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(
        ModelConfig(source="random", shape="tiny-llama", dtype="float32", device="cpu")
    ).model


def delay(model: Any, seconds: float) -> Any:
    """A clone whose every call takes longer: what a wrapped projection does to a real one."""
    slow = clone_sharing_weights(model)

    def wait(*_: object) -> None:
        time.sleep(seconds)

    slow.register_forward_pre_hook(wait)
    return slow


PROMPT = torch.arange(40).reshape(2, 20) + 100


def test_planted_delay_is_found_where_it_was_planted(model: Any) -> None:
    """0.1 s a call, far above the noise of a busy machine: once in TTFT, and once in TPOT."""
    arms = [Arm("base", "base", model), Arm("slow", "unmerged", delay(model, 0.1))]
    result = time_arms(arms, PROMPT, output_tokens=4, rounds=5, warmup_rounds=1, seed=0)
    by_round: dict[int, dict[str, TimedCall]] = {}
    for call in result.calls:
        by_round.setdefault(call.round, {})[call.variant] = call
        assert call.end_to_end_seconds == pytest.approx(
            call.ttft_seconds + 3 * call.tpot_seconds, rel=1e-9
        )
    for name in ("ttft_seconds", "tpot_seconds"):
        added = [getattr(c["slow"], name) - getattr(c["base"], name) for c in by_round.values()]
        assert 0.06 < statistics.median(added) < 0.18


def test_each_round_runs_each_arm_once_in_changing_order(model: Any) -> None:
    arms = [Arm(str(i), "base", model) for i in range(4)]
    result = time_arms(arms, PROMPT, output_tokens=1, rounds=8, warmup_rounds=2, seed=1)
    orders = set()
    for number in range(8):
        calls = sorted((c for c in result.calls if c.round == number), key=lambda c: c.position)
        assert Counter(c.variant for c in calls) == Counter("0123")
        orders.add("".join(c.variant for c in calls))
    assert len(orders) > 2
    assert {c.round for c in result.calls} == set(range(8))


def test_one_token_has_no_time_per_output_token(model: Any) -> None:
    result = time_arms(
        [Arm("b", "base", model)], PROMPT, output_tokens=1, rounds=1, warmup_rounds=0, seed=0
    )
    assert math.isnan(result.calls[0].tpot_seconds)
    assert result.calls[0].ttft_seconds > 0


def test_end_of_text_does_not_shorten_a_call(model: Any) -> None:
    """Count the model's own calls: one for the prompt and one for each further token."""
    counted = clone_sharing_weights(model)
    calls = []
    counted.register_forward_pre_hook(lambda *_: calls.append(1))
    head: nn.Module = counted.get_output_embeddings()
    end = counted.config.eos_token_id or 2
    head.register_forward_hook(lambda *a: a[2].index_fill_(-1, torch.tensor([end]), 1e9))
    decode_forced(counted, PROMPT, 6)
    assert len(calls) == 6


def test_train_mode_is_refused(model: Any) -> None:
    training = clone_sharing_weights(model).train()
    with pytest.raises(UserError, match="train mode"):
        time_arms(
            [Arm("v", "unmerged", training)],
            PROMPT,
            output_tokens=1,
            rounds=1,
            warmup_rounds=0,
            seed=0,
        )
