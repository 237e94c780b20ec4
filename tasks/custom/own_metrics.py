"""Metrics from outside: a function in a file, one of an installed package, a module of `evaluate`.

A function takes a prediction and the row's answer, both texts, and returns a score in [0, 1],
higher is better; or a dictionary of such scores, with the headline under the function's own name.

- `my_metrics.py:score`: a file, by its path, or beside the data;
- `judge`: an entry point of the group `harness.metrics`;
- `evaluate:meteor`, or `evaluate:NAME:KEY` where a module returns several scores: one of the
  modules that Hugging Face keeps, or a folder of one's own. Modules of other authors on the hub are
  programs from outside, and are not run.
"""

import hashlib
import importlib.util
import math
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from tasks.base import DataError, Example
from tasks.custom.metrics import METRICS, Metric
from tasks.rows import show_value

GROUP = "harness.metrics"
OF_EVALUATE = "evaluate:"
DIGITS = 12


def find_metric_file(name: str | None, path: str | None) -> Path | None:
    """The file of a metric `file.py:function`, as given or beside the data at `path`; None for
    metrics that are no file."""
    file, colon, _ = (name or "").rpartition(":")
    if not colon or not file.endswith(".py"):
        return None
    data = Path(path).expanduser() if path else None
    folders = [data if data.is_dir() else data.parent] if data and data.exists() else []
    beside = [folder / file for folder in folders]
    found = next((each for each in (Path(file).expanduser(), *beside) if each.is_file()), None)
    if found is None:
        raise DataError(
            f"task.metric is {name}, but there is no file {file}"
            + (f", here or beside {path}" if path else "")
            + "; name an existing one"
        )
    return found


def digest_metric(name: str | None, path: str | None) -> str | None:
    """12 hex digits of the file, or of the folder of a module of `evaluate`, that a metric comes
    from; None where it is none here."""
    file = find_metric_file(name, path)
    if name is not None and name.startswith(OF_EVALUATE):
        file = Path(name.removeprefix(OF_EVALUATE).partition(":")[0]).expanduser()
    if file is None or not file.exists():
        return None
    files = sorted(file.rglob("*.py")) if file.is_dir() else [file]
    contents = [hashlib.sha256(each.read_bytes()).hexdigest() for each in files]
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()[:DIGITS]


def load_own_metric(name: str, path: str | None) -> Metric:
    """Load a metric that is none of the harness's own; DataError where there is no such."""
    if name.startswith(OF_EVALUATE):
        return _wrap_module(*name.removeprefix(OF_EVALUATE).partition(":")[::2])
    file = find_metric_file(name, path)
    if file is not None:
        function = name.rpartition(":")[2]
        content = digest_metric(name, path)
        note = f"The metric {function} is that of {file.name} (SHA-256 {content})."
        return _wrap(_load_function(file.resolve(), function, content), function, str(file), note)
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise DataError(
            f"task.metric is {name!r}; expected one of {', '.join([*METRICS, *sorted(points)])}, a "
            "file and function such as my_metrics.py:score, or evaluate:NAME"
        )
    place = f"entry point {name} = {points[name].value} (group {GROUP})"
    try:
        found = points[name].load()
    except Exception as error:
        # Anything can go wrong while foreign code is imported.
        raise DataError(f"{place}: cannot be loaded ({_first_line(error)}); fix it") from error
    return _wrap(found, name, place, f"The metric {name} is {points[name].value}.")


@lru_cache(maxsize=16)
def _load_function(file: Path, function: str, content: str | None) -> Any:
    """A function of a file, which is run again when its content has changed."""
    spec = importlib.util.spec_from_file_location(f"own_metric_{content}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look for the module of a class.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise DataError(f"{file}: cannot be run ({_first_line(error)}); fix it") from error
    found = getattr(module, function, None)
    if found is None:
        named = [name for name, value in vars(module).items() if callable(value)]
        raise DataError(f"{file}: has no function {function} (it has {', '.join(named) or 'none'})")
    return found


def _wrap(function: Any, name: str, place: str, note: str) -> Metric:
    if not callable(function):
        raise DataError(f"{place}: is a {type(function).__name__}, expected a function")

    def score(example: Example, prediction: str) -> dict[str, float]:
        try:
            value = function(prediction, example.reference)
        except (Exception, SystemExit) as error:
            raise DataError(
                f"{place}: {name} fails for {show_value(prediction)} against "
                f"{show_value(example.reference)} ({_first_line(error)}); fix it"
            ) from error
        values = value if isinstance(value, Mapping) else {name: value}
        if name not in values:
            raise DataError(
                f"{place}: {name} returns {sorted(map(str, values))}, expected {name} among them"
            )
        return {str(key): _check(each, name, place) for key, each in values.items()}

    return Metric(score=score, headline=name, describe_scoring=lambda examples: note)


def _check(value: Any, name: str, place: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise DataError(f"{place}: {name} returns {value!r}, expected a number from 0 to 1")
    return number


def _wrap_module(name: str, key: str) -> Metric:
    folder = Path(name).expanduser()
    if not name or (name.startswith((".", "/", "~")) and not folder.exists()):
        raise DataError(
            f"task.metric is evaluate:{name}, but there is no such file or folder; expected a name "
            "such as evaluate:meteor, or the folder of a module of yours"
        )
    if "/" in name and not folder.exists():
        raise DataError(
            f"task.metric is evaluate:{name}, a module of another author, which would run their "
            "code; use one that Hugging Face keeps (evaluate:meteor), or a folder of your own"
        )
    title = key or folder.name.removesuffix(".py")

    module = _load_module(name)

    def score(prediction: str, reference: str) -> dict[str, float]:
        result = module.compute(predictions=[prediction], references=[reference])
        numbers = {k: v for k, v in result.items() if isinstance(v, (int, float))}
        if title in numbers or key or len(numbers) != 1:
            return {title: numbers[title]} if title in numbers else numbers
        return {title: next(iter(numbers.values()))}

    note = f"The metric {title} is evaluate's {name}, one example at a time."
    return _wrap(score, title, f"evaluate:{name}", note)


@cache
def _load_module(name: str) -> Any:
    import evaluate

    try:
        return evaluate.load(name, keep_in_memory=True)
    except Exception as error:
        # What a module imports may be missing too.
        raise DataError(
            f"evaluate:{name}: cannot be loaded ({_first_line(error)}); check the name and the "
            "network, and install what it needs"
        ) from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
