import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.config.schema import ModelConfig
from harness.errors import UserError
from harness.models.devices import resolve_dtype
from harness.models.embedded import embedded_folder
from harness.models.loading import (
    check_checkpoint,
    clone_sharing_weights,
    load_model,
    load_model_config,
    load_structure,
    load_tokenizer,
)


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


Weights = dict[str, torch.Tensor]
O_PROJ = "model.layers.1.self_attn.o_proj.weight"


def edit_weights(folder: Path, edit: Callable[[Weights], Weights]) -> None:
    file = folder / "model.safetensors"
    save_file(edit(load_file(file)), file, metadata={"format": "pt"})


def refuse(spec: ModelConfig) -> str:
    """The one line of it, which planning and loading both give."""
    lines = []
    for read in (check_checkpoint, load_model):
        with pytest.raises(UserError) as caught:
            read(spec)
        lines.append(str(caught.value))
    assert lines[0] == lines[1]
    assert "\n" not in lines[0]
    assert str(spec.path) in lines[0]
    return lines[0]


def test_a_checkpoint_under_other_names_is_refused(tmp_path: Path) -> None:
    spec = save_tiny(tmp_path)
    count = len(load_file(tmp_path / "model.safetensors"))
    edit_weights(tmp_path, lambda own: {f"base_model.model.{name}": w for name, w in own.items()})
    line = refuse(spec)
    assert f"lacks {count} of the weights of LlamaForCausalLM: model.embed_tokens.weight" in line
    assert "in their place it holds base_model.model." in line
    assert f"and {count - 3} more" in line


@pytest.mark.parametrize("instead", [("model.layers.1.self_attn.oo_proj.weight",), ()])
def test_a_single_missing_weight_is_refused_by_name(
    tmp_path: Path, instead: tuple[str, ...]
) -> None:
    spec = save_tiny(tmp_path)

    def rename(own: Weights) -> Weights:
        lost = own.pop(O_PROJ)
        return own | dict.fromkeys(instead, lost)

    edit_weights(tmp_path, rename)
    line = refuse(spec)
    held = f"in their place it holds {instead[0]}" if instead else "nothing else"
    assert f"lacks 1 of the weights of LlamaForCausalLM: {O_PROJ}; {held};" in line


def test_a_weight_of_another_shape_is_refused(tmp_path: Path) -> None:
    spec = save_tiny(tmp_path)
    (rows, columns) = load_file(tmp_path / "model.safetensors")[O_PROJ].shape
    edit_weights(tmp_path, lambda own: own | {O_PROJ: own[O_PROJ][:-1].contiguous()})
    assert f"{O_PROJ} is {[rows - 1, columns]} and not {[rows, columns]};" in refuse(spec)


def test_tied_and_spare_weights_are_not_missing(tmp_path: Path) -> None:
    spec = save_tiny(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))

    def leave_out_head(own: Weights) -> Weights:
        own.pop("lm_head.weight", None)
        return own | {"value_head.weight": torch.ones(1, 4)}

    edit_weights(tmp_path, leave_out_head)
    check_checkpoint(spec)
    model = load_model(spec).model
    embeddings = load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(model.get_output_embeddings().weight, embeddings)


def test_an_adapter_beside_the_model_is_refused(tmp_path: Path) -> None:
    """transformers would load both, and call the sum of them the model."""
    spec = save_tiny(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(tmp_path)
    get_peft_model(base, LoraConfig(r=2, target_modules=["o_proj"])).save_pretrained(tmp_path)
    assert "holds an adapter (adapter_config.json) beside the model" in refuse(spec)


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


def test_code_of_a_repository_never_runs_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = save_tiny(tmp_path)
    file = tmp_path / "config.json"
    values = json.loads(file.read_text())
    values |= {"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.MyConfig"}}
    file.write_text(json.dumps(values))
    (tmp_path / "configuration_mine.py").write_text("raise RuntimeError('it ran')")

    def ask(prompt: str = "") -> str:
        raise AssertionError(prompt)

    monkeypatch.setattr("builtins.input", ask)
    for load in (load_model_config, load_structure, check_checkpoint, load_model):
        with pytest.raises(UserError, match="needs Python code of its own repository, which never"):
            load(spec)  # type: ignore[operator]
