"""Latency studies of one machine side by side: other models, versions, ranks or target sets.

    import harness
    harness.compare_latency(["results/before", "results/after"])

Ratios of different machines answer different questions, so these are refused.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from harness.errors import UserError
from harness.latency_analysis.results import AXES, find_versions, load_latency_study
from harness.latency_analysis.tables import ARMS, tabulate_ratios
from harness.machine import describe_difference
from harness.results import TIMES


def compare_latency(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Return the ratios of several studies, the rows that answer one question side by side.

    Columns: study, model, device, latency_results.VERSIONS, then those of tabulate_ratios; ordered
    by axes, arm, variant and time. Raises UserError, which names the fact that differs, where two
    studies are not of one machine.
    """
    folders = [Path(path) for path in paths]
    if not folders:
        raise UserError("compare_latency: no study was given; pass at least one study's folder")
    studies = [load_latency_study(folder) for folder in folders]
    for study, folder in zip(studies[1:], folders[1:], strict=True):
        difference = describe_difference(studies[0].facts.machine, study.facts.machine)
        if difference is not None:
            raise UserError(
                f"{folders[0]} and {folder} were timed on different machines ({difference}); "
                "compare studies of one machine"
            )
    names = [study.name for study in studies]
    frames = []
    for study, folder in zip(studies, folders, strict=True):
        ratios = tabulate_ratios(study)
        # Two folders of one name would otherwise become one study.
        name = study.name if names.count(study.name) == 1 else str(folder)
        own = {"study": name, "model": study.facts.model, "device": study.facts.device}
        for column, value in reversed((own | find_versions(study)).items()):
            ratios.insert(0, column, value)
        frames.append(ratios)
    table = pd.concat(frames, ignore_index=True)
    keys = [*AXES, "arm", "variant", "time"]
    ranks = {"arm": ARMS, "time": TIMES}
    table = table.sort_values(keys, key=lambda column: _rank(column, ranks), kind="stable")
    return table.reset_index(drop=True)


def _rank(column: pd.Series, orders: Mapping[str, Sequence[str]]) -> pd.Series:
    order = orders.get(str(column.name))
    return column if order is None else column.map({name: i for i, name in enumerate(order)})
