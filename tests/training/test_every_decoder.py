"""Every kind of decoder trains, scores, saves, loads in stock PEFT and writes, with `all` adapted.

Stock PEFT and transformers' own generate are the reference: equal outputs, equal greedy text.
"""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import examples
from peft import PeftModel
from tiny_models import DECODERS, load_tiny

from harness.adapters.attach import attach_adapter
from harness.adapters.storage import save_adapter
from harness.config.schema import AdapterConfig
from harness.evaluation.generation import WritingRules, decode
from harness.models.forward import Head, run_body
from harness.models.projections import map_modules
from harness.training.loop import Passes, Recipe, TrainResult, train_pack
from harness.training.packed_model import BASE_ROW, Pack

LENGTH = 8
ADAPTER = AdapterConfig(rank=4, alpha=16)


@torch.no_grad()
def find_logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits


@torch.no_grad()
def write_alone(model: Any, prompt: list[int]) -> list[int]:
    output = model.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=LENGTH,
        min_new_tokens=LENGTH,
        do_sample=False,
        pad_token_id=0,
    )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


def train(pack: Pack) -> TrainResult:
    recipe = Recipe(
        steps=[examples()] * 8,
        learning_rate=3e-2,
        schedule="cosine",
        warmup_ratio=0.1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=0,
        adapter=ADAPTER,
    )
    (result,) = train_pack(pack, [recipe], Passes(8192), pad_token_id=0)
    assert isinstance(result, TrainResult), result
    return result


@pytest.mark.parametrize("model_type", DECODERS)
def test_trains_scores_saves_loads_and_writes_as_stock_peft(
    model_type: str, tmp_path: Path
) -> None:
    loaded = load_tiny(model_type)
    mapped = map_modules(loaded.model, loaded.model.config)
    chosen = mapped.select(["all"])
    member = attach_adapter(loaded.model, chosen, ADAPTER, seed=0)
    pack = Pack(loaded.model, [member])
    result = train(pack)
    assert result.loss[-1] < result.loss[0] - 0.03
    # None is skipped: the loss moves with every one of them.
    assert set(result.first_gradients) == {p.parameter or p.path for p in chosen}
    assert min(result.first_gradients.values()) > 0
    pack.eval()
    trained = member.get_base_model()
    ids = torch.randint(5, 1000, (3, 7), generator=torch.Generator().manual_seed(0))
    picked = torch.tensor([0, 6, 7, 11, 20])
    whole = find_logits(trained, ids)
    with torch.no_grad():
        apart = Head(trained)(run_body(trained, ids, picked))
    torch.testing.assert_close(apart, whole.float().reshape(21, -1)[picked], rtol=1e-4, atol=1e-5)
    assert (whole - find_logits(loaded.model, ids)).abs().max() > 1e-3

    save_adapter(member, tmp_path, "a/base")
    stock = PeftModel.from_pretrained(load_tiny(model_type).model, str(tmp_path)).eval()
    torch.testing.assert_close(find_logits(stock, ids), whole, rtol=0, atol=1e-6)

    draw = random.Random(2)
    prompts = [[draw.randrange(5, 40_000) for _ in range(n)] for n in (9, 4, 12, 7)]
    # Of a member that runs alone, every row is.
    models = {0: stock, BASE_ROW: loaded.model} if pack.is_packed else {0: stock}
    pairs = [(owner, prompt) for owner in models for prompt in prompts]
    alone = [write_alone(models[owner], prompt) for owner, prompt in pairs]
    ends = sorted({alone[0][3], alone[1][5]})
    expected = []
    for tokens in alone:
        end = next((i for i, token in enumerate(tokens) if token in ends), None)
        expected.append(tokens[:end])
    owners, texts = zip(*pairs, strict=True)
    with torch.inference_mode():
        written = decode(pack, owners, texts, WritingRules(LENGTH, ends, pad_token=0))
    assert written == expected


@pytest.mark.parametrize("model_type", ["llama", "gemma2", "gpt2", "falcon_h1"])
@pytest.mark.parametrize("roles", [("unembed",), ("embed",), ("all", "unembed")])
def test_embeddings_and_head_train_as_in_stock_peft(
    model_type: str, roles: tuple[str, ...], tmp_path: Path
) -> None:
    """Tied embeddings included: each end has an adapter of its own."""
    loaded = load_tiny(model_type)
    chosen = map_modules(loaded.model, loaded.model.config).select(roles)
    member = attach_adapter(loaded.model, chosen, ADAPTER, seed=0)
    result = train(Pack(loaded.model, [member]))
    assert set(result.first_gradients) == {p.path for p in chosen}
    assert min(result.first_gradients.values()) > 0
    # Of an embedding only the rows of tokens that were seen have moved.
    ids = torch.tensor([each.prompt_ids[:7] for each in examples()])
    whole = find_logits(member.eval().get_base_model(), ids)
    assert (whole - find_logits(loaded.model, ids)).abs().max() > 1e-3
    save_adapter(member, tmp_path, "a/base")
    stock = PeftModel.from_pretrained(load_tiny(model_type).model, str(tmp_path)).eval()
    torch.testing.assert_close(find_logits(stock, ids), whole, rtol=0, atol=1e-6)
