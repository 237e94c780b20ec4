"""Where a task's rows come from: `task.source=auto` made plain."""

import dataclasses
import functools
import re
from pathlib import Path

import harness.config.task_package  # noqa: F401  (before tasks)
from harness.config.schema import TaskConfig
from harness.config.validation import refuse_unread_places
from harness.errors import UserError
from harness.progress import announce
from tasks.base import DataError
from tasks.custom.formats import is_dataset_info
from tasks.files import FORMATS, find_format
from tasks.registry import find_task

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
WANTED = f"expected {FORMATS}, or a data set id on the hub such as org/name"


def find_source(task: TaskConfig) -> TaskConfig:
    """The task with its source named: `local` for a path, `hub` for a data set's id.

    Raises UserError where `auto` finds neither, and for a setting that the source does not read.
    """
    found = _find(task) if task.source == "auto" else task
    refuse_unread_places("task", found)
    if found.source == "local" and found.subset and not is_dataset_info(found.path):
        raise UserError(
            f"task.subset is {found.subset}, but task.path is {found.path}, which has no named "
            "data sets; leave task.subset out"
        )
    return found


def _find(task: TaskConfig) -> TaskConfig:
    if task.path and Path(task.path).expanduser().exists():
        return dataclasses.replace(task, source="local")
    if task.path and (find_format(Path(task.path)) or not HUB_ID.fullmatch(task.path)):
        raise UserError(f"task.path is {task.path}: no such file or folder; {WANTED}")
    if task.path:
        _say_hub(task.path)
        return dataclasses.replace(task, source="hub", path=None, dataset=task.path)
    if task.dataset:
        return dataclasses.replace(task, source="hub")
    spec = None
    if task.prompt is None and task.format is None:  # a task of one's own has no other rows
        try:
            spec = find_task(task.name)
        except DataError:  # said where the task is to be made
            return task
    if spec is not None and spec.embedded is not None:
        return dataclasses.replace(task, source="embedded")
    if spec is not None and spec.hub:
        return dataclasses.replace(task, source="hub")
    raise UserError(f"task.path is not set; task {task.name} needs a file or folder: {WANTED}")


@functools.cache
def _say_hub(path: str) -> None:
    announce(f"{path}: no such file or folder here; looking on the hub")
