"""Memory: how much a pass should take, the peak of a stretch of work, and telling a lack of it."""

import contextlib
import ctypes
import gc
import threading
from types import TracebackType

import psutil
import torch

from harness.records import limits

PASS_TOKENS = {"cpu": 3072, "cuda": 16384}
"""Tokens of a pass beyond which its products get no faster, while its activations outgrow the
caches and, on a CPU, every allocation is new memory to the system. On two cores, SmolLM2-135M in
bf16, passes of 900 to 3,600 tokens took the same CPU time a token."""

TRAINING_TOKENS = PASS_TOKENS | {"cpu": 1024}
"""The same for a training pass. What it keeps for the backward pass is most of a worker's memory,
and passes of 900 tokens or more take the same time a token."""


def find_pass_tokens(device: torch.device) -> int:
    """Tokens that one pass through the model is best given."""
    return PASS_TOKENS.get(device.type, PASS_TOKENS["cpu"])


def find_training_tokens(device: torch.device) -> int:
    """Tokens that one training pass is best given, of all variants that share it."""
    return TRAINING_TOKENS.get(device.type, TRAINING_TOKENS["cpu"])


def read_free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return limits.read_free_memory()


class PeakMemory:
    """Context manager: `peak_bytes` afterwards holds the highest memory seen inside.

    On a GPU that is the allocator's own peak; on a CPU the process's resident memory, sampled
    every 20 ms, everything else that the process holds included.
    """

    def __init__(self, device: torch.device) -> None:
        self.peak_bytes = 0
        self._device = device
        self._stop = threading.Event()
        self._process = psutil.Process()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "PeakMemory":
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._device.type == "cuda":
            self.peak_bytes = torch.cuda.max_memory_allocated(self._device)
        else:
            self._stop.set()
            self._sampler.join()

    def _sample(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)
            if self._stop.wait(0.02):
                return


def read_memory_in_use(device: torch.device) -> int:
    """Bytes in use: the allocator's on a GPU, else the process's resident memory.

    Freed memory is given back first, or nothing that follows would be seen to need any.
    """
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    give_back_memory()
    return int(psutil.Process().memory_info().rss)


def release(device: torch.device) -> None:
    """Give memory that nothing refers to any more back to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def give_back_memory() -> None:
    """Return to the system what the C library keeps of freed memory."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the CPU's allocator, had no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    signs = ("DefaultCPUAllocator", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
