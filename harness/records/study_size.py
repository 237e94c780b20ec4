"""The size that a study was given: which of an experiment's sizes fitted the machine, and why."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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


def read_size(study: Path) -> SizeChoice | None:
    """Return the size of a study; None where none was chosen, or the file is not whole."""
    try:
        choice = SizeChoice(**json.loads((study / FILE).read_text(encoding="utf-8")))
        return choice if choice.size in choice.sizes else None
    except (OSError, ValueError, TypeError):
        return None
