"""Causal attention in blocks, for training and scoring on a CPU that multiplies in bf16.

PyTorch's fused kernel is made for long rows; on a CPU, the rows of a fine-tuning task go faster as
a few batched products: 64 queries at a time with the keys up to them, the queries that share a key
head side by side, and the probabilities kept for the backward pass; so does the one query of a
decoding step. It computes what transformers' `eager_attention_forward` does. transformers'
AttentionInterface calls it by its name.

In bf16, forward and backward of 128 to 448 tokens took a third of the time of PyTorch's kernel. In
fp32 neither is 10% of a training step ahead of the other, with AVX2 or AVX-512, so the model keeps
its own there (benchmarks/results/step-kernels.json); in emulated bf16 blocks are slower.
"""

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from harness.models.devices import cpu_multiplies_bfloat16

NAME = "harness_blocks"

BLOCK = 64
"""Queries that are multiplied at a time."""

EXTRAS = ("position_bias", "softcap", "s_aux")
"""Arguments of transformers' attention functions that change what is computed."""

LONGEST_ROW = 1024
"""Tokens up to which probabilities are kept; their memory grows with the square of the length."""


def use_blocks(model: Any) -> None:
    """Let a bf16 model attend in blocks on a CPU that multiplies in it, instead of by PyTorch."""
    is_faster = model.device.type == "cpu" and model.dtype == torch.bfloat16
    if is_faster and cpu_multiplies_bfloat16() and model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, _make_mask)
        model.set_attn_implementation(NAME)


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """[rows, heads, length, size] each -> [rows, length, heads, size]; see `AttentionInterface`."""
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    length, seen = query.shape[2], key.shape[2]
    # What else an architecture asks of its attention is for the kernel to do, or to refuse.
    is_extra = any(kwargs.get(name) is not None for name in EXTRAS)
    is_plain = causal and not dropout and not is_extra
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    if is_plain and attention_mask is None and 1 < length <= seen <= LONGEST_ROW:
        out: torch.Tensor = _CausalAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, factor
        )
        return out.transpose(1, 2), None
    if is_plain and length == 1:
        return _attend_once(query, key, value, attention_mask, factor), None
    if causal and attention_mask is None and 1 < length < seen:
        visible = torch.ones(length, seen, dtype=torch.bool, device=query.device)
        attention_mask = visible.tril(seen - length)[None, None]
    return sdpa_attention_forward(  # type: ignore[no-any-return]
        module, query, key, value, attention_mask,
        dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs,
    )  # fmt: skip


def _make_mask(
    *,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    attention_mask: torch.Tensor | None = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    **rest: Any,
) -> torch.Tensor | None:
    """None where each query sees all keys up to its own place, also behind a cache."""
    has_all_keys = q_offset + q_length == kv_length and (not local_size or kv_length < local_size)
    if allow_is_causal_skip and attention_mask is None and has_all_keys:
        return None
    return sdpa_mask(  # type: ignore[no-any-return]
        q_length=q_length, kv_length=kv_length, q_offset=q_offset, attention_mask=attention_mask,
        local_size=local_size, allow_is_causal_skip=allow_is_causal_skip, **rest,
    )  # fmt: skip


def _attend_once(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
) -> torch.Tensor:
    """One query a row, which sees all keys that `mask`, [rows, 1 or heads, 1, keys], leaves."""
    rows, heads, _, size = query.shape
    groups = rows * key.shape[1]
    keys, values = (each.reshape(groups, -1, each.shape[-1]) for each in (key, value))
    scores = torch.bmm(query.reshape(groups, -1, size), keys.transpose(1, 2)).mul_(scaling)
    if mask is not None:
        by_row = scores.view(rows, heads, 1, -1)
        if mask.dtype == torch.bool:
            by_row.masked_fill_(~mask, -torch.inf)
        else:
            by_row.add_(mask)
    return torch.bmm(scores.softmax(-1), values).view(rows, 1, heads, -1)


class _CausalAttention(torch.autograd.Function):
    """softmax(scaling x Q K^T, later keys left out) V, and its gradients.

    The queries are those of the last places of the keys.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        rows, heads, length, size = query.shape
        groups, offset = rows * key.shape[1], key.shape[2] - length
        # Heads that share a key head are one group: [groups, heads of one, length, size].
        queries = query.reshape(groups, -1, length, size)
        keys, values = (each.reshape(groups, -1, each.shape[-1]) for each in (key, value))
        out = queries.new_empty(*queries.shape[:3], values.shape[-1])
        kept = []
        for block in _cut(length):
            seen = slice(offset + block.stop)
            part = queries[:, :, block]
            scores = torch.bmm(part.flatten(1, 2), keys[:, seen].transpose(1, 2)).mul_(scaling)
            scores = scores.view(*part.shape[:3], -1)
            later = torch.ones(2 * [part.shape[2]], dtype=torch.bool, device=query.device).triu_(1)
            scores[..., offset + block.start :].masked_fill_(later, -torch.inf)
            weights = scores.softmax(-1)
            product = torch.bmm(weights.flatten(1, 2), values[:, seen])
            out[:, :, block] = product.view(*part.shape[:3], -1)
            kept.append(weights)
        ctx.save_for_backward(queries, keys, values, *kept)
        ctx.scaling, ctx.shape = scaling, (query.shape, key.shape, value.shape)
        return out.view(rows, heads, length, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        queries, keys, values, *kept = ctx.saved_tensors
        gradient = gradients[0].reshape(*queries.shape[:3], -1)
        # Sums over blocks, in more digits than the blocks have.
        wide = torch.promote_types(keys.dtype, torch.float32)
        of_queries = torch.empty_like(queries)
        of_keys = torch.zeros_like(keys, dtype=wide)
        of_values = torch.zeros_like(values, dtype=wide)
        offset = keys.shape[1] - queries.shape[2]
        for block, weights in zip(_cut(queries.shape[2]), kept, strict=True):
            seen = slice(offset + block.stop)
            part = queries[:, :, block].flatten(1, 2)
            wanted = gradient[:, :, block].flatten(1, 2)
            weights = weights.flatten(1, 2)
            of_values[:, seen] += torch.bmm(weights.transpose(1, 2), wanted)
            of_weights = torch.bmm(wanted, values[:, seen].transpose(1, 2))
            of_scores = torch.ops.aten._softmax_backward_data(
                of_weights, weights, -1, weights.dtype
            ).mul_(ctx.scaling)
            of_keys[:, seen] += torch.bmm(of_scores.transpose(1, 2), part)
            product = torch.bmm(of_scores, keys[:, seen])
            of_queries[:, :, block] = product.view_as(of_queries[:, :, block])
        query_shape, key_shape, value_shape = ctx.shape
        return (
            of_queries.view(query_shape),
            of_keys.to(keys.dtype).view(key_shape),
            of_values.to(values.dtype).view(value_shape),
            None,
        )


def _cut(length: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]
