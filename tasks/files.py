"""Data files: which a folder has for each split, their rows, and the digest of their content.

Formats: JSON (an array, or an object a line), CSV, TSV, Parquet, each text also gzipped, and
folders that `datasets` wrote with `save_to_disk`. Shards (`train-00000-of-00002.parquet`) are one.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache, partial
from pathlib import Path

from tasks.base import DataError
from tasks.readers.columnar import SAVED_PART, SAVED_SET, read_parquet, read_saved
from tasks.readers.delimited import read_delimited
from tasks.readers.file_rows import COMPRESSED, USUAL_ENCODING, FileRows, read_bytes
from tasks.readers.json_rows import read_json
from tasks.splits import SPLIT_NAMES

TEXT_READERS: dict[str, Callable[[Path, str], FileRows]] = {
    ".jsonl": partial(read_json, is_document=False),
    ".json": partial(read_json, is_document=True),
    ".csv": read_delimited,
    ".tsv": partial(read_delimited, delimiter="\t"),
}
SUFFIXES = (*TEXT_READERS, ".parquet")
FORMATS = "JSONL, JSON, CSV, TSV (also .gz) or Parquet"
IMAGE_COLUMN = "image"

SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
SPLITS = frozenset(name for names in SPLIT_NAMES.values() for name in names)
HUB_FOLDER = "data"
"""Where data sets of the hub keep their files."""
NO_DATA = ("dataset_info", "dataset_dict", "state", "dataset_infos")
"""JSON files that describe a data set."""


def find_format(path: Path) -> str | None:
    """The suffix that says how a file is read, by its name; None for what is no data file."""
    name = path.name.lower()
    is_packed = name.endswith(COMPRESSED)
    suffix = Path(name.removesuffix(COMPRESSED)).suffix
    return suffix if suffix in (TEXT_READERS if is_packed else SUFFIXES) else None


def is_saved(folder: Path) -> bool:
    """Whether `datasets` wrote a folder with `save_to_disk`, a set of splits or one."""
    return any((folder / name).is_file() for name in (SAVED_PART, SAVED_SET))


def find_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Part -> its data files, the shards of one in their order, of all parts in a folder.

    A part is a file's name without its suffixes, or the name of a folder that `save_to_disk` wrote.
    Raises DataError where a part has several files that are no shards, or lacks a shard.
    """
    if (folder / SAVED_PART).is_file():
        return {folder.name: (folder,)}
    parts: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (path / SAVED_PART).is_file():
            parts.setdefault(path.name, []).append(path)
        elif path.is_file() and find_format(path) and _name_part(path) not in NO_DATA:
            parts.setdefault(_name_part(path), []).append(path)
    if not parts and (folder / HUB_FOLDER).is_dir():
        return find_files(folder / HUB_FOLDER)
    for name, files in parts.items():
        _check_shards(folder, name, files)
    return {name: tuple(files) for name, files in parts.items()}


def _name_part(path: Path) -> str:
    stem = _drop_suffixes(path)
    shard = SHARD.fullmatch(stem)
    name = shard["name"] if shard else stem
    return name.lower() if name.lower() in SPLITS else name


def _drop_suffixes(path: Path) -> str:
    name = path.name
    if name.lower().endswith(COMPRESSED):
        name = name[: -len(COMPRESSED)]
    return Path(name).stem


def _check_shards(folder: Path, name: str, files: list[Path]) -> None:
    shards = [SHARD.fullmatch(_drop_suffixes(path)) for path in files]
    found = [(int(shard["number"]), int(shard["count"])) for shard in shards if shard]
    if len(files) > 1 and len(found) < len(files):
        raise DataError(
            f"{folder}: has both {files[0].name} and {files[1].name}; keep only one of them"
        )
    if not found:
        return
    counts = {count for _, count in found}
    missing = sorted({*range(max(counts))} - {number for number, _ in found})
    if len(counts) > 1 or missing or len(found) != max(counts):
        lacks = f"lacks shard {missing[0]}" if missing else "has shards of several sets"
        raise DataError(
            f"{folder}: {name} {lacks} of {max(counts)} ({len(files)} files); fetch the data again"
        )


def refuse_shard(path: Path) -> None:
    """Raise DataError for one file of several that are one set."""
    shard = SHARD.fullmatch(_drop_suffixes(path))
    if shard and int(shard["count"]) > 1:
        raise DataError(
            f"{path}: is one of {int(shard['count'])} shards; set the path to their folder"
        )


def read_file(
    path: Path, wanted: Collection[str] | None = None, encoding: str | None = None
) -> FileRows:
    """Read all rows; of Parquet and Arrow only the wanted columns, for others may be images.

    Raises DataError where the file is of no known format, cannot be read, or has no row.
    """
    suffix = find_format(path)
    try:
        if path.is_dir() and is_saved(path):
            read = read_saved(path, wanted)
        elif suffix is None:
            raise DataError(
                f"{path}: not a {', '.join(SUFFIXES)} file; save it in one of these formats"
            )
        elif suffix in TEXT_READERS:
            read = TEXT_READERS[suffix](path, encoding or USUAL_ENCODING)
        else:
            read = read_parquet(path, wanted)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check it") from error
    if not read.rows:
        raise DataError(f"{path}: is empty, expected at least one row; pick another file")
    return read


def list_data_files(folder: Path) -> list[Path]:
    """Every file that rows may be read from: those of all parts, and nothing else in the folder."""
    found: list[Path] = []
    for path in (path for files in find_files(folder).values() for path in files):
        found += sorted(path.glob("*")) if path.is_dir() else [path]
    return found


def list_images(path: Path) -> frozenset[Path]:
    """The image files that the rows of a data file point to, beside it or elsewhere."""
    if find_format(path) is None:
        return frozenset()
    state = path.stat()
    return _list_images(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)
def _list_images(path: Path, modified: int, size: int) -> frozenset[Path]:
    try:
        is_text = find_format(path) in TEXT_READERS
        if is_text and IMAGE_COLUMN.encode() not in read_bytes(path):
            return frozenset()
        rows = read_file(path, {IMAGE_COLUMN}).rows.values()
    except DataError:  # reading the rows will say so
        return frozenset()
    names = {row.get(IMAGE_COLUMN) for row in rows if not isinstance(row, DataError)}
    files = (path.parent / name for name in names if isinstance(name, str) and name)
    return frozenset(file for file in files if file.is_file())


def digest_files(paths: Sequence[Path]) -> str:
    """12 hex digits of the content and the names of files; of one file, of its content alone."""
    if len(paths) == 1:
        return digest_file(paths[0])
    parts = [f"{path.name} {digest_file(path)}" for path in paths]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def digest_file(path: Path) -> str:
    """12 hex digits of the content of a file, or of all data files of a folder."""
    try:
        if path.is_dir():
            return digest_files(list_data_files(path))
        state = path.stat()
        return _digest(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


@lru_cache(maxsize=65536)
def _digest(path: Path, modified: int, size: int) -> str:
    """A sweep asks for every job: a file that did not change meanwhile is read once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
