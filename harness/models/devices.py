"""What a run computes on: the device's facts, and what NVML tells of a GPU."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.errors import UserError
from harness.records.environment import describe_host, read_git_state

# Constants of nvml.h.
NVML_TEMPERATURE_GPU = 0
NVML_CLOCK_SM = 1
NVML_CLOCK_MEM = 2
GPU_IDLE = 0x1
THROTTLE_REASONS = {
    0x2: "applications clocks setting",
    0x4: "sw power cap",
    0x8: "hw slowdown",
    0x10: "sync boost",
    0x20: "sw thermal slowdown",
    0x40: "hw thermal slowdown",
    0x80: "hw power brake slowdown",
    0x100: "display clock setting",
}
"""Bits of `nvmlClocksEventReasons` that hold a clock down."""


@dataclass(frozen=True)
class GpuState:
    """The GPU at one moment; a field is None where there is no NVIDIA GPU or it does not tell."""

    gpu_clock_mhz: int | None = None
    """Of the streaming multiprocessors."""
    gpu_temperature_celsius: int | None = None
    gpu_power_watts: float | None = None
    """Of most GPUs since Ampere an average over the last second."""
    gpu_throttle: str | None = None
    """What holds the clock down, as "sw power cap, hw slowdown"; "" for nothing or idling."""


class Gpu:
    """What NVML tells of the GPU behind a torch device; nothing raises, the unknown is None.

    Of a CPU, without NVML's package (`nvidia-ml-py`) or with a broken driver all is unknown.
    """

    def __init__(self, device: torch.device) -> None:
        self._nvml: Any = None
        self._handle: Any = None
        if device.type != "cuda":
            return
        with contextlib.suppress(Exception):
            import pynvml

            pynvml.nvmlInit()
            # By its UUID: NVML counts all GPUs, torch those of CUDA_VISIBLE_DEVICES.
            uuid = torch.cuda.get_device_properties(device).uuid
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            self._nvml = pynvml

    def read_state(self) -> GpuState:
        power_milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        # The older name, which every driver has; the newer one is missing before release 535.
        reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        return GpuState(
            gpu_clock_mhz=self._ask("nvmlDeviceGetClockInfo", NVML_CLOCK_SM),
            gpu_temperature_celsius=self._ask("nvmlDeviceGetTemperature", NVML_TEMPERATURE_GPU),
            gpu_power_watts=None if power_milliwatts is None else power_milliwatts / 1000,
            gpu_throttle=None if reasons is None else name_throttle_reasons(reasons),
        )

    def describe(self) -> dict[str, Any]:
        """Return what stays as it is during a study; JSON-ready."""
        limit_milliwatts = self._ask("nvmlDeviceGetEnforcedPowerLimit")
        return {
            "gpu_driver": self._call("nvmlSystemGetDriverVersion"),
            "gpu_max_clock_mhz": self._ask("nvmlDeviceGetMaxClockInfo", NVML_CLOCK_SM),
            "gpu_max_memory_clock_mhz": self._ask("nvmlDeviceGetMaxClockInfo", NVML_CLOCK_MEM),
            "gpu_power_limit_watts": None if limit_milliwatts is None else limit_milliwatts / 1000,
        }

    def list_processes(self) -> set[int] | None:
        """Ids of the processes that use the GPU, as the host numbers them."""
        compute = self._ask("nvmlDeviceGetComputeRunningProcesses")
        graphics = self._ask("nvmlDeviceGetGraphicsRunningProcesses")
        if compute is None:
            return None
        return {process.pid for process in [*compute, *(graphics or [])]}

    def _ask(self, function: str, *arguments: int) -> Any:
        """Return what an NVML function says of this GPU, None where it cannot tell."""
        return self._call(function, self._handle, *arguments)

    def _call(self, function: str, *arguments: Any) -> Any:
        # Drivers, virtual GPUs and versions of the package each lack other functions.
        with contextlib.suppress(Exception):
            return getattr(self._nvml, function)(*arguments)
        return None


def name_throttle_reasons(reasons: int) -> str:
    """Return NVML's bit mask in words: "sw power cap, hw slowdown"; idling is none."""
    names = [name for bit, name in THROTTLE_REASONS.items() if reasons & bit]
    unknown = reasons & ~(GPU_IDLE | sum(THROTTLE_REASONS))
    return ", ".join(names + ([f"reason {unknown:#x}"] if unknown else []))


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return what a result depends on besides its configuration, JSON-ready: host, device, git.

    What the system does not tell is None; facts about a GPU are there only where `device` is one.
    """
    facts = describe_host() | {
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch_threads": torch.get_num_threads(),
        "torch_interop_threads": torch.get_num_interop_threads(),
    }
    if device.type == "cuda":
        facts |= _describe_gpu(device)
    return facts | read_git_state()


def _describe_gpu(device: torch.device) -> dict[str, Any]:
    gpu = Gpu(device)
    properties = torch.cuda.get_device_properties(device)
    processes = gpu.list_processes()
    # Not looked up by its id: in a container that is another than the host's, which NVML lists.
    is_listed = torch.cuda.memory_reserved(device) > 0
    return gpu.describe() | {
        "gpu_memory_bytes": properties.total_memory,
        "gpu_compute_capability": f"{properties.major}.{properties.minor}",
        "other_gpu_processes": None
        if processes is None
        else max(0, len(processes) - int(is_listed)),
    }


def resolve_device(name: str) -> torch.device:
    """Turn `auto` into the GPU where there is one; an absent device raises UserError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"model.device is {name!r}: not usable here ({str(error).splitlines()[0]}); use auto, "
            "cpu or a device that torch lists"
        ) from error
    return device


def see_one_gpu(number: int) -> None:
    """Let this process see one of the GPUs that it was shown, as its only one.

    To be called before CUDA is used, which reads the variable once.
    """
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = shown.split(",") if shown else []
    os.environ["CUDA_VISIBLE_DEVICES"] = names[number] if names else str(number)


def resolve_dtype(name: str, device: str) -> torch.dtype:
    """Turn `auto` into bf16 where the hardware multiplies in it, else fp16 (GPU) or fp32 (CPU).

    A T4 or V100 emulates bf16, and multiplies in fp16 eight times as fast as in fp32.
    """
    if name != "auto":
        return {
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
            "float32": torch.float32,
        }[name]
    if resolve_device(device).type == "cuda":
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if is_native else torch.float16
    return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32


def cpu_multiplies_bfloat16() -> bool:
    """Without these instructions bf16 is emulated, and slower than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))
