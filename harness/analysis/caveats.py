"""What limits a verdict: failures, substitute data, one seed, few examples, and so on."""

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from harness.analysis.comparison import FEW_EXAMPLES, Comparison
from harness.analysis.mixtures import (
    list_environment_mixtures,
    list_recipe_mixtures,
    list_scoring_mixtures,
)
from harness.analysis.seed_noise import ASSUMED_DEVIATION
from harness.formatting import capitalize, format_share, join_words
from harness.records.record import BASE

CONSTRAINED = "constrained generation"
"""The way of scoring whose decoding is not the one that is timed."""


def list_failures(results: pd.DataFrame) -> Iterator[str]:
    """Name every run that did not finish, with its seed, status and the error's first line."""
    for _, run in results[results["status"] != "ok"].sort_values("run_id").iterrows():
        seed = "" if run["target_set"] == BASE else f" (seed {run['seed']:.0f})"
        yield f"{run['variant']} on {run['task']}{seed} {_describe_end(run)}"


def _describe_end(run: pd.Series) -> str:
    """How a run ended, with the first line of its error: `failed: RuntimeError: out of memory`."""
    message = str(run["error_message"]).splitlines() if pd.notna(run["error_message"]) else []
    error = f": {run['error_type']}: {message[0]}" if message else ""
    return f"{_spell(run['status'])}{error}"


def _list_unscored(results: pd.DataFrame) -> Iterator[str]:
    """Name every set that has no score at all, and why."""
    trained = results[results["target_set"] != BASE]
    for variant, runs in trained.groupby("variant"):
        unfinished = runs[runs["status"] != "ok"].sort_values("run_id")
        if runs["score"].isna().all() and len(unfinished):
            ends = Counter(_describe_end(run) for _, run in unfinished.iterrows())
            (end, _), *others = ends.most_common()
            rest = f" (and {len(others)} more; see the failures)" if others else ""
            yield (
                f"{variant} has no score on any task, so nothing is known of it. Its runs ended "
                f"like this: {end}{rest}."
            )


def list_sources(results: pd.DataFrame) -> Iterator[str]:
    """Yield a line per task: what was scored, and which public data it substitutes for."""
    scored = results[results["source"].notna()]
    columns = ["task", "source", "dataset", "split", "stand_in"]
    for _, row in scored[columns].drop_duplicates().sort_values(columns).iterrows():
        stands = f"; {row['stand_in']}" if pd.notna(row["stand_in"]) and row["stand_in"] else ""
        yield f"{row['task']}: {row['source']}, {row['dataset']}, split {row['split']}{stands}"


def list_stand_ins(results: pd.DataFrame) -> list[str]:
    """Return `task: substitute` for each task whose embedded data replaces the public set."""
    stands = results[~results["stand_in"].isin([None, ""]) & results["stand_in"].notna()]
    pairs = stands[["task", "stand_in"]].drop_duplicates().sort_values(["task", "stand_in"])
    return [f"{row['task']}: {row['stand_in']}" for _, row in pairs.iterrows()]


def list_truncation(results: pd.DataFrame) -> Iterator[str]:
    """Yield a line per task and stage: what was truncated and by which rule, and how many bad rows
    were skipped. Yields nothing where neither happened. Where runs differ, the largest counts."""
    names = ["truncated_examples", "truncated_tokens_ratio", "example_count", "skipped_rows"]
    names += ["train_truncated_examples", "train_truncated_tokens_ratio", "train_skipped_rows"]
    for task, runs in results.groupby("task"):
        most, rule = runs[names].max(), _describe_rule(runs["truncation"])
        if most["truncated_examples"] > 0:
            cut = f"{most['truncated_examples']:.0f} of {most['example_count']:.0f} scored prompts"
            share = most["truncated_tokens_ratio"]
            yield f"{task}: {cut} were truncated{_describe_cut(share, rule)}"
        if most["train_truncated_examples"] > 0:
            cut = f"{most['train_truncated_examples']:.0f} training examples"
            ratio = most["train_truncated_tokens_ratio"]
            # A record counts an example whose prompt or whose answer was cut.
            what = (
                f"were truncated{_describe_cut(ratio, rule)}"
                if ratio != 0
                else "had truncated answers"
            )
            yield f"{task}: {cut} {what}"
        for name, use in (("skipped_rows", "scoring"), ("train_skipped_rows", "training")):
            if most[name] > 0:
                yield f"{task}: {_count_rows(most[name])} left out of {use}"


def list_unskilled_tasks(comparison: Comparison) -> Iterator[str]:
    """Yield a sentence for each task on which no target set is above the majority line."""
    for task, line in comparison.majority.items():
        skilled, unskilled = _split_by_skill(comparison, task)
        if unskilled and not skilled:
            yield (
                f"On {task}, no target set is above the majority-class baseline: none scores above "
                f"{line.high:.3f}, the upper 95% bound of {line.name} ({line.score:.3f}). This "
                "task does not separate the sets."
            )


def list_caveats(
    comparison: Comparison, results: pd.DataFrame, choice: str | None = None
) -> Iterator[str]:
    """Yield what limits the verdict, the most serious first."""
    if comparison.seed_count and comparison.all_scores.is_one_seed:
        yield (
            "Only one seed was run: how far another seed would move the scores is unknown. The "
            f"intervals assume a standard deviation of {ASSUMED_DEVIATION:g} between seeds."
        )
    elif comparison.seed_count == 1:
        yield (
            "Some sets have one seed only; their seed noise is taken to be that of the other sets."
        )
    elif comparison.seed_count:
        yield f"The intervals include seed noise, estimated from {comparison.seed_count} seeds."
    if comparison.look > 1:
        yield (
            f"This is look {comparison.look} at a study that grew. Its bounds are wider than those "
            "of a first look, so that all looks together are wrong in 5% of studies at most."
        )
    for stand_in in list_stand_ins(results):
        yield f"Substitute data. {stand_in}. The verdict applies to the data that was used."
    yield from _list_unscored(results)
    yield from _describe_range(comparison)
    yield from _describe_example_counts(comparison)
    yield from _describe_skill(comparison, choice)
    yield from list_unskilled_tasks(comparison)
    yield from _describe_majority(comparison)
    yield from list_scoring_mixtures(results)
    yield from _list_scoring_notes(results)
    yield from list_recipe_mixtures(results)
    yield from _describe_notes(comparison)
    yield from _describe_latency(results)
    for line in list_untrusted_timing(results):
        yield f"Timing is untrusted. {line}"
    yield from _describe_constraint(results)
    yield from _describe_packs(results)
    yield from list_environment_mixtures(results)


def _list_scoring_notes(results: pd.DataFrame) -> Iterator[str]:
    """What records say of a model's prompts and answers, each once."""
    named = results[["model", "scoring_notes"]].dropna().drop_duplicates()
    lines = {(model, line): None for model, own in named.to_numpy() for line in own.splitlines()}
    for model, line in lines:
        yield line if results["model"].nunique() == 1 else f"{model}: {line}"


def _describe_range(comparison: Comparison) -> Iterator[str]:
    rows = comparison.by_task[~comparison.by_task["score"].between(0, 1)].dropna(subset=["score"])
    for task, own in rows.groupby("task"):
        yield (
            f"Scores of {join_words(sorted(own['variant']))} on {task} lie outside 0 to 1. The "
            "rule and its tolerance expect scores from 0 to 1, not percentages."
        )


def _describe_notes(comparison: Comparison) -> Iterator[str]:
    names = {str(name) for column in ("task", "variant") for name in comparison.by_task[column]}
    for note in comparison.notes:
        # The name of a set or task stays as it is written everywhere.
        is_name = note.startswith(tuple(f"{name}{end}" for name in names for end in (" ", ":")))
        yield f"{note if is_name else capitalize(note)}."


def _describe_packs(results: pd.DataFrame) -> Iterator[str]:
    if "train_pack_size" in results and (results["train_pack_size"] > 1).any():
        yield (
            "Several variants were trained together: a training time is an equal share of the "
            "group's time, and a peak memory is that of the whole group."
        )


def _spell(status: str) -> str:
    return {"running": "is not finished", "interrupted": "was interrupted"}.get(status, str(status))


def _describe_example_counts(comparison: Comparison) -> Iterator[str]:
    counts = comparison.by_task.dropna(subset=["examples"]).groupby("task")["examples"].max()
    few = [f"{task} {count:.0f}" for task, count in counts.items() if count < FEW_EXAMPLES]
    if few:
        yield (
            f"Few examples ({join_words(few)}): intervals of skewed scores are too narrow, so "
            "these tasks take no part in the verdict."
        )


def _describe_skill(comparison: Comparison, choice: str | None) -> Iterator[str]:
    rows = comparison.by_task
    if rows.loc[rows["target_set"] == BASE, "score"].isna().all():
        yield "The base was not scored, so whether training helped is unknown."
        return
    lacking = [task for task, each in comparison.scores.tasks.items() if BASE not in each.scores]
    if lacking:
        yield (
            f"The base has no score on {join_words(lacking)}, so the gain from training there, and "
            "on average, is unknown."
        )
    own = rows[rows["variant"] == choice]
    worse = list(own.loc[own["difference_high"] < 0, "task"])
    unclear = list(own.loc[(own["difference_low"] <= 0) & (own["difference_high"] >= 0), "task"])
    if worse:
        yield f"{choice} scores below the base on {join_words(worse)}; the 95% interval excludes 0."
    if unclear:
        yield f"{choice} is not shown to differ from the base on {join_words(unclear)}."


def _describe_majority(comparison: Comparison) -> Iterator[str]:
    """Name the sets that are not above the majority line where others are."""
    for task, line in comparison.majority.items():
        skilled, unskilled = _split_by_skill(comparison, task)
        if unskilled and skilled:
            yield (
                f"Not above the majority-class baseline on {task}: {join_words(unskilled)}. They "
                f"do not score above {line.high:.3f}, the upper 95% bound of {line.name} "
                f"({line.score:.3f})."
            )


def _split_by_skill(comparison: Comparison, task: str) -> tuple[list[str], list[str]]:
    """Names of the target sets above the majority line, and of the others, without the base."""
    rows = comparison.by_task[comparison.by_task["task"] == task]
    rows = rows[(rows["target_set"] != BASE) & rows["has_skill"].notna()]
    is_skilled = rows["has_skill"].astype(bool)
    return list(rows.loc[is_skilled, "variant"]), list(rows.loc[~is_skilled, "variant"])


def _describe_rule(rules: pd.Series) -> str:
    """What a cut keeps, by each rule that the runs name; an unknown rule by its own name."""
    parts = {"head": "the head of each was kept", "head_tail": "head and tail of each were kept"}
    return "; ".join(parts.get(rule, f"rule: {rule}") for rule in sorted(rules.dropna().unique()))


def _describe_cut(ratio: float, rule: str) -> str:
    share = "" if pd.isna(ratio) else f"{format_share(ratio)} of all prompt tokens removed"
    known = "; ".join(filter(None, (share, rule)))
    return f" ({known})" if known else ""


def _count_rows(count: float) -> str:
    return "1 bad row was" if count == 1 else f"{count:.0f} bad rows were"


def _describe_constraint(results: pd.DataFrame) -> Iterator[str]:
    tasks = sorted(results.loc[results["scoring"] == CONSTRAINED, "task"].unique())
    if tasks:
        yield (
            f"Scores of {join_words(tasks)} come from decoding constrained to a schema; latency "
            "was timed with unconstrained decoding."
        )


def list_untrusted_timing(results: pd.DataFrame) -> list[str]:
    """Return a sentence for each session whose timing of base against base failed.

    Names the task, the model where there are several, and the variants where others of the task
    passed or failed otherwise.
    """
    gated = results[results["latency_trusted"].notna()]
    sentences = []
    for (model, task), runs in gated.groupby(["model", "task"]):
        where = f"{task} ({model})" if results["model"].nunique() > 1 else f"{task}"
        failed = runs[runs["latency_trusted"].eq(False)]
        # Runs of one session have one base, and each its own noise, which is told after it.
        sessions = failed["latency_distrust"].astype(str).str.split("; ").str[0]
        for _, rows in failed.groupby(sessions, sort=False):
            names = join_words(sorted(rows["variant"].unique()))
            whose = f", {names}" if len(rows) < len(runs) else ""
            sentences.append(f"{where}{whose}: {rows['latency_distrust'].iloc[0]}.")
    return sentences


def _describe_latency(results: pd.DataFrame) -> Iterator[str]:
    trained = results[results["target_set"] != BASE]
    untimed = trained[trained["end_to_end_ratio"].isna() & trained["score"].notna()]
    if len(untimed):
        names = sorted(set(untimed["variant"] + " on " + untimed["task"]))
        listed = "any target set" if len(untimed) == len(trained) else join_words(names)
        yield f"Latency was not measured for {listed}."
    coverage = trained["latency_interval_coverage"].min()
    if coverage < 0.95:
        yield (
            "Too few timed rounds for a 95% interval: latency bounds are the lowest and highest "
            f"ratio measured, which cover {coverage:.0%}."
        )
