"""QLoRA and LoftQ, where bitsandbytes is there (the extra `quantized`)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import attach, logits, settings, train
from peft import PeftModel
from tiny_models import load_tiny
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from harness.adapters.attach import trainable_parameters
from harness.adapters.requirements import check_method
from harness.adapters.storage import load_adapter, save_adapter

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
