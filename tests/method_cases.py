"""Methods as tests use them: small ranks, a tiny model, a batch that can be memorised."""

import functools
from dataclasses import replace
from typing import Any

import torch

from harness.adapters.attach import Adapted, attach_adapter
from harness.config.catalog import METHODS
from harness.config.composing import compose
from harness.config.schema import AdapterConfig
from harness.data.encoding import EncodedExample
from harness.models.loading import LoadedModel
from harness.models.projections import map_modules
from harness.training.loop import Passes, Recipe, TrainResult, train_pack
from harness.training.packed_model import Pack
from tasks.base import Example

QUANTIZED = ("qlora", "loftq")
STEPS = 10
RATES = {"prefix": 3e-2, "prompt": 3.0, "ia3": 0.3, "vera": 0.3, "lora_fa": 1e-1}
"""For a memorisable batch, in ten steps, on random weights; 3e-2 where not named."""
LEAST_FALL = {"prompt": 0.05}
"""Of the loss; 0.1 where not named. Twenty embeddings say little to a random model."""


@functools.cache
def settings(method: str) -> AdapterConfig:
    """The method's own YAML, with ranks that fit a tiny model."""
    target = {"prefix": "model", "prompt": "model", "bottleneck": "o_proj+fc2"}.get(method, "all")
    adapter = compose([f"adapter={method}", f"target_modules={target}"]).adapter
    small = {"rank": 4, "initial_rank": 6 if method == "adalora" else 2, "encoder_width": 16}
    small["sample_examples"] = 4
    kept = {k: v for k, v in small.items() if getattr(adapter, k) is not None}
    return replace(adapter, **kept)


def roles(method: str) -> tuple[str, ...]:
    if not METHODS[method].roles:
        return ("model",)
    return ("all",) if "all" in METHODS[method].roles else ("o", "fc2")


def examples(count: int = 4) -> list[EncodedExample]:
    generator = torch.Generator().manual_seed(3)

    def draw(size: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, 900, (size,), generator=generator).tolist())

    return [
        EncodedExample(Example(str(i), "", "", "", "", ""), draw(9 + i), draw(4), (), 0, False)
        for i in range(count)
    ]


def attach(loaded: LoadedModel, adapter: AdapterConfig, seed: int = 0) -> Adapted:
    mapped = map_modules(loaded.model, loaded.model.config)
    return attach_adapter(
        loaded.model,
        mapped.select(roles(adapter.method)),
        adapter,
        seed=seed,
        steps=STEPS,
        sample=examples(),
    )


def train(
    loaded: LoadedModel, member: Adapted, adapter: AdapterConfig, steps: int = STEPS
) -> TrainResult:
    recipe = Recipe(
        steps=[examples()] * steps,
        learning_rate=RATES.get(adapter.method, 3e-2),
        schedule="cosine",
        warmup_ratio=0.1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=0,
        adapter=adapter,
    )
    (result,) = train_pack(
        Pack(loaded.model, [member], [0]),
        [recipe],
        Passes(8192, gradient_accumulation=2),
        pad_token_id=0,
    )
    assert isinstance(result, TrainResult), result
    return result


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, 900, (2, 9), generator=generator)
    output: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return output[:, -9:]
