"""Scores through Hugging Face's `evaluate`: a module loaded once a process, a call a batch.

The modules that come along lie in `tasks/metrics/`. They are loaded from there, without a network;
`evaluate` keeps a copy of each in $HF_MODULES_CACHE.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tasks.base import DataError, Example, TaskSpec

FOLDER = Path(__file__).resolve().parent / "metrics"

Pair = tuple[Example, str]
"""An example and what was predicted for it."""


def score_examples(spec: TaskSpec, pairs: Sequence[Pair]) -> list[dict[str, float]]:
    """Return every score of each example, in order, by what `read_prediction` leaves of each text.

    A task without a module is scored by its `score`, one example after another. Raises DataError
    where the module cannot be loaded.
    """
    pairs = [(example, read_prediction(spec, prediction)) for example, prediction in pairs]
    if spec.module is None or not pairs:
        return [spec.score(example, prediction) for example, prediction in pairs]
    found = compute(spec.module, pairs, use_aggregator=False)
    return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]


def read_prediction(spec: TaskSpec, text: str) -> str:
    """The part of a prediction that is scored: no thinking, no reasoning."""
    text = leave_out_thinking(text)
    return spec.read_prediction(text) if spec.read_prediction else text


def leave_out_thinking(text: str) -> str:
    """A text without what stands in `<think>`; nothing where that is never closed."""
    _, closed, rest = text.rpartition("</think>")
    if closed:
        return rest.strip()
    return text.partition("<think>")[0].strip() if "<think>" in text else text


def compute(module: str, pairs: Sequence[Pair], **options: Any) -> dict[str, Any]:
    """Call a module that comes along; all examples' choices are passed where one has some."""
    if any(example.choices for example, _ in pairs):
        options["choices"] = [example.choices for example, _ in pairs]
    result: dict[str, Any] = load_metric(module).compute(
        predictions=[prediction for _, prediction in pairs],
        references=[example.reference for example, _ in pairs],
        **options,
    )
    return result


def pool_scores(module: str) -> Callable[[Sequence[Pair]], dict[str, float]]:
    """The scores of a whole set that a module has beside those of its examples."""
    return lambda pairs: compute(module, pairs, only_pooled=True)


@cache
def load_metric(module: str) -> Any:
    """Load a module of `tasks/metrics/` as an `evaluate.EvaluationModule`, once a process.

    Raises DataError where `evaluate` cannot keep its copy.
    """
    # Takes a second: a process that scores nothing should not wait for it.
    import evaluate

    path = str(FOLDER / f"{module}.py")
    # With keep_in_memory nothing is written to the cache folder, but it is made.
    with tempfile.TemporaryDirectory() as folder:
        try:
            return evaluate.load(path, keep_in_memory=True, cache_dir=folder)
        except OSError as error:
            raise DataError(
                f"metric {module}: evaluate cannot keep a copy of it ({error}); set "
                "HF_MODULES_CACHE to a folder that can be written"
            ) from error
