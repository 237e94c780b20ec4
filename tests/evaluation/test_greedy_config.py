"""What a checkpoint says of decoding takes no part in scoring, but for its end tokens."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.config.schema import ModelConfig
from harness.errors import UserError
from harness.evaluation.generation import WritingRules, decode, find_end_tokens
from harness.models.loading import LoadedModel, describe_decoding, load_model
from harness.training.packed_model import BASE_ROW, Pack

LENGTH = 12
PROMPTS = ([50, 51, 52, 53, 54], [90, 91])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that writes a few tokens again and again."""
    folder = tmp_path_factory.mktemp("model")
    spec = ModelConfig(source="random", shape="tiny-llama", dtype="float32", device="cpu")
    loaded = load_model(spec)
    torch.manual_seed(3)
    for weight in loaded.model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    head = loaded.model.get_output_embeddings().weight
    head[:100] = head[106:] = 0.0
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def argmax(folder: Path) -> list[list[int]]:
    """Greedy decoding as its definition has it."""
    model, written = AutoModelForCausalLM.from_pretrained(folder), []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        for _ in range(LENGTH):
            with torch.no_grad():
                token = model(ids).logits[:, -1].argmax(-1, keepdim=True)
            ids = torch.cat([ids, token], dim=1)
        written.append(ids[0, len(prompt) :].tolist())
    return written


def load_with(folder: Path, file: str, settings: dict[str, Any]) -> LoadedModel:
    path = folder / file
    before = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(before) | settings))
        return load_model(
            ModelConfig(source="local", path=str(folder), dtype="float32", device="cpu")
        )
    finally:
        path.write_text(before)


def write(loaded: LoadedModel) -> list[list[int]]:
    return decode(
        Pack(loaded.model, []),
        [BASE_ROW] * len(PROMPTS),
        PROMPTS,
        WritingRules.of(loaded.model, loaded.tokenizer, LENGTH),
    )


SETTINGS: dict[str, Any] = {
    "repetition_penalty": 3.0,
    "encoder_repetition_penalty": 3.0,
    "no_repeat_ngram_size": 1,
    "num_beams": 4,
    "min_new_tokens": 30,
    "max_new_tokens": 2,
    "max_length": 6,
    "max_time": 0.0,
    "stop_strings": ["a", "e", "t"],
    "temperature": 4.0,
    "top_k": 3,
    "do_sample": True,
    "guidance_scale": 3.0,
    "sequence_bias": [[[60], 100.0]],
    "prompt_lookup_num_tokens": 2,
    "cache_implementation": "static",
    "use_cache": False,
    "output_scores": True,
    "remove_invalid_values": True,
    "exponential_decay_length_penalty": [1, 3.0],
    "forced_eos_token_id": 2,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_of_generation_config_changes_what_is_written(folder: Path, name: str) -> None:
    loaded = load_with(folder, "generation_config.json", {name: SETTINGS[name]})
    assert write(loaded) == argmax(folder)


@pytest.mark.parametrize("name", ["suppress_tokens", "begin_suppress_tokens", "bad_words_ids"])
def test_no_token_is_held_back(folder: Path, name: str) -> None:
    expected = argmax(folder)
    tokens = sorted({token for written in expected for token in written})
    held = [[token] for token in tokens] if name == "bad_words_ids" else tokens
    assert write(load_with(folder, "generation_config.json", {name: held})) == expected


def test_an_old_config_json_with_settings_of_decoding_changes_nothing(folder: Path) -> None:
    kept = folder / "generation_config.json"
    before = kept.read_text()
    kept.unlink()
    try:
        loaded = load_with(folder, "config.json", {"repetition_penalty": 3.0, "num_beams": 2})
    finally:
        kept.write_text(before)
    assert write(loaded) == argmax(folder)


def test_every_end_token_ends_a_text(folder: Path) -> None:
    expected = argmax(folder)
    ends = [expected[0][-1], expected[1][-1]]
    settings = {"eos_token_id": ends, "num_beams": 2, "min_new_tokens": LENGTH}
    loaded = load_with(folder, "generation_config.json", settings)
    stops = {*ends, int(loaded.tokenizer.eos_token_id)}
    cut = [
        next(i for i, token in enumerate([*text, ends[0]]) if token in stops) for text in expected
    ]
    assert write(loaded) == [text[:end] for text, end in zip(expected, cut, strict=True)]
    assert max(cut) < LENGTH


def test_token_0_may_end_a_text(folder: Path) -> None:
    loaded = load_with(folder, "generation_config.json", {"eos_token_id": [0, 7]})
    own = int(loaded.tokenizer.eos_token_id)
    assert find_end_tokens(loaded.model, loaded.tokenizer) == sorted({0, 7, own})


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 2, "num_beams": 4, "do_sample": True},
        {"suppress_tokens": [101, 102], "min_new_tokens": 9, "stop_strings": ["a"]},
    ],
)
def test_the_checkpoints_own_settings_take_part_where_they_are_asked_for(
    folder: Path, settings: dict[str, Any]
) -> None:
    """Token for token what transformers writes to each prompt alone; beams and the like do not."""
    spec = ModelConfig(
        source="local", path=str(folder), dtype="float32", device="cpu", generation="checkpoint"
    )
    kept = {
        k: v for k, v in settings.items() if k not in ("num_beams", "do_sample", "stop_strings")
    }
    path = folder / "generation_config.json"
    before = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(before) | settings))
        loaded, notes = load_model(spec), describe_decoding(spec)
    finally:
        path.write_text(before)
    model = AutoModelForCausalLM.from_pretrained(folder)
    end = int(loaded.tokenizer.eos_token_id)
    expected = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        row = model.generate(ids, max_new_tokens=LENGTH, do_sample=False, eos_token_id=end, **kept)
        tokens = row[0, len(prompt) :].tolist()
        expected.append(tokens[: tokens.index(end)] if end in tokens else tokens)
    assert write(loaded) == expected
    assert expected != argmax(folder)
    (note,) = notes
    under, _, aside = note.partition("take no part")
    assert all(name in (under if name in kept else aside) for name in settings)


def test_what_is_set_aside_is_said(folder: Path) -> None:
    path = folder / "generation_config.json"
    before = path.read_text()
    spec = ModelConfig(source="local", path=str(folder))
    try:
        assert describe_decoding(spec) == []
        path.write_text(json.dumps(json.loads(before) | {"repetition_penalty": 1.1}))
        (note,) = describe_decoding(spec)
    finally:
        path.write_text(before)
    assert "repetition_penalty 1.1" in note


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({"eos_token_id": "x"}, "greedy"),
        ({"eos_token_id": [2, None, 1.5]}, "greedy"),
        ({"repetition_penalty": -1.0}, "checkpoint"),
        ({"repetition_penalty": "a"}, "checkpoint"),
        ({"min_new_tokens": 2.5}, "checkpoint"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_before_anything_runs(
    folder: Path, settings: dict[str, Any], mode: str
) -> None:
    path = folder / "generation_config.json"
    before = path.read_text()
    (name,) = settings
    try:
        path.write_text(json.dumps(json.loads(before) | settings))
        with pytest.raises(UserError, match=rf"{name} in generation_config\.json of .* expected"):
            describe_decoding(ModelConfig(source="local", path=str(folder), generation=mode))
    finally:
        path.write_text(before)
