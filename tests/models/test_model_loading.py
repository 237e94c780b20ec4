import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.config.schema import ModelConfig
from harness.errors import UserError
from harness.models.devices import resolve_dtype
from harness.models.embedded import embedded_folder
from harness.models.loading import clone_sharing_weights, load_model, load_structure, load_tokenizer


def save_tiny(folder: Path) -> ModelConfig:
    spec = ModelConfig(source="random", shape="tiny-llama", dtype="float32", device="cpu")
    loaded = load_model(spec)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return ModelConfig(source="local", path=str(folder), dtype="float32", device="cpu")


@pytest.mark.embedded
def test_embedded_model_writes_english() -> None:
    """Weights, tokenizer and chat template of the cached safetensors belong together."""
    loaded = load_model(ModelConfig(dtype="float32", device="cpu"))
    text = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    ids = loaded.tokenizer(text, return_tensors="pt", add_special_tokens=False)
    written = loaded.model.generate(**ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in loaded.tokenizer.decode(written[0])
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert not loaded.model.training
    assert loaded.context_length == 8192
    assert list(Path(embedded_folder()).glob("*.safetensors"))


def test_local_folder_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    spec = save_tiny(tmp_path)
    ids = torch.arange(10)[None] + 50
    stock = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(load_model(spec).model(ids).logits, stock(ids).logits)
    assert load_structure(spec).config.num_hidden_layers == 2


def test_missing_pad_token_and_chat_template_are_handled(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.pad_token = None
    tokenizer.chat_template = None
    shutil.rmtree(tmp_path / "chat_template.jinja", ignore_errors=True)
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(ModelConfig(source="local", path=str(tmp_path)))
    assert loaded.pad_token_id == loaded.eos_token_id
    assert loaded.chat_template is None


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    spec = save_tiny(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        load_model(spec)


def test_code_in_a_model_folder_is_never_run(tmp_path: Path) -> None:
    spec = save_tiny(tmp_path)
    config = (tmp_path / "config.json").read_text()
    auto = '"auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"},'
    config = config.replace('"model_type": "llama"', f'{auto} "model_type": "unheard_of"')
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')\n")
    with pytest.raises(UserError) as caught:
        load_model(spec)
    assert "\n" not in str(caught.value)


def test_random_weights_depend_on_the_seed_alone() -> None:
    spec = ModelConfig(source="random", shape="tiny-llama", dtype="float32", device="cpu")
    torch.manual_seed(1)
    first = load_model(spec, seed=5).model.get_input_embeddings().weight
    torch.manual_seed(2)
    assert torch.equal(first, load_model(spec, seed=5).model.get_input_embeddings().weight)
    assert not torch.equal(first, load_model(spec, seed=6).model.get_input_embeddings().weight)


def test_clone_owns_only_what_was_asked_for() -> None:
    spec = ModelConfig(source="random", shape="tiny-llama", dtype="float32", device="cpu")
    model = load_model(spec).model
    path = "model.layers.0.self_attn.o_proj"
    clone = clone_sharing_weights(model, (path,))
    own = {
        name
        for name, p in clone.named_parameters()
        if p.data_ptr() != model.get_parameter(name).data_ptr()
    }
    assert own == {f"{path}.weight"}
    assert clone.get_submodule(path) is not model.get_submodule(path)


def test_unusable_device_is_named() -> None:
    with pytest.raises(UserError, match=r"model\.device is 'cuda:99'"):
        load_model(ModelConfig(source="random", shape="tiny-llama", device="cuda:99"))
    assert resolve_dtype("float16", "cpu") is torch.float16


def test_a_replaced_tokenizer_is_read_again(tmp_path: Path) -> None:
    embedded = load_tokenizer(ModelConfig())
    spec = ModelConfig(source="local", path=str(tmp_path))
    embedded.save_pretrained(tmp_path)
    first = load_tokenizer(spec)
    assert load_tokenizer(spec) is first
    config = tmp_path / "tokenizer_config.json"
    config.write_text(config.read_text().replace("<|im_end|>", "<|endoftext|>"))
    assert load_tokenizer(spec).eos_token != first.eos_token
