"""What local data and models hold, in a few characters: edited files are another run."""

import contextlib
import functools
import hashlib
import json
from pathlib import Path

from huggingface_hub import hf_hub_download

import harness.config.task_package  # noqa: F401  (before tasks)
from harness.errors import UserError
from harness.formatting import format_bytes
from harness.progress import announce
from harness.records.files import cache_folder, write_text
from tasks.files import SUFFIXES, digest_file
from tasks.test_rows import find_test_file

DIGITS = 12

MODEL_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".tiktoken", ".txt")
"""Of the files that make a model and its tokenizer."""

OF_TRAINING = ("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json")
"""JSON files that training leaves beside a model and nothing reads."""

LARGE_BYTES = 2**26
"""Digests of files of at least this size are kept from one command to the next."""

SLOW_BYTES = 2**30
"""Reading a file of this size takes seconds, and is announced."""


def digest_data(*candidates: str | None) -> str | None:
    """12 hex digits over the data files of the first candidate that is a file or folder here.

    None where none is: hub data is told apart by its revision, embedded data by its seed.
    """
    for candidate in candidates:
        place = Path(candidate).expanduser() if candidate else None
        if place is not None and place.exists():
            return _digest_place(place)
    return None


def digest_test(test: str | None, path: str | None, data: str | None) -> str | None:
    """12 hex digits over `data`, what is known of the source, and the file of `task.test`.

    That is `data` itself where there is no such file here: hub data and installed rows.
    """
    file = find_test_file(test, path) if test is not None else None
    if file is None:
        return data
    return hashlib.sha256(f"{data}\n{_digest_place(file)}".encode()).hexdigest()[:DIGITS]


def _digest_place(place: Path) -> str:
    inside = (file for file in place.rglob("*") if file.suffix.lower() in SUFFIXES)
    files = [place] if place.is_file() else sorted(inside)
    parts = [f"{file.name} {digest_file(file)}" for file in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:DIGITS]


def digest_model(folder: Path, *, reads_generation: bool = False) -> str:
    """12 hex digits over what a model folder holds: weights, configuration, tokenizer, templates.

    Of its generation_config.json only the end tokens count, unless more of it is read
    (`model.generation=checkpoint`). Raises UserError where a file cannot be read.
    """
    files = [*folder.iterdir(), *folder.glob("additional_chat_templates/*")]
    parts = []
    for file in sorted(files):
        name = file.relative_to(folder).as_posix()
        if file.suffix not in MODEL_SUFFIXES or name in OF_TRAINING or not file.is_file():
            continue
        try:
            is_partly_read = name == "generation_config.json" and not reads_generation
            digest = _read_end_tokens(file) if is_partly_read else _digest_file(file)
            parts.append(f"{name} {digest}")
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: cannot be read ({error}); mend or replace it") from error
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:DIGITS]


@functools.cache
def find_commit(repository: str, revision: str | None) -> str | None:
    """The commit of a hub model that a tag or a branch is at, asked for once a process.

    Without the network, or under HF_HUB_OFFLINE=1, it is that of the copy in the hub's cache. None
    where there is no such model, which loading it explains.
    """
    try:
        # A file lies in a folder that is named by its commit.
        return Path(hf_hub_download(repository, "config.json", revision=revision)).parent.name
    except (OSError, ValueError):
        return None


def _read_end_tokens(file: Path) -> str:
    values = json.loads(file.read_text(encoding="utf-8"))
    return json.dumps(values.get("eos_token_id") if isinstance(values, dict) else None)


def _digest_file(file: Path) -> str:
    state = file.stat()
    # The time of change too: a copy may keep the time of modification of what it was made from.
    times = state.st_mtime_ns, state.st_ctime_ns
    return _digest(file.resolve(), state.st_size, state.st_ino, times)


@functools.lru_cache(maxsize=1024)
def _digest(file: Path, size: int, inode: int, times: tuple[int, int]) -> str:
    """SHA-256 of a whole file, which is read once unless it changes."""
    key = hashlib.sha256(f"{file} {size} {inode} {times}".encode()).hexdigest()
    kept = cache_folder() / "digests" / key
    if size >= LARGE_BYTES and kept.is_file():
        return kept.read_text(encoding="utf-8")
    if size >= SLOW_BYTES:
        announce(f"reading {file} once ({format_bytes(size)}), to tell its content apart")
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if size >= LARGE_BYTES:
        with contextlib.suppress(UserError):  # a cache that cannot be written is done without
            write_text(kept, found)
    return found
