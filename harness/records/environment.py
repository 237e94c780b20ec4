"""What a result depends on besides its configuration and device: versions, host, git state."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from harness.records import limits

PACKAGES = (
    *("torch", "transformers", "peft", "datasets", "numpy", "target-module-harness"),
    # What scores are computed by, and what the embedded invoices are written by.
    *("rouge-score", "anls-star", "babel"),
)

CPUS = Path("/sys/devices/system/cpu")


def describe_host() -> dict[str, Any]:
    """Return JSON-ready facts; names of users and machines are left out.

    What the system does not tell is None.
    """
    cores = _usable_cores()
    facts: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    facts |= {package: _version(package) for package in PACKAGES}
    return facts | {
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count() if cores is None else len(cores),
        "affinity": None if cores is None else format_cores(cores),
        "cpu_governor": read_governor(cores or [0]),
        "cgroup_cpu_quota": limits.read_cpu_quota(),
        "threading_settings": read_threading_settings(os.environ),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": read_load(),
        "tesseract": _tesseract_version(),
        "cpu_steal_seconds": float(getattr(psutil.cpu_times(), "steal", 0.0)),
    }


def read_threading_settings(variables: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that rule how the threads of a CPU operation run and wait."""
    prefixes = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_")
    return {name: variables[name] for name in sorted(variables) if name.startswith(prefixes)}


def read_load() -> float:
    """One-minute load average, or NaN where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def format_cores(cores: Iterable[int]) -> str:
    """Return numbers of cores as text in the kernel's way: "0-3,8"."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def read_governor(cores: Iterable[int], cpus: Path = CPUS) -> str | None:
    """Frequency governor of the cores, several where they differ; None where none is shown."""
    files = [cpus / f"cpu{core}" / "cpufreq" / "scaling_governor" for core in cores]
    return ", ".join(sorted({text for file in files if (text := _read_text(file))})) or None


def _read_text(file: Path) -> str:
    """A small file's text; empty where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _usable_cores() -> list[int] | None:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tesseract_version() -> str | None:
    """Version of the OCR program that reads scans; None where it is not installed."""
    program = shutil.which("tesseract")
    if program is None:
        return None
    try:
        return _run(program, "--version").splitlines()[0].removeprefix("tesseract ")
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def read_git_state() -> dict[str, Any]:
    """Commit of the harness's clone; None from a wheel."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return {"git_commit": None, "git_dirty": None}
    try:
        commit = _run("git", "-C", str(folder), "rev-parse", "HEAD")
        status = _run("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {"git_commit": None, "git_dirty": None}
    return {"git_commit": commit, "git_dirty": bool(status)}


def _run(*command: str) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
