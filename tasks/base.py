"""What a task is: rows of a public data set turned into examples, and a score for a prediction.

A task is one `TaskSpec`: columns, a function from row to example, a function from prediction to
scores, and where its rows come from. It knows nothing of models, tokens or adapters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Split = Literal["train", "validation", "test"]
Truncation = Literal["head", "head_tail"]
Role = Literal["system", "user", "assistant"]
Turn = tuple[Role, str]
"""Who says something, and what."""
Row = Mapping[str, Any]

SAME_SPLITS: Mapping[Split, Split] = {
    "train": "train",
    "validation": "validation",
    "test": "test",
}
"""The splits of a data set that names them as the harness does."""


class DataError(ValueError):
    """A row, file or data set that cannot be used; the message names the place and the remedy."""


class SourceError(DataError):
    """No row's fault, such as a missing program or network: no row is skipped for it."""


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
    """The options, where the answer is one of a few: by default the prediction is then the one of
    the highest log-likelihood."""
    choice_lead: str = ""
    """What goes before every option where it is chosen by likelihood, such as the heading that the
    answer stands under; no part of the option."""
    ending: str = ""
    """The close of the completion that stays where the rest of it does not fit: the answer that a
    long reasoning leads to. Empty where any part is as good as another."""
    turns: tuple[Turn, ...] = ()
    """What was said before the prompt, which is the user's last turn; the oldest is cut first."""
    cluster: str = ""
    """What examples share that are alike, such as questions about one document: the digest of the
    task's split key."""

    @property
    def prompt(self) -> str:
        return self.prefix + self.body + self.suffix

    @property
    def conversation(self) -> str:
        """All that is read before the answer is written."""
        return "\n".join([*(text for _, text in self.turns), self.prompt])


@dataclass(frozen=True)
class JoinedFiles:
    """Text files of a second data set, one for each row of the first."""

    dataset: str
    """Data set id on the Hugging Face hub."""
    key: str
    """Column of the first set that tells the file, and is the row's id."""
    path: Callable[[str], str]
    """Value of `key` -> path of the row's file in the second set; DataError where it has none."""
    column: str
    """Column that the file's text becomes."""
    revision: str | None = None
    """Commit to read; None reads the default branch."""


@dataclass(frozen=True)
class HubSource:
    dataset: str
    """Data set id on the Hugging Face hub."""
    splits: Mapping[Split, str]
    """The harness's split -> the data set's own split. With train alone, all three are cut from it
    by the rule of `tasks.splits`; where empty, the set's own splits are found by their names."""
    revision: str | None = None
    """Commit to read; None reads the default branch."""
    config: str | None = None
    """Configuration (subset) name, where the data set has several."""
    terms: str = ""
    """What has to be accepted before it can be read, and its licence; empty where nothing has."""
    joined: JoinedFiles | None = None
    """Where the rows' texts are, if they are files of another data set."""


@dataclass(frozen=True)
class PublishedTest:
    """Test rows that are published beside a data set, not in it."""

    address: str
    """Where they can be downloaded."""
    find_installed: Callable[[], Path | None] | None = None
    """Finds the same rows in an installed package; None where it is not installed."""


@dataclass(frozen=True)
class HeldOut:
    """Rows that must not be trained on, because another task tests on them."""

    keys: frozenset[str]
    """Their split keys, as `tasks.splits.normalise_content` writes them."""
    reason: str
    """Whose rows they are, to follow `were left out of training: `; or, without keys, a sentence
    that says why they are not known."""


@dataclass(frozen=True)
class TaskSpec:
    name: str
    columns: tuple[tuple[str, ...], ...]
    """Sets of columns that `to_example` takes; a source must have one of them, and the first that
    it has is read."""
    to_example: Callable[[Row], Example]
    """One row -> one example; raises DataError, without the place, for a row of no use."""
    score: Callable[[Example, str], dict[str, float]]
    """(example, prediction) -> every score of that example, each in [0, 1], higher is better."""
    split_key: Callable[[Row], str]
    """Row -> what rows on two sides of a split must not share, such as the question."""
    metric: str
    """The headline score: a key of what `score` returns."""
    optional_columns: tuple[str, ...] = ()
    """Columns that `to_example` reads where a source has them."""
    hub: tuple[HubSource, ...] = ()
    """Public data sets in these columns, the default first."""
    embedded: Callable[[Split, int], list[Row]] | None = None
    """(split, seed) -> rows that need no network, in the public set's columns."""
    embedded_name: str = ""
    """What the embedded rows are, in a few words."""
    stand_in: str | None = None
    """Where the embedded rows are not rows of the public set: what they are instead of what."""
    truncation: Truncation = "head"
    """Which part of `body` survives a cut: the head, or the head and the tail in equal parts."""
    summarize: Callable[[Sequence[tuple[Example, str]]], dict[str, float]] | None = None
    """(example, prediction) of a whole set -> scores that are no mean over examples, such as a
    micro-averaged F1; their names differ from those of `score`."""
    module: str | None = None
    """The `evaluate` module of `tasks/metrics/` that computes what `score` does, for many examples
    in one call; None calls `score` for each."""
    read_prediction: Callable[[str], str] | None = None
    """Prediction -> the part of it that is scored, as the metric reads it; None is all of it."""
    split_reasoning: Callable[[str], str] | None = None
    """Prediction -> the part of it that only leads to the answer; its length is recorded."""
    describe_scoring: Callable[[Sequence[Example]], str | None] | None = None
    """Test examples -> what a reader of their scores has to know of the metric; a sentence."""
    own_score: Callable[[Example], float] | None = None
    """What an example's own completion scores on the headline metric, where `score` takes long to
    say it; None asks `score`."""
    make_schema: Callable[[Sequence[Example]], dict[str, Any]] | None = None
    """Training examples -> JSON schema of their completions, for constrained decoding."""
    published_tests: Mapping[str, PublishedTest] = field(default_factory=dict)
    """Test sets that `task.test` takes by name."""
    find_held_out: Callable[[str], HeldOut | None] | None = None
    """Kind of source -> the rows that it may have and that are not to be trained on."""
