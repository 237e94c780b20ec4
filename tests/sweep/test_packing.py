"""How a sweep is cut into packs; plans are real ones, of the tiny configuration."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import pytest
import torch

from harness.config.schema import Config
from harness.sweep import packing
from harness.sweep.packing import (
    Layout,
    PackPlan,
    Room,
    count_pass_tokens,
    count_trained_bytes,
    cut_group,
    find_makespan,
    format_layout,
    lay_out,
    order_for_neighbours,
    survey_room,
)
from harness.sweep.plan import VariantPlan, plan_sweep

ConfigMaker = Callable[..., Config]
SETS = ("qkv", "o_proj", "qkv+o_proj", "o_proj+fc2", "all")
PLENTY = Room(is_gpu=False, cores=1, memory_bytes=10**12)


@pytest.fixture
def plans(untimed_config: ConfigMaker) -> tuple[VariantPlan, ...]:
    return plan_sweep([untimed_config(f"target_modules={name}") for name in SETS]).variants


def slow(plans: Sequence[VariantPlan], seconds: float) -> list[VariantPlan]:
    return [dataclasses.replace(p, train_seconds=seconds, score_seconds=0.0) for p in plans]


def labels(layout: Layout) -> list[tuple[str, ...]]:
    return [pack.labels for pack in layout.packs]


def test_one_core_takes_a_group_at_once_with_its_base(plans: tuple[VariantPlan, ...]) -> None:
    base = plans[0].config.base_run_id
    layout = lay_out(plans, PLENTY, {base: plans[0]})
    assert layout.workers == 1
    (pack,) = layout.packs
    assert sorted(pack.labels) == sorted(["base", *SETS])
    assert "base" not in lay_out(plans, PLENTY, {}).packs[0].labels


def test_two_cores_share_a_group_and_score_the_base_once(plans: tuple[VariantPlan, ...]) -> None:
    room = dataclasses.replace(PLENTY, cores=2)
    layout = lay_out(slow(plans, 100.0), room, {plans[0].config.base_run_id: plans[0]})
    assert layout.workers == 2
    assert sorted(len(pack.plans) for pack in layout.packs) == [2, 3]
    assert [pack.base is not None for pack in layout.packs].count(True) == 1
    everything = [plan.config.run_id for pack in layout.packs for plan in pack.plans]
    assert sorted(everything) == sorted(plan.config.run_id for plan in plans)


def test_work_of_a_moment_is_not_spread(plans: tuple[VariantPlan, ...]) -> None:
    room = dataclasses.replace(PLENTY, cores=2)
    assert len(lay_out(slow(plans, 0.01), room, {}).packs) == 1


def test_memory_cuts_packs_and_then_processes(plans: tuple[VariantPlan, ...]) -> None:
    need = PackPlan(plans).memory_bytes
    for share in (0.5, 0.7, 1.0):
        room = Room(is_gpu=False, cores=1, memory_bytes=int(need * share))
        for pack in cut_group(plans, room):
            assert (
                len(pack.plans) == 1 or pack.memory_bytes <= packing.USED_SHARE * room.memory_bytes
            )
    # What fits nowhere is tried alone: the estimate is rough.
    alone = cut_group(plans, Room(is_gpu=False, cores=1, memory_bytes=1))
    assert [len(pack.plans) for pack in alone] == [1] * 5
    tight = Room(is_gpu=False, cores=8, memory_bytes=int(1.3 * need))
    assert lay_out(slow(plans, 100.0), tight, {}).workers < 8


def test_tokens_cut_passes_and_not_packs(untimed_config: ConfigMaker) -> None:
    names = [f"target_modules={name}" for name in SETS]
    cut = "train.max_tokens_per_pass=1"
    plans = plan_sweep([untimed_config(name, cut) for name in names]).variants
    (pack,) = cut_group(plans, PLENTY)
    whole = plan_sweep([untimed_config(name) for name in names]).variants
    assert pack.memory_bytes < PackPlan(whole).memory_bytes
    # They take turns, so that one more variant adds what it trains and no activations.
    alone = PackPlan(pack.plans[:1])
    trained = sum(count_trained_bytes(plan) for plan in pack.plans[1:])
    assert pack.memory_bytes == alone.memory_bytes + trained


def test_tokens_of_a_pass_are_those_that_training_will_see(untimed_config: ConfigMaker) -> None:
    (plan,) = plan_sweep([untimed_config()]).variants
    lengths = [[plan.prepared.train[i].length for i in step] for step in plan.steps]
    assert count_pass_tokens(plan) == max(len(step) * max(step) for step in lengths)
    (cut,) = plan_sweep([untimed_config("train.max_tokens_per_pass=1")]).variants
    assert count_pass_tokens(cut) == max(max(step) for step in lengths)


def test_a_gpu_runs_one_process(plans: tuple[VariantPlan, ...]) -> None:
    room = Room(is_gpu=True, cores=16, memory_bytes=10**12)
    layout = lay_out(slow(plans, 100.0), room, {})
    assert (layout.workers, len(layout.packs)) == (1, 1)


def test_groups_are_never_mixed(untimed_config: ConfigMaker) -> None:
    configs = [
        untimed_config(f"target_modules={name}", f"train.batch_size={size}")
        for name in ("q", "o_proj")
        for size in (2, 3)
    ]
    layout = lay_out(plan_sweep(configs).variants, PLENTY, {})
    sizes = [{plan.config.train.batch_size for plan in pack.plans} for pack in layout.packs]
    assert sorted(map(list, sizes)) == [[2], [3]]


def test_what_cannot_be_packed_goes_alone_and_the_base_too(untimed_config: ConfigMaker) -> None:
    configs = [
        untimed_config("model.shape=tiny-mixtral", f"target_modules={name}")
        for name in ("fc1", "o_proj+fc2")
    ]
    variants = plan_sweep(configs).variants
    layout = lay_out(variants, PLENTY, {variants[0].config.base_run_id: variants[0]})
    assert sorted(labels(layout)) == [("base",), ("fc1",), ("o_proj+fc2",)]
    mixed = [*configs, untimed_config("model.shape=tiny-mixtral", "target_modules=o_proj")]
    layout = lay_out(
        plan_sweep(mixed).variants, PLENTY, {variants[0].config.base_run_id: variants[0]}
    )
    assert ("base", "o_proj") in labels(layout)
    assert [sorted(pack) for pack in labels(layout)].count(["fc1"]) == 1


def list_roles(plan: VariantPlan) -> tuple[str, ...]:
    return tuple({role for projection in plan.projections for role in projection.roles})


def test_neighbours_share_roles(plans: tuple[VariantPlan, ...]) -> None:
    """The five published sets can stand so that each role is one run."""
    ordered = order_for_neighbours(plans)
    for role in ("q", "o", "fc1", "fc2"):
        has = "".join(str(int(role in list_roles(plan))) for plan in ordered)
        assert "0" not in has.strip("0")


def test_many_sets_are_ordered_too(untimed_config: ConfigMaker) -> None:
    names = ("q", "k", "v", "q+k", "k+v", "o_proj", "qkv", "q+o_proj", "all")
    configs = [
        untimed_config(f"target_modules={name}", f"seed={i % 2}") for i, name in enumerate(names)
    ]
    given = plan_sweep(configs).variants
    ordered = order_for_neighbours(given)
    assert sorted(map(id, ordered)) == sorted(map(id, given))
    runs = [packing._count_runs([list_roles(plan) for plan in each]) for each in (ordered, given)]
    assert runs[0] < runs[1]


def test_makespan_is_that_of_the_longest_first(plans: tuple[VariantPlan, ...]) -> None:
    room = dataclasses.replace(PLENTY, cores=2)
    packs_ = [PackPlan((plan,)) for plan in slow(plans[:3], 7.0)]
    assert find_makespan(packs_, room) == pytest.approx(20.0)
    assert find_makespan(packs_[:1], room) == pytest.approx(10 / math.sqrt(2))
    assert find_makespan([], room) == 0


def test_the_layout_is_said_in_lines(plans: tuple[VariantPlan, ...]) -> None:
    room = dataclasses.replace(PLENTY, cores=2)
    text = format_layout(lay_out(slow(plans, 100.0), room, {plans[0].config.base_run_id: plans[0]}))
    assert text.splitlines()[0] == "packs of variants trained together, 2 processes at a time:"
    assert text.count("base") == 1
    assert all(name in text for name in SETS)


def test_packs_and_members_that_differ_in_seeds_alone_are_counted(
    plans: tuple[VariantPlan, ...],
) -> None:
    first, second = plans[:2]
    alike, mixed = PackPlan((first,)), PackPlan((second, second, first))
    layout = Layout((alike, mixed, alike), workers=1)
    assert format_layout(layout).splitlines() == [
        "packs of variants trained together, one at a time:",
        f"  {first.config.task.name}: {alike.labels[0]} (x2)",
        f"  {first.config.task.name}: {mixed.labels[0]} (x2); {alike.labels[0]}",
    ]


def test_the_room_is_this_machines() -> None:
    room = survey_room(torch.device("cpu"), True)
    assert not room.is_gpu
    assert room.cores >= 1
    assert room.memory_bytes > 0
    assert survey_room(torch.device("cpu"), False).cores == 1
