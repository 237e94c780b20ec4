from typing import Any

import pytest
import torch
from tiny_models import DECODERS, load_tiny
from torch.nn import functional

from harness.models import forward
from harness.models.forward import Head, differentiate_loss, find_log_probabilities, run_body


def load(model_type: str) -> Any:
    return load_tiny(model_type).model


@pytest.mark.parametrize("model_type", DECODERS)
def test_body_and_head_are_the_whole_model(model_type: str) -> None:
    """Gemma caps its logits and Cohere scales them after the head: that must stay."""
    model = load(model_type)
    ids = torch.randint(0, 1000, (3, 7))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    picked = torch.tensor([0, 6, 7, 11, 20])
    with torch.no_grad():
        whole = model(input_ids=ids, attention_mask=mask).logits.reshape(21, -1)[picked]
        apart = Head(model)(run_body(model, ids, picked))
    torch.testing.assert_close(apart, whole.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", ["llama", "gemma2"])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunked_gradient_is_that_of_the_whole_loss(model_type: str, chunk: int) -> None:
    model = load(model_type).double()
    head = Head(model)
    hidden = torch.randn(8, model.config.hidden_size, dtype=torch.float64, requires_grad=True)
    labels, weights = torch.randint(0, 1000, (8,)), torch.rand(8, dtype=torch.float64)
    expected = functional.cross_entropy(head(hidden), labels, reduction="none")
    (expected * weights).sum().backward()
    head.chunk = chunk
    losses, gradient = differentiate_loss(head, hidden, labels, weights)
    assert not losses.requires_grad
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close(gradient, hidden.grad)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_log_probabilities_come_in_the_order_asked_for(chunk: int) -> None:
    model = load("llama")
    head = Head(model)
    hidden = torch.randn(5, model.config.hidden_size)
    wanted = [(4, 7), (0, 3), (4, 1), (2, 9), (0, 3)]
    whole = head(hidden).log_softmax(-1)
    head.chunk = chunk
    values = find_log_probabilities(head, hidden, wanted)
    # Values lie near -11, where neighbouring fp32 numbers are 1e-6 apart.
    assert values == pytest.approx([whole[row, token].item() for row, token in wanted], rel=1e-6)
    assert find_log_probabilities(head, hidden, []) == []


def test_logits_of_a_batch_never_exist_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "CHUNK_VALUES", 150_000)
    model = load("llama")
    seen = []
    model.get_output_embeddings().register_forward_hook(
        lambda module, inputs, output: seen.append(output.numel())
    )
    head = Head(model)
    hidden = torch.randn(40, model.config.hidden_size)
    differentiate_loss(head, hidden, torch.zeros(40, dtype=torch.long), torch.ones(40))
    find_log_probabilities(head, hidden, [(39, 0)])
    assert len(seen) > 2
    assert max(seen) <= 150_000
