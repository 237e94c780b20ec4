"""What local data and models hold, in a few characters: edited files are another run."""

import contextlib
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import repo_folder_name

import harness.config.task_package  # noqa: F401  (before tasks)
from harness.config.schema import TaskConfig
from harness.errors import UserError
from harness.formatting import format_bytes
from harness.progress import announce
from harness.records.files import cache_folder, write_text
from tasks.custom.formats import is_dataset_info, read_dataset_info
from tasks.custom.own_metrics import digest_metric as digest_metric
from tasks.files import digest_file, list_data_files, list_images
from tasks.test_rows import find_test_file

DIGITS = 12
COMMIT = re.compile(r"[0-9a-f]{40}")

MODEL_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".tiktoken", ".txt")
"""Of the files that make a model and its tokenizer."""

OF_TRAINING = ("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json")
"""JSON files that training leaves beside a model and nothing reads."""

LARGE_BYTES = 2**26
"""Digests of files of at least this size are kept from one command to the next."""

SLOW_BYTES = 2**30
"""Reading a file of this size takes seconds, and is announced."""


def digest_data(task: TaskConfig) -> str | None:
    """12 hex digits over all local files that a run's rows are read from, images among them.

    None where none is: hub data is told apart by its commit, embedded data by its seed.
    """
    places = [_find_place(task)]
    if task.test is not None:
        places.append(find_test_file(task.test, task.path))
    digests = [_digest_place(place, task) for place in places if place is not None]
    if len(digests) < 2:
        return digests[0] if digests else None
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:DIGITS]


def _find_place(task: TaskConfig) -> Path | None:
    """The file or folder here that the rows come from."""
    name = {"local": task.path, "hub": task.dataset}.get(task.source)
    place = Path(name).expanduser() if name else None
    return place if place is not None and place.exists() else None


def _digest_place(place: Path, task: TaskConfig) -> str:
    files = list(_list_files(place, task))
    # A folder's files by their place in it; a file alone by its name.
    folder = place if place.is_dir() else place.parent
    parts = [f"{os.path.relpath(file, folder)} {digest_file(file)}" for file in files]
    if is_dataset_info(str(place)):
        parts.append(repr(read_dataset_info(place, task.subset)[1]))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:DIGITS]


def _list_files(place: Path, task: TaskConfig) -> Iterator[Path]:
    if is_dataset_info(str(place)):
        data, _ = read_dataset_info(place, task.subset)
        if data.exists():
            yield from _list_files(data, task)
        return
    if place.is_dir() and task.source == "hub":
        # The library decides which of a folder's files it reads, by README.md among others.
        for file in sorted(place.rglob("*")):
            if file.is_file() and not any(p.startswith(".") for p in file.relative_to(place).parts):
                yield file
        return
    files = list_data_files(place) if place.is_dir() else [place]
    images = {image for file in files for image in list_images(file)}
    yield from dict.fromkeys([*files, *sorted(images)])


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
def find_commit(repository: str, revision: str | None, kind: str = "model") -> str | None:
    """The commit of a hub model or data set that a tag or a branch is at, asked for once a process.

    Without the network, or under HF_HUB_OFFLINE=1, it is that of the copy in the hub's cache. None
    where there is no such repository, which loading it explains.
    """
    try:
        if kind == "dataset":
            return HfApi().dataset_info(repository, revision=revision).sha
        # A file lies in a folder that is named by its commit.
        return Path(hf_hub_download(repository, "config.json", revision=revision)).parent.name
    except (OSError, ValueError, HfHubHTTPError):
        return _find_cached_commit(repository, revision) if kind == "dataset" else None


def _find_cached_commit(repository: str, revision: str | None) -> str | None:
    folder = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="dataset")
    with contextlib.suppress(OSError):
        return (folder / "refs" / (revision or "main")).read_text(encoding="utf-8").strip() or None
    return None


def find_pinned(study: Path, section: str, name: str, revision: str | None) -> str | None:
    """The commit of a hub model or data set for a study.

    Where none is asked for, it is the one that the study's newest run has read: a study is about
    one state of what it reads. Else it is that of the default branch today; None where nobody
    knows.
    """
    if revision is None:
        for kept, pinned in _list_pins(study):
            if kept == (section, name):
                return pinned
    return find_commit(name, revision, "dataset" if section == "task" else "model")


@functools.cache
def _list_pins(study: Path) -> tuple[tuple[tuple[str, str], str], ...]:
    """(section, hub id) -> commit, of a study's runs, the newest first."""
    found = []
    for record in sorted(study.glob("runs/*/record.json"), key=os.path.getmtime, reverse=True):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            config = json.loads(record.read_text(encoding="utf-8"))["config"]
            for section, key in (("model", "path"), ("task", "dataset")):
                values = config[section]
                commit = str(values["revision"])
                if values["source"] == "hub" and values[key] and COMMIT.fullmatch(commit):
                    found.append(((section, values[key]), commit))
    return tuple(dict(reversed(found)).items())


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
