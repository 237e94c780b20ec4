"""What local data holds, in a few characters: an edited file is other data, and so another run."""

import hashlib
from pathlib import Path

import harness.config.task_package  # noqa: F401  (before tasks)
from tasks.files import SUFFIXES, digest_file

DIGITS = 12


def digest_data(*candidates: str | None) -> str | None:
    """12 hex digits over the data files of the first candidate that is a file or folder here.

    None where none is: hub data is told apart by its revision, embedded data by its seed.
    """
    for candidate in candidates:
        place = Path(candidate).expanduser() if candidate else None
        if place is not None and place.exists():
            return _digest_place(place)
    return None


def _digest_place(place: Path) -> str:
    inside = (file for file in place.rglob("*") if file.suffix.lower() in SUFFIXES)
    files = [place] if place.is_file() else sorted(inside)
    parts = [f"{file.name} {digest_file(file)}" for file in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:DIGITS]
