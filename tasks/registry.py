"""Tasks by name: those that come along, and those of installed packages.

A package adds a task by an entry point of the group `harness.tasks`, whose value is a `TaskSpec`:

    [project.entry-points."harness.tasks"]
    contracts = "my_package.contracts:CONTRACTS"
"""

from importlib.metadata import EntryPoint, entry_points

from tasks.base import DataError, TaskSpec
from tasks.cocohd import COCOHD
from tasks.fincot import FINCOT
from tasks.govreport import GOVREPORT
from tasks.invoice_ocr import INVOICE_OCR
from tasks.medmcqa import MEDMCQA
from tasks.medreason import MEDREASON

GROUP = "harness.tasks"

TASKS: dict[str, TaskSpec] = {
    "medmcqa": MEDMCQA,
    "govreport": GOVREPORT,
    "fincot": FINCOT,
    "invoice_ocr": INVOICE_OCR,
    "medreason": MEDREASON,
    "cocohd": COCOHD,
}
"""To add a task, write its file and add its line here."""


def find_task(name: str) -> TaskSpec:
    """Return the task of that name.

    Raises DataError for an unknown name, and for an installed package whose entry point cannot be
    loaded or is no task.
    """
    if name in TASKS:
        return TASKS[name]
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join([*TASKS, *sorted(found)])
        raise DataError(
            f"task.name is {name!r}; expected one of {known}, or task=custom "
            "with task.prompt, task.answer and task.metric for a task you define"
        )
    return _load(found[name])


def _load(point: EntryPoint) -> TaskSpec:
    place = f"entry point {point.name} = {point.value} (group {GROUP})"
    try:
        task = point.load()
    except Exception as error:
        # Anything can go wrong while foreign code is imported.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{place}: cannot be loaded ({reason}); fix or remove it") from error
    if not isinstance(task, TaskSpec):
        raise DataError(f"{place}: is a {type(task).__name__}, expected a tasks.base.TaskSpec")
    return task
