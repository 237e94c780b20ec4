"""What a result depends on besides its configuration: versions, hardware, git state, noise."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil
import torch

PACKAGES = (
    *("torch", "transformers", "peft", "datasets", "numpy", "target-module-harness"),
    # What scores are computed by, and what the embedded invoices are written by.
    *("rouge-score", "anls-star", "babel"),
)


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return JSON-ready facts; names of users and machines are left out."""
    facts: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    facts |= {package: _version(package) for package in PACKAGES}
    facts |= {
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cpu": _cpu_name(),
        "cpu_count": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": read_load(),
        "tesseract": _tesseract_version(),
        "cpu_steal_seconds": float(getattr(psutil.cpu_times(), "steal", 0.0)),
    }
    return facts | _git_state()


def read_load() -> float:
    """One-minute load average, or NaN where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


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


def _git_state() -> dict[str, Any]:
    """Commit of the harness's clone; None from a wheel."""
    folder = Path(__file__).resolve().parent.parent
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
