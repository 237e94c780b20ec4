"""A task of the user's own, without code: a prompt template, an answer, and a metric by name.

Templates are Jinja2's, over the columns of a row: `{{ question }}`, `{% for item in items %}`. They
run in Jinja2's sandbox, and a column that a row lacks is an error rather than an empty text. A
column whose name has a space is `{{ row["ticket text"] }}`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tasks.base import DataError, Example, Row, TaskSpec
from tasks.evaluate_metrics import compute
from tasks.json_schema import infer_schema
from tasks.metrics.answers import find_answer, find_numbers, score_answer, split_reasoning
from tasks.metrics.choices import score_choice
from tasks.metrics.exact import score_exact
from tasks.metrics.fields import count_fields, score_fields
from tasks.metrics.json_object import MAX_DEPTH, is_deeper
from tasks.metrics.summaries import describe_words, has_words, score_summary
from tasks.rows import read_text, read_value, show_value

CHOICE_SEPARATOR = "|"
WHOLE_ROW = "row"
"""What templates call the row, for columns whose names are no names in Jinja2."""


@dataclass(frozen=True)
class Metric:
    score: Callable[[Example, str], dict[str, float]]
    module: str
    """The `evaluate` module that computes the same."""
    headline: str
    """The score that the verdict rests on: a key of what `score` returns."""
    read_reference: Callable[[str], str] = str
    """Answer -> what a prediction is scored against; raises DataError for an answer of no use."""
    summarize: Callable[[Sequence[tuple[Example, str]]], dict[str, float]] | None = None
    split_reasoning: Callable[[str], str] | None = None
    make_schema: Callable[[Sequence[Example]], dict[str, Any]] | None = None
    own_score: Callable[[Example], float] | None = None
    """See `TaskSpec`, here and below."""
    describe_scoring: Callable[[Sequence[Example]], str | None] | None = None


def _read_number(answer: str) -> str:
    final = find_answer(answer) or answer
    if not find_numbers(final):
        raise DataError(f"the answer is {show_value(final)}, expected text with a number")
    return final


def _read_object(answer: str) -> str:
    try:
        value = json.loads(answer)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the answer is {show_value(answer)}, expected JSON ({error})") from error
    # Deeper ones no scorer would follow, and no model is asked for them.
    if not isinstance(value, dict) or is_deeper(value, MAX_DEPTH) or count_fields(value) == 0:
        raise DataError(
            f"the answer is {show_value(answer)}, expected a JSON object with a field to score, at "
            f"most {MAX_DEPTH} levels deep"
        )
    return answer


METRICS: dict[str, Metric] = {
    "choice": Metric(
        score=lambda example, text: score_choice(text, example.reference, example.choices),
        module="choice_accuracy",
        headline="accuracy",
    ),
    "exact": Metric(
        score=lambda example, text: score_exact(text, example.reference),
        module="exact_answer",
        headline="exact_match",
    ),
    "numeric": Metric(
        score=lambda example, text: score_answer(text, example.reference),
        module="answer_accuracy",
        headline="answer_accuracy",
        read_reference=_read_number,
        split_reasoning=split_reasoning,
    ),
    "rouge": Metric(
        score=lambda example, text: score_summary(text, example.reference),
        module="summary_rouge",
        headline="rougeL",
        own_score=lambda example: float(has_words(example.reference)),
        describe_scoring=lambda examples: describe_words([each.reference for each in examples]),
    ),
    "json_fields": Metric(
        score=lambda example, text: score_fields(text, example.reference),
        module="json_fields",
        headline="field_f1",
        read_reference=_read_object,
        summarize=lambda pairs: compute("json_fields", pairs, only_pooled=True),
        make_schema=lambda examples: infer_schema([json.loads(e.completion) for e in examples]),
        # A field or more was counted.
        own_score=lambda example: 1.0,
    ),
}


@dataclass(frozen=True)
class CustomTask:
    """What a user says of a task of their own."""

    name: str
    prompt: str
    """A template."""
    answer: str
    """A column, or a template."""
    metric: str
    """One of `METRICS`."""
    choices: Sequence[str] | str | None = None
    """Metric `choice`: the options, or the column that holds a row's own, as a list or as a text
    with `|` between them."""
    cut_column: str | None = None
    """What loses text where a prompt does not fit: by default the row's longest text that stands in
    the prompt once and unchanged."""
    split_columns: Sequence[str] | None = None
    """What rows on two sides of a split must not share: by default the whole prompt."""


def make_custom_task(task: CustomTask) -> TaskSpec:
    """Build the task; raises DataError where any of what the user says makes no sense."""
    task = replace(task, choices=_check_metric(task.metric, task.choices))
    maker = _ExampleMaker(task, Renderer("task.prompt", task.prompt), _render_answer(task.answer))
    maker.check_cut_column()
    metric = METRICS[task.metric]
    return TaskSpec(
        name=task.name,
        columns=(maker.columns,),
        to_example=maker.make_example,
        score=metric.score,
        module=metric.module,
        split_key=maker.make_split_key,
        metric=metric.headline,
        summarize=metric.summarize,
        split_reasoning=metric.split_reasoning,
        make_schema=metric.make_schema,
        own_score=metric.own_score,
        describe_scoring=metric.describe_scoring,
    )


def _render_answer(answer: str) -> "Renderer":
    is_template = "{{" in answer or "{%" in answer
    source = answer if is_template else f"{{{{ {WHOLE_ROW}[{json.dumps(answer)}] }}}}"
    return Renderer("task.answer", source)


@dataclass(frozen=True)
class _ExampleMaker:
    """Makes examples of a custom task's rows."""

    task: CustomTask
    prompt: "Renderer"
    answer: "Renderer"

    @property
    def columns(self) -> tuple[str, ...]:
        """All that are read, each once."""
        choices = [self.task.choices] if isinstance(self.task.choices, str) else []
        used = (*self.prompt.columns, *self.answer.columns, *choices)
        return tuple(dict.fromkeys([*used, *(self.task.split_columns or ())]))

    def check_cut_column(self) -> None:
        """DataError where the prompt does not use it."""
        if self.task.cut_column and self.task.cut_column not in self.prompt.columns:
            raise DataError(
                f"task.cut_column is {self.task.cut_column!r}, but task.prompt does not use it; "
                f"expected one of {', '.join(self.prompt.columns)}"
            )

    def make_example(self, row: Row) -> Example:
        metric, text = METRICS[self.task.metric], self.prompt.render(row)
        target, options = self._read_target(row)
        body = _find_body(row, text, self.prompt.columns, self.task.cut_column)
        prefix, _, suffix = text.partition(body) if body else (text, "", "")
        return Example(
            id=str(row.get("id", "")),
            prefix=prefix,
            body=body,
            suffix=suffix,
            completion=target,
            ending=_find_ending(target, metric),
            reference=metric.read_reference(target),
            choices=options,
        )

    def _read_target(self, row: Row) -> tuple[str, tuple[str, ...]]:
        """The answer, and the options that it is one of."""
        target = self.answer.render(row).strip()
        if not target:
            raise DataError("the answer is empty, expected text")
        options = _read_choices(row, self.task.choices) if self.task.choices else ()
        if options and target not in options:
            raise DataError(
                f"the answer is {show_value(target)}, expected one of {', '.join(options)}"
            )
        return target, options

    def make_split_key(self, row: Row) -> str:
        if not self.task.split_columns:
            return self.prompt.render(row)
        return json.dumps([str(read_value(row, column)) for column in self.task.split_columns])


def _check_metric(metric: str, choices: Sequence[str] | str | None) -> Sequence[str] | str | None:
    """The options as they are used; DataError for an unknown metric, or options out of place."""
    if metric not in METRICS:
        raise DataError(f"task.metric is {metric!r}; expected one of {', '.join(METRICS)}")
    if (metric == "choice") != bool(choices):
        raise DataError(
            "task.metric=choice needs the options in task.choices, such as [yes,no], or the name "
            "of the column that has them"
            if metric == "choice"
            else f"task.choices is set, but task.metric is {metric}; set task.metric=choice"
        )
    return _check_choices(choices) if choices and not isinstance(choices, str) else choices


class Renderer:
    """A template over a row's columns, checked before the first row is read."""

    def __init__(self, key: str, source: str) -> None:
        """`key` names the setting in messages."""
        self._key = key
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, keep_trailing_newline=True
        )
        # A dictionary column renders as the JSON that a model should write.
        environment.finalize = _write_value
        try:
            text = _read_line_breaks(source)
            self._template: Template = environment.from_string(text)
            tree = environment.parse(text)
            found = meta.find_undeclared_variables(tree) - {WHOLE_ROW} | _find_named(tree)
        except TemplateError as error:
            raise DataError(
                f"{key} is not a Jinja2 template ({error}); fix it. Write a column whose name "
                f'contains a space as {{{{ {WHOLE_ROW}["its name"] }}}}'
            ) from error
        self.columns = tuple(sorted(found, key=text.find))
        if not self.columns:
            raise DataError(
                f"{key} is {show_value(source)} and uses no column; write columns as "
                "{{ column }}"
            )

    def render(self, row: Row) -> str:
        """Fill the template in; DataError for a column that is missing, null or no clean text."""
        values = {column: _read_column(row, column) for column in self.columns}
        try:
            return self._template.render({**values, WHOLE_ROW: values})
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise DataError(f"{self._key} cannot be filled in ({error})") from error


def _read_line_breaks(source: str) -> str:
    r"""Read `\n` as a line break in a template of one line, and leave out those at its ends.

    A template of one line comes from the command line, where nothing else stands for a break; a
    block of YAML has real ones, and ends in one that is not meant.
    """
    text = source.strip()
    return text if "\n" in text else text.replace("\\n", "\n")


def _find_ending(answer: str, metric: Metric) -> str:
    if metric.split_reasoning is None:
        return ""
    reasoning = metric.split_reasoning(answer)
    return answer[len(reasoning) :] if reasoning != answer else ""


def _find_named(tree: nodes.Template) -> set[str]:
    """Columns that a template takes from the whole row by name."""
    return {
        part.arg.value
        for part in tree.find_all(nodes.Getitem)
        if isinstance(part.node, nodes.Name)
        and part.node.name == WHOLE_ROW
        and isinstance(part.arg, nodes.Const)
    }


def _read_column(row: Row, column: str) -> Any:
    value = read_value(row, column)
    return read_text(row, column) if isinstance(value, str) else value


def _write_value(value: Any) -> Any:
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return value


def _read_choices(row: Row, choices: Sequence[str] | str) -> tuple[str, ...]:
    if not isinstance(choices, str):
        return tuple(choices)
    value = read_value(row, choices)
    options = value.split(CHOICE_SEPARATOR) if isinstance(value, str) else value
    if not isinstance(options, (list, tuple)) or len(options) < 2:
        raise DataError(
            f"column {choices!r} is {show_value(value)}, expected a list of two or more options, "
            f"or text with {CHOICE_SEPARATOR} between options"
        )
    cleaned = tuple(str(option).strip() for option in options)
    if not _are_distinct(cleaned):
        raise DataError(f"column {choices!r} is {show_value(value)}, expected distinct options")
    return cleaned


def _check_choices(choices: Sequence[str]) -> tuple[str, ...]:
    """The options of the setting, as text."""
    if isinstance(choices, (list, tuple)) and any(isinstance(each, bool) for each in choices):
        raise DataError(
            "task.choices contains true or false; YAML reads yes, no, on and off as these: put "
            "them in quotes: ['yes', 'no']"
        )
    are_plain = isinstance(choices, (list, tuple)) and all(
        isinstance(each, (str, int, float)) for each in choices
    )
    cleaned = tuple(str(choice).strip() for choice in choices) if are_plain else ()
    if len(cleaned) < 2 or not _are_distinct(cleaned):
        raise DataError(
            f"task.choices is {show_value(choices)}, expected two or more different options, such "
            "as [billing,bug], or the name of the column with them"
        )
    return cleaned


def _are_distinct(options: Sequence[str]) -> bool:
    return all(options) and len(set(options)) == len(options)


def _find_body(row: Row, prompt: str, columns: Sequence[str], cut_column: str | None) -> str:
    """The text that may be cut: one that stands in the prompt once, as it is in the row."""
    texts = [row[column] for column in columns if isinstance(row[column], str)]
    if cut_column:
        texts = [row[cut_column]] if isinstance(row[cut_column], str) else []
    fitting = [text for text in texts if prompt.count(text) == 1]
    if cut_column and not fitting:
        raise DataError(
            f"task.cut_column is {cut_column!r}, but the prompt must contain its text exactly "
            "once, unchanged; use the column without a filter"
        )
    return max(fitting, key=len, default="")
