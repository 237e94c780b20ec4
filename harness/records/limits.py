"""What this process may use of its machine: cores and memory, which a container or a batch system
may hold below what there is.

Linux control groups (the kernel's Documentation/admin-guide/cgroup-v2.rst, and version 1 where the
system has that) and SLURM's variables (man sbatch).
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path("/")
UNLIMITED = 2**60
"""Version 1 of control groups writes about 2^63 for no limit."""


def list_cores() -> list[int]:
    """Cores that this process may use: those it is pinned to, as many as its quota of time is.

    Half a core counts as one.
    """
    pinned = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    cores = sorted(pinned(0))
    most = [len(cores), read_cpu_quota() or len(cores)]
    most += _read_slurm("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
    return cores[: max(1, int(min(most)))]


def read_free_memory() -> int:
    """Bytes of main memory that this process may still take."""
    free = [psutil.virtual_memory().available, *_read_room()]
    allowed = _find_slurm_memory()
    if allowed is not None:
        free.append(allowed - psutil.Process().memory_info().rss)
    return max(0, min(free))


def read_cpu_quota() -> float | None:
    """CPU quota of the process's control groups [cores], the tightest of all; None for none.

    Version 2 holds "<quota|max> <period>" in cpu.max, version 1 two files in the controller
    `cpu`, with -1 for no quota.
    """
    quotas = []
    for folder in _list_groups("cpu"):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (folder / "cpu.max").read_text().split()
            quotas.append(int(quota) / int(period))
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = ((folder / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
            quotas.append(int(quota) / int(period))
    return min((quota for quota in quotas if quota > 0), default=None)


def _read_room() -> Iterator[int]:
    """Bytes left, by every control group; files that the kernel can drop from memory are free."""
    names = (
        ("memory.max", "memory.current"),
        # Beyond it a group is throttled until it is no faster than its disk.
        ("memory.high", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    )
    for folder in _list_groups("memory"):
        for limit, usage in names:
            with contextlib.suppress(OSError, ValueError):
                most = int((folder / limit).read_text())
                if most < UNLIMITED:
                    used = int((folder / usage).read_text())
                    yield most - used + min(used, _count_dropped(folder))


def _count_dropped(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        lines = (folder / "memory.stat").read_text().splitlines()
        counts = dict(line.split(maxsplit=1) for line in lines)
        return int(counts.get("total_inactive_file", counts.get("inactive_file", "0")))
    return 0


def _list_groups(controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, with those that these are in.

    In a container the mounted root is its own group, whatever the path says.
    """
    mount = ROOT / "sys/fs/cgroup"
    lines = []
    with contextlib.suppress(OSError):
        lines = (ROOT / "proc/self/cgroup").read_text(errors="replace").splitlines()
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        # Of version 1, by the controller's link or by the mount's whole name.
        tops = [mount / name for name in (controller, controllers)] if controllers else [mount]
        top = next((each for each in tops if each.is_dir()), tops[0])
        folder = top / path.strip("/")
        while folder != top and top in folder.parents:
            yield folder
            folder = folder.parent
        yield top


def _find_slurm_memory() -> int | None:
    mebibytes = list(_read_slurm("SLURM_MEM_PER_NODE"))
    by_core = list(_read_slurm("SLURM_MEM_PER_CPU"))
    if not mebibytes and by_core:
        mebibytes = [by_core[0] * len(list_cores())]
    # 0 asks for all memory of a node.
    return mebibytes[0] * 2**20 if mebibytes and mebibytes[0] else None


def _read_slurm(*names: str) -> Iterator[int]:
    """The first of these variables that is there."""
    for name in names:
        with contextlib.suppress(KeyError, ValueError):
            yield int(os.environ[name])
            return
