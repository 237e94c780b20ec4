"""Rounds of timed calls: every arm once, in a seeded random order; and the warm-up before them."""

import dataclasses
import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.errors import UserError
from harness.records.environment import read_load
from harness.timing.arms import Arm, Failure, describe_error
from harness.timing.noise import NoiseMeter
from harness.timing.timed_call import CallTimes

MAX_WARMUP_ROUNDS = 12


@dataclass(frozen=True)
class Work:
    """The same for every call of a point."""

    input_ids: torch.Tensor
    """[batch, length], on the device."""
    output_tokens: int


@dataclass(frozen=True)
class WarmUp:
    rounds: int
    """Rounds run at the full shape and not kept, the cold one included."""
    is_settled: bool
    """Whether their two halves agreed before the rounds ran out."""
    cold_seconds: dict[tuple[str, str], float]
    """(arm, variant) -> end to end seconds of its first call at this shape."""


class Lineup:
    """The arms that still run: one that fails is named and left out, the base excepted."""

    def __init__(self, arms: Sequence[Arm]) -> None:
        for arm in arms:
            if arm.model.training:
                raise UserError(
                    f"latency: {arm.variant} ({arm.kind}) is in train mode; call eval() first"
                )
        self.arms = list(arms)
        self.failures: list[Failure] = []

    def call(self, arm: Arm, work: Work) -> CallTimes | None:
        """Run one call; None where the arm failed. What fails the base is raised."""
        try:
            times = arm.decoder.run(work.input_ids, work.output_tokens)
        except Exception as error:
            if arm.is_base:
                raise
            self.failures.append(Failure(arm.variant, arm.kind, describe_error(error)))
            self.arms.remove(arm)
        else:
            return _check_times(times)
        # Outside of the handler, which would keep what the failed call had allocated.
        if work.input_ids.device.type == "cuda":
            torch.cuda.empty_cache()
        return None


def _check_times(times: CallTimes) -> CallTimes:
    if not 0 < times.first_seconds <= times.last_seconds:
        raise UserError(
            f"the clock read {times.first_seconds} s and then {times.last_seconds} s within a call "
            "of the model; expected increasing times: use a machine with a working monotonic clock"
        )
    return times


def warm_up(lineup: Lineup, work: Work, tolerance: float, max_seconds: float) -> WarmUp:
    """Run rounds at the full shape until their later half is as fast as their earlier one.

    The first, cold call of each arm stands apart. The halves agree where the median over arms of
    log(later / earlier), and what any arm departs from it by, are below `tolerance` or no larger
    than their own noise. After `max_seconds` warming up ends unsettled, with two rounds at least.
    """
    end = time.perf_counter() + max_seconds
    cold = {}
    for arm in list(lineup.arms):
        times = lineup.call(arm, work)
        if times is not None:
            cold[arm.kind, arm.variant] = times.last_seconds
    seen: dict[int, list[float]] = {}
    count = 0
    while count < MAX_WARMUP_ROUNDS and (count == 0 or time.perf_counter() < end):
        for _ in range(2):
            for arm in list(lineup.arms):
                times = lineup.call(arm, work)
                if times is not None:
                    seen.setdefault(id(arm), []).append(times.last_seconds)
            count += 1
        if _halves_agree([seen[id(arm)] for arm in lineup.arms], tolerance):
            return WarmUp(count + 1, True, cold)
    return WarmUp(count + 1, False, cold)


def _halves_agree(times: Sequence[Sequence[float]], tolerance: float) -> bool:
    shifts = []
    for series in times:
        half = len(series) // 2
        earlier, later = statistics.median(series[:half]), statistics.median(series[half:])
        shifts.append(math.log(later / earlier))
    middle = statistics.median(shifts)
    # 1.4826 MAD is a normal's standard deviation; a median's error is 1.25 of a mean's.
    spread = 1.4826 * statistics.median(abs(shift - middle) for shift in shifts)
    noise = 2 * 1.25 * spread / math.sqrt(len(shifts))
    farthest = max(abs(shift - middle) for shift in shifts)
    # What all arms share cancels in their ratios; one that still warms up alone does not.
    return abs(middle) <= max(tolerance, noise) and farthest <= max(tolerance, 4 * spread)


def time_round(
    lineup: Lineup,
    work: Work,
    *,
    order: random.Random,
    meter: NoiseMeter,
) -> list[dict[str, Any]]:
    """Time every arm once, in an order drawn from `order`; return a row a call."""
    shuffled = list(lineup.arms)
    order.shuffle(shuffled)
    rows: list[dict[str, Any]] = []
    for position, arm in enumerate(shuffled):
        meter.start()
        times = lineup.call(arm, work)
        noise = meter.stop()
        if times is not None:
            rows.append(
                {
                    "position": position,
                    "arm": arm.kind,
                    "variant": arm.variant,
                    **describe_call(work, times),
                    **dataclasses.asdict(noise),
                }
            )
    around = {"load_average": read_load(), **dataclasses.asdict(meter.read_gpu_state())}
    return [row | around for row in rows]


def describe_call(work: Work, times: CallTimes) -> dict[str, float]:
    """The times of a call; time per output token is unknown where only one was written."""
    batch, length = work.input_ids.shape
    rest = work.output_tokens - 1
    return {
        "batch_size": batch,
        "prompt_tokens": length,
        "output_tokens": work.output_tokens,
        "ttft_seconds": times.first_seconds,
        "tpot_seconds": (times.last_seconds - times.first_seconds) / rest if rest else math.nan,
        "end_to_end_seconds": times.last_seconds,
        "tokens_per_second": batch * work.output_tokens / times.last_seconds,
    }
