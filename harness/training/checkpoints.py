"""The state of a pack's training on disk, every few minutes: what was cut off goes on from there.

A checkpoint holds what the steps to come depend on: trained weights, AdamW's moments, schedules,
the random state. On the same machine they are then what they would have been, bit for bit.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from harness.errors import UserError
from harness.records.files import write_atomically, write_json

SECONDS = 240.0
"""Between two checkpoints, so much of a run may be lost."""

STATE, FACTS = "state.pt", "pack.json"


class Checkpoints:
    """A folder for the checkpoint of one pack, which `facts`, JSON-ready, tell from any other."""

    def __init__(
        self,
        folder: Path,
        facts: Mapping[str, Any],
        *,
        seconds: float = SECONDS,
        on_resume: Callable[[int], None] = lambda steps: None,
    ) -> None:
        text = json.dumps(facts, sort_keys=True)
        self._folder = folder / hashlib.sha256(text.encode()).hexdigest()[:12]
        self._facts = dict(facts)
        self._seconds = seconds
        self._saved = time.monotonic()
        self.on_resume = on_resume
        """Called with the steps that need not be taken again."""

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state that was kept; None where there is none that can be read."""
        try:
            state: dict[str, Any] = torch.load(
                self._folder / STATE, map_location=device, weights_only=True
            )
            return state
        # A file that is torn raises whatever the reader meets first.
        except Exception:
            return None

    def save_if_due(self, make_state: Callable[[], dict[str, Any]]) -> None:
        """Keep the state, if it is time; a disk that is full does not stop training."""
        if time.monotonic() - self._saved < self._seconds:
            return
        state = make_state()
        # PyTorch's own writer raises RuntimeError.
        with contextlib.suppress(UserError, RuntimeError):
            write_atomically(self._folder / STATE, lambda path: torch.save(state, path))
            write_json(self._folder / FACTS, self._facts)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Once what was trained is saved."""
        for name in (FACTS, STATE):
            (self._folder / name).unlink(missing_ok=True)
        for folder in (self._folder, self._folder.parent):
            with contextlib.suppress(OSError):  # others are in it, or it is not there
                folder.rmdir()


def list_checkpoints(folder: Path) -> list[dict[str, Any]]:
    """The facts of the packs that have a checkpoint in a folder."""
    found = []
    for file in sorted(folder.glob(f"*/{FACTS}")):
        with contextlib.suppress(OSError, ValueError):
            facts = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(facts, dict) and (file.parent / STATE).is_file():
                found.append(facts)
    return found
