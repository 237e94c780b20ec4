"""The size that a study was given: which of an experiment's sizes fitted the machine, and why."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.progress import announce
from harness.records.files import write_json

FILE = "size.json"

Sizes = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Size -> `train_examples` and `test_examples` -> task -> number; smallest first."""


@dataclass(frozen=True)
class SizeChoice:
    size: str
    sizes: Sizes
    seconds: Mapping[str, float]
    """Size -> estimated wall time of the whole sweep."""
    limit_seconds: float
    """What the sweep was to end within."""
    speed: str
    """What the estimates are based on, in words."""

    @property
    def next_size(self) -> str | None:
        """The next larger size; None for the largest."""
        names = list(self.sizes)
        place = names.index(self.size) + 1
        return names[place] if place < len(names) else None


def write_size(study: Path, choice: SizeChoice) -> None:
    """Keep the choice in the study's folder, atomically."""
    write_json(study / FILE, dataclasses.asdict(choice))


def read_size(study: Path, problems: list[str] | None = None) -> SizeChoice | None:
    """Read the size of a study; None where none was chosen, or where the file is damaged.

    Of a damaged file `problems` gets a line; where there is no such list, it is announced.
    """
    path = study / FILE
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        line = (
            f"{path}: not the size of a study ({type(error).__name__}: {error}); the report leaves "
            "the size out, and the next sweep chooses it again"
        )
    if problems is None:
        announce(line)
    else:
        problems.append(line)
    return None


def _parse(values: dict[str, Any]) -> SizeChoice:
    choice = SizeChoice(**values)
    numbers = [choice.limit_seconds, *(choice.seconds[name] for name in choice.sizes)]
    for size in choice.sizes.values():
        for part in ("train_examples", "test_examples"):
            numbers += size[part].values()
    if choice.size not in choice.sizes:
        raise ValueError(f"size is {choice.size!r}")
    if not all(isinstance(each, (int, float)) for each in numbers):
        raise ValueError("a number is none")
    return choice
