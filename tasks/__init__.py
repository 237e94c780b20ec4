"""The tasks of the harness: rows of data turned into examples, and scores for predictions."""

from tasks.base import DataError, Example, TaskSpec
from tasks.custom import CustomTask, make_custom_task
from tasks.loading import LoadedExamples, load_examples
from tasks.registry import TASKS, find_task
from tasks.sources import Source

__all__ = [
    "TASKS",
    "CustomTask",
    "DataError",
    "Example",
    "LoadedExamples",
    "Source",
    "TaskSpec",
    "find_task",
    "load_examples",
    "make_custom_task",
]
