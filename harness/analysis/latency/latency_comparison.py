"""Latency studies of one machine side by side: other models, versions, ranks or target sets.

    import harness
    harness.compare_latency(["results/before", "results/after"])

Ratios of different machines answer different questions, so these are refused.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pandas as pd

from harness.analysis.latency.latency_results import (
    AXES,
    LatencyStudy,
    find_versions,
    load_latency_study,
)
from harness.analysis.latency.latency_tables import ARMS, tabulate_ratios
from harness.analysis.latency.run_times import TIMES
from harness.errors import UserError
from harness.records.machine import describe_difference


def compare_latency(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Return the latency ratios of several studies, with comparable rows next to each other.

    Columns: study, model, device, margin and target_half_width (of that study's rule, which sets
    its verdicts and its trust), the versions of `results.VERSIONS`, then those of tabulate_ratios;
    ordered by axes, arm, variant and time. Raises UserError if two studies were timed on different
    machines, naming the difference, or if one does not record its machine.
    """
    folders = [Path(path) for path in paths]
    if not folders:
        raise UserError("compare_latency: no study was given; pass at least one study's folder")
    studies = [load_latency_study(folder) for folder in folders]
    _check_machines(folders, studies)
    names = [study.name for study in studies]
    frames = []
    for study, folder in zip(studies, folders, strict=True):
        ratios, facts = tabulate_ratios(study), study.facts
        # Two folders of one name would otherwise become one study.
        name = study.name if names.count(study.name) == 1 else str(folder)
        own = {
            "study": name,
            "model": facts.model,
            "device": facts.device,
            "margin": facts.rule.margin,
            "target_half_width": facts.rule.half_width,
        }
        for column, value in reversed((own | find_versions(study)).items()):
            ratios.insert(0, column, value)
        frames.append(ratios)
    table = pd.concat(frames, ignore_index=True)
    keys = [*AXES, "arm", "variant", "time"]
    ranks = {"arm": ARMS, "time": TIMES}
    table = table.sort_values(keys, key=lambda column: _rank(column, ranks), kind="stable")
    return table.reset_index(drop=True)


def _check_machines(folders: Sequence[Path], studies: Sequence[LatencyStudy]) -> None:
    machines = [study.facts.machine for study in studies]
    for folder, machine in zip(folders, machines, strict=True):
        # A CPU without a name, as on some ARM systems, is recorded as that.
        if machine.get("cpu") is None and machine.get("gpu") is None:
            raise UserError(
                f"{folder}: latency.json records neither the CPU nor the GPU, so the study cannot "
                "be compared; time it again"
            )
    # All pairs: memory may differ by a GiB, so that agreeing with a third is not agreeing.
    for one, two in combinations(range(len(machines)), 2):
        difference = describe_difference(machines[one], machines[two])
        if difference is not None:
            raise UserError(
                f"{folders[one]} and {folders[two]} were timed on different machines "
                f"({difference}); compare studies from one machine"
            )


def _rank(column: pd.Series, orders: Mapping[str, Sequence[str]]) -> pd.Series:
    order = orders.get(str(column.name))
    return column if order is None else column.map({name: i for i, name in enumerate(order)})
