"""`task.test`: test rows of a separate place, in place of those of the task's own source.

The place is a file, a folder with a test file, or a hub id; or the name of a test set that is
published beside a data set, whose file is looked for in the folder of `task.path`.
"""

from dataclasses import replace
from pathlib import Path

from tasks.base import DataError, HeldOut, SourceError, TaskSpec
from tasks.files import FORMATS, find_format
from tasks.hub import HUB_ID, read_hub
from tasks.sources import Source, SourceRows, read_local, read_row
from tasks.splits import normalise_content


def find_test_file(test: str, path: str | None) -> Path | None:
    """The file or folder that `task.test` names; None where there is none here.

    A name is that of a data file beside `task.path`, or in it; case makes no difference, and
    `_test` may follow: `medqa` is `medqa.jsonl` or `medqa_test.jsonl`.
    """
    beside = Path(path).expanduser() if path else None
    folder = beside.parent if beside is not None and beside.is_file() else beside
    if folder is not None and folder.is_dir() and Path(test).name == test:
        names = (test.casefold(), f"{test.casefold()}_test")
        for file in sorted(folder.iterdir()):
            if find_format(file) and file.name.casefold().partition(".")[0] in names:
                return file
    place = Path(test).expanduser()
    return place if place.exists() else None


def read_test(task: TaskSpec, source: Source) -> SourceRows:
    """All rows of `source.test`, to be tested on.

    Raises DataError where they cannot be found or read; the message says where a published set can
    be downloaded.
    """
    assert source.test is not None
    if (file := find_test_file(source.test, source.path)) is not None:
        read = _read(task, source, file)
    elif (file := _find_installed(task, source.test)) is not None:
        read = _read(task, source, file)
        # Where packages are installed is no part of what was read.
        read = replace(read, dataset=read.dataset.replace(str(file), source.test))
    elif source.test in task.published_tests:
        address = task.published_tests[source.test].address
        raise DataError(
            f"task.test is {source.test}, but the folder of task.path has no {source.test}.jsonl; "
            f"download it from {address}, and put it there or set task.test=<file>"
        )
    elif HUB_ID.fullmatch(source.test) and not find_format(Path(source.test)):
        read = read_hub(task, "test", Source("hub", dataset=source.test))
    else:
        known = ", ".join(task.published_tests)
        raise DataError(
            f"task.test is {source.test}: no such file or folder; expected {FORMATS}, or a data "
            "set id on the hub such as org/name" + (f", or one of {known}" if known else "")
        )
    # A set without splits is meant as a whole.
    return replace(read, is_whole_set=False)


def _read(task: TaskSpec, source: Source, file: Path) -> SourceRows:
    return read_local(task, "test", replace(source, kind="local", path=str(file)))


def _find_installed(task: TaskSpec, name: str) -> Path | None:
    published = task.published_tests.get(name)
    return published.find_installed() if published and published.find_installed else None


def list_test_keys(task: TaskSpec, source: Source) -> HeldOut:
    """The split keys of `source.test`: training rows that have one of them are left out."""
    read = read_test(task, source)
    keys = set()
    for index in range(len(read.rows)):
        try:
            keys.add(normalise_content(task.split_key(read_row(read, index))))
        except SourceError:
            raise
        except DataError:  # reported where the row is to be tested on
            continue
    return HeldOut(
        frozenset(keys),
        f"task.test ({read.dataset}) has rows of the same split key, such as the question",
    )
