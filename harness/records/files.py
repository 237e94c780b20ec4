"""Files of a study: written beside their place and moved there in one step.

A reader never sees half of one.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def cache_folder() -> Path:
    """Return where what can be made again is kept: $HARNESS_CACHE, else a folder in ~/.cache."""
    configured = os.environ.get("HARNESS_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "target-module-harness"


def replace_nan(value: Any) -> Any:
    """Return a value as JSON has it: NaN and infinities become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): replace_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_nan(item) for item in value]
    return value


def read_table(
    path: Path, needed: Sequence[str] = (), others: Sequence[str] | None = None
) -> "pd.DataFrame":
    """Read a Parquet file: whole, or the columns `needed` and what it has of `others`.

    Raises UserError, in one line, where it cannot be read, or lacks a column that is needed.
    """
    # Here, because every process that times would wait for them, and reads no table.
    import pandas as pd
    import pyarrow.parquet as pq

    try:
        if others is None:
            table = pd.read_parquet(path)
            require_columns(path, table, needed)
            return table
        with pq.ParquetFile(path) as file:
            there = file.schema_arrow.names
            require_columns(path, there, needed)
            wanted = dict.fromkeys((*needed, *(name for name in others if name in there)))
            return file.read(list(wanted)).to_pandas(ignore_metadata=True)
    except UserError:
        raise
    except Exception as error:  # a corrupt file raises whatever the Parquet reader meets first
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        reason = first_line if path.exists() else "missing"
        raise UserError(f"{path}: cannot be read ({reason})") from error


def is_table(path: Path) -> bool:
    """Whether a Parquet file is there and whole, by what it says of itself at its end."""
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(path)
    except Exception:  # a corrupt file raises whatever the Parquet reader meets first
        return False
    return True


def require_columns(path: Path, there: Iterable[str], needed: Sequence[str]) -> None:
    """Raise UserError, naming the file, where columns that are needed are not there."""
    names = set(there)
    absent = [name for name in needed if name not in names]
    if absent:
        raise UserError(f"{path}: column {', '.join(absent)} is missing")


def write_table(path: Path, rows: "Sequence[Mapping[str, Any]] | pd.DataFrame") -> None:
    """Write rows as a Parquet file, atomically."""
    # Here, because every process that times would wait for it, and writes no table.
    import pandas as pd

    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    write_atomically(path, lambda temporary: frame.to_parquet(temporary, index=False))


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically; NaN and infinities become null."""
    write_text(path, json.dumps(replace_nan(value), indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then move it there in one step.

    Raises UserError, and leaves what stood at `path` untouched, where the disk refuses.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or pick "
            "another results_dir, then run the same command again: finished runs are kept"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
