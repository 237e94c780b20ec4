"""Tables of results and examples from plain arrays of scores, in the shape of loaded studies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.results import COLUMNS
from harness.records.record import BASE

Scores = Mapping[str, Mapping[str, np.ndarray]]
"""Task -> variant -> scores [seeds, examples]; NaN where a run lacks an example."""


def make_tables(
    scores: Scores,
    *,
    ratios: Mapping[str, float] | None = None,
    clusters: Mapping[str, Sequence[str]] | None = None,
    seeds: Mapping[str, Sequence[int]] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what `load_results` and `load_examples` would; ratios are end to end, known to 1%.

    Without ratios a variant is the slower the later it stands among a task's. `seeds` are 0, 1, ...
    unless given by variant.
    """
    rows: list[dict[str, Any]] = []
    examples = []
    fixed = dict.fromkeys(("source", "dataset", "split", "metric", "model", "study"), "planted")
    names = list(dict.fromkeys(n for own in scores.values() for n in own if n != BASE))
    for task, by_variant in scores.items():
        for variant, table in by_variant.items():
            numbers = (seeds or {}).get(variant, range(len(table)))
            for seed, values in zip(numbers, table, strict=True):
                run_id = f"{task}--{variant}--{seed}"
                row = {"run_id": run_id, "task": task, "status": "ok", "seed": seed} | fixed
                row |= dict.fromkeys(("variant", "target_set"), variant)
                row |= {"score": np.nanmean(values), "latency_session": "one"}
                if variant != BASE:
                    ratio = (ratios or {}).get(variant, 1.02 + 0.03 * names.index(variant))
                    row |= {"end_to_end_ratio": ratio, "end_to_end_ratio_low": ratio * 0.99}
                    row |= {"end_to_end_ratio_high": ratio * 1.01}
                    row |= {"trainable_parameters": 1000 * (1 + names.index(variant))}
                rows.append(row)
                ids = [f"e{number:05d}" for number in range(len(values))]
                own = {"run_id": run_id, "task": task, "id": ids, "score": values}
                if clusters and task in clusters:
                    own["cluster"] = list(clusters[task])
                examples.append(pd.DataFrame(own).dropna(subset=["score"]))
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS)), pd.concat(examples)


def draw_binary(
    rng: np.random.Generator,
    means: Mapping[str, float],
    examples: int,
    seeds: int = 3,
    *,
    exact: bool = True,
) -> dict[str, np.ndarray]:
    """Scores of 0 or 1 on examples of shared difficulty, [seeds, examples] a variant.

    Where `exact`, each run has its mean to within an example.
    """
    difficulty = rng.normal(size=examples)
    found = {}
    for name, mean in means.items():
        rows = []
        for _ in range(1 if name == BASE else seeds):
            latent = difficulty + rng.normal(0, 0.5, examples)
            level = np.quantile(latent, 1 - mean) if exact else np.sqrt(1.25) * _quantile(1 - mean)
            rows.append((latent > level).astype(float))
        found[name] = np.array(rows)
    return found


def _quantile(share: float) -> float:
    from scipy import stats

    return float(stats.norm.ppf(share))
