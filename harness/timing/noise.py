"""What disturbs a timed call - other processes, the hypervisor, a hot GPU - and its clock.

The counters are read outside of the clock that times the call, and recorded beside its time: they
explain an interval that is too wide, and are never used to correct or to drop a call.
"""

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
import torch

from harness.errors import UserError
from harness.models.devices import Gpu, GpuState

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


CPU_STATISTICS = Path("/sys/fs/cgroup/cpu.stat")
"""Of the process's own cgroup, where it runs in a container."""

WINDOW_SECONDS = 0.5
QUIET_CORES = 0.1
"""Cores kept busy by others that a window of quiet may have: two or three ticks of the kernel's."""

PERF_COUNTER = time.get_clock_info("perf_counter")
MAX_CLOCK_STEP_SECONDS = 10e-6


@dataclass(frozen=True)
class Noise:
    """What was counted between `start` and `stop`.

    Steal and other processes' time are kept by the kernel in ticks (10 ms on Linux, /proc/stat):
    coarse for a call under 100 ms, right in sum over the calls of a round.
    """

    cpu_seconds: float
    """CPU time of this process, all its threads."""
    steal_seconds: float
    """Time that a hypervisor gave to others, summed over cores; NaN where it is not counted."""
    other_cpu_seconds: float
    """CPU time of all other processes, on any core that the system counts."""
    involuntary_switches: int
    """How often a thread of this process had its core taken away; 0 on Windows, uncounted."""
    throttled_seconds: float
    """Time that the cgroup's CPU quota held its threads back; NaN where it has no such count."""


class NoiseMeter:
    """Counts what disturbs a call: `start()`, the call, `stop()`; then `read_gpu_state()`."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = Gpu(device)
        self._unreported = 0.0
        self._before = _read_counters()

    def start(self) -> None:
        """Read the counters, before the call's clock starts; the two cost 50 us on Linux."""
        self._before = _read_counters()

    def stop(self) -> Noise:
        """Return what was counted since `start()`; call it after the call's clock has stopped."""
        # Read first, so that reading the rest is not counted.
        cpu_seconds = time.process_time() - self._before.cpu_seconds
        after = _read_counters()
        # The whole system's time comes in ticks, this process's does not: a negative remainder is
        # carried on, or cutting it off at each short call would invent other processes.
        self._unreported += after.busy_seconds - self._before.busy_seconds - cpu_seconds
        other_cpu_seconds = max(0.0, self._unreported)
        self._unreported -= other_cpu_seconds
        return Noise(
            cpu_seconds=cpu_seconds,
            steal_seconds=after.steal_seconds - self._before.steal_seconds,
            other_cpu_seconds=other_cpu_seconds,
            involuntary_switches=after.involuntary_switches - self._before.involuntary_switches,
            throttled_seconds=after.throttled_seconds - self._before.throttled_seconds,
        )

    def read_gpu_state(self) -> GpuState:
        """Return the GPU's state; once a round, at once after a call, while its clock is up."""
        return self._gpu.read_state()


@dataclass(frozen=True)
class _Counters:
    cpu_seconds: float
    busy_seconds: float
    steal_seconds: float
    involuntary_switches: int
    throttled_seconds: float


def read_throttled_seconds(statistics: Path) -> float:
    """Seconds of throttling by a CPU quota that a cgroup's `cpu.stat` counts; NaN without it."""
    try:
        text = statistics.read_text(encoding="ascii")
    except OSError:
        return math.nan
    counts = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
    if "throttled_usec" in counts:  # version 2
        return int(counts["throttled_usec"]) / 1e6
    return int(counts["throttled_time"]) / 1e9 if "throttled_time" in counts else math.nan


def _read_counters() -> _Counters:
    # On Linux the first line of /proc/stat; a guest's time is in `user` already.
    times = psutil.cpu_times()
    return _Counters(
        busy_seconds=sum(
            getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq")
        ),
        steal_seconds=getattr(times, "steal", math.nan),
        involuntary_switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else 0,
        throttled_seconds=read_throttled_seconds(CPU_STATISTICS),
        cpu_seconds=time.process_time(),
    )


def wait_for_quiet(meter: NoiseMeter, max_seconds: float) -> bool:
    """Wait until other programs and the hypervisor leave the cores alone; say whether they do.

    What has just ended - training, a process that was started beside this one - still works for a
    moment. Looks at windows of half a second.
    """
    for _ in range(max(1, round(max_seconds / WINDOW_SECONDS))):
        meter.start()
        time.sleep(WINDOW_SECONDS)
        noise = meter.stop()
        steal = 0.0 if math.isnan(noise.steal_seconds) else noise.steal_seconds
        if noise.other_cpu_seconds + steal <= QUIET_CORES * WINDOW_SECONDS:
            return True
    return False


class ClockInfo(Protocol):
    """What `time.get_clock_info` returns, as far as it matters here."""

    adjustable: bool
    monotonic: bool


def check_clock(
    clock: Callable[[], float] = time.perf_counter,
    info: ClockInfo = PERF_COUNTER,
    readings: int = 10_000,
) -> None:
    """Raise UserError unless a clock [seconds] is steady and fine enough to time a call by.

    Its own description is checked, then `readings` taken one after another: none may run
    backwards, and they must move in steps of 10 microseconds at most.
    """
    if not info.monotonic or info.adjustable:
        raise _refuse_clock("can be set while it runs")
    times = [clock() for _ in range(readings)]
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    if min(steps) < 0:
        raise _refuse_clock(f"ran backwards by {-min(steps):.3g} s between two readings")
    finest = min((step for step in steps if step > 0), default=None)
    if finest is None:
        raise _refuse_clock(f"stood still over {readings} readings")
    if finest > MAX_CLOCK_STEP_SECONDS:
        raise _refuse_clock(
            f"moves in steps of {finest * 1e6:.3g} us; expected {MAX_CLOCK_STEP_SECONDS * 1e6:g} "
            "us or less"
        )


def _refuse_clock(fault: str) -> UserError:
    return UserError(
        f"clock: time.perf_counter {fault}, so it cannot time calls; use a system with a "
        "steady clock source (on Linux see "
        "/sys/devices/system/clocksource/clocksource0/current_clocksource)"
    )
