"""QLoRA and LoftQ, where bitsandbytes is there (the extra `quantized`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import attach, logits, settings, train
from peft import PeftModel
from tiny_models import load_tiny
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

from harness.adapters.attach import trainable_parameters
from harness.adapters.requirements import check_method
from harness.adapters.storage import load_adapter, save_adapter
from harness.config.schema import Config, ModelConfig
from harness.models.loading import LoadedModel, load_model
from harness.sweep import run
from harness.sweep.packing import PackPlan
from harness.sweep.plan import plan_sweep

bitsandbytes = pytest.importorskip("bitsandbytes")


def load_stock(base: Any, folder: Path) -> Any:
    """The base quantized by transformers."""
    base.save_pretrained(folder)
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


@pytest.mark.parametrize("shape", ["llama", "gpt2", "phi3"])
def test_qlora_trains_on_a_quantized_base_and_loads_in_stock_peft(
    shape: str, tmp_path: Path
) -> None:
    loaded, adapter = load_tiny(shape), settings("qlora")
    check_method((), adapter, 9, "cpu")
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    member = attach(loaded, adapter)
    quantized = [m for m in member.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    assert len(quantized) >= 8
    assert (logits(member.get_base_model()) - logits(loaded.model)).abs().max() > 1e-3
    assert {p.dtype for p in trainable_parameters(member)} == {torch.float32}
    result = train(loaded, member, adapter)
    assert result.loss[-1] < result.loss[0] - 0.1
    assert all(torch.equal(t, before[n]) for n, t in loaded.model.state_dict().items())
    save_adapter(member, tmp_path / "adapter", "a/base")
    own = logits(load_adapter(loaded.model, tmp_path / "adapter").get_base_model())
    torch.testing.assert_close(own, logits(member.get_base_model()), rtol=0, atol=1e-5)
    stock = PeftModel.from_pretrained(
        load_stock(load_tiny(shape).model, tmp_path / "base"), str(tmp_path / "adapter")
    ).eval()
    torch.testing.assert_close(own, logits(stock), rtol=0, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PEFT's LoftQ computes on a GPU")
def test_loftq_begins_nearer_to_the_base_than_quantization_alone() -> None:
    loaded = load_tiny("llama")
    loaded.model.to("cuda")
    ours = attach(loaded, settings("loftq")).eval()
    plain = attach(loaded, settings("qlora")).eval()
    ids = torch.randint(5, 900, (2, 9), device="cuda")

    @torch.no_grad()
    def distance(model: Any) -> float:
        return float((model(input_ids=ids).logits - loaded.model(input_ids=ids).logits).norm())

    assert distance(ours.get_base_model()) < distance(plain.get_base_model())


def save_base(folder: Path) -> ModelConfig:
    """A model wide enough for its blocks to be most of it."""
    config = LlamaConfig(
        vocab_size=49152, hidden_size=256, intermediate_size=1024, num_hidden_layers=8,
        num_attention_heads=4, num_key_value_heads=4, pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    load_tiny().tokenizer.save_pretrained(folder)
    return ModelConfig(source="local", path=str(folder), dtype="float32", device="cpu")


def test_a_base_is_read_in_4_bits_and_is_never_there_in_full(tmp_path: Path) -> None:
    """It computes what a base that was quantized afterwards does, and weighs a fourth."""
    spec = save_base(tmp_path / "base")
    small, whole = load_model(spec, in_4_bits=True), load_model(spec)
    blocks = [
        sum(w.untyped_storage().nbytes() for w in each.model.model.layers.parameters())
        for each in (small, whole)
    ]
    assert blocks[0] < blocks[1] / 7
    adapter = settings("qlora")
    later, now = (attach(each, adapter) for each in (whole, small))
    torch.testing.assert_close(
        logits(now.get_base_model()), logits(later.get_base_model()), rtol=0, atol=1e-4
    )
    # The clone shares the weights.
    before = {w.data_ptr() for w in small.model.parameters()}
    inside = [w for n, w in now.named_parameters() if "base_layer.weight" in n]
    assert inside
    assert all(weight.data_ptr() in before for weight in inside)
    save_adapter(now, tmp_path / "adapter", "a/base")
    loaded = load_adapter(small.model, tmp_path / "adapter")
    torch.testing.assert_close(
        logits(loaded.get_base_model()), logits(now.get_base_model()), rtol=0, atol=1e-5
    )


def test_a_sweep_of_qlora_holds_its_base_in_4_bits(
    untimed_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base itself is scored in full; the plan counts less memory for qlora than for LoRA."""
    spec = save_base(tmp_path / "base")
    local = ("model=local", f"model.path={spec.path}", "model.shape=null", "model.dtype=float32")
    configs = [untimed_config(*local, f"adapter={name}") for name in ("qlora", "lora")]
    plans = {plan.adapter.method: plan for plan in plan_sweep(configs).variants}
    assert PackPlan((plans["qlora"],)).memory_bytes < PackPlan((plans["lora"],)).memory_bytes
    asked: list[bool] = []
    real = run.load_model

    def load(model: ModelConfig, *, in_4_bits: bool = False) -> LoadedModel:
        asked.append(in_4_bits)
        return real(model, in_4_bits=in_4_bits)

    monkeypatch.setattr(run, "load_model", load)
    assert [outcome.status for outcome in run.run_sweep(configs)] == ["ok", "ok"]
    assert sorted(asked) == [False, True]
