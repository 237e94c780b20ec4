"""The majority line: what always giving one answer scores, and whether a score is above it.

Where a task has fixed options, a model that has learned nothing but the commonest answer reaches
this line. A score at or below the upper bound of its 95% interval is not above the baseline.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from scipy import stats

MAJORITY_COLUMNS = (
    "majority_prediction",
    "majority_score",
    "majority_score_low",
    "majority_score_high",
)
LONGEST_ANSWER = 24
"""Characters of an answer that fit into a table's row name and a plot's label."""


@dataclass(frozen=True)
class MajorityLine:
    prediction: str
    """The constant answer."""
    score: float
    """Its headline score on the scored examples, in [0, 1]."""
    low: float
    """Lower bound of the score's 95% interval."""
    high: float
    """Upper bound of the score's 95% interval; a score above it is above the baseline."""

    @property
    def name(self) -> str:
        """`always A`, on one line."""
        answer = " ".join(self.prediction.split())
        if len(answer) > LONGEST_ANSWER:
            answer = f"{answer[: LONGEST_ANSWER - 3].rstrip()}..."
        return f"always {answer}"

    def to_columns(self) -> dict[str, str | float]:
        """Return its values by the names of MAJORITY_COLUMNS."""
        return dict(zip(MAJORITY_COLUMNS, dataclasses.astuple(self), strict=True))


def make_majority_line(prediction: str | None, score: float, examples: int) -> MajorityLine | None:
    """Return the line with Wilson's 95% score interval (JASA 22:209, 1927) over `examples`.

    None where the task has no such line, or where `score` is no share of examples.
    """
    if prediction is None or examples < 1 or not 0 <= score <= 1:
        return None
    hits = stats.binomtest(round(score * examples), examples)
    interval = hits.proportion_ci(confidence_level=0.95, method="wilson")
    return MajorityLine(prediction, float(score), float(interval.low), float(interval.high))


def find_majority_line(task: str, runs: pd.DataFrame, notes: list[str]) -> MajorityLine | None:
    """Return the line of one task's runs, None where they have none.

    `runs` as `analysis.results` loads them. Runs that scored other examples have other lines: the
    commonest is taken, of equally common ones the highest, and `notes` gets a line about it.
    """
    known = runs[list(MAJORITY_COLUMNS)].dropna().groupby(list(MAJORITY_COLUMNS)).size()
    if known.empty:
        return None
    counted = [(count, MajorityLine(*values)) for values, count in known.items()]
    counted.sort(key=lambda each: (-each[0], -each[1].score, each[1].prediction))
    chosen, *others = [line for _, line in counted]
    if others:
        listed = "; ".join(_describe(line) for line in others)
        notes.append(
            f"{task}: runs scored different examples, so their majority-class baselines differ; "
            f"scores are compared with {_describe(chosen)}, not with {listed}"
        )
    return chosen


def mark_skill(scores: pd.Series, highs: pd.Series) -> pd.Series:
    """Return whether each score is above the upper bound of its line; NA where either is unknown.

    The result is of pandas' nullable boolean type.
    """
    is_above = (scores > highs).astype("boolean")
    return is_above.mask(scores.isna() | highs.isna())


def add_majority(by_task: pd.DataFrame, lines: Mapping[str, MajorityLine]) -> pd.DataFrame:
    """Return `by_task` with MAJORITY_COLUMNS of each task's line, and `has_skill`."""
    rows = [lines[task].to_columns() if task in lines else {} for task in by_task["task"]]
    columns = pd.DataFrame(rows, index=by_task.index, columns=list(MAJORITY_COLUMNS))
    columns = columns.astype(dict.fromkeys(MAJORITY_COLUMNS[1:], float))
    skill = mark_skill(by_task["score"].astype(float), columns["majority_score_high"])
    return by_task.join(columns).assign(has_skill=skill)


def _describe(line: MajorityLine) -> str:
    return f"{line.name} ({line.score:.3f}, up to {line.high:.3f})"
