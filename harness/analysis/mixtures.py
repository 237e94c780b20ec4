"""Runs of one study made with different settings, as when two studies share one folder."""

from collections.abc import Iterator, Sequence

import pandas as pd

from harness.formatting import join_words
from harness.records.record import BASE

RECIPE = {
    "method": "method",
    "rank": "rank",
    "alpha": "alpha",
    "dropout": "dropout",
    "learning_rate": "learning rate",
    "train_steps": "training steps",
}
"""How a set was trained: column of the results -> what a sentence calls it."""

VERSIONS = ("gpu", "cpu", "torch", "transformers", "peft")


def list_scoring_mixtures(results: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each task whose runs were scored in ways that are not comparable."""
    known = results[["task", "scoring"]].dropna()
    for task, ways in known.groupby("task")["scoring"]:
        if ways.nunique() > 1:
            listed = join_words(sorted(ways.unique()))
            yield f"Runs of {task} were scored by {listed}: their scores are not comparable."


def list_recipe_mixtures(results: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each difference in how target sets were trained. Settings named in the
    variants, as in `qkv, rank 8`, were varied on purpose and are not counted."""
    trained = results[(results["target_set"] != BASE) & results["score"].notna()]
    pairs = zip(trained["variant"], trained["target_set"], strict=True)
    told = [str(variant).removeprefix(str(roles)) for variant, roles in pairs]
    tasks: dict[str, list[str]] = {}
    for (task, _), runs in trained.groupby(["task", pd.Series(told, trained.index, dtype=str)]):
        meant = _list_meant(runs)
        columns = [name for name in RECIPE if name not in meant and runs[name].nunique() > 1]
        if columns:
            tasks.setdefault("; ".join(_list_recipes(runs, columns)), []).append(str(task))
    for recipes, where in tasks.items():
        yield (
            f"Target sets were trained with different settings on {join_words(where)}: {recipes}. "
            "Their scores reflect that difference too."
        )


def _list_meant(runs: pd.DataFrame) -> set[str]:
    """Settings that differ because they were chosen or solved for each set."""
    is_tuned = "learning_rate_tuned" in runs and runs["learning_rate_tuned"].eq(True).all()
    is_budgeted = "budget" in runs and runs["budget"].notna().all()
    tuned = {"learning_rate"} if is_tuned else set()
    return tuned | ({"rank", "alpha"} if is_budgeted else set())


def _list_recipes(runs: pd.DataFrame, columns: Sequence[str]) -> Iterator[str]:
    """`rank 8, learning rate 0.001 (all and qkv)`"""
    for values, own in runs.groupby(list(columns), dropna=False)["variant"]:
        named = [
            f"{RECIPE[name]} {_spell(each)}" for name, each in zip(columns, values, strict=True)
        ]
        yield f"{', '.join(named)} ({join_words(sorted(own.unique()))})"


def _spell(value: str | float) -> str:
    if pd.isna(value):
        return "unknown"
    return value if isinstance(value, str) else f"{value:.10g}"


def list_environment_mixtures(results: pd.DataFrame) -> Iterator[str]:
    """Yield one sentence naming the machines and versions of the runs, where they differ."""
    # A run that failed early may have recorded nothing; a machine without a GPU records none.
    known = results[list(VERSIONS)].dropna(how="all").astype(object).fillna({"gpu": "none"})
    values = {name: sorted(known[name].dropna().astype(str).unique()) for name in VERSIONS}
    differing = [f"{name} {join_words(each)}" for name, each in values.items() if len(each) > 1]
    if differing:
        yield f"Runs come from different machines or versions ({'; '.join(differing)})."
