"""Arms are what they claim to be: checked against stock PEFT on a base of its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from harness.adapters.storage import write_random_adapter
from harness.config.schema import AdapterConfig, ModelConfig
from harness.models.loading import load_model, load_structure
from harness.models.memory import is_out_of_memory
from harness.models.projections import map_modules
from harness.timing.arms import Arm, Built, build_models, line_up
from harness.timing.points import Build, TimedAdapter

SETS = {"qkv": ("q", "k", "v"), "o_proj+fc2": ("o", "fc2")}
PROMPT = torch.arange(24).reshape(2, 12) + 50


def make_build(folder: Path, **changes: Any) -> Build:
    spec = ModelConfig(
        source="random", shape="tiny-llama", dtype=changes.pop("dtype", "float32"), device="cpu"
    )
    structure = load_structure(spec)
    mapped = map_modules(structure.model, structure.config, {})
    adapters = []
    for label, roles in SETS.items():
        path = folder / label
        if not path.exists():
            write_random_adapter(
                structure.model,
                mapped.select(roles),
                AdapterConfig(rank=4, alpha=8),
                path,
                seed=len(label),
                base_name="tiny",
            )
        adapters.append(TimedAdapter(label, str(path), True))
    return Build(model=spec, adapters=tuple(adapters), **changes)


def make_arms(build: Build, rows: int = 2) -> tuple[Built, dict[tuple[str, str], Arm]]:
    built = build_models(load_model(build.model).model, build)
    return built, {(arm.kind, arm.variant): arm for arm in line_up(built, build, rows)}


def logits(model: Any, rows: torch.Tensor = PROMPT) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model(input_ids=rows).logits
    return result


def stock(build: Build, label: str) -> PeftModel:
    base = load_model(build.model).model
    folder = next(a.folder for a in build.adapters if a.variant == label)
    return PeftModel.from_pretrained(base, folder).eval()


def test_every_arm_computes_what_it_stands_for(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    built, arms = make_arms(build)
    assert built.failures == []
    plain = logits(load_model(build.model).model)
    for kind in ("base", "base_again", "base_cloned"):
        assert torch.equal(logits(arms[kind, "base"].model), plain)
    for label in SETS:
        expected = logits(stock(build, label))
        assert (expected - plain).abs().max() > 0.05  # the adapter does something
        for kind in ("unmerged", "merged"):
            torch.testing.assert_close(
                logits(arms[kind, label].model), expected, atol=1e-4, rtol=1e-4
            )


def test_rows_of_a_mixed_batch_have_each_its_own_adapter(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    mixed = make_arms(build)[1]["mixed", "mixed"]
    seen: list[torch.Tensor] = []
    mixed.model.register_forward_hook(lambda _, __, output: seen.append(output.logits[:, -1]))
    mixed.decoder.run(PROMPT, 2)
    for row, label in enumerate(SETS):
        expected = logits(stock(build, label), PROMPT[row : row + 1])[0, -1]
        torch.testing.assert_close(seen[0][row], expected, atol=1e-4, rtol=1e-4)


def test_one_row_or_a_compiled_step_has_no_mixed_batch(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    assert ("mixed", "mixed") not in make_arms(build, rows=1)[1]
    compiled = make_build(tmp_path, compile="default", cache="static")
    assert ("mixed", "mixed") not in make_arms(compiled)[1]


def test_a_mixed_call_that_fails_leaves_no_hook_behind(tmp_path: Path) -> None:
    """PEFT's own context does: the next mixed call would pay for it."""
    build = make_build(tmp_path)
    built, arms = make_arms(build)
    mixed = arms["mixed", "mixed"]

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("planted")

    handle = mixed.model.get_output_embeddings().register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        mixed.decoder.run(PROMPT, 2)
    handle.remove()
    assert sum(len(module._forward_pre_hooks) for module in built.adapted.modules()) == 0
    mixed.decoder.run(PROMPT, 2)


def test_all_arms_share_one_static_cache(tmp_path: Path) -> None:
    """Eight times the cache of one would not fit where one does."""
    build = make_build(tmp_path, cache="static")
    built, arms = make_arms(build)
    assert built.caches is not None
    sizes = set()
    for arm in arms.values():
        arm.decoder.run(PROMPT, 2)
        sizes.add(built.caches.bytes)
    assert len(sizes) == 1
    assert sizes.pop() > 0
    built.caches.drop()
    assert built.caches.bytes == 0


def test_variants_share_the_base_and_wrap_only_their_own_targets(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    base = load_model(build.model).model
    built = build_models(base, build)
    embedding = base.get_input_embeddings().weight.data_ptr()
    for arm in line_up(built, build, 1):
        shares = arm.model.get_input_embeddings().weight.data_ptr() == embedding
        assert shares == (arm.kind != "base_cloned"), arm.kind
        wrapped = {
            name.split(".")[-1]
            for name, module in arm.model.named_modules()
            if isinstance(module, LoraLayer)
        }
        expected = {"qkv": {"q_proj", "k_proj", "v_proj"}, "o_proj+fc2": {"o_proj", "down_proj"}}
        assert wrapped == (expected[arm.variant] if arm.kind == "unmerged" else set())
        assert not any(module.training for module in arm.model.modules())


@pytest.mark.parametrize(("asked", "expected"), [("auto", "float32"), ("base", "bfloat16")])
def test_adapter_dtype_is_peft_s_own_or_the_base_s(
    tmp_path: Path, asked: str, expected: str
) -> None:
    build = make_build(tmp_path, dtype="bfloat16", adapter_dtype=asked)
    arm = make_arms(build)[1]["unmerged", "qkv"]
    assert arm.adapter_dtype == expected
    found = {p.dtype for name, p in arm.model.named_parameters() if "lora_" in name}
    assert found == {getattr(torch, expected)}


def test_operations_are_timed_for_every_variant(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    built, _ = make_arms(build)
    done = {(each.operation, each.variant) for each in built.operations}
    assert done == {(o, v) for o in ("load", "switch", "merge", "unmerge") for v in SETS}
    assert all(each.seconds > 0 for each in built.operations)


def test_one_torn_adapter_costs_only_its_own_arms(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    (tmp_path / "qkv" / "adapter_model.safetensors").write_bytes(b"torn")
    built, arms = make_arms(build)
    assert {(f.arm, f.variant) for f in built.failures} == {
        ("unmerged", "qkv"),
        ("merged", "qkv"),
        ("mixed", "mixed"),
    }
    assert all("no usable adapter" in failure.message for failure in built.failures)
    kinds = {kind for kind, variant in arms if variant == "o_proj+fc2"}
    assert kinds == {"unmerged", "merged"}


def test_a_lack_of_memory_is_told_from_other_errors() -> None:
    real = None
    try:
        torch.empty(2**60)
    except RuntimeError as error:
        real = error
    assert real is not None
    assert is_out_of_memory(real)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
