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
from harness.data.encoding import EncodedExample, EncodingRules, encode_examples
from harness.data.token_cache import recall_or_encode
from harness.data.turns import TurnWriter
from harness.errors import UserError
from harness.models.loading import describe_decoding, load_tokenizer
from harness.progress import announce
from harness.records.files import cache_folder
from tasks.base import Split, TaskSpec, Truncation
from tasks.custom.formats import FORMATS, RowFormat, is_dataset_info, read_dataset_info
from tasks.custom.task import CustomTask, make_custom_task
from tasks.evaluate_metrics import score_examples
from tasks.json_schema import write_skeleton
from tasks.loading import LoadedExamples, has_validation, load_parts
from tasks.registry import TASKS, find_task
from tasks.sources import Source
from tasks.splits import normalise_content

KEYS_LEAD = "The answer is one JSON object with these keys, as far as there are values for them:"


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
    source = _make_source(task)
    announce(f"{task.name}: reading and tokenizing the {source.kind} data")
    rules = _make_rules(config, spec, context_length)
    tokenizer = load_tokenizer(config.model)
    train, test = _load(task, spec, source, keeps_validation=config.keeps_validation)
    _refuse_open(task, train, test)
    _try_metric(spec, test)
    schema = _make_schema(task, spec, train)
    if schema is not None and task.schema_in_prompt:
        train, test = (_name_keys(loaded, schema) for loaded in (train, test))
    return PreparedTask(
        task=task,
        train=_encode(train, tokenizer, rules),
        test=_encode(test, tokenizer, rules),
        train_skipped_rows=train.skipped_rows,
        test_source=test,
        source=source.kind,
        truncation=rules.truncation,
        split="validation" if task.tuning_examples else "test",
        schema=schema if task.constrained_decoding else None,
        notes=(
            *TurnWriter.of(tokenizer, rules.use_chat_template, rules.template_settings).notes,
            *describe_decoding(config.model),
            *_describe_scoring(spec, test),
            *train.notes,
            *_describe_repeats(task.name, train, test),
        ),
    )


def _try_metric(spec: TaskSpec, test: LoadedExamples) -> None:
    """Raise DataError for a metric from outside that fails on what models write."""
    if spec.module is None:
        example = test.examples[0]
        texts = ("", "no number", f"{example.completion}\nand more", example.prompt)
        score_examples(spec, [(example, text) for text in texts])


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
    is_info = is_dataset_info(task.path)
    if task.prompt is None and task.format is None and not is_info:
        return find_task(task.name)
    if task.name in TASKS:
        setting = "task.format" if task.prompt is None else "task.prompt"
        raise UserError(
            f"{setting} is set, but task.name is {task.name!r}, a built-in task; give your task "
            "another name"
        )
    # `validate` has seen to it that it is there.
    assert task.metric is not None
    form = FORMATS[task.format] if task.format else RowFormat()
    if is_info:
        _, form = read_dataset_info(_expand(task.path), task.subset)
    return make_custom_task(
        CustomTask(
            task.name,
            prompt=task.prompt,
            answer=task.answer,
            metric=task.metric,
            choices=task.choices,
            cut_column=task.cut_column,
            split_columns=_list(task.split_columns),
            reasoning=task.reasoning,
            optional_columns=_list(task.optional_columns) or (),
            decimal=task.decimal,
            format=form,
            path=task.path,
        )
    )


def _expand(path: str | None) -> Path:
    return Path(str(path)).expanduser()


def _list(columns: Any) -> list[str] | None:
    return [columns] if isinstance(columns, str) else columns


def _make_source(task: TaskConfig) -> Source:
    path, subset = task.path, task.subset
    if is_dataset_info(path):
        place, _ = read_dataset_info(_expand(path), subset)
        path, subset = str(place), None
    return Source(
        task.source,
        path=path,
        encoding=task.encoding,
        id_column=task.id_column,
        dataset=task.dataset,
        revision=task.revision,
        subset=subset,
        test=task.test,
    )


def _load(
    task: TaskConfig, spec: TaskSpec, source: Source, *, keeps_validation: bool
) -> tuple[LoadedExamples, LoadedExamples]:
    """Training examples, and those that are scored."""

    def load(**limits: int) -> dict[Split, LoadedExamples]:
        return load_parts(
            spec,
            source,
            cast("dict[Split, int | None]", limits),
            seed=task.data_seed,
            on_bad_row=task.on_bad_row,
            joins_validation=not keeps_validation,
        )

    if not task.tuning_examples:
        parts = load(train=task.train_examples, test=task.test_examples + task.extra_test_examples)
        return parts["train"], parts["test"]
    if has_validation(spec, source, task.data_seed):
        parts = load(train=task.train_examples, validation=task.tuning_examples)
        left = _leave_out_known(parts["validation"], parts["train"])
        if left.examples:
            return parts["train"], left
    return _hold_back(load(train=task.train_examples + task.tuning_examples)["train"], task)


def _hold_back(loaded: LoadedExamples, task: TaskConfig) -> tuple[LoadedExamples, LoadedExamples]:
    """The training examples, and those after them whose prompt is none of theirs."""
    train = dataclasses.replace(loaded, examples=loaded.examples[: task.train_examples])
    rest = dataclasses.replace(loaded, examples=loaded.examples[task.train_examples :])
    left = _leave_out_known(rest, train)
    if left.examples:
        return train, left
    raise UserError(
        f"train.learning_rate is tuned, but the training split of {task.name} has "
        f"{len(loaded.examples)} examples and task.train_examples uses {len(train.examples)}; none "
        "are left for tuning: lower task.train_examples"
    )


def _leave_out_known(loaded: LoadedExamples, train: LoadedExamples) -> LoadedExamples:
    """Those of the examples whose prompt is not trained on."""
    known = {example.conversation for example in train.examples}
    kept = tuple(example for example in loaded.examples if example.conversation not in known)
    return dataclasses.replace(loaded, examples=kept)


def _describe_repeats(name: str, train: LoadedExamples, test: LoadedExamples) -> list[str]:
    """How many test prompts are trained on, and how many are there twice, in sentences."""
    trained = {normalise_content(example.conversation) for example in train.examples}
    tested = [normalise_content(example.conversation) for example in test.examples]
    known = sum(content in trained for content in tested)
    repeats = len(tested) - len(set(tested))
    of_all = f"of {len(tested)} test examples of {name}"
    found = {
        f"{known} {of_all} have a prompt that is trained on, so their scores may be too high; "
        "leave them out of one of the two.": known,
        f"{repeats} {of_all} repeat the prompt of an earlier one, so they count more than once.": (
            repeats
        ),
    }
    return [sentence for sentence, count in found.items() if count]


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
    wanted = [name for name in ("constrained_decoding", "schema_in_prompt") if getattr(task, name)]
    if not wanted:
        return None
    if spec.make_schema is None:
        raise UserError(
            f"task.{wanted[0]} is on, but the answers of task {task.name} are not JSON; turn it off"
        )
    return spec.make_schema(train.examples)


def _name_keys(loaded: LoadedExamples, schema: dict[str, Any]) -> LoadedExamples:
    """The examples, with the keys of their answers in the prompt: behind its first paragraph where
    that is never cut, else before it."""
    keys = f"{KEYS_LEAD}\n{write_skeleton(schema)}\n\n"
    named = (
        dataclasses.replace(
            e, prefix=e.prefix + keys if e.prefix[-2:] == "\n\n" else keys + e.prefix
        )
        for e in loaded.examples
    )
    return dataclasses.replace(loaded, examples=tuple(named))


def share_cut(examples: Sequence[EncodedExample]) -> float:
    """Share of all prompt tokens that was cut; NaN without examples."""
    cut = sum(item.cut_tokens for item in examples)
    kept = sum(len(item.prompt_ids) for item in examples)
    return cut / (cut + kept) if cut + kept else math.nan
