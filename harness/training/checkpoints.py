"""The state of a pack's training on disk, every few minutes: what was cut off goes on from there.

A checkpoint holds what the steps to come depend on: trained weights, AdamW's moments, schedules,
the random state. On the same machine they are then what they would have been, bit for bit.
"""

import contextlib
import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from harness.errors import UserError
from harness.records.files import write_atomically, write_json

SECONDS = 240.0
"""Between two checkpoints, so much of a run may be lost."""

FACTS = "pack.json"

VERSION = 1
"""Of what a state holds; another one is not read."""


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
        self._facts = {**facts, "version": VERSION}
        text = json.dumps(self._facts, sort_keys=True)
        self._folder = folder / hashlib.sha256(text.encode()).hexdigest()[:12]
        self._seconds = seconds
        self._saved = time.monotonic()
        self.on_resume = on_resume
        """Called with the steps that need not be taken again."""

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state that was kept; None where there is none, or it is not as it was written."""
        try:
            written = json.loads((self._folder / FACTS).read_text(encoding="utf-8"))
            name = str(written.pop("state"))
            content = (self._folder / Path(name).name).read_bytes()
            if written != self._facts or name != _name_state(content):
                return None
            state: dict[str, Any] = torch.load(
                io.BytesIO(content), map_location=device, weights_only=True
            )
            return state
        except (OSError, ValueError, KeyError, AttributeError):
            return None

    def save_if_due(self, make_state: Callable[[], dict[str, Any]]) -> None:
        """Keep the state, if it is time; a disk that is full does not stop training."""
        if time.monotonic() - self._saved < self._seconds:
            return
        buffer = io.BytesIO()
        torch.save(make_state(), buffer)
        content = buffer.getvalue()
        name = _name_state(content)
        with contextlib.suppress(UserError, OSError):
            write_atomically(self._folder / name, lambda path: path.write_bytes(content))
            # Only now does the older state give way.
            write_json(self._folder / FACTS, self._facts | {"state": name})
            for older in self._folder.glob("*.pt"):
                if older.name != name:
                    older.unlink()
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Once what was trained is saved."""
        _remove(self._folder)


def _name_state(content: bytes) -> str:
    """A state is named by its content, so that what is torn or changed is not taken for one."""
    return f"{hashlib.sha256(content).hexdigest()[:32]}.pt"


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # others are in it, or it is not there
        folder.parent.rmdir()


def list_checkpoints(folder: Path) -> list[dict[str, Any]]:
    """The facts of the packs that have a checkpoint in a folder, as far as they make sense."""
    return [facts for file in sorted(folder.glob(f"*/{FACTS}")) if (facts := _read_facts(file))]


def remove_spent(folder: Path, is_trained: Callable[[str], bool]) -> None:
    """Remove the checkpoints whose runs are all trained by now, and those that make no sense."""
    for place in sorted(folder.glob("*/")):
        facts = _read_facts(place / FACTS)
        if facts is None or all(map(is_trained, facts["run_ids"])):
            _remove(place)


def _read_facts(file: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        names, tokens = facts["run_ids"], facts["max_tokens_per_pass"]
        are_names = names and all(isinstance(name, str) for name in names)
        is_sound = (
            are_names
            and len(set(names)) == len(names)
            and type(tokens) is int
            and tokens >= 1
            and type(facts["gradient_checkpointing"]) is bool
            and facts["version"] == VERSION
        )
        return facts if is_sound else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
