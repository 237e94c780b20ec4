"""Row formats that training tools share, so that a file of theirs needs no template.

`read_dataset_info` takes them from LLaMA-Factory's dataset_info.json.
https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.base import DataError, Role
from tasks.custom.conversations import ChatColumns
from tasks.rows import show_names

INFO_FILE = "dataset_info.json"


@dataclass(frozen=True)
class RowFormat:
    """Where rows of a format have question and answer: by template and column, or as turns."""

    prompt: str | None = None
    answer: str | None = None
    chat: ChatColumns | None = None
    system: str | None = None
    """Column of a system turn; rows may lack it."""
    history: str | None = None
    """Column of earlier turns, in pairs; rows may lack it."""


FORMATS: Mapping[str, RowFormat] = {
    "alpaca": RowFormat(
        prompt="{{ instruction }}{% if input %}\n\n{{ input }}{% endif %}",
        answer="output",
        system="system",
        history="history",
    ),
    "sharegpt": RowFormat(chat=ChatColumns(("conversations",), system="system")),
    "messages": RowFormat(chat=ChatColumns(("messages",))),
    "prompt_completion": RowFormat(chat=ChatColumns(("prompt", "completion"))),
}
"""By the names of `task.format`."""


def is_dataset_info(path: str | None) -> bool:
    """Whether a path is that of LLaMA-Factory's list of data sets."""
    return path is not None and Path(path).name == INFO_FILE and Path(path).expanduser().is_file()


def read_dataset_info(path: Path, name: str | None) -> tuple[Path, RowFormat]:
    """Place and format of the data set `name` of a dataset_info.json; without a name, its only one.

    Raises DataError for a file that is none, a name that it lacks, data of preference pairs, and
    data that is not beside the file.
    """
    entries = _read_entries(path)
    if name is None and len(entries) == 1:
        name = next(iter(entries))
    if name is None or name not in entries:
        given = "not set" if name is None else repr(name)
        raise DataError(
            f"{path}: task.subset is {given}, expected one of its data sets: {show_names(entries)}"
        )
    entry = entries[name]
    if not isinstance(entry, Mapping):
        raise DataError(f"{path}: {name} is {entry!r}, expected an object")
    if entry.get("ranking") or "kto_tag" in (entry.get("columns") or {}):
        raise DataError(
            f"{path}: {name} has preference pairs, expected one answer a row; pick another set"
        )
    if not isinstance(entry.get("file_name"), str):
        hint = "is on the hub: set task.dataset and task.format" if "hf_hub_url" in entry else ""
        raise DataError(f"{path}: {name} {hint or 'has no file_name, expected one'}")
    _check_entry(entry, f"{path}: {name}")
    form = _read_chat(entry) if entry.get("formatting") == "sharegpt" else _read_alpaca(entry)
    return path.parent / entry["file_name"], form


def _check_entry(entry: Mapping[str, Any], place: str) -> None:
    """Raise DataError for what of an entry cannot be followed."""
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    are_names = isinstance(columns, Mapping) and isinstance(tags, Mapping)
    if not are_names or not all(isinstance(e, str) for e in (*columns.values(), *tags.values())):
        raise DataError(f"{place} has columns or tags that are no texts, expected names")
    if unread := sorted({"images", "videos", "audios", "tools"} & set(columns)):
        raise DataError(f"{place} has {', '.join(unread)}, which are not supported")
    formatting = entry.get("formatting", "alpaca")
    if formatting not in ("alpaca", "sharegpt"):
        raise DataError(f"{place} has the formatting {formatting!r}, expected alpaca or sharegpt")
    if Path(entry["file_name"]).name == INFO_FILE:
        raise DataError(f"{place} has {INFO_FILE} as its own file, expected its data")


def _read_entries(path: Path) -> Mapping[str, Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); correct it") from error
    if not isinstance(entries, Mapping) or not entries:
        raise DataError(f"{path}: is no object of data sets; expected LLaMA-Factory's form")
    return entries


def _read_alpaca(entry: Mapping[str, Any]) -> RowFormat:
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    columns |= entry.get("columns") or {}
    prompt, query = (json.dumps(columns[key]) for key in ("prompt", "query"))
    # LLaMA-Factory sets both on lines of their own.
    more = f"{{% if row[{query}] %}}\n{{{{ row[{query}] }}}}{{% endif %}}"
    return RowFormat(
        prompt=f"{{{{ row[{prompt}] }}}}{more}",
        answer=columns["response"],
        system=columns.get("system"),
        history=columns.get("history"),
    )


def _read_chat(entry: Mapping[str, Any]) -> RowFormat:
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    names: dict[Role, str] = {"user": "human", "assistant": "gpt", "system": "system"}
    roles = {str(tags.get(f"{role}_tag", name)).lower(): role for role, name in names.items()}
    chat = ChatColumns(
        (columns.get("messages", "conversations"),),
        keys=((tags.get("role_tag", "from"), tags.get("content_tag", "value")),),
        roles=roles,
    )
    return RowFormat(chat=replace(chat, system=columns.get("system")))
