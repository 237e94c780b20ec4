"""Tasks of the user's own, without code: prompt templates, chat rows, and metrics by name."""

from tasks.custom.formats import FORMATS, read_dataset_info
from tasks.custom.metrics import METRICS
from tasks.custom.task import CustomTask, make_custom_task

__all__ = ["FORMATS", "METRICS", "CustomTask", "make_custom_task", "read_dataset_info"]
