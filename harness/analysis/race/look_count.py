"""Which look at a study this is: more runs, or more examples of a run, make another one."""

from pathlib import Path

import pandas as pd

from harness.records.looks import count_look
from harness.records.record import BASE


def count_look_at(study: Path, results: pd.DataFrame) -> int:
    """Return the number of this look at the scores that there are, and keep it with the study."""
    scored = results[(results["target_set"] != BASE) & results["score"].notna()]
    more = scored["extra_test_examples"].fillna(0).astype(int)
    names = scored["run_id"] + more.map(lambda count: f" +{count}" if count else "")
    return count_look(study, names)
