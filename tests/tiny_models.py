"""Models of two blocks, built once a process: tests get copies that they may change."""

import copy
import functools
from typing import Any

from harness.config.schema import ModelConfig
from harness.models.loading import LoadedModel, load_model


def tiny_spec(model_type: str = "llama", dtype: str = "float32") -> ModelConfig:
    return ModelConfig(source="random", shape=f"tiny-{model_type}", dtype=dtype, device="cpu")


def load_tiny(model_type: str = "llama", dtype: str = "float32") -> LoadedModel:
    """Return a copy of its own of the random model; the tokenizer is shared."""
    loaded = _load(model_type, dtype)
    return LoadedModel(copy.deepcopy(loaded.model), loaded.tokenizer, loaded.context_length)


@functools.lru_cache(maxsize=8)
def _load(model_type: str, dtype: str) -> LoadedModel:
    if dtype == "float64":
        loaded: Any = load_model(tiny_spec(model_type))
        loaded.model.double()
        return loaded  # type: ignore[no-any-return]
    return load_model(tiny_spec(model_type, dtype))
