"""Every method, on the architectures where it differs, against stock PEFT and the base itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import LEAST_FALL, QUANTIZED, STEPS, attach, logits, settings, train
from peft import PeftModel
from safetensors.torch import load_file
from tiny_models import load_tiny

from harness.adapters.attach import attach_adapter, trainable_parameters
from harness.adapters.requirements import check_method
from harness.adapters.storage import load_adapter, load_owned, save_adapter
from harness.config.catalog import METHODS
from harness.errors import UserError
from harness.models.loading import LoadedModel
from harness.models.projections import map_modules
from harness.training.packed_model import Pack


def reload_stock(loaded: LoadedModel, method: str, folder: Path) -> Any:
    """The saved adapter by the library that it belongs to, on a base that nothing has touched."""
    if method == "full":
        loaded.model.load_state_dict(load_file(folder / "adapter_model.safetensors"), strict=False)
        return loaded.model
    if method == "bottleneck":
        return load_adapter(loaded.model, folder)
    return PeftModel.from_pretrained(loaded.model, str(folder)).eval()


TRAINED = [method for method in METHODS if method not in QUANTIZED]

# GPT-2's weights lie transposed (Conv1D) and have biases: what decomposes weights or gradients,
# rewrites them, or has layers of its own meets them there. rsLoRA, LoRA+ and LoRA-FA put LoRA's own
# layer there, and prompts touch the embeddings alone.
ON_GPT2 = [m for m in TRAINED if m not in ("rslora", "lora_plus", "lora_fa", "prompt")]
# Phi-3's q, k, v and its two fc1 are fused: what names roles (IA3), divides ranks by name (EVA,
# AdaLoRA, IncreLoRA) or sizes shared matrices by the largest projection (VeRA) meets them there.
ON_PHI3 = ["lora", "ia3", "eva", "adalora", "increlora", "vera"]
SHAPES = {"llama": TRAINED, "gpt2": ON_GPT2, "phi3": ON_PHI3}


@pytest.mark.parametrize(
    ("method", "shape"), [(method, shape) for shape in SHAPES for method in SHAPES[shape]]
)
def test_method_trains_saves_reloads_and_merges(method: str, shape: str, tmp_path: Path) -> None:
    loaded, adapter = load_tiny(shape), settings(method)
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    base_logits = logits(loaded.model)
    member = attach(loaded, adapter)
    result = train(loaded, member, adapter)
    assert result.loss[-1] < result.loss[0] - LEAST_FALL.get(method, 0.1)
    after = loaded.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())

    save_adapter(member, tmp_path, "a/base")
    own = load_adapter(loaded.model, tmp_path)
    stock = logits(reload_stock(load_tiny(shape), method, tmp_path))
    assert (stock - base_logits).abs().max() > 1e-3
    pack = Pack(loaded.model, [own])
    torch.testing.assert_close(pack_logits(pack), stock, rtol=0, atol=1e-5)
    if METHODS[method].is_mergeable:
        merged = load_owned(loaded.model, tmp_path).merge_and_unload(safe_merge=True)
        torch.testing.assert_close(logits(merged), stock, rtol=0, atol=1e-4)
        assert not any("lora" in name for name, _ in merged.named_parameters())
        after = loaded.model.state_dict()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@torch.no_grad()
def pack_logits(pack: Pack) -> torch.Tensor:
    """As evaluation runs a pack."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, 900, (2, 9), generator=generator)
    pack.eval()
    pack.rows.assign([0, 0])
    output: torch.Tensor = pack.model(
        input_ids=ids, past_key_values=pack.start_cache(2), use_cache=True
    ).logits
    return output


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", ["pissa", "olora", "lora_ga", "dora", "eva", "ia3", "full"])
def test_model_computes_what_the_base_does_before_it_learns(method: str, shape: str) -> None:
    loaded = load_tiny(shape)
    member = attach(loaded, settings(method)).eval()
    torch.testing.assert_close(
        logits(member.get_base_model()), logits(loaded.model), rtol=0, atol=1e-4
    )
    assert trainable_parameters(member)


@pytest.mark.parametrize("method", TRAINED)
def test_same_seed_same_weights(method: str) -> None:
    loaded, adapter = load_tiny("llama"), settings(method)

    def learned(seed: int) -> torch.Tensor:
        member = attach(loaded, adapter, seed)
        train(loaded, member, adapter)
        return torch.cat([p.detach().flatten() for p in trainable_parameters(member)])

    assert torch.equal(learned(0), learned(0))


@pytest.mark.parametrize("method", ["full", "bottleneck", "increlora", "prefix", "prompt"])
def test_trained_weights_are_fp32_on_a_bf16_base_and_the_loss_falls(
    method: str, tmp_path: Path
) -> None:
    loaded, adapter = load_tiny("llama", "bfloat16"), settings(method)
    member = attach(loaded, adapter)
    assert {p.dtype for p in trainable_parameters(member)} == {torch.float32}
    result = train(loaded, member, adapter)
    assert result.loss[-1] < result.loss[0] - LEAST_FALL.get(method, 0.1)
    save_adapter(member, tmp_path, "a/base")
    again = load_adapter(loaded.model, tmp_path)
    if method == "full":
        trained, saved = (pack_logits(Pack(loaded.model, [each])) for each in (member, again))
        assert torch.equal(trained, saved)


def test_stacked_experts_are_refused_by_methods_that_cannot_take_them() -> None:
    loaded = load_tiny("mixtral")
    mapped = map_modules(loaded.model, loaded.model.config)
    with pytest.raises(UserError, match=r"adapter\.method dora does not .*stacked experts"):
        check_method(mapped.select(("fc1",)), settings("dora"), STEPS, "cpu")
    check_method(mapped.select(("o",)), settings("dora"), STEPS, "cpu")


def test_full_fine_tuning_of_the_whole_model_trains_embeddings_norms_and_head(
    tmp_path: Path,
) -> None:
    loaded = load_tiny("llama")
    adapter = settings("full")
    member = attach_adapter(loaded.model, (), adapter, seed=0)
    assert sum(p.numel() for p in trainable_parameters(member)) == sum(
        p.numel() for p in loaded.model.parameters()
    )
    before = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
    result = train(loaded, member, adapter, steps=30)
    assert result.loss[-1] < 0.1 * result.loss[0]
    save_adapter(member, tmp_path, "a/base")
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert saved.keys() == before.keys()
    assert all(not torch.equal(saved[name], before[name]) for name in before)
    again = load_adapter(loaded.model, tmp_path)
    stock = load_tiny("llama").model
    stock.load_state_dict(saved, strict=False)
    assert torch.equal(logits(again.get_base_model()), logits(stock))
