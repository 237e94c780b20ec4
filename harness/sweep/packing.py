"""Which variants go through the model together, and in how many processes at a time.

A pack is cut by what fits in memory and by the cores: two processes of one thread each beat one of
two threads. Where a row of each variant is too much for one training pass, some of them take turns
(`training.loop`); the pack is still scored as one.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Any

import torch

from harness.adapters.counts import count_parameters
from harness.config.catalog import METHODS
from harness.models.devices import resolve_device, resolve_dtype
from harness.models.memory import find_training_tokens, read_free_memory
from harness.records.limits import list_cores
from harness.sweep.plan import Plan, VariantPlan, estimate_scoring

MOST_PERMUTED = 6
"""Target sets whose orders are all tried."""

USED_SHARE = 0.8
"""Of the free memory, what packs may be planned to need."""

START_SECONDS = 3.0
"""Loading the base into a process, roughly."""

PROCESS_BYTES = 5 * 10**8
"""Of a worker's libraries: 0.4 GB resident on a CPU, and a CUDA context of about that on a GPU."""

LEAST_TOKENS = 1024
"""Tokens below which a pass is not cut for the sake of a larger pack: products get slower."""


@dataclass(frozen=True)
class Room:
    """What there is to run in."""

    is_gpu: bool
    cores: int
    memory_bytes: int
    """Free now; of each GPU."""
    gpus: int = 1

    def count_workers(self, variants: int) -> int:
        """Processes that may work at a time on so many variants: one a GPU, or one a core."""
        return max(1, min(self.gpus if self.is_gpu else self.cores, variants))


@dataclass(frozen=True)
class PackPlan:
    """Variants that go through the model together."""

    plans: tuple[VariantPlan, ...]
    base: VariantPlan | None = None
    """A plan of the base that goes with them, if one does: that of any of its variants."""
    is_begun: bool = False
    """Whether a checkpoint of its training is there, so that it has to stay as it is."""

    @property
    def first(self) -> VariantPlan:
        plan = self.plans[0] if self.plans else self.base
        assert plan is not None
        return plan

    @property
    def device(self) -> torch.device:
        return resolve_device(self.first.config.model.device)

    @property
    def is_in_4_bits(self) -> bool:
        """Whether the base is held in 4 bits; then it is not scored itself."""
        return self.base is None and self.first.adapter.method == "qlora"

    @property
    def labels(self) -> tuple[str, ...]:
        sets = tuple(plan.label for plan in self.plans)
        return (("base",) if self.base else ()) + sets

    @property
    def seconds(self) -> float:
        """Estimated time to train and score."""
        scored = [*self.plans, self.base] if self.base else self.plans
        trained = sum(plan.train_seconds for plan in self.plans)
        return START_SECONDS + trained + estimate_scoring(scored)

    @property
    def memory_bytes(self) -> int:
        """Estimated need: the base's weights, a training pass, and what is trained."""
        trained = sum(map(count_trained_bytes, self.plans))
        return PROCESS_BYTES + self.first.weight_bytes + trained + count_pass_bytes(self.plans)

    def fit(self, memory_bytes: float) -> "PackPlan":
        """The pack with passes of as many tokens as memory allows.

        They are halved until they fit, then checkpointed; what fits in no way is left to the
        smallest. A number of tokens of the user's own stays.
        """
        train = self.first.config.train
        wanted = find_training_tokens(self.device)
        tokens = [train.max_tokens_per_pass or wanted]
        while not train.max_tokens_per_pass and tokens[-1] > LEAST_TOKENS:
            tokens.append(tokens[-1] // 2)
        can_checkpoint = all(METHODS[p.adapter.method].takes_checkpointing for p in self.plans)
        modes = sorted(
            {train.gradient_checkpointing, can_checkpoint or train.gradient_checkpointing}
        )
        for checkpointing in modes:
            for each in tokens:
                fitted = self._cut(each, checkpointing)
                if fitted.memory_bytes <= memory_bytes:
                    return fitted
        return fitted

    def _cut(self, tokens: int, checkpointing: bool) -> "PackPlan":
        plans = tuple(
            dataclasses.replace(
                plan, max_tokens_per_pass=tokens, gradient_checkpointing=checkpointing
            )
            for plan in self.plans
        )
        return dataclasses.replace(self, plans=plans)


@dataclass(frozen=True)
class Layout:
    packs: tuple[PackPlan, ...]
    """Longest first."""
    workers: int
    """Processes at a time."""


def survey_room(device: torch.device, in_processes: bool) -> Room:
    """Look at what is free on a device; without processes there is one worker with all cores.

    A CUDA device without a number stands for every GPU that is visible.
    """
    cores = len(list_cores()) if in_processes else 1
    devices = [device]
    if device.type == "cuda" and device.index is None and in_processes:
        devices = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    memory = min(map(read_free_memory, devices))
    return Room(device.type != "cpu", cores, memory, len(devices))


def lay_out(
    plans: Sequence[VariantPlan],
    room: Room,
    unscored_bases: Mapping[str, VariantPlan],
    begun: Sequence[PackPlan] = (),
) -> Layout:
    """Cut variants into packs, and say how many are run at a time.

    `unscored_bases` are the bases that are still to be scored: run id -> plan of one of its
    variants, which need not be among `plans`. Packs that were `begun` stay as they are.
    """
    taken = {plan.config.run_id for pack in begun for plan in pack.plans}
    groups: dict[str, list[VariantPlan]] = {}
    for plan in plans:
        if plan.config.run_id not in taken:
            groups.setdefault(plan.config.group, []).append(plan)
    packs = [*begun, *(pack for group in groups.values() for pack in cut_group(group, room))]
    packs = _spread(_add_bases(packs, unscored_bases), room)
    return Layout(tuple(sorted(packs, key=lambda pack: -pack.seconds)), count_workers(packs, room))


def estimate_seconds(plan: Plan, room: Room) -> float:
    """Estimated wall time of a plan: packs side by side, then the timing, which is alone."""
    bases = {each.config.base_run_id: each for each in plan.variants}
    layout = lay_out(plan.variants, room, bases)
    return find_makespan(layout.packs, room) + plan.latency_seconds


def describe_layout(layout: Layout) -> dict[str, Any]:
    """The layout as plain values, for the study's `plan.json`."""
    return {
        "workers": layout.workers,
        "packs": [
            {
                "task": pack.first.config.task.name,
                "scores_base": pack.base is not None,
                "run_ids": [plan.config.run_id for plan in pack.plans],
                "planned_seconds": pack.seconds,
                "planned_memory_bytes": pack.memory_bytes,
            }
            for pack in layout.packs
        ],
    }


def format_layout(layout: Layout) -> str:
    """The layout as text: a line a pack, or for several that differ in seeds and rates alone."""
    at_a_time = "one at a time" if layout.workers == 1 else f"{layout.workers} processes at a time"
    packs = (
        f"  {pack.first.config.task.name}: {'; '.join(_count_alike(pack.labels))}"
        for pack in layout.packs
    )
    return "\n".join([f"packs of variants trained together, {at_a_time}:", *_count_alike(packs)])


def _count_alike(lines: Iterable[str]) -> list[str]:
    """Each line once, in order, with how many there are of it."""
    return [f"{line} (x{n})" if n > 1 else line for line, n in Counter(lines).items()]


def count_workers(packs: Sequence[PackPlan], room: Room) -> int:
    """Processes that may run at a time: one a GPU; cores and memory bound the others."""
    most = room.count_workers(len(packs))
    if room.is_gpu or not packs:
        return most
    largest = max(pack.memory_bytes for pack in packs)
    return max(1, min(most, room.memory_bytes // largest))


def cut_group(plans: Sequence[VariantPlan], room: Room) -> list[PackPlan]:
    """Cut a group into as few packs as memory allows.

    A pack's passes get smaller as it grows, but none is checkpointed for the sake of one more
    variant.
    """
    limit = USED_SHARE * room.memory_bytes
    packs: list[PackPlan] = []
    for plan in order_for_neighbours([plan for plan in plans if plan.can_be_packed]):
        alone = PackPlan((plan,)).fit(limit)
        last = dataclasses.replace(packs[-1], plans=(*packs[-1].plans, plan)) if packs else alone
        grown = last.fit(limit)
        is_alike = grown.first.gradient_checkpointing == alone.first.gradient_checkpointing
        if packs and is_alike and grown.memory_bytes <= limit:
            packs[-1] = grown
        else:
            packs.append(alone)
    return packs + [PackPlan((plan,)).fit(limit) for plan in plans if not plan.can_be_packed]


def order_for_neighbours(plans: Sequence[VariantPlan]) -> list[VariantPlan]:
    """Order variants so that those which share a role stand side by side, as far as can be.

    Neighbours that target a projection are one batched product. Of a few sets the best order is
    found; of many, each in turn goes where it adds the fewest runs.
    """
    by_set: dict[tuple[str, ...], list[VariantPlan]] = {}
    for plan in plans:
        has = {f"{p.block}.{role}" for p in plan.projections for role in p.roles}
        by_set.setdefault(tuple(sorted(has)), []).append(plan)
    sets = list(by_set)
    if len(sets) <= MOST_PERMUTED:
        order = list(min(permutations(sets), key=_count_runs))
    else:
        order = []
        for each in sets:
            places = [[*order[:i], each, *order[i:]] for i in range(len(order) + 1)]
            order = min(places, key=_count_runs)
    return [plan for each in order for plan in by_set[each]]


def _count_runs(sets: Iterable[tuple[str, ...]]) -> int:
    """Over all roles, how many stretches of neighbours have it."""
    pairs = pairwise([(), *sets])
    return sum(len(set(roles) - set(before)) for before, roles in pairs)


def _add_bases(packs: Sequence[PackPlan], unscored: Mapping[str, VariantPlan]) -> list[PackPlan]:
    """Let each base go with the first pack that can take it, else alone."""
    added = []
    left = dict(unscored)
    for pack in packs:
        name = pack.first.config.base_run_id
        base = left.pop(name, None) if pack.first.can_be_packed else None
        added.append(dataclasses.replace(pack, base=base))
    return added + [PackPlan((), base=plan) for plan in left.values()]


def _spread(packs: Sequence[PackPlan], room: Room) -> list[PackPlan]:
    """Halve the longest pack as long as that lets all of them end sooner."""
    packs = list(packs)
    while True:
        longest = max(packs, key=lambda pack: pack.seconds, default=None)
        if longest is None or longest.is_begun or len(longest.plans) < 2:
            return packs
        rest = [pack for pack in packs if pack is not longest]
        middle = (len(longest.plans) + 1) // 2
        # The base goes with the smaller half.
        halves = [
            PackPlan(longest.plans[:middle]),
            PackPlan(longest.plans[middle:], base=longest.base),
        ]
        if find_makespan([*rest, *halves], room) > 0.95 * find_makespan(packs, room):
            return packs
        packs = [*rest, *halves]


def find_makespan(packs: Sequence[PackPlan], room: Room) -> float:
    """When the last worker ends, each taking the longest pack that is left.

    A process of n threads is taken to be sqrt(n) times as fast as one of a single thread.
    """
    workers = count_workers(packs, room)
    ends = [0.0] * workers
    for seconds in sorted((pack.seconds for pack in packs), reverse=True):
        ends[ends.index(min(ends))] += seconds
    threads = 1 if room.is_gpu else room.cores // workers
    return max(ends) / math.sqrt(threads)


def count_pass_tokens(plan: VariantPlan, sharing: int = 1) -> int:
    """Tokens of the largest training pass of so many variants like this one."""
    largest = 0
    for step in plan.steps:
        longest = max(plan.prepared.train[i].length for i in step)
        rows = sharing * -(-len(step) // plan.config.train.gradient_accumulation)
        largest = max(largest, min(rows * longest, max(plan.max_tokens_per_pass, longest)))
    return largest


def count_trained_bytes(plan: VariantPlan) -> int:
    """What a variant trains: weights, gradients and AdamW's state; once trained, weights alone."""
    targeted = plan.projections or plan.modules.inside
    return (4 if plan.is_trained else 16) * count_parameters(targeted, plan.adapter)


def count_pass_bytes(plans: Sequence[VariantPlan]) -> int:
    """Activations that the largest training pass of a pack keeps for its backward pass."""
    sharing = [plan for plan in plans if not plan.is_trained]
    return max((_count_activations(plan, len(sharing)) for plan in sharing), default=0)


def _count_activations(plan: VariantPlan, sharing: int) -> int:
    inside, blocks = plan.modules.inside, plan.modules.block_count
    # A block's input is as wide as what its first projection reads.
    dtype = resolve_dtype(plan.config.model.dtype, plan.config.model.device)
    hidden = max((p.in_features for p in inside[:1]), default=0) * dtype.itemsize
    token = plan.activations.count(blocks, plan.gradient_checkpointing, hidden)
    return round(token * count_pass_tokens(plan, sharing))
