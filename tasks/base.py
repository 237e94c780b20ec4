"""What a task is: rows of a public data set turned into examples, and a score for a prediction.

A task is one `TaskSpec`: columns, a function from row to example, a function from prediction to
scores, and where its rows come from. It knows nothing of models, tokens or adapters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "validation", "test"]
Truncation = Literal["head", "head_tail"]
Row = Mapping[str, Any]


class DataError(ValueError):
    """A row, file or data set that cannot be used; the message names the place and the remedy."""


@dataclass(frozen=True)
class Example:
    id: str
    """Unique within its split, the same in every run."""
    prefix: str
    """Opening of the prompt: never cut."""
    body: str
    """The part of the prompt that may be cut where it does not fit; may be empty."""
    suffix: str
    """Close of the prompt: never cut."""
    completion: str
    """What the model learns to write, without the end-of-text token."""
    reference: str
    """What a prediction is scored against."""
    choices: tuple[str, ...] = ()
    """Where not empty, the prediction is the choice of the highest log-likelihood."""

    @property
    def prompt(self) -> str:
        return self.prefix + self.body + self.suffix


@dataclass(frozen=True)
class HubSource:
    dataset: str
    """Data set id on the Hugging Face hub."""
    splits: Mapping[Split, str]
    """The harness's split -> the data set's own split; with train alone, all three are cut from
    it by the rule of `tasks.splits`."""
    columns: tuple[str, ...] = ()
    """The data set's own columns, where they are not the task's; `to_example` takes either."""
    revision: str | None = None
    """Commit to read; None reads the default branch."""
    config: str | None = None
    """Configuration (subset) name, where the data set has several."""


@dataclass(frozen=True)
class TaskSpec:
    name: str
    columns: tuple[str, ...]
    """Columns that a row must have."""
    to_example: Callable[[Row], Example]
    """One row -> one example; raises DataError, without the place, for a row of no use."""
    score: Callable[[Example, str], dict[str, float]]
    """(example, prediction) -> every score of that example, each in [0, 1], higher is better."""
    split_key: Callable[[Row], str]
    """Row -> what rows on two sides of a split must not share, such as the question."""
    metric: str
    """The headline score: a key of what `score` returns."""
    hub: HubSource
    """The public data set."""
    embedded: Callable[[Split, int], list[Row]]
    """(split, seed) -> rows that need no network, in the public set's columns."""
    embedded_name: str
    """What the embedded rows are, in a few words."""
    stand_in: str | None = None
    """Where the embedded rows are not rows of the public set: what they are instead of what."""
    truncation: Truncation = "head"
    """Which part of `body` survives a cut: the head, or the head and the tail in equal parts."""
