"""Training on an fp16 base, whose gradients would vanish below 6e-8 or overflow above 65,504."""

from collections.abc import Sequence

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from harness.adapters.attach import attach_adapter, trainable_parameters
from harness.config.schema import AdapterConfig
from harness.data.encoding import EncodedExample
from harness.models.projections import map_modules
from harness.training import loop
from harness.training.loop import DivergedError, Passes, Recipe, TrainResult, train_pack
from harness.training.loss_scale import START, LossScale
from harness.training.packed_model import Pack
from tasks.base import Example

CONFIG = LlamaConfig(
    vocab_size=256,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
)
"""Small, for a CPU multiplies slowly in fp16."""

EXAMPLES = [
    EncodedExample(
        Example(str(i), "", "", "", "", ""), (5 + i, 6, 7), tuple(range(9, 209)), (), 0, False
    )
    for i in range(4)
]


def train(
    dtype: str,
    monkeypatch: pytest.MonkeyPatch,
    start: float = START,
    steps: int = 3,
    rates: Sequence[float] = (1e-3,),
) -> tuple[list[TrainResult | DivergedError], torch.Tensor]:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG, dtype=torch.float32).to(getattr(torch, dtype))
    model.requires_grad_(False).eval()
    roles = map_modules(model, CONFIG).select(("o", "fc2"))
    members = [attach_adapter(model, roles, AdapterConfig(rank=2), seed=0) for _ in rates]
    monkeypatch.setattr(loop, "LossScale", lambda found: LossScale(found, start))
    recipes = [
        Recipe([EXAMPLES] * steps, rate, "constant", 0.0, 0.0, 1.0, seed=0) for rate in rates
    ]
    results = train_pack(Pack(model, members), recipes, Passes(4096), pad_token_id=0)
    weights = torch.cat([w.detach().flatten() for w in trainable_parameters(members[0])])
    return results, weights


def first_gradients(result: TrainResult | DivergedError) -> dict[str, float]:
    assert isinstance(result, TrainResult)
    return result.first_gradients


def test_gradients_are_those_of_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a factor a good part of each is lost: every one of 800 tokens is a small share."""
    exact = first_gradients(train("float32", monkeypatch)[0][0])
    scaled = first_gradients(train("float16", monkeypatch)[0][0])
    plain = first_gradients(train("float16", monkeypatch, start=1.0)[0][0])
    assert scaled == pytest.approx(exact, rel=0.05)
    errors = [
        sum(abs(found[path] / exact[path] - 1) for path in exact) for found in (scaled, plain)
    ]
    assert errors[0] < errors[1]


def test_a_factor_that_overflows_is_halved_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (usual,), weights = train("float16", monkeypatch, start=2.0**12)
    (high,), same = train("float16", monkeypatch, start=2.0**60)
    assert isinstance(usual, TrainResult)
    assert isinstance(high, TrainResult)
    assert high.loss == pytest.approx(usual.loss, rel=1e-3)
    torch.testing.assert_close(same, weights, rtol=1e-2, atol=1e-4)


def test_one_that_diverges_still_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    results, weights = train("float16", monkeypatch, steps=6, rates=(1e-3, 1e9))
    (alone,), same = train("float16", monkeypatch, steps=6, rates=(1e-3,))
    assert isinstance(results[0], TrainResult)
    assert isinstance(results[1], DivergedError)
    # It does not leave the other with its factor of 1.
    assert isinstance(alone, TrainResult)
    assert results[0].loss == pytest.approx(alone.loss, rel=1e-3)
    torch.testing.assert_close(weights, same, rtol=1e-2, atol=2e-4)


def test_the_factor_begins_again_once_a_wild_variant_has_left() -> None:
    scale, weight = LossScale(torch.float16, start=8.0), torch.nn.Parameter(torch.ones(2))
    while scale.value > 1:
        weight.grad = torch.full((2,), torch.inf)
        assert scale.was_too_large([weight])
    scale.restart()
    assert scale.value == 8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_other_dtypes_have_no_factor(dtype: torch.dtype) -> None:
    assert LossScale(dtype).value == 1
