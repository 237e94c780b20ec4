"""The rounds that two variants of a study were timed in side by side: which of them is faster?

Variants of one session met the same machine state in each round, so two of them are compared inside
their rounds, as each is with the base. Two intervals against the base say less: both hold the
base's own scatter, and overlap where the pairs are clearly apart.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from harness.analysis.latency.ratios import (
    UNKNOWN,
    Interval,
    Times,
    geometric_mean,
    invert,
    pair_times,
    summarise_rounds,
    take_medians,
)
from harness.errors import UserError
from harness.records.files import read_table

ARM = "unmerged"


class SharedRounds:
    """Timed calls by session, read when two variants are first compared."""

    def __init__(self, files: Mapping[tuple[str, str], Mapping[str, Path]]) -> None:
        """`files` is (task, variant) -> session -> a file with the variant's calls in it."""
        self._files = files
        self._times: dict[tuple[Path, str], Times] = {}
        self._ratios: dict[tuple[str, str, str, str], Interval] = {}

    def compare(self, one: str, other: str, time: str, tasks: Collection[str]) -> Interval:
        """Return the time of `one` over that of `other`: the geometric mean over tasks.

        `time` is ttft, tpot or end_to_end. Tasks that were timed in one session count once. UNKNOWN
        where the two share no session on some of the tasks, or no round.
        """
        if one > other:  # so that both directions have one answer
            return invert(self.compare(other, one, time, tasks))
        shared = {
            tuple(sorted(self._list_sessions(task, one) & self._list_sessions(task, other))): task
            for task in tasks
        }
        if not shared or () in shared:
            return UNKNOWN
        return average(
            [
                average([self._pair(session, task, one, other, time) for session in sessions])
                for sessions, task in sorted(shared.items())
            ]
        )

    def _list_sessions(self, task: str, variant: str) -> set[str]:
        return set(self._files.get((task, variant), {}))

    def _pair(self, session: str, task: str, one: str, other: str, time: str) -> Interval:
        key = session, one, other, time
        if key not in self._ratios:
            own, others = (
                self._take_times(self._files[task, name][session], time) for name in (one, other)
            )
            self._ratios[key] = summarise_rounds(pair_times(own, others))
        return self._ratios[key]

    def _take_times(self, path: Path, time: str) -> Times:
        if (path, time) not in self._times:
            column = f"{time}_seconds"
            try:
                calls = read_table(path, ("round", "arm", column), others=("process",))
                self._times[path, time] = take_medians(calls, column, ARM)
            except UserError:  # whoever loaded the results was told
                self._times[path, time] = {}
        return self._times[path, time]


def find_shared_rounds(results: pd.DataFrame) -> SharedRounds:
    """Return the rounds of the runs that have an end-to-end ratio and a folder.

    `results` as `harness.load_results` returns them; others have no rounds.
    """
    files: defaultdict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    if "folder" in results:
        timed = results[results["end_to_end_ratio"].notna() & results["folder"].notna()]
        columns = ["task", "variant", "latency_session", "folder"]
        for task, variant, session, folder in timed[columns].itertuples(index=False):
            files[task, variant].setdefault(session, Path(folder) / "latency.parquet")
    return SharedRounds(files)


def average(ratios: Collection[Interval]) -> Interval:
    """Return the geometric mean of independent ratios; of a single one, itself."""
    if len(ratios) == 1:
        return next(iter(ratios))
    return geometric_mean(
        [each.estimate for each in ratios],
        [each.low for each in ratios],
        [each.high for each in ratios],
    )
