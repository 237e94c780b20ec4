"""The `tasks` package is the harness's own: importing this module makes sure of it.

Run from a folder with a `tasks/` of its own, `python -m harness` would otherwise import that one.
A module that imports `tasks` imports this one first; `harness` itself does not, so that a notebook
that only reads results can have a `tasks` package of its own.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from harness.errors import UserError

NAME = "tasks"
ROOT = Path(__file__).resolve().parents[2]
"""Where `harness` and `tasks` lie side by side, in a clone and in site-packages."""


class BesideHarness:
    """A finder that looks for the top-level `tasks` beside `harness`, and for nothing else."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Called by `import` for every module that is not loaded yet."""
        return PathFinder.find_spec(NAME, [str(ROOT)]) if name == NAME else None


def install_finder() -> None:
    """Put the finder before all others; UserError where another `tasks` is already imported."""
    loaded = sys.modules.get(NAME)
    origin = getattr(loaded, "__file__", None)
    if loaded is not None and (origin is None or Path(origin).resolve().parent != ROOT / NAME):
        raise UserError(
            f"another package named {NAME} is already imported ({origin}); run the harness in a "
            "separate process, for example python -m harness"
        )
    sys.meta_path.insert(0, BesideHarness)


install_finder()
