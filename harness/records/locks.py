"""One race at a time in a study's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import UserError

FILE = "race.lock"


@contextmanager
def hold_study(study: Path) -> Iterator[None]:
    """Keep other races out of a study, also those of other processes; UserError where one runs."""
    study.mkdir(parents=True, exist_ok=True)
    lock = FileLock(study / FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"{study} is being raced by another process; wait until it has ended, or name another "
            "study=..."
        ) from error
    try:
        yield
    finally:
        lock.release()
        (study / FILE).unlink(missing_ok=True)
        # A race that was refused leaves no empty folder.
        if not any(study.iterdir()):
            study.rmdir()
