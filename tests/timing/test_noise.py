import math
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from harness.errors import UserError
from harness.models import devices
from harness.models.devices import GpuState, name_throttle_reasons
from harness.timing import noise
from harness.timing.noise import (
    Noise,
    NoiseMeter,
    check_clock,
    read_throttled_seconds,
    wait_for_quiet,
)

# What is timed or counted never runs beside another such test.
pytestmark = pytest.mark.xdist_group("timing")

CPU, SECOND_GPU = torch.device("cpu"), torch.device("cuda:0")
STEADY = SimpleNamespace(monotonic=True, adjustable=False)


# --- counters


def burn(seconds: float) -> None:
    while time.thread_time() < seconds:
        pass


def test_own_cpu_time_is_of_all_threads_and_not_of_sleep() -> None:
    meter = NoiseMeter(CPU)
    meter.start()
    time.sleep(0.1)
    assert meter.stop().cpu_seconds < 0.05
    meter.start()
    worker = threading.Thread(target=burn, args=(0.2,))
    worker.start()
    worker.join()
    assert 0.2 <= meter.stop().cpu_seconds < 0.4


def test_another_process_counts_as_other_and_not_as_own() -> None:
    meter = NoiseMeter(CPU)
    meter.start()
    code = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    counted = meter.stop()
    assert counted.other_cpu_seconds > 0.45
    assert counted.cpu_seconds < 0.2


class FakeSystem:
    """Times that advance as told, the system's in ticks of 10 ms as the kernel's are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.own = self.others = self.steal = 0.0
        self.switches = self.readings = 0
        monkeypatch.setattr(psutil, "cpu_times", self.cpu_times)
        monkeypatch.setattr(time, "process_time", lambda: self.own)
        usage = SimpleNamespace(
            RUSAGE_SELF=0, getrusage=lambda _: SimpleNamespace(ru_nivcsw=self.switches)
        )
        monkeypatch.setattr(noise, "resource", usage)

    def cpu_times(self) -> Any:
        self.readings += 1
        busy = int((self.own + self.others) / 0.01 + 1e-6) * 0.01
        return SimpleNamespace(
            user=busy,
            nice=0.0,
            system=0.0,
            # Cores that wait are not busy, and a guest's time is in `user` already.
            idle=self.readings,
            iowait=self.readings,
            guest=busy,
            steal=self.steal,
        )


@pytest.mark.parametrize(("own", "others"), [(0.005, 0.0), (0.005, 0.001), (0.013, 0.004)])
def test_other_cpu_time_of_short_calls_is_right_in_sum(
    monkeypatch: pytest.MonkeyPatch, own: float, others: float
) -> None:
    system = FakeSystem(monkeypatch)
    meter = NoiseMeter(CPU)
    counted = []
    for _ in range(200):
        meter.start()
        system.own += own
        system.others += others
        counted.append(meter.stop().other_cpu_seconds)
    assert min(counted) >= 0
    # Each call's value cut off at 0 by itself would sum up to 0.5 s where nothing else ran.
    assert sum(counted) == pytest.approx(200 * others, abs=0.011)


def test_what_happens_between_two_calls_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    system = FakeSystem(monkeypatch)
    meter = NoiseMeter(CPU)
    system.others, system.steal, system.switches = 5.0, 3.0, 8
    meter.start()
    system.others += 0.05
    system.steal += 0.02
    system.switches += 4
    counted = meter.stop()
    assert counted.other_cpu_seconds == pytest.approx(0.05)
    assert counted.steal_seconds == pytest.approx(0.02)
    assert counted.involuntary_switches == 4
    assert counted.cpu_seconds == 0


def test_a_system_without_steal_and_switches_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    macos = namedtuple("macos", "user nice system idle")
    monkeypatch.setattr(psutil, "cpu_times", lambda: macos(1.0, 0.0, 1.0, 5.0))
    monkeypatch.setattr(noise, "resource", None)
    meter = NoiseMeter(CPU)
    meter.start()
    counted = meter.stop()
    assert counted.steal_seconds != counted.steal_seconds  # NaN: unknown, not zero
    assert counted.involuntary_switches == 0


class FakeMeter:
    """Counts what it is told: other programs' time, and steal, of each window in turn."""

    def __init__(self, *windows: tuple[float, float]) -> None:
        self.windows = list(windows)

    def start(self) -> None:
        pass

    def stop(self) -> Noise:
        others, steal = self.windows.pop(0)
        return Noise(0.0, steal, others, 0, math.nan)


@pytest.mark.parametrize(
    ("windows", "quiet", "left"),
    [
        ([(0.5, 0.0), (0.3, 0.0), (0.02, 0.0), (0.5, 0.0)], True, 1),
        ([(0.02, 0.4), (0.02, math.nan), (0.0, 0.0)], True, 1),
        ([(0.5, 0.0)] * 9, False, 1),
    ],
    ids=["other programs", "steal, then a system that does not count it", "never quiet"],
)
def test_timing_waits_for_quiet_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, windows: list[tuple[float, float]], quiet: bool, left: int
) -> None:
    monkeypatch.setattr(noise.time, "sleep", lambda seconds: None)
    meter = FakeMeter(*windows)
    assert wait_for_quiet(meter, 4.0) is quiet  # type: ignore[arg-type]
    assert len(meter.windows) == left


# --- the GPU


class FakeNvml:
    """Two GPUs of which torch sees the second alone (CUDA_VISIBLE_DEVICES=1) as cuda:0."""

    def __init__(self) -> None:
        self.reasons = 0x4 | 0x40
        self.asked: list[Any] = []

    def nvmlInit(self) -> None:
        self.asked.append("init")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return {"GPU-aaaa": 0, "GPU-bbbb": 1}[uuid]

    def nvmlDeviceGetClockInfo(self, handle: int, clock: int) -> int:
        return {(1, 1): 1755, (1, 2): 1593}[handle, clock]

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return {(1, 0): 71}[handle, sensor]

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return {1: 312_500}[handle]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        return {1: self.reasons}[handle]

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54.15"

    def nvmlDeviceGetMaxClockInfo(self, handle: int, clock: int) -> int:
        return {(1, 1): 1980, (1, 2): 2619}[handle, clock]

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        return {1: 350_000}[handle]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        return {1: [SimpleNamespace(pid=11), SimpleNamespace(pid=12)]}[handle]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int) -> list[Any]:
        return {1: [SimpleNamespace(pid=12), SimpleNamespace(pid=13)]}[handle]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="bbbb")
    )
    return fake


def test_the_state_is_that_of_the_device_torch_uses(nvml: FakeNvml) -> None:
    assert NoiseMeter(SECOND_GPU).read_gpu_state() == GpuState(
        gpu_clock_mhz=1755,
        gpu_temperature_celsius=71,
        gpu_power_watts=312.5,
        gpu_throttle="sw power cap, hw thermal slowdown",
    )


def test_an_unthrottled_gpu_reads_as_empty_text_and_not_as_unknown(nvml: FakeNvml) -> None:
    nvml.reasons = 0
    assert NoiseMeter(SECOND_GPU).read_gpu_state().gpu_throttle == ""


def test_what_describes_a_gpu(nvml: FakeNvml) -> None:
    gpu = devices.Gpu(SECOND_GPU)
    assert gpu.describe() == {
        "gpu_driver": "550.54.15",
        "gpu_max_clock_mhz": 1980,
        "gpu_max_memory_clock_mhz": 2619,
        "gpu_power_limit_watts": 350.0,
    }
    assert gpu.list_processes() == {11, 12, 13}


def test_a_cpu_never_touches_nvml(nvml: FakeNvml) -> None:
    assert NoiseMeter(CPU).read_gpu_state() == GpuState()
    assert nvml.asked == []


def fail(*arguments: Any) -> Any:
    raise RuntimeError("NVML: not supported")


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetHandleByUUID"])
def test_a_broken_nvml_tells_nothing_and_raises_nothing(nvml: FakeNvml, broken: str) -> None:
    setattr(nvml, broken, fail)
    assert NoiseMeter(SECOND_GPU).read_gpu_state() == GpuState()
    assert devices.Gpu(SECOND_GPU).list_processes() is None
    assert set(devices.Gpu(SECOND_GPU).describe().values()) == {None}


def test_an_nvml_that_breaks_later_tells_nothing(nvml: FakeNvml) -> None:
    meter = NoiseMeter(SECOND_GPU)
    for name in [name for name in dir(nvml) if name.startswith("nvml")]:
        setattr(nvml, name, fail)
    assert meter.read_gpu_state() == GpuState()


def test_no_package_is_no_error(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert NoiseMeter(SECOND_GPU).read_gpu_state() == GpuState()


def test_what_one_function_cannot_tell_leaves_the_others(nvml: FakeNvml) -> None:
    nvml.nvmlDeviceGetPowerUsage = fail  # type: ignore[method-assign]
    state = NoiseMeter(SECOND_GPU).read_gpu_state()
    assert state.gpu_power_watts is None
    assert state.gpu_clock_mhz == 1755


def test_the_real_package_has_what_the_fake_stands_for() -> None:
    real = pytest.importorskip("pynvml")
    assert all(hasattr(real, name) for name in dir(FakeNvml) if name.startswith("nvml"))
    assert (real.NVML_CLOCK_SM, real.NVML_CLOCK_MEM) == (
        devices.NVML_CLOCK_SM,
        devices.NVML_CLOCK_MEM,
    )
    assert real.NVML_TEMPERATURE_GPU == devices.NVML_TEMPERATURE_GPU
    assert real.nvmlClocksThrottleReasonGpuIdle == devices.GPU_IDLE
    for bit, name in devices.THROTTLE_REASONS.items():
        constant = "".join(word.capitalize() for word in name.split())
        assert getattr(real, f"nvmlClocksThrottleReason{constant}") == bit


@pytest.mark.parametrize(
    ("reasons", "text"),
    [
        (0x0, ""),
        (0x1, ""),
        (0x1 | 0x4, "sw power cap"),
        (0x8 | 0x20, "hw slowdown, sw thermal slowdown"),
        (0x200 | 0x4, "sw power cap, reason 0x200"),
    ],
)
def test_throttle_reasons_in_words(reasons: int, text: str) -> None:
    assert name_throttle_reasons(reasons) == text


# --- the clock


def ticking(step: float, repeats: int = 1) -> Any:
    """A clock that moves by `step` at every `repeats`-th reading."""
    count = iter(range(10**9))
    return lambda: 1000.0 + (next(count) // repeats) * step


def test_the_clock_of_this_machine_and_fine_fake_ones_pass() -> None:
    check_clock()
    check_clock(ticking(1e-7), STEADY)
    check_clock(ticking(1e-6, repeats=20), STEADY)


@pytest.mark.parametrize(
    ("clock", "info", "fault"),
    [
        (time.perf_counter, SimpleNamespace(monotonic=False, adjustable=False), "can be set"),
        (time.perf_counter, SimpleNamespace(monotonic=True, adjustable=True), "can be set"),
        (ticking(1 / 64, repeats=3000), STEADY, "steps of 1.56e+04 us; expected 10 us or less"),
        (ticking(0.0), STEADY, "stood still over 10000 readings"),
        (ticking(-1e-7), STEADY, "ran backwards by 1e-07 s"),
    ],
)
def test_a_clock_that_cannot_time_is_refused_in_one_line(clock: Any, info: Any, fault: str) -> None:
    with pytest.raises(UserError) as refused:
        check_clock(clock, info)
    assert fault in str(refused.value)
    assert str(refused.value).startswith("clock: time.perf_counter ")
    assert "\n" not in str(refused.value)


def test_a_single_reading_that_runs_backwards_is_seen() -> None:
    readings = [index * 1e-7 for index in range(10_000)]
    readings[7_777] -= 3e-7
    with pytest.raises(UserError, match="ran backwards"):
        check_clock(iter(readings).__next__, STEADY)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("usage_usec 5\nnr_throttled 3\nthrottled_usec 2500000\n", 2.5),
        ("nr_periods 9\nnr_throttled 3\nthrottled_time 1500000000\n", 1.5),
        ("usage_usec 5\n", math.nan),
        (None, math.nan),
    ],
)
def test_throttling_by_a_quota_is_read_from_either_version(
    tmp_path: Path, text: str | None, seconds: float
) -> None:
    if text is not None:
        (tmp_path / "cpu.stat").write_text(text)
    assert read_throttled_seconds(tmp_path / "cpu.stat") == pytest.approx(seconds, nan_ok=True)
