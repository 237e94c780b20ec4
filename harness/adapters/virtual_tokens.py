"""Prefix and prompt tuning as the start of a cache: what attention sees before every prompt.

PEFT trains either the keys and values of virtual tokens (prefix tuning) or their embeddings (prompt
tuning). No token sees what comes after it, so embeddings, too, are keys and values that depend on
nothing else: both are a cache that every row of a batch begins with.
"""

from typing import Any

import torch
from peft import PeftModel, PeftType
from transformers import DynamicCache

from harness.errors import UserError
from harness.models.forward import make_cache

METHODS = (PeftType.PREFIX_TUNING, PeftType.PROMPT_TUNING)


def has_virtual_tokens(member: Any) -> bool:
    """Whether a model begins every prompt with trained tokens."""
    return isinstance(member, PeftModel) and member.active_peft_config.peft_type in METHODS


class VirtualTokens:
    """The trained tokens of one adapted model.

    Raises UserError where the model's cache is none of keys and values alone.
    """

    def __init__(self, member: PeftModel) -> None:
        if make_cache(member.get_base_model()) is None:
            raise UserError(
                "adapter.method: virtual tokens need a cache of keys and values only, but that of "
                f"{type(member.get_base_model()).__name__} holds more; choose another method"
            )
        self._member = member
        self.count: int = member.active_peft_config.num_virtual_tokens

    def start(self, model: Any, rows: int) -> DynamicCache:
        """A cache of `model` that holds the virtual tokens, for so many rows.

        Gradients flow through it to what is trained.
        """
        cache = make_cache(model)
        assert cache is not None
        if self._member.active_peft_config.peft_type == PeftType.PREFIX_TUNING:
            prefix = self._member.get_prompt(batch_size=1)
            for index, (keys, values) in enumerate(_list_layers(prefix)):
                cache.update(keys, values, index)
        else:
            embeddings = self._member.get_prompt(batch_size=1).to(model.dtype)
            body = getattr(model, model.base_model_prefix)
            body(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(rows)
        return cache


def _list_layers(prefix: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(keys, values) of each layer, in whichever of its forms PEFT gives them."""
    if hasattr(prefix, "layers"):
        return [(layer.keys, layer.values) for layer in prefix.layers]
    return [(layer[0], layer[1]) for layer in prefix]
