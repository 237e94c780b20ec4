"""Caches of keys and values, as far as the harness fills them itself."""

from typing import Any

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


def make_cache(model: Any) -> DynamicCache | None:
    """An empty cache, or None where an architecture's holds more than keys and values."""
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    plain = DynamicLayer, DynamicSlidingWindowLayer
    return cache if all(type(layer) in plain for layer in cache.layers) else None
