"""A study's records as pandas tables: every analysis reads `results/` through this module.

    import harness
    results = harness.load_results("results/quickstart")
    results.pivot_table(index="target_set", columns="task", values="score")

A path is a study's folder, a folder of studies, or a sequence of either. What cannot be read is
warned about and left out; one bad record never stops the others.

`load_results`   one row a record; its docstring lists the columns
`load_examples`  one row a scored example
`load_latency`   one row a timed call
`load_losses`    one row an optimizer step
`load_study`     all that a report needs, read once
"""

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.latency.run_times import (
    CALL_COLUMNS,
    RATIO_COLUMNS,
    SECONDS_COLUMNS,
    list_times,
    read_calls,
    tell_sessions_apart,
)
from harness.analysis.majority import MAJORITY_COLUMNS, make_majority_line, mark_skill
from harness.analysis.runs import Paths, Run, Runs, read_run_table, read_runs
from harness.records.looks import describe_loss, find_look
from harness.records.machine import identify_machine
from harness.records.record import BASE, TUNED, EvalRecord, Record

LENGTHS = ("completion_tokens", "reasoning_tokens")
"""Lengths of what was generated, by example and as a mean over examples."""

ENVIRONMENT_COLUMNS = ("torch", "transformers", "peft", "device", "gpu", "cpu")
TEXT_COLUMNS = (
    *("run_id", "study", "status", "model", "task", "variant", "target_set", "roles", "method"),
    *("source", "dataset", "stand_in", "split", "metric", "majority_prediction", "scoring"),
    *("truncation", "layers", "module_names", "parameter_names", "mergeable", "budget"),
    "scoring_notes",
    *("latency_stopped", "latency_session", "latency_trusted", "latency_distrust"),
    *("error_type", "error_message", *ENVIRONMENT_COLUMNS, "machine", "folder"),
)
COLUMNS = (
    *("run_id", "study", "status", "model", "task", "variant", "target_set", "roles", "method"),
    *("budget", "rank", "alpha", "dropout", "seed", "learning_rate", "learning_rate_tuned"),
    *("source", "dataset", "stand_in", "split", "data_seed"),
    *(
        "example_count",
        "extra_test_examples",
        "metric",
        "score",
        *MAJORITY_COLUMNS,
        "has_skill",
        "scoring",
    ),
    *("scoring_notes", *LENGTHS, "truncation", "truncated_examples"),
    *("truncated_tokens_ratio", "skipped_rows", "layers", "covered_blocks", "block_count"),
    *("module_names", "parameter_names"),
    *("trainable_parameters", "module_count", "adapter_bytes", "mergeable"),
    *("train_steps", "train_tokens", "train_seconds", "train_tokens_per_second"),
    *("train_truncated_examples", "train_truncated_tokens_ratio", "train_skipped_rows"),
    *("train_pack_size", "peak_memory_bytes", "final_loss", "eval_seconds"),
    *("batch_size", "prompt_tokens", "output_tokens", "latency_rounds"),
    *("latency_processes", "latency_stopped", "latency_session", "latency_trusted"),
    "latency_distrust",
    *("latency_interval_coverage", *SECONDS_COLUMNS, *RATIO_COLUMNS, "error_type"),
    *("error_message", *ENVIRONMENT_COLUMNS, "machine", "folder", "look"),
)
TRAINED = (
    *("steps", "tokens", "seconds", "tokens_per_second"),
    *("truncated_examples", "truncated_tokens_ratio", "skipped_rows"),
)
"""Fields of a TrainRecord whose columns begin with `train_`."""

TIMED = ("rounds", "processes", "stopped", "session")
"""Fields of a LatencyRecord whose columns begin with `latency_`."""

KEYS = ("run_id", "study", "model", "task", "variant", "target_set", "method", "rank", "seed")
"""Columns that the tables of examples, calls and steps put before their own."""

EXAMPLE_COLUMNS = ("id", "score")


@dataclass(frozen=True)
class Study:
    results: pd.DataFrame
    """As from load_results."""
    examples: pd.DataFrame
    """KEYS, id and score of every scored example, the texts of KEYS as categories: millions of rows
    hold but hundreds of runs."""
    losses: pd.DataFrame
    """As from load_losses."""
    environments: Mapping[str, Mapping[str, Any]]
    """Run id -> what its record says of the machine and the versions."""
    problems: tuple[str, ...]
    """One line for each record or table that could not be read."""
    lost_looks: tuple[str, ...] = ()
    """A sentence for each study whose count of looks was lost."""


def load_results(path: Paths) -> pd.DataFrame:
    """Return one row per record, ordered by study and run id, with these columns.

    run_id, study, status       the run and its status: ok, failed, running or interrupted
    model, task, target_set     what was compared; `base` is the model without an adapter
    variant                     target_set and the settings that vary with it (`qkv, rank 16`)
    roles, method, rank, alpha, dropout, seed, learning_rate
    budget                      what ranks were solved for; None where they were set
    learning_rate_tuned         whether the rate was tuned on examples held out from training
    source, dataset, stand_in, split, data_seed     where the examples came from
    example_count, metric, score        headline score in [0, 1], a mean over the examples
    score_<name>                every score of any task; NaN where the task does not have it
    majority_prediction, majority_score(_low, _high)    the constant answer that scores highest,
                                its score and 95% interval, of tasks with fixed options
    has_skill                   score is above majority_score_high; NA where there is no such line
    scoring                     likelihood, generation or constrained generation
    scoring_notes               what a reader of the scores has to know, a sentence a line
    completion_tokens, reasoning_tokens     mean length of what was generated, and of the part of
                                it that only leads to the answer
    truncation                  rule for prompts that do not fit: head or head_tail
    truncated_examples, truncated_tokens_ratio, skipped_rows    what scoring cut or skipped
    layers                      blocks that the set is limited to, as in its name; `all`
    covered_blocks, block_count     blocks that hold an adapted projection, of how many; NaN in
                                older records
    module_names, parameter_names   what was adapted, as PEFT's target_modules and
                                target_parameters take it, joined by commas; empty in older records
    trainable_parameters, module_count, adapter_bytes, mergeable
    train_steps, train_tokens, train_seconds, train_tokens_per_second,
    train_truncated_examples, train_truncated_tokens_ratio, train_skipped_rows,
    train_pack_size             number of variants trained together, including this one;
                                train_seconds is an equal share of their time
    peak_memory_bytes           peak of all of them together
    final_loss, eval_seconds
    batch_size, prompt_tokens, output_tokens, latency_rounds    the timed call
    latency_processes, latency_stopped      number of processes, and why timing stopped
    latency_session             the timed base's run id; runs that share one have the same calls.
                                Of a base timed more than once, followed by `@` and a digest
    latency_trusted, latency_distrust       whether the base timed against itself is 1 within a
                                narrow enough interval, and if not, why; NA if not timed
    <time>_seconds              median of the unmerged arm (for base: of the base); <time> is
                                ttft (to first token), tpot (per output token) or end_to_end
    <time>_ratio(_low, _high)   unmerged against base, paired by round, with its 95% interval
    merged_<time>_seconds, merged_<time>_ratio(_low, _high)     the same of the merged arm
    latency_interval_coverage   actual coverage of those intervals; below 0.95 under 6 rounds
    error_type, error_message   why a run failed
    torch, transformers, peft, device, gpu, cpu     from the record's environment, where known
    machine                     what must agree for two timings to be compared, as JSON (of
                                harness.records.machine.identify_machine)
    folder                      the run's folder, where its examples and timed calls are
    look                        number of this look at the study's scores, by looks.json: 1 where
                                they are the first that anything is decided about

    Raises UserError if `path` has no study.
    """
    found = read_runs(path)
    problems = list(found.problems)
    table = _tabulate_results(found, problems)
    _warn([*problems, *_list_losses(found)])
    return table


def load_examples(path: Paths, *, texts: bool = True) -> pd.DataFrame:
    """Return one row per scored example: KEYS, id, score (the headline), truncated, score_<name>.

    Also cluster (examples that share one are alike, such as questions about one document),
    completion_tokens and reasoning_tokens, where the run recorded them, and with `texts`
    prediction and reference, which are most of the bytes. Raises UserError if `path` has no study.
    """
    found = read_runs(path)
    problems = list(found.problems)
    others = ("cluster", "truncated", *(("prediction", "reference") if texts else ()))
    tables = []
    for run, scored in _list_scored(found):
        numbers = {f"score_{name}": name for name in scored.scores}
        numbers |= {name: name for name in LENGTHS}
        tables.append((run, _read_examples(run, scored, others, numbers, problems)))
    _warn(problems)
    return _join(tables, EXAMPLE_COLUMNS)


def load_latency(path: Paths) -> pd.DataFrame:
    """Return one row per timed call: KEYS of the run that timed it, then the file's columns.

    A variant's rows include the base's calls of the same session (`arm` is `base`), so ratios can
    be computed within a round. Raises UserError if `path` has no study.
    """
    found = read_runs(path)
    problems = list(found.problems)
    tables = [(run, read_calls(run, problems)) for run in found.runs]
    _warn(problems)
    return _join(tables, CALL_COLUMNS)


def load_losses(path: Paths) -> pd.DataFrame:
    """Return one row per optimizer step: KEYS, step (from 1), loss (mean per completion token)."""
    found = read_runs(path)
    _warn(found.problems)
    return _tabulate_losses(found)


def load_study(path: Paths) -> Study:
    """Read all that a report needs; what cannot be read is in `problems`, and not warned about."""
    found = read_runs(path)
    problems = list(found.problems)
    results = _tabulate_results(found, problems)
    examples = _tabulate_headline(found, problems)
    environments = {run.record.run_id: run.record.environment for run in found.runs}
    losses = _tabulate_losses(found)
    return Study(
        results, examples, losses, environments, tuple(problems), tuple(_list_losses(found))
    )


def list_evidence(results: pd.DataFrame) -> list[str]:
    """Return what a look at a study's results is a look at: its trained runs that have scores.

    A run that a race has scored on more examples is another piece of evidence.
    """
    trained = results[(results["target_set"] != BASE) & results["score"].notna()]
    more = trained["extra_test_examples"].fillna(0).astype(int)
    pairs = zip(trained["run_id"], more, strict=True)
    return [f"{name} +{count}" if count else name for name, count in pairs]


def _list_losses(found: Runs) -> list[str]:
    folders = dict.fromkeys(run.folder.parents[1] for run in found.runs)
    return [loss for loss in map(describe_loss, folders) if loss is not None]


def _number_looks(frame: pd.DataFrame) -> pd.Series:
    """The number of this look at each run's study."""
    numbers = pd.Series(1, index=frame.index)
    for folder, rows in frame.groupby(frame["folder"].map(lambda each: Path(each).parents[1])):
        numbers[rows.index] = find_look(Path(folder), list_evidence(rows))
    return numbers


def _tabulate_results(found: Runs, problems: list[str]) -> pd.DataFrame:
    times = list_times(found, problems)
    frame = pd.DataFrame(
        {**_describe(run), **_describe_sections(run.record), **own}
        for run, own in zip(found.runs, times, strict=True)
    )
    frame = tell_sessions_apart(frame)
    scores = sorted(str(name) for name in frame if str(name).startswith("score_"))
    after = COLUMNS.index("score") + 1
    frame = frame.reindex(columns=[*COLUMNS[:after], *scores, *COLUMNS[after:]])
    # A column is a number already unless some record has another value in its place.
    others = frame.select_dtypes(exclude="number")
    numbers = [name for name in others if name not in TEXT_COLUMNS]
    frame = frame.assign(**{name: pd.to_numeric(frame[name], errors="coerce") for name in numbers})
    return frame.assign(
        data_seed=frame["data_seed"].astype("Int64"),
        learning_rate_tuned=frame["learning_rate_tuned"].astype("boolean"),
        mergeable=frame["mergeable"].astype("boolean"),
        latency_trusted=frame["latency_trusted"].astype("boolean"),
        look=_number_looks(frame),
        has_skill=mark_skill(frame["score"], frame["majority_score_high"]),
    )


def _describe(run: Run) -> dict[str, Any]:
    record = run.record
    adapter = record.adapter
    return {
        **_keys(run),
        "status": record.status,
        "budget": run.setting("adapter.budget"),
        "roles": "+".join(adapter.roles) if adapter else "",
        "alpha": adapter.alpha if adapter else run.setting("adapter.alpha"),
        "dropout": run.setting("adapter.dropout"),
        "data_seed": run.setting("task.data_seed"),
        "extra_test_examples": run.setting("task.extra_test_examples") or 0,
        "layers": adapter.layers if adapter else "",
        "module_names": ",".join(adapter.module_names) if adapter else "",
        "parameter_names": ",".join(adapter.parameter_names) if adapter else "",
        "learning_rate": _find_rate(run),
        "learning_rate_tuned": run.setting("train.learning_rate") == TUNED,
        "error_type": record.error.type if record.error else None,
        "error_message": record.error.message if record.error else None,
        **{name: record.environment.get(name) for name in ENVIRONMENT_COLUMNS},
        "machine": json.dumps(identify_machine(record.environment), sort_keys=True),
        "folder": str(run.folder),
    }


def _find_rate(run: Run) -> float | None:
    """The rate that was trained with; of a run that was not trained, the configured one."""
    trained = run.record.train
    if trained is not None and not math.isnan(trained.learning_rate):
        return trained.learning_rate
    configured = run.setting("train.learning_rate")
    return configured if isinstance(configured, (int, float)) else None


def _describe_sections(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if record.adapter:
        names = ("trainable_parameters", "module_count", "adapter_bytes")
        row |= _take(record.adapter, (*names, "covered_blocks", "block_count"))
        row["mergeable"] = record.adapter.mergeable
    if record.train:
        row |= {f"train_{name}": value for name, value in _take(record.train, TRAINED).items()}
        row |= _take(record.train, ("peak_memory_bytes", "final_loss"))
        row["train_pack_size"] = max(1, len(record.train.pack))
    if record.eval:
        row |= _describe_scoring(record.eval)
    if record.latency:
        row |= _take(record.latency, ("batch_size", "prompt_tokens", "output_tokens"))
        row |= {f"latency_{name}": getattr(record.latency, name) for name in TIMED}
    # Where none is named, as in an older record, its calls are its own.
    row["latency_session"] = row.get("latency_session") or record.run_id
    return row


def _describe_scoring(scored: EvalRecord) -> dict[str, Any]:
    row = _take(scored, ("source", "dataset", "stand_in", "split", "metric"))
    row |= _take(scored, ("truncated_examples", "truncated_tokens_ratio", "skipped_rows"))
    row |= _take(scored, LENGTHS)
    # An older record does not say how it was scored or cut: its text is empty.
    row["scoring_notes"] = "\n".join(scored.notes) or None
    row |= {"scoring": scored.scoring or None, "truncation": scored.truncation or None}
    row |= {"example_count": scored.examples, "eval_seconds": scored.seconds}
    row["score"] = scored.scores.get(scored.metric, math.nan)
    row |= {f"score_{name}": value for name, value in scored.scores.items()}
    line = make_majority_line(scored.majority_prediction, scored.majority_score, scored.examples)
    return row | (line.to_columns() if line else {})


def _take(section: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(section, name) for name in names}


def _tabulate_headline(found: Runs, problems: list[str]) -> pd.DataFrame:
    tables = [
        (run, _read_examples(run, scored, ("cluster",), {}, problems))
        for run, scored in _list_scored(found)
    ]
    return _join(tables, EXAMPLE_COLUMNS, has_categories=True)


def _list_scored(found: Runs) -> Iterator[tuple[Run, EvalRecord]]:
    for run in found.runs:
        if run.record.eval is not None:
            yield run, run.record.eval


def _read_examples(
    run: Run,
    scored: EvalRecord,
    others: Sequence[str],
    numbers: Mapping[str, str],
    problems: list[str],
) -> pd.DataFrame:
    """Return a run's id and score, and of `others` and `numbers` (name -> name in the file) what is
    there."""
    needed = ("id", scored.metric)
    # Texts are most of the bytes.
    chosen = (*others, *numbers.values())
    table = read_run_table(run, "examples.parquet", needed, problems, chosen)
    columns = {
        "id": table["id"].astype(str),
        "score": pd.to_numeric(table[scored.metric], errors="coerce"),
    }
    columns |= {name: table[name] for name in others if name in table}
    for name, column in numbers.items():
        if column in table:
            columns[name] = pd.to_numeric(table[column], errors="coerce")
    return pd.DataFrame(columns)


def _tabulate_losses(found: Runs) -> pd.DataFrame:
    tables = []
    for run in found.runs:
        losses = run.record.train.loss if run.record.train else ()
        steps = {"step": range(1, len(losses) + 1), "loss": pd.Series(losses, dtype=float)}
        tables.append((run, pd.DataFrame(steps)))
    return _join(tables, ("step", "loss"))


def _keys(run: Run) -> dict[str, Any]:
    adapter = run.record.adapter
    return {
        "run_id": run.record.run_id,
        "study": run.study,
        "model": run.model,
        "task": run.task,
        "variant": run.variant,
        "target_set": run.target_set,
        "method": run.method,
        "rank": adapter.rank if adapter else run.setting("adapter.rank"),
        "seed": run.seed,
    }


def _join(
    tables: Sequence[tuple[Run, pd.DataFrame]],
    columns: Sequence[str],
    *,
    has_categories: bool = False,
) -> pd.DataFrame:
    """One table of all runs', KEYS first; only `columns` where there are no rows."""
    filled = [(run, table) for run, table in tables if len(table)]
    if not filled:
        return pd.DataFrame(columns=[*KEYS, *columns])
    keys = pd.DataFrame([_keys(run) for run, _ in filled])
    if has_categories:
        keys = keys.astype({name: "category" for name in KEYS if name in TEXT_COLUMNS})
    rows = np.repeat(np.arange(len(filled)), [len(table) for _, table in filled])
    joined = pd.concat([table for _, table in filled], ignore_index=True)
    own = joined.drop(columns=[name for name in KEYS if name in joined])
    return pd.concat([keys.iloc[rows].reset_index(drop=True), own], axis=1)


def _warn(problems: Sequence[str]) -> None:
    for problem in problems:
        warnings.warn(problem, stacklevel=3)
