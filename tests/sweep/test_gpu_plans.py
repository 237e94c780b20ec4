"""What is planned for GPUs that are not there: an 8B model on 24, 80 and 8 x 80 GB, and on a T4.

The model of memory is docs/sweeps.md's: weights by their dtype, 16 bytes a trained parameter (fp32
weight and gradient, AdamW's two moments), and what a pass keeps for its backward pass.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fake_gpu import GB, show_gpus

from harness.config.schema import Config
from harness.errors import UserError
from harness.models.devices import resolve_dtype, see_one_gpu
from harness.progress import Progress
from harness.sweep.packing import USED_SHARE, Layout, lay_out, survey_room
from harness.sweep.plan import plan_sweep
from harness.sweep.workers import Job, run_apart

ConfigMaker = Callable[..., Config]
SETS = ("qkv", "o_proj", "qkv+o_proj", "o_proj+fc2", "all")
EIGHT_B = (
    *("model.shape=llama-3-8b", "model.device=auto", "model.dtype=auto", "task=govreport"),
    *("task.max_prompt_tokens=1536", "task.max_completion_tokens=512", "train.batch_size=8"),
    "train.learning_rate=0.0001",
)
WEIGHTS = 8_030_261_248
"""Parameters of Llama 3 8B, by its model card 8.03 billion."""


def plan_layout(make: ConfigMaker, *more: str) -> Layout:
    configs = [make(*EIGHT_B, f"target_modules={name}", *more) for name in SETS]
    variants = plan_sweep(configs).variants
    room = survey_room(torch.device("cuda"), in_processes=True)
    return lay_out(variants, room, {variants[0].config.base_run_id: variants[0]})


def test_four_of_five_sets_of_an_8b_share_80_gb(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_gpus(monkeypatch, 1, 80)
    layout = plan_layout(untimed_config)
    pack = layout.packs[0]
    assert len(pack.plans) >= 4
    assert layout.workers == 1
    assert pack.first.weight_bytes == 2 * WEIGHTS
    assert pack.memory_bytes < USED_SHARE * 80 * GB
    assert not pack.first.gradient_checkpointing
    longest = max(item.length for item in pack.first.prepared.train)
    assert longest <= 2048
    # Passes are as large as memory allows, and no larger than what a GPU gains by.
    assert 1024 <= pack.first.max_tokens_per_pass < 16384


def test_24_gb_hold_it_with_checkpointing(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_gpus(monkeypatch, 1, 24)
    for pack in plan_layout(untimed_config).packs:
        assert pack.memory_bytes < USED_SHARE * 24 * GB
        assert pack.first.gradient_checkpointing or not pack.plans


def test_eight_gpus_work_at_a_time(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_gpus(monkeypatch, 8, 80)
    layout = plan_layout(untimed_config)
    assert layout.workers == len(layout.packs) == 5
    assert sorted(len(pack.plans) for pack in layout.packs) == [1] * 5
    seeds = [plan_layout(untimed_config, f"seed={seed}") for seed in range(2)]
    assert all(pack.memory_bytes < USED_SHARE * 80 * GB for each in seeds for pack in each.packs)
    # One GPU by its number is one GPU.
    assert survey_room(torch.device("cuda", 3), in_processes=True).gpus == 1
    assert survey_room(torch.device("cuda"), in_processes=False).gpus == 1


def test_a_gpu_smaller_than_the_model_is_one_line(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_gpus(monkeypatch, 1, 12)
    with pytest.raises(UserError, match=r"8\.0 billion weights, .*bfloat16.*this GPU has") as found:
        plan_layout(untimed_config)
    assert "\n" not in str(found.value)
    show_gpus(monkeypatch, 1, 24)
    with pytest.raises(UserError, match=r"choose model\.dtype=bfloat16 \(.*or one of at most 6\.0"):
        plan_layout(untimed_config, "model.dtype=float32")


def test_mps_is_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    room = survey_room(torch.device("mps"), in_processes=True)
    assert room.count_workers(5) == 1


def test_each_worker_sees_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that this process was shown, by number or by name."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    see_one_gpu(2)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,MIG-1f2e,7")
    see_one_gpu(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-1f2e"


def say_gpu(folder: str, name: str, progress: Progress) -> None:
    Path(folder, name).write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))


@pytest.mark.parametrize(("takes_gpu", "expected"), [(True, {"0", "1"}), (False, {"all"})])
def test_workers_share_the_gpus_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes_gpu: bool, expected: set[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    jobs = [Job(str(i), say_gpu, (str(tmp_path), str(i)), takes_gpu=takes_gpu) for i in range(4)]
    assert run_apart(jobs, 2, Progress()) == [None] * 4
    assert {file.read_text() for file in tmp_path.iterdir()} == expected


def test_tokens_of_the_users_own_stay(
    untimed_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_gpus(monkeypatch, 1, 80)
    layout = plan_layout(untimed_config, "train.max_tokens_per_pass=4096")
    assert {plan.max_tokens_per_pass for pack in layout.packs for plan in pack.plans} == {4096}


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), "float16"), ((8, 0), "bfloat16")])
def test_emulated_bfloat16_is_not_taken(
    capability: tuple[int, int], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_gpus(monkeypatch, 1, 16, capability=capability)
    assert str(resolve_dtype("auto", "auto")) == f"torch.{dtype}"
