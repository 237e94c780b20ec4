"""The tasks of the harness, by name: to add one, write its file and add its line here."""

from tasks.base import DataError, Example, TaskSpec
from tasks.fincot import FINCOT
from tasks.govreport import GOVREPORT
from tasks.invoice_ocr import INVOICE_OCR
from tasks.loading import LoadedExamples, load_examples
from tasks.medmcqa import MEDMCQA

TASKS: dict[str, TaskSpec] = {
    "medmcqa": MEDMCQA,
    "govreport": GOVREPORT,
    "fincot": FINCOT,
    "invoice_ocr": INVOICE_OCR,
}

__all__ = ["TASKS", "DataError", "Example", "LoadedExamples", "TaskSpec", "load_examples"]
