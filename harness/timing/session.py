"""One process's part of a study: load once, then point by point warm up and time rounds."""

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from harness.errors import UserError
from harness.models.devices import describe_environment
from harness.models.loading import LoadedModel, load_model
from harness.models.memory import PeakMemory, is_out_of_memory, read_memory_in_use
from harness.timing.arms import (
    Arm,
    Failure,
    Operation,
    build_models,
    describe_error,
    find_adapter_dtype,
    line_up,
)
from harness.timing.noise import NoiseMeter, check_clock, wait_for_quiet
from harness.timing.points import CONTROLS, Build, Point
from harness.timing.rounds import Lineup, WarmUp, Work, time_round, warm_up


class PointError(UserError):
    """The base itself cannot do a point's work; `is_out_of_memory` says whether for that."""

    def __init__(self, message: str, is_out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.is_out_of_memory = is_out_of_memory


@dataclass
class _Open:
    point: Point
    work: Work
    lineup: Lineup
    order: random.Random
    reported_failures: int = 0


@dataclass(frozen=True)
class Opening:
    """How a point's warm-up went."""

    warmup_rounds: int
    is_settled: bool
    operations: tuple[Operation, ...]
    """The cold calls, at the first point of a process: later all arms have run before."""
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Round:
    rows: tuple[dict[str, Any], ...]
    failures: tuple[Failure, ...]
    """Arms that were lost in it."""


class Session:
    """Loads the model and its arms, then times one point at a time.

    `number` is the process's, from 0; it is part of the seed of the order. Raises UserError where
    the model cannot be loaded or the clock is unfit.
    """

    def __init__(self, build: Build, number: int, loaded: LoadedModel | None = None) -> None:
        check_clock()
        self._build, self._number = build, number
        self._loaded = loaded or load_model(build.model)
        self._device: torch.device = self._loaded.model.device
        self._meter = NoiseMeter(self._device)
        self._open: _Open | None = None
        self._is_cold = True
        self._built = build_models(self._loaded.model, build)
        dtypes = (find_adapter_dtype(each.model) for each in self._built.models)
        self.adapter_dtype = next(filter(None, dtypes), None)
        self.environment = describe_environment(self._device)

    @property
    def dtype(self) -> str:
        return str(self._loaded.model.dtype).removeprefix("torch.")

    @property
    def attention(self) -> str:
        return str(self._loaded.model.config._attn_implementation)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Loading, switching, merging and unmerging."""
        return tuple(self._built.operations)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Arms that could not be built."""
        return tuple(self._built.failures)

    def open(self, point: Point, tolerance: float, max_seconds: float) -> Opening:
        """Warm every arm up at the point's full shape, for about `max_seconds` at most.

        Raises PointError where the base fails.
        """
        lineup = Lineup(line_up(self._built, self._build, point.batch_size))
        # A string seeds by its content, whatever the process's own hash seed.
        order = random.Random(f"{self._build.seed} {self._number} {point.number}")
        with _base_failure_explained(point):
            input_ids = torch.tensor(point.prompts, device=self._device)
            work = Work(input_ids, point.output_tokens)
            self._open = _Open(point, work, lineup, order)
            wait_for_quiet(self._meter, max_seconds / 5)
            warmed = warm_up(lineup, work, tolerance, max_seconds)
        # A collection inside a timed call would be charged to whoever was running.
        gc.collect()
        gc.freeze()
        gc.disable()
        self._open.reported_failures = len(lineup.failures)
        cold = _list_cold_calls(warmed) if self._is_cold else []
        self._is_cold = False
        return Opening(
            warmup_rounds=warmed.rounds,
            is_settled=warmed.is_settled,
            operations=tuple(cold),
            failures=tuple(lineup.failures),
        )

    def run_round(self) -> Round:
        """Time every arm once."""
        current = self._current()
        with _base_failure_explained(current.point):
            rows = time_round(
                current.lineup,
                current.work,
                order=current.order,
                meter=self._meter,
            )
        lost = current.lineup.failures[current.reported_failures :]
        current.reported_failures = len(current.lineup.failures)
        return Round(tuple(rows), tuple(lost))

    def measure_memory(self) -> list[Operation]:
        """Peak memory of each arm: its weights and cache, and what a call needs on top of them.

        A pass of its own, because sampling would disturb a timed call.
        """
        current = self._current()
        measured = []
        for arm in list(current.lineup.arms):
            before = read_memory_in_use(self._device)
            with PeakMemory(self._device) as peak:
                times = current.lineup.call(arm, current.work)
            if times is not None:
                rise = max(0, peak.peak_bytes - before)
                held = self._built.caches.bytes if self._built.caches else 0
                size = float(_weigh(arm) + held + rise)
                measured.append(
                    Operation(arm.variant, arm.kind, "memory", times.last_seconds, size)
                )
        return measured

    def close(self) -> None:
        """Leave the point; safe to call twice."""
        self._open = None
        if self._built.caches is not None:
            self._built.caches.drop()
        if self._build.compile != "off":
            torch._dynamo.reset()
        gc.unfreeze()
        gc.enable()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _current(self) -> _Open:
        assert self._open is not None, "open a point first"
        return self._open


@contextmanager
def _base_failure_explained(point: Point) -> Iterator[None]:
    """What fails the base fails the point, which the error then names."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        shape = (
            f"batch {point.batch_size}, prompt {point.prompt_tokens}, output {point.output_tokens}"
        )
        raise PointError(f"{shape}: {describe_error(error)}", is_out_of_memory(error)) from error


def _list_cold_calls(warmed: WarmUp) -> list[Operation]:
    return [
        Operation(variant, arm, "cold_call", seconds)
        for (arm, variant), seconds in warmed.cold_seconds.items()
        # Called right after the base, the same model is not cold.
        if arm != CONTROLS[0]
    ]


def _weigh(arm: Arm) -> int:
    """Bytes of an arm's tensors, shared ones included: what it would take alone."""
    tensors = {t.data_ptr(): t for t in (*arm.model.parameters(), *arm.model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
