"""Attention in blocks, against transformers' eager attention."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.models.llama.modeling_llama import eager_attention_forward

from harness.training.kernels import attention
from harness.training.kernels.attention import LONGEST_ROW, NAME, _attend, use_blocks


class Layer(nn.Module):
    """What an attention function reads of its module."""

    is_causal = True

    def __init__(self, heads: int, key_heads: int) -> None:
        super().__init__()
        self.num_key_value_groups = heads // key_heads


def make(length: int, heads: int, key_heads: int, size: int) -> list[torch.Tensor]:
    torch.manual_seed(length)
    # As models pass them: heads and positions swapped, so not contiguous.
    shapes = [heads, key_heads, key_heads]
    made = [torch.randn(3, length, h, size, dtype=torch.float64).transpose(1, 2) for h in shapes]
    return [tensor.requires_grad_() for tensor in made]


@pytest.mark.parametrize("length", [2, 63, 64, 65, 200])
@pytest.mark.parametrize(("heads", "key_heads", "size"), [(6, 2, 24), (4, 4, 16), (3, 1, 8)])
def test_outputs_and_gradients_are_those_of_eager_attention(
    length: int, heads: int, key_heads: int, size: int
) -> None:
    inputs = make(length, heads, key_heads, size)
    layer, scaling = Layer(heads, key_heads), 0.3
    mask = torch.full((length, length), -torch.inf, dtype=torch.float64).triu(1)[None, None]
    wanted, _ = eager_attention_forward(layer, *inputs, mask, scaling=scaling)
    found, _ = _attend(layer, *inputs, None, scaling=scaling)
    # Eager attention takes its softmax in fp32.
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    upstream = torch.randn_like(wanted)
    theirs = torch.autograd.grad(wanted, inputs, upstream)
    ours = torch.autograd.grad(found, inputs, upstream)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_gradients_are_right_to_the_last_digit() -> None:
    inputs = make(70, 4, 2, 5)
    layer = Layer(4, 2)
    assert torch.autograd.gradcheck(
        lambda *each: _attend(layer, *each, None, scaling=0.4)[0], inputs, fast_mode=True
    )


def test_nothing_comes_from_later_tokens() -> None:
    query, key, value = make(130, 4, 2, 8)
    layer = Layer(4, 2)
    before, _ = _attend(layer, query, key, value, None)
    with torch.no_grad():
        key[:, :, 100:], value[:, :, 100:] = 1e6, 1e6
    after, _ = _attend(layer, query, key, value, None)
    assert torch.equal(before[:, :64], after[:, :64])
    torch.testing.assert_close(before[:, :100], after[:, :100])


@pytest.mark.parametrize("keys", [100, LONGEST_ROW + 5])
@pytest.mark.parametrize("queries", [2, 70])
def test_queries_behind_a_cache_see_what_comes_before_them(queries: int, keys: int) -> None:
    query, key, value = (tensor.detach() for tensor in make(keys, 4, 2, 8))
    query = query[:, :, -queries:]
    found, _ = _attend(Layer(4, 2), query, key, value, None)
    visible = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    wanted = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=visible, enable_gqa=True
    )
    torch.testing.assert_close(found, wanted.transpose(1, 2))


def test_a_cap_on_scores_is_not_left_out_in_silence() -> None:
    query, key, value = (tensor.detach() for tensor in make(20, 2, 2, 4))
    with pytest.raises(ValueError, match="softcap"):
        _attend(Layer(2, 2), query, key, value, None, softcap=30.0)


@pytest.mark.parametrize("case", ["mask", "not causal", "one query", "long"])
def test_what_blocks_are_not_for_goes_to_the_fused_kernel(case: str) -> None:
    length = LONGEST_ROW + 1 if case == "long" else 20
    query, key, value = (tensor.detach() for tensor in make(length, 2, 2, 4))
    layer, mask, is_causal = Layer(2, 2), None, case != "not causal"
    visible = torch.ones(length, length, dtype=torch.bool)
    if case == "mask":
        visible[:, :5] = False
        visible[:5, :5] = True
        mask = visible.tril()[None, None]
    if case == "one query":
        query, visible = query[:, :, -1:], visible[-1:]
    elif is_causal:
        visible = visible.tril()
    found, _ = _attend(layer, query, key, value, mask, is_causal=is_causal)
    wanted = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
    torch.testing.assert_close(found, wanted.transpose(1, 2))


@pytest.mark.parametrize(
    ("own", "dtype", "multiplies_bfloat16", "found"),
    [
        ("sdpa", torch.bfloat16, True, NAME),
        ("eager", torch.bfloat16, True, "eager"),
        ("sdpa", torch.float32, True, "sdpa"),
        ("sdpa", torch.bfloat16, False, "sdpa"),
    ],
)
def test_blocks_replace_pytorchs_kernel_in_bf16_where_the_cpu_multiplies_in_it(
    monkeypatch: pytest.MonkeyPatch,
    own: str,
    dtype: torch.dtype,
    multiplies_bfloat16: bool,
    found: str,
) -> None:
    monkeypatch.setattr(attention, "cpu_multiplies_bfloat16", lambda: multiplies_bfloat16)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, vocab_size=32,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation=own, dtype=dtype)
    use_blocks(model)
    assert model.config._attn_implementation == found
