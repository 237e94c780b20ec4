"""Arms are what they claim to be: checked against stock PEFT on a base of its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from harness.adapters import write_random_adapter
from harness.config import ModelConfig
from harness.models import load_model, load_structure
from harness.modules import map_modules
from harness.timing.arms import Arm, Built, build_arms, is_out_of_memory, make_mixed_arm
from harness.timing.plan import Build, TimedAdapter

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
                path,
                rank=4,
                alpha=8,
                seed=len(label),
                base_name="tiny",
            )
        adapters.append(TimedAdapter(label, str(path), True))
    return Build(model=spec, adapters=tuple(adapters), rank=4, **changes)


def find(built: Built, kind: str, variant: str) -> Arm:
    return next(arm for arm in built.arms if (arm.kind, arm.variant) == (kind, variant))


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
    built = build_arms(load_model(build.model).model, build)
    assert built.failures == []
    plain = logits(load_model(build.model).model)
    for kind in ("base", "base_again", "base_cloned"):
        assert torch.equal(logits(find(built, kind, "base").model), plain)
    for label in SETS:
        expected = logits(stock(build, label))
        assert (expected - plain).abs().max() > 0.05  # the adapter does something
        for kind in ("unmerged", "merged"):
            torch.testing.assert_close(
                logits(find(built, kind, label).model), expected, atol=1e-4, rtol=1e-4
            )


def test_rows_of_a_mixed_batch_have_each_its_own_adapter(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    built = build_arms(load_model(build.model).model, build)
    mixed = make_mixed_arm(built, build, 2)
    assert mixed is not None
    seen: list[torch.Tensor] = []
    mixed.model.register_forward_hook(lambda _, __, output: seen.append(output.logits[:, -1]))
    mixed.decoder.run(PROMPT, 2)
    for row, label in enumerate(SETS):
        expected = logits(stock(build, label), PROMPT[row : row + 1])[0, -1]
        torch.testing.assert_close(seen[0][row], expected, atol=1e-4, rtol=1e-4)


def test_one_row_or_a_compiled_step_has_no_mixed_batch(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    built = build_arms(load_model(build.model).model, build)
    assert make_mixed_arm(built, build, 1) is None
    compiled = make_build(tmp_path, compile="default", cache="static")
    assert make_mixed_arm(built, compiled, 2) is None


def test_variants_share_the_base_and_wrap_only_their_own_targets(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    base = load_model(build.model).model
    built = build_arms(base, build)
    embedding = base.get_input_embeddings().weight.data_ptr()
    for arm in built.arms:
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
    built = build_arms(load_model(build.model).model, build)
    arm = find(built, "unmerged", "qkv")
    assert arm.adapter_dtype == expected
    found = {p.dtype for name, p in arm.model.named_parameters() if "lora_" in name}
    assert found == {getattr(torch, expected)}


def test_operations_are_timed_for_every_variant(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    built = build_arms(load_model(build.model).model, build)
    done = {(each.operation, each.variant) for each in built.operations}
    assert done == {(o, v) for o in ("load", "switch", "merge", "unmerge") for v in SETS}
    assert all(each.seconds > 0 for each in built.operations)


def test_one_torn_adapter_costs_only_its_own_arms(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    (tmp_path / "qkv" / "adapter_model.safetensors").write_bytes(b"torn")
    built = build_arms(load_model(build.model).model, build)
    assert {(f.arm, f.variant) for f in built.failures} == {
        ("unmerged", "qkv"),
        ("merged", "qkv"),
        ("mixed", "mixed"),
    }
    assert all("no usable adapter there" in failure.message for failure in built.failures)
    assert {arm.kind for arm in built.arms if arm.variant == "o_proj+fc2"} == {"unmerged", "merged"}


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
