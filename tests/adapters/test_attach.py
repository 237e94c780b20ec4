from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tiny_models import load_tiny as load_fresh

from harness.adapters.attach import attach_adapter, trainable_parameters
from harness.adapters.storage import load_adapter, load_owned, save_adapter
from harness.config.schema import AdapterConfig
from harness.config.target_sets import ROLES
from harness.errors import UserError
from harness.models.loading import LoadedModel
from harness.models.projections import ModuleMap, map_modules

ARCHITECTURES = ("llama", "gpt2", "phi3", "mixtral", "falcon", "opt", "gemma2")


def load_tiny(model_type: str) -> tuple[LoadedModel, ModuleMap]:
    loaded = load_fresh(model_type)
    return loaded, map_modules(loaded.model, loaded.model.config)


def attach(
    loaded: LoadedModel, mapped: ModuleMap, roles: tuple[str, ...], seed: int = 0
) -> PeftModel:
    return attach_adapter(
        loaded.model, mapped.select(roles), AdapterConfig(rank=4, alpha=8), seed=seed
    )


def randomize(model: PeftModel) -> None:
    """LoRA's B is zero at the start; give the update something to say."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainable_parameters(model):
            parameter.normal_(0, 0.05)


def logits(model: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(2)
    ids = torch.randint(0, 1000, (2, 9))
    with torch.no_grad():
        output: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return output


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_saved_adapter_loads_in_stock_peft_with_equal_outputs(
    model_type: str, tmp_path: Path
) -> None:
    loaded, mapped = load_tiny(model_type)
    model = attach(loaded, mapped, ROLES).eval()
    randomize(model)
    save_adapter(model, tmp_path, "a/base")
    fresh, _ = load_tiny(model_type)
    stock = PeftModel.from_pretrained(fresh.model, str(tmp_path)).eval()
    torch.testing.assert_close(logits(stock), logits(model), rtol=0, atol=1e-6)
    assert (logits(model) - logits(loaded.model)).abs().max() > 1e-3


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_merged_equals_unmerged_and_leaves_the_base_alone(model_type: str, tmp_path: Path) -> None:
    loaded, mapped = load_tiny(model_type)
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    model = attach(loaded, mapped, ("o", "fc2")).eval()
    randomize(model)
    save_adapter(model, tmp_path, "a/base")
    merged = load_owned(loaded.model, tmp_path).merge_and_unload(safe_merge=True)
    torch.testing.assert_close(logits(merged), logits(model), rtol=0, atol=1e-5)
    after = loaded.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]


def test_variants_share_the_base_tensors_but_not_each_others_adapters() -> None:
    loaded, mapped = load_tiny("llama")
    first, second = attach(loaded, mapped, ("o",)), attach(loaded, mapped, ("fc2",))
    base = {tensor.data_ptr() for tensor in loaded.model.parameters()}
    for model in (first, second):
        frozen = {p.data_ptr() for p in model.parameters() if not p.requires_grad}
        assert frozen == base
    assert not [name for name, _ in first.named_modules() if "down_proj.lora" in name]
    assert type(loaded.model.model.layers[0].self_attn.o_proj) is torch.nn.Linear


def test_seed_decides_the_initial_weights_and_nothing_else_does() -> None:
    loaded, mapped = load_tiny("llama")
    torch.manual_seed(123)
    first = attach(loaded, mapped, ("o",), seed=7)
    state = torch.random.get_rng_state()
    torch.manual_seed(456)
    second = attach(loaded, mapped, ("o",), seed=7)
    third = attach(loaded, mapped, ("o",), seed=8)

    def flat(model: PeftModel) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in trainable_parameters(model)])

    assert torch.equal(flat(first), flat(second))
    assert not torch.equal(flat(first), flat(third))
    torch.manual_seed(123)
    assert torch.equal(state, torch.random.get_rng_state())


def test_adapter_is_fp32_on_a_bf16_base() -> None:
    loaded = load_fresh("llama", "bfloat16")
    mapped = map_modules(loaded.model, loaded.model.config)
    model = attach(loaded, mapped, ("o",))
    assert {p.dtype for p in trainable_parameters(model)} == {torch.float32}
    assert loaded.model.dtype == torch.bfloat16


def test_dropout_on_stacked_experts_is_refused() -> None:
    loaded, mapped = load_tiny("mixtral")
    with pytest.raises(UserError, match=r"adapter\.dropout is 0\.1"):
        attach_adapter(
            loaded.model,
            mapped.select(("fc1",)),
            AdapterConfig(rank=4, alpha=8, dropout=0.1),
            seed=0,
        )


def test_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    loaded, _ = load_tiny("llama")
    with pytest.raises(UserError, match="no usable adapter"):
        load_adapter(loaded.model, tmp_path)
