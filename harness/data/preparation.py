"""A task's configuration -> its examples, loaded, checked and tokenized for a model."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

import harness.config.task_package  # noqa: F401  (before tasks)
from harness.config.schema import Config, TaskConfig
from harness.config.validation import refuse_unread_places
from harness.data.encoding import EncodedExample, EncodingRules, encode_examples
from harness.data.token_cache import recall_or_encode
from harness.data.turns import TurnWriter
from harness.errors import UserError
from harness.models.loading import describe_decoding, load_tokenizer
from harness.progress import announce
from harness.records.files import cache_folder
from tasks.base import Split, TaskSpec, Truncation
from tasks.custom import CustomTask, make_custom_task
from tasks.files import SUFFIXES
from tasks.hub import HUB_ID
from tasks.loading import LoadedExamples, load_examples
from tasks.registry import TASKS, find_task
from tasks.sources import Source


@dataclass(frozen=True)
class PreparedTask:
    task: TaskConfig
    train: tuple[EncodedExample, ...]
    test: tuple[EncodedExample, ...]
    train_skipped_rows: int
    """Bad training rows left out."""
    test_source: LoadedExamples
    """Where the test examples came from, and how many rows were left out."""
    source: str
    """`hub`, `local` or `embedded`."""
    truncation: str
    """Rule for prompts that do not fit: `head` or `head_tail`."""
    split: str = "test"
    """What `test` is: the split of that name, or `validation`, rows held back from training."""
    schema: dict[str, Any] | None = None
    """JSON schema that generation is held to; None where it is free."""
    notes: tuple[str, ...] = ()
    """What a reader of the scores has to know of prompts and answers, in sentences."""

    @cached_property
    def spec(self) -> TaskSpec:
        """What the task is."""
        return _find_spec(self.task)

    def __getstate__(self) -> dict[str, Any]:
        # A task is made of functions, which another process finds by the task's name.
        return {key: value for key, value in vars(self).items() if key != "spec"}

    @property
    def scoring(self) -> str:
        """How test examples are answered, in words."""
        if self.split == "validation":
            return "loss of the completion"
        if self.test[0].choice_ids:
            return "likelihood"
        return "constrained generation" if self.schema else "generation"

    @property
    def output_tokens(self) -> int:
        """Median completion length of the test examples, or, where the training examples lead to
        their answers by a reasoning and the test examples have none, of the training examples."""
        if self.test[0].choice_ids:
            return 1
        is_short = not any(item.example.ending for item in self.test)
        longer = [item for item in self.train if item.example.ending] if is_short else []
        return max(1, round(median(len(item.completion_ids) for item in longer or self.test)))

    @property
    def timed_prompt_tokens(self) -> int:
        """Prompt length that is timed: the upper median of the test examples."""
        lengths = sorted(len(item.prompt_ids) for item in self.test)
        return lengths[len(lengths) // 2]

    def timed_output_tokens(self, cap: int) -> int:
        """Output length that timing forces: the task's own, up to a cap."""
        return min(self.output_tokens, cap)


def prepare_task(config: Config, context_length: int) -> PreparedTask:
    """Load a task's examples and tokenize them for a model.

    Raises UserError (or DataError) for a task that is not there, data that cannot be read, a bad
    row, and a prompt that cannot fit.
    """
    task = config.task
    spec = _find_spec(task)
    source = _find_source(task, spec)
    if source.kind != "hub":  # where `auto` takes a path for a hub id as well
        refuse_unread_places("task", dataclasses.replace(task, source=source.kind))
    announce(f"{task.name}: reading and tokenizing the {source.kind} data")
    rules = _make_rules(config, spec, context_length)
    tokenizer = load_tokenizer(config.model)
    limit = task.train_examples + task.held_back
    train = _load(task, spec, source, "train", limit)
    if task.held_back:
        train, test = _hold_back(train, task)
    else:
        wanted = task.test_examples + task.extra_test_examples
        test = _load(task, spec, source, "test", wanted)
        _refuse_open(task, train, test)
    return PreparedTask(
        task=task,
        train=_encode(train, tokenizer, rules),
        test=_encode(test, tokenizer, rules),
        train_skipped_rows=train.skipped_rows,
        test_source=test,
        source=source.kind,
        truncation=rules.truncation,
        split="validation" if task.held_back else "test",
        schema=_make_schema(task, spec, train) if task.constrained_decoding else None,
        notes=(
            *TurnWriter.of(tokenizer, rules.use_chat_template, rules.template_settings).notes,
            *describe_decoding(config.model),
            *_describe_scoring(spec, test),
            *train.notes,
        ),
    )


def _refuse_open(task: TaskConfig, train: LoadedExamples, test: LoadedExamples) -> None:
    """Raise UserError for test questions without options among some with, under likelihood."""
    has_options = any(example.choices for each in (train, test) for example in each.examples)
    if task.choose_by != "likelihood" or not has_options:
        return
    without = [example.id for example in test.examples if not example.choices]
    if without:
        raise UserError(
            f"task.choose_by is likelihood, but {len(without)} of {len(test.examples)} test "
            f"questions of {task.name} have no options ({without[0]} is the first); set "
            "task.choose_by=generation, or a task.test whose questions all have options"
        )


def _describe_scoring(spec: TaskSpec, test: LoadedExamples) -> list[str]:
    found = spec.describe_scoring(test.examples) if spec.describe_scoring else None
    return [found] if found else []


def _find_spec(task: TaskConfig) -> TaskSpec:
    if task.prompt is None:
        return find_task(task.name)
    if task.name in TASKS:
        raise UserError(
            f"task.prompt is set, but task.name is {task.name!r}, a built-in task; give your task "
            "another name"
        )
    # `validate` has seen to it that all three are there.
    assert task.answer is not None
    assert task.metric is not None
    columns = task.split_columns
    return make_custom_task(
        CustomTask(
            task.name,
            prompt=task.prompt,
            answer=task.answer,
            metric=task.metric,
            choices=task.choices,
            cut_column=task.cut_column,
            split_columns=[columns] if isinstance(columns, str) else columns,
        )
    )


def _find_source(task: TaskConfig, spec: TaskSpec) -> Source:
    """The source, with `auto` made plain."""
    kind, dataset = _find_kind(task, spec)
    return Source(
        kind,
        path=task.path,
        dataset=dataset,
        revision=task.revision,
        subset=task.subset,
        test=task.test,
    )


def _find_kind(task: TaskConfig, spec: TaskSpec) -> tuple[str, str | None]:
    """The kind of source, and the hub id in place of the task's own."""
    if task.source != "auto":
        return task.source, task.dataset
    if task.path and Path(task.path).expanduser().exists():
        return "local", None
    is_file_name = task.path is not None and Path(task.path).suffix.lower() in SUFFIXES
    if task.path and (is_file_name or not HUB_ID.fullmatch(task.path)):
        raise UserError(
            f"task.path is {task.path}: no such file or folder; expected JSONL, Parquet or CSV, or "
            "a data set id on the hub such as org/name"
        )
    if task.path:
        announce(f"{task.path}: no such file or folder here; looking on the hub")
        return "hub", task.path
    if task.dataset:
        return "hub", task.dataset
    if spec.embedded is not None:
        return "embedded", None
    if spec.hub:
        return "hub", None
    raise UserError(
        f"task.path is not set; task {task.name} needs a file or folder of JSONL, Parquet or CSV, "
        "or a data set id on the hub such as org/name"
    )


def _load(
    task: TaskConfig, spec: TaskSpec, source: Source, split: Split, limit: int
) -> LoadedExamples:
    return load_examples(
        spec, split, source, limit=limit, seed=task.data_seed, on_bad_row=task.on_bad_row
    )


def _hold_back(loaded: LoadedExamples, task: TaskConfig) -> tuple[LoadedExamples, LoadedExamples]:
    """The training examples, and those after them whose prompt is none of theirs."""
    train = loaded.examples[: task.train_examples]
    seen = {example.prompt for example in train}
    rest = [e for e in loaded.examples[task.train_examples :] if e.prompt not in seen]
    if not rest:
        raise UserError(
            f"train.learning_rate is tuned, but the training split of {task.name} has "
            f"{len(loaded.examples)} examples and task.train_examples uses {len(train)}; none are "
            "left for tuning: lower task.train_examples"
        )
    return dataclasses.replace(loaded, examples=train), dataclasses.replace(
        loaded, examples=tuple(rest)
    )


def _make_rules(config: Config, spec: TaskSpec, context_length: int) -> EncodingRules:
    task = config.task
    return EncodingRules(
        truncation=cast("Truncation", task.truncation or spec.truncation),
        max_prompt_tokens=task.max_prompt_tokens,
        max_completion_tokens=task.max_completion_tokens,
        context_length=context_length,
        choose_by_likelihood=task.choose_by == "likelihood",
        use_chat_template=config.model.chat_template == "auto",
        template_settings=config.model.chat_template_kwargs or {},
    )


def _encode(
    loaded: LoadedExamples, tokenizer: PreTrainedTokenizerBase, rules: EncodingRules
) -> tuple[EncodedExample, ...]:
    folder = cache_folder() / "tokens"
    return tuple(recall_or_encode(folder, loaded.examples, tokenizer, rules, encode_examples))


def _make_schema(task: TaskConfig, spec: TaskSpec, train: LoadedExamples) -> dict[str, Any] | None:
    if spec.make_schema is None:
        raise UserError(
            f"task.constrained_decoding is on, but the answers of task {task.name} are not JSON; "
            "turn it off"
        )
    return spec.make_schema(train.examples)


def share_cut(examples: Sequence[EncodedExample]) -> float:
    """Share of all prompt tokens that was cut; NaN without examples."""
    cut = sum(item.cut_tokens for item in examples)
    kept = sum(len(item.prompt_ids) for item in examples)
    return cut / (cut + kept) if cut + kept else math.nan
