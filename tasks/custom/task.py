"""A task of the user's own: what it says of prompt, answer and metric -> examples."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tasks.base import DataError, Example, Row, TaskSpec, Turn
from tasks.custom.choices import check_labels, find_choices, read_choices
from tasks.custom.conversations import (
    ChatColumns,
    read_conversation,
    read_history,
    read_system,
)
from tasks.custom.formats import RowFormat
from tasks.custom.metrics import METRICS, Metric, make_numeric
from tasks.custom.own_metrics import load_own_metric
from tasks.custom.templates import ColumnText, Renderer, make_text
from tasks.evaluate_metrics import leave_out_thinking
from tasks.metrics.answers import find_answer_text, split_reasoning
from tasks.rows import read_value, show_value

ANSWER_MARK = "Answer:"
"""What a reasoning ends in, before the answer."""


@dataclass(frozen=True)
class CustomTask:
    """What a user says of a task of their own."""

    name: str
    prompt: str | None
    """A template; None where the format has it."""
    answer: str | None
    """A column, or a template; None where the format has it."""
    metric: str
    """One of `METRICS`, or one from outside (`tasks.custom.own_metrics`)."""
    choices: Sequence[str] | str | None = None
    """Metric `choice`: the options, or the column that holds a row's own, as a list or as a text
    with `|` between them. Metric `labels`: the labels that there are."""
    cut_column: str | None = None
    """What loses text where a prompt does not fit: by default the row's longest text that stands in
    the prompt once and unchanged."""
    split_columns: Sequence[str] | None = None
    """What rows on two sides of a split must not share: by default the prompt's columns."""
    reasoning: str | None = None
    """A column or a template: what is written before `Answer:` and the answer."""
    optional_columns: Sequence[str] = ()
    """Columns that may be empty, null or missing."""
    decimal: str | None = None
    """Metric `numeric`: `comma` or `point`; None refuses answers in which a comma may be either."""
    format: RowFormat = field(default_factory=RowFormat)
    """Where the rows of a known format have prompt and answer."""
    path: str | None = None
    """Where the data is: a metric's file may lie beside it."""


def make_custom_task(task: CustomTask) -> TaskSpec:
    """Build the task; raises DataError where any of what the user says makes no sense."""
    metric = _find_metric(task)
    task = replace(
        task,
        prompt=task.prompt or task.format.prompt,
        answer=task.answer or task.format.answer,
        choices=find_choices(task.metric, task.choices),
    )
    maker = _make_maker(task, metric)
    used = {*maker.columns, *maker.optional}
    for column in task.optional_columns:
        if column not in used or column == task.answer:
            raise DataError(
                f"task.optional_columns has {column!r}, which is no column of the prompt or the "
                f"reasoning; expected some of {', '.join(sorted(used))}"
            )
    has_steps = task.reasoning is not None
    return TaskSpec(
        name=task.name,
        columns=(maker.columns,),
        optional_columns=maker.optional,
        to_example=maker.make_example,
        score=metric.score,
        module=metric.module,
        split_key=maker.make_split_key,
        metric=metric.headline,
        summarize=metric.summarize,
        read_prediction=_read_after(metric) if has_steps else metric.read_prediction,
        split_reasoning=split_reasoning if has_steps else metric.split_reasoning,
        make_schema=metric.make_schema,
        own_score=None if has_steps else metric.own_score,
        describe_scoring=metric.describe_scoring,
    )


def _find_metric(task: CustomTask) -> Metric:
    if task.metric == "numeric":
        return make_numeric(task.decimal)
    if task.decimal is not None:
        raise DataError(
            f"task.decimal is {task.decimal}, but task.metric is {task.metric}, which does not "
            "read it; leave it out"
        )
    return METRICS.get(task.metric) or load_own_metric(task.metric, task.path)


def _read_after(metric: Metric) -> Callable[[str], str]:
    """Reads what follows a reasoning, as the metric does."""
    rest = metric.read_prediction
    return lambda text: rest(find_answer_text(text)) if rest else find_answer_text(text)


def _make_maker(task: CustomTask, metric: Metric) -> "_ChatMaker | _TemplateMaker":
    reasoning = None
    if task.reasoning is not None:
        reasoning = make_text("task.reasoning", task.reasoning, task.optional_columns)
    answers = _AnswerMaker(task, metric, reasoning)
    if task.format.chat is not None:
        _refuse_unread(task)
        return _ChatMaker(answers, task.format.chat)
    if task.prompt is None or task.answer is None:
        missing = "task.prompt" if task.prompt is None else "task.answer"
        raise DataError(f"{missing} is not set; a custom task needs it")
    maker = _TemplateMaker(
        answers,
        Renderer("task.prompt", task.prompt, task.optional_columns),
        make_text("task.answer", task.answer),
    )
    maker.check_cut_column()
    return maker


def _refuse_unread(task: CustomTask) -> None:
    """Raise DataError for settings that rows with turns have no use for."""
    own = {"prompt": task.prompt, "answer": task.answer, "cut_column": task.cut_column}
    for name, value in own.items():
        if value is not None:
            raise DataError(
                f"task.{name} is {value!r}, but rows with turns have the prompt and the answer "
                f"themselves; leave task.{name} out"
            )


@dataclass(frozen=True)
class _AnswerMaker:
    """Makes the answer's part of an example."""

    task: CustomTask
    metric: Metric
    reasoning: ColumnText | Renderer | None

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read beside prompt and answer."""
        choices = [self.task.choices] if isinstance(self.task.choices, str) else []
        steps = self.reasoning.columns if self.reasoning else ()
        return (*steps, *choices, *(self.task.split_columns or ()))

    @property
    def optional(self) -> tuple[str, ...]:
        return self.reasoning.optional if self.reasoning else ()

    def make(self, row: Row, answer: str) -> Example:
        """An example without a prompt."""
        for column in self.task.split_columns or ():
            read_value(row, column)
        target = answer.strip()
        # What a model is to think first is learned, and never judged.
        judged = leave_out_thinking(target)
        if not judged:
            raise DataError("the answer is empty, expected text")
        choices = self.task.choices
        options = read_choices(row, choices) if choices and self.task.metric == "choice" else ()
        if options and judged not in options:
            raise DataError(
                f"the answer is {show_value(judged)}, expected one of {', '.join(options)}"
            )
        if self.task.metric == "labels" and choices:
            check_labels(judged, choices)
        steps = self.reasoning.render(row).strip() if self.reasoning else ""
        ending = f"\n{ANSWER_MARK} {target}" if self.reasoning else self._find_ending(target)
        return Example(
            id=str(row.get("id", "")),
            prefix="",
            body="",
            suffix="",
            completion=(steps + ending).lstrip("\n") if self.reasoning else target,
            ending=ending,
            reference=self.metric.read_reference(judged),
            choices=options,
        )

    def _find_ending(self, answer: str) -> str:
        if self.metric.split_reasoning is None:
            return ""
        reasoning = self.metric.split_reasoning(answer)
        return answer[len(reasoning) :] if reasoning != answer else ""

    def make_split_key(self, row: Row, values: Sequence[object]) -> str:
        """The values of the task's own columns, or those that the prompt is made of."""
        if self.task.split_columns:
            values = [read_value(row, column) for column in self.task.split_columns]
        return json.dumps([str(value) for value in values], ensure_ascii=False)


@dataclass(frozen=True)
class _TemplateMaker:
    """Makes examples of rows with columns for prompt and answer."""

    answers: _AnswerMaker
    prompt: Renderer
    answer: ColumnText | Renderer

    @property
    def optional(self) -> tuple[str, ...]:
        form = self.answers.task.format
        beside = [name for name in (form.system, form.history) if name]
        return (*self.prompt.optional, *self.answers.optional, *beside)

    @property
    def columns(self) -> tuple[str, ...]:
        """All that a row must have, each once."""
        used = (*self.prompt.columns, *self.answer.columns, *self.answers.columns)
        return tuple(name for name in dict.fromkeys(used) if name not in self.optional)

    def check_cut_column(self) -> None:
        """DataError where the prompt does not use it."""
        column = self.answers.task.cut_column
        if column and column not in self.prompt.columns:
            raise DataError(
                f"task.cut_column is {column!r}, but task.prompt does not use it; "
                f"expected one of {', '.join(self.prompt.columns)}"
            )

    def make_example(self, row: Row) -> Example:
        form, text = self.answers.task.format, self.prompt.render(row)
        body = _find_body(row, text, self.prompt.columns, self.answers.task.cut_column)
        prefix, _, suffix = text.partition(body) if body else (text, "", "")
        earlier: tuple[Turn, ...] = ()
        if form.system:
            earlier += read_system(row, form.system)
        if form.history:
            earlier += read_history(row, form.history)
        answer = self.answer.render(row)
        task = self.answers.task
        if task.decimal == "comma" and isinstance(row.get(str(task.answer)), float):
            answer = answer.replace(".", ",")  # a number, not a text
        example = self.answers.make(row, answer)
        return replace(example, prefix=prefix, body=body, suffix=suffix, turns=earlier)

    def make_split_key(self, row: Row) -> str:
        """The values of the prompt's columns, so that another wording changes no split."""
        # Not in the order of the prompt, which is another in another wording.
        columns = sorted(self.prompt.columns)
        optional = self.prompt.optional
        return self.answers.make_split_key(
            row,
            []
            if self.answers.task.split_columns
            else [row.get(c) or "" if c in optional else read_value(row, c) for c in columns],
        )


@dataclass(frozen=True)
class _ChatMaker:
    """Makes examples of rows with the turns of a conversation."""

    answers: _AnswerMaker
    chat: ChatColumns

    @property
    def optional(self) -> tuple[str, ...]:
        return (*self.chat.optional, *self.answers.optional)

    @property
    def columns(self) -> tuple[str, ...]:
        used = (*self.chat.columns, *self.answers.columns)
        return tuple(name for name in dict.fromkeys(used) if name not in self.optional)

    def make_example(self, row: Row) -> Example:
        said = read_conversation(row, self.chat)
        example = self.answers.make(row, said.answer)
        return replace(example, body=said.question, turns=said.earlier)

    def make_split_key(self, row: Row) -> str:
        """The first question: rows that are cut from one conversation share it."""
        if self.answers.task.split_columns:
            return self.answers.make_split_key(row, [])
        return read_conversation(row, self.chat).opening


def _find_body(row: Row, prompt: str, columns: Sequence[str], cut_column: str | None) -> str:
    """The text that may be cut: one that stands in the prompt once, as it is in the row."""
    used = [cut_column] if cut_column else columns
    # An optional column may be missing, or empty.
    texts = [text for column in used if isinstance(text := row.get(column), str) and text]
    fitting = [text for text in texts if prompt.count(text) == 1]
    if cut_column and not fitting:
        raise DataError(
            f"task.cut_column is {cut_column!r}, but the prompt must contain its text exactly "
            "once, unchanged; use the column without a filter"
        )
    return max(fitting, key=len, default="")
