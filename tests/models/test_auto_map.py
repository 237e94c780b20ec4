"""Every causal language model that transformers knows: mapped, or refused with a line that works.

On the meta device, as a small model or else at the size of the architecture's own defaults.
"""

import re
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from harness.errors import UserError
from harness.models.projections import ModuleMap, map_modules
from harness.models.shapes import make_config

UNBUILT = frozenset(
    (
        *("cohere_compass_text", "cohere_compass", "dbrx", "gemma3n", "gemma4_assistant"),
        *("gemma4_unified_assistant", "musicgen", "musicgen_melody", "qwen4_exp"),
        *("qwen4_exp_text", "reformer", "evolla", "chameleon", "deepseek_ocr2", "emu3"),
        *("fast_vlm", "granite4_vision", "perception_lm"),
    )
)
"""What transformers cannot build from its own defaults, or not without another package."""
TEXT = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
IMAGES = sorted(set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES))


def build(model_type: str, kind: Any) -> tuple[torch.nn.Module, Any]:
    """The model on the meta device; skips what transformers cannot build by itself."""
    try:
        config = make_config(f"tiny-{model_type}")
        with torch.device("meta"):
            return kind.from_config(config), config
    except Exception:
        pass
    try:
        config = AutoConfig.for_model(model_type)
        with torch.device("meta"):
            return kind.from_config(config), config
    except Exception as error:
        if model_type not in UNBUILT:
            raise
        pytest.skip(f"transformers builds none from defaults: {error!r:.100}")


def map_or_follow(model: torch.nn.Module, config: Any) -> ModuleMap:
    try:
        return map_modules(model, config)
    except UserError as error:
        return follow(str(error), model, config)


def follow(message: str, model: torch.nn.Module, config: Any) -> ModuleMap:
    """Map a model with the roles that a refusal names, until there is none."""
    roles: dict[str, str] = {}
    for _ in range(8):
        advice = re.search(r"model\.roles\.(\w+)='([^']+)'", message)
        assert advice is not None, message
        assert "\n" not in message
        roles[advice[1]] = advice[2]
        try:
            return map_modules(model, config, roles)
        except UserError as error:
            message = str(error)
    raise AssertionError(message)


def check(model: torch.nn.Module, config: Any) -> None:
    mapped = map_or_follow(model, config)
    assert mapped.roles
    modules = dict(model.named_modules())
    parameters = dict(model.named_parameters(remove_duplicate=False))
    chosen = mapped.select(["all"])
    assert len(chosen) == len({p.path for p in chosen})
    assert all(p.path in modules or p.path in parameters for p in chosen)
    # Nothing linear is skipped without a word: it has a role, or it is listed.
    listed = {each.pattern for each in mapped.uncovered}
    taken = {p.path for p in mapped.projections}
    for path, module in modules.items():
        if isinstance(module, torch.nn.Linear) and path not in taken:
            assert re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path) in listed
    fused = {role for p in mapped.inside if len(p.roles) > 1 for role in p.roles}
    for role in mapped.roles:
        with pytest.raises(UserError, match="share one") if role in fused else nullcontext():
            assert mapped.select([role])


def test_the_auto_map_is_as_large_as_it_was() -> None:
    assert len(TEXT) > 150
    assert len(IMAGES) > 40


@pytest.mark.parametrize("model_type", TEXT)
def test_every_causal_language_model_is_mapped(model_type: str) -> None:
    check(*build(model_type, AutoModelForCausalLM))


@pytest.mark.parametrize("model_type", IMAGES)
def test_the_text_part_of_every_vision_language_model_is_mapped(model_type: str) -> None:
    model, config = build(model_type, AutoModelForImageTextToText)
    check(model, config)
    towers = ("vision", "visual", "image_tower", "audio_tower", "connector", "projector")
    chosen = map_modules(model, config).select(["all"])
    assert not [p.path for p in chosen if any(word in p.path for word in towers)]
