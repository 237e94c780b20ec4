import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import PeftModel
from recipes import PASSES, RECIPE
from tiny_models import load_tiny
from transformers import PreTrainedTokenizerBase

from harness.adapters.attach import attach_adapter, trainable_parameters
from harness.config.schema import AdapterConfig
from harness.data.encoding import EncodedExample, EncodingRules, encode_examples
from harness.models.loading import LoadedModel
from harness.models.projections import map_modules
from harness.training.loop import DivergedError, Recipe, TrainResult, train_pack
from harness.training.packed_model import Pack
from tasks.base import Example

WORDS = ("red", "green blue", "one two three", "yes", "no no", "a b c d")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_tiny()


def encode(tokenizer: PreTrainedTokenizerBase) -> list[EncodedExample]:
    examples = [
        Example(str(i), "Say ", f"number {i}" * (i + 1), ":", word, word)
        for i, word in enumerate(WORDS)
    ]
    return encode_examples(examples, tokenizer, EncodingRules("head", 200, 20, context_length=1000))


def attach(loaded: LoadedModel, dropout: float = 0.0) -> PeftModel:
    mapped = map_modules(loaded.model, loaded.model.config)
    return attach_adapter(
        loaded.model,
        mapped.select(("o", "fc2")),
        AdapterConfig(rank=4, alpha=8, dropout=dropout),
        seed=0,
    )


def train(
    loaded: LoadedModel,
    model: PeftModel,
    steps: Sequence[Sequence[EncodedExample]],
    on_step: Callable[[Mapping[int, float]], None] = lambda losses: None,
    **changes: Any,
) -> TrainResult:
    own = RECIPE | {key: value for key, value in changes.items() if key in RECIPE}
    passes = replace(PASSES, **{key: changes[key] for key in changes.keys() - RECIPE.keys()})
    pack = Pack(loaded.model, [model], [own["seed"]])
    (result,) = train_pack(pack, [Recipe(steps, **own)], passes, pad_token_id=0, on_step=on_step)
    if isinstance(result, DivergedError):
        raise result
    return result


def weights(model: PeftModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainable_parameters(model)])


def test_first_loss_is_transformers_own_loss_on_masked_labels(loaded: LoadedModel) -> None:
    """The independent reference: the model's own `labels=` with the prompt set to -100."""
    encoded = encode(loaded.tokenizer)
    total, count = 0.0, 0
    for item in encoded:
        ids = torch.tensor([item.prompt_ids + item.completion_ids])
        labels = ids.clone()
        labels[:, : len(item.prompt_ids)] = -100
        with torch.no_grad():
            loss = loaded.model(input_ids=ids, labels=labels).loss
        total += loss.item() * len(item.completion_ids)
        count += len(item.completion_ids)
    result = train(loaded, attach(loaded), [encoded])
    assert result.loss[0] == pytest.approx(total / count, rel=1e-5)
    assert result.completion_tokens == count


def test_memorises_a_batch_and_leaves_the_base_alone(loaded: LoadedModel) -> None:
    before = [p.clone() for p in loaded.model.parameters()]
    model = attach(loaded)
    result = train(loaded, model, [encode(loaded.tokenizer)] * 60)
    # The head is frozen at random rows of norm 0.16: no hidden state gets the loss much lower.
    assert result.loss[-1] < result.loss[0] - 0.5
    assert not model.training
    assert all(torch.equal(a, b) for a, b in zip(before, loaded.model.parameters(), strict=True))
    moved = [p for n, p in model.named_parameters() if "lora_B" in n]
    assert all(p.abs().max() > 0 for p in moved)


def test_accumulation_changes_nothing_but_the_memory(loaded: LoadedModel) -> None:
    """Micro-batches hold different numbers of tokens: a mean of means would differ."""
    encoded = encode(loaded.tokenizer)
    whole, parts = attach(loaded), attach(loaded)
    a = train(loaded, whole, [encoded] * 3)
    b = train(loaded, parts, [encoded] * 3, gradient_accumulation=4)
    assert a.loss == pytest.approx(b.loss, rel=1e-5)
    torch.testing.assert_close(weights(whole), weights(parts), rtol=1e-3, atol=1e-5)


def test_checkpointing_changes_nothing_but_the_memory(loaded: LoadedModel) -> None:
    encoded = encode(loaded.tokenizer)
    a = train(loaded, attach(loaded), [encoded] * 3)
    b = train(loaded, attach(loaded), [encoded] * 3, gradient_checkpointing=True)
    assert a.loss == pytest.approx(b.loss, rel=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_same_seed_gives_the_same_weights_bit_for_bit(loaded: LoadedModel, dropout: float) -> None:
    encoded = encode(loaded.tokenizer)
    first, second = attach(loaded, dropout), attach(loaded, dropout)
    train(loaded, first, [encoded] * 3)
    torch.manual_seed(99)
    train(loaded, second, [encoded] * 3)
    assert torch.equal(weights(first), weights(second))
    if dropout:
        third = attach(loaded, dropout)
        train(loaded, third, [encoded] * 3, seed=1)
        assert not torch.equal(weights(first), weights(third))


def test_divergence_is_named_at_its_step(loaded: LoadedModel) -> None:
    model = attach(loaded)

    def poison(losses: Mapping[int, float]) -> None:
        with torch.no_grad():
            trainable_parameters(model)[0].fill_(math.inf)

    with pytest.raises(DivergedError, match=r"at step 2 of 5; lower train\.learning_rate, 0\.01"):
        train(loaded, model, [encode(loaded.tokenizer)] * 5, on_step=poison)


def test_rate_warms_up_and_decays(loaded: LoadedModel) -> None:
    """The first step of a warm-up has a rate of zero: weights stay where they were."""
    encoded = encode(loaded.tokenizer)
    model = attach(loaded)
    start = weights(model)
    train(loaded, model, [encoded], warmup_ratio=1.0)
    assert torch.equal(start, weights(model))
    result = train(loaded, attach(loaded), [encoded] * 5, schedule="constant")
    assert math.isfinite(result.loss[-1])
