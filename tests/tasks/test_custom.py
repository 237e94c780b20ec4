"""A task of one's own from templates: what is rendered, what may be cut, what is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tasks import DataError, Source, load_examples
from tasks.base import TaskSpec
from tasks.custom import CustomTask, make_custom_task

ROW = {"id": "7", "text": "My card was charged twice.", "label": "billing", "count": 3}


def make(**changes: Any) -> TaskSpec:
    settings: dict[str, Any] = {
        "prompt": "Ticket: {{ text }}\nLabel:",
        "answer": "label",
        "metric": "choice",
        "choices": ["billing", "bug"],
    }
    return make_custom_task(CustomTask("tickets", **(settings | changes)))


def test_an_example_has_the_prompt_the_answer_and_the_options() -> None:
    example = make().to_example(ROW)
    assert example.prompt == "Ticket: My card was charged twice.\nLabel:"
    assert (example.prefix, example.body, example.suffix) == ("Ticket: ", ROW["text"], "\nLabel:")
    assert (example.completion, example.reference) == ("billing", "billing")
    assert example.choices == ("billing", "bug")
    assert make().score(example, "billing")["accuracy"] == 1
    assert make().score(example, "bug")["accuracy"] == 0


def test_only_the_columns_in_use_are_needed() -> None:
    assert make().columns == (("text", "label"),)
    task = make(choices="options", split_columns=["customer"])
    assert task.columns == (("text", "label", "options", "customer"),)
    loop = make(prompt="{% for line in lines %}{{ line.name }} {% endfor %}{{ text }}")
    assert loop.columns == (("lines", "text", "label"),)


@pytest.mark.parametrize("value", [["billing", "bug"], "billing|bug", " billing | bug "])
def test_options_of_each_row(value: object) -> None:
    example = make(choices="options").to_example({**ROW, "options": value})
    assert example.choices == ("billing", "bug")


@pytest.mark.parametrize("value", [["billing"], "billing", [], "a|a", "a|", 5])
def test_bad_options_of_a_row(value: object) -> None:
    with pytest.raises(DataError, match="column 'options'"):
        make(choices="options").to_example({**ROW, "options": value})


def test_a_block_of_yaml_ends_without_its_newline() -> None:
    example = make(prompt="\n{{ text }}\n\nLabel:\n").to_example(ROW)
    assert example.prompt == "My card was charged twice.\n\nLabel:"


def test_line_breaks_may_be_written_out_on_one_line_alone() -> None:
    typed = make(prompt=r"Ticket:\n\n{{ text }}\nLabel:").to_example(ROW)
    assert typed.prompt == "Ticket:\n\nMy card was charged twice.\nLabel:"
    block = make(prompt="Write \\nabla.\n{{ text }}\n").to_example(ROW)
    assert block.prompt == "Write \\nabla.\nMy card was charged twice."
    value = {**ROW, "text": r"C:\new"}
    assert make().to_example(value).body == r"C:\new"


def test_values_keep_their_types_in_templates() -> None:
    task = make(prompt="{{ text }} {{ count + 1 }} {{ fields }} {{ text | upper }}")
    row = {**ROW, "fields": {"total": 5, "name": "Zoë"}}
    expected = 'My card was charged twice. 4 {"total":5,"name":"Zoë"} MY CARD WAS CHARGED TWICE.'
    assert task.to_example(row).prompt == expected


def test_columns_whose_names_have_spaces() -> None:
    task = make(prompt='{{ row["ticket text"] }} {{ count }}', answer="the label")
    assert task.columns == (("ticket text", "count", "the label"),)
    row = {"ticket text": "Help me.", "the label": "bug", "count": 3}
    example = task.to_example(row)
    assert (example.prompt, example.body, example.completion) == ("Help me. 3", "Help me.", "bug")
    with pytest.raises(DataError, match="column 'ticket text' is null"):
        task.to_example({**row, "ticket text": None})


def test_the_longest_text_that_stands_once_may_be_cut() -> None:
    row = {**ROW, "subject": "s" * 10, "text": "t" * 40, "label": "bug"}
    prompt = "{{ subject }} - {{ text }}"
    assert make(prompt=prompt).to_example(row).body == "t" * 40
    assert make(prompt=prompt, cut_column="subject").to_example(row).body == "s" * 10
    twice = make(prompt="{{ text }} {{ subject }} {{ text }}").to_example(row)
    assert twice.body == "s" * 10
    filtered = make(prompt="{{ text | upper }} {{ text | length }}").to_example(row)
    assert (filtered.prefix, filtered.body) == ("T" * 40 + " 40", "")
    with pytest.raises(DataError, match=r"task\.cut_column is 'text'"):
        make(prompt="{{ text }}{{ text }}", cut_column="text").to_example(row)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metric": "bleu"}, "task.metric is 'bleu'; expected one of choice, exact"),
        ({"choices": None}, r"task.metric=choice needs the options in task.choices"),
        ({"metric": "exact"}, "task.choices is set, but task.metric is exact"),
        ({"prompt": "{{ text"}, "task.prompt is not a Jinja2 template"),
        ({"prompt": "no column"}, "task.prompt is 'no column'.*uses no column"),
        ({"prompt": "{{ ticket text }}"}, 'as {{ row\\["its name"\\] }}'),
        ({"choices": ["yes"]}, "task.choices is .*expected two or more different options"),
        ({"choices": ["yes", "yes "]}, "task.choices is .*expected two or more different options"),
        ({"choices": ["yes", ""]}, "task.choices is .*expected two or more different options"),
        ({"choices": 5}, r"task.choices is 5 \(int\), expected two or more different options"),
        ({"choices": {"a": 1, "b": 2}}, "task.choices is .*expected two or more different options"),
        ({"choices": [["yes"], "no"]}, "task.choices is .*expected two or more different options"),
        ({"choices": [True, False]}, "YAML reads yes, no, on and off"),
        ({"cut_column": "label"}, "task.cut_column is 'label', but task.prompt does not use it"),
    ],
)
def test_settings_without_sense(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "row", "expected"),
    [
        ({}, {"text": None}, "column 'text' is null"),
        ({}, {"text": "  "}, "column 'text' is empty"),
        ({}, {"text": "a\x00b"}, "column 'text'"),
        ({}, {"label": "spam"}, r"the answer is 'spam' \(str\), expected one of billing, bug"),
        ({}, {"label": ""}, "column 'label' is empty"),
        ({"prompt": "{{ text.nothing.more }}"}, {}, "task.prompt cannot be filled in"),
        ({"prompt": "{{ text / 2 }}"}, {}, "task.prompt cannot be filled in"),
        ({"metric": "numeric", "choices": None}, {"label": "many"}, "expected text with a number"),
        ({"metric": "json_fields", "choices": None}, {"label": "{'a': 1}"}, "expected JSON"),
        ({"metric": "json_fields", "choices": None}, {"label": "[1]"}, "expected a JSON object"),
        ({"metric": "json_fields", "choices": None}, {"label": '{"a": null}'}, "field to score"),
        (
            {"metric": "json_fields", "choices": None},
            {"label": '{"a":' * 900 + "1" + "}" * 900},
            "at most 100 levels deep",
        ),
    ],
)
def test_bad_rows(changes: dict[str, Any], row: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        make(**changes).to_example({**ROW, **row})
    assert "\n" not in str(caught.value)


def test_templates_cannot_reach_python() -> None:
    task = make(prompt="{{ text.__class__.__mro__ }}")
    with pytest.raises(DataError, match="cannot be filled in"):
        task.to_example(ROW)


@pytest.mark.parametrize(
    ("metric", "label", "right", "wrong"),
    [
        ("exact", "The Hague", "the hague.", "Paris"),
        ("numeric", "1,200", "It is 3 x 400.\nAnswer: 1200", "Answer: 1300"),
        ("rouge", "a short summary", "a short summary", "nothing of it"),
        ("json_fields", '{"a": "x", "b": 2}', '```json\n{"b": 2, "a": "X"}\n```', "{}"),
    ],
)
def test_metrics_by_name(metric: str, label: str, right: str, wrong: str) -> None:
    task = make(metric=metric, choices=None)
    example = task.to_example({**ROW, "label": label})
    assert task.score(example, right)[task.metric] == 1
    assert task.score(example, wrong)[task.metric] == 0
    if metric == "json_fields":
        assert task.summarize is not None
        summary = task.summarize([(example, right), (example, wrong)])
        assert summary["field_recall_micro"] == 0.5


def test_reasoning_may_come_before_a_number() -> None:
    task = make(answer="{{ text }}\nAnswer: {{ count }}", metric="numeric", choices=None)
    example = task.to_example(ROW)
    assert example.completion == "My card was charged twice.\nAnswer: 3"
    assert example.reference == "3"
    assert task.split_reasoning is not None
    assert task.split_reasoning(example.completion).strip() == "My card was charged twice."


def write_csv(path: Path, count: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "customer"])
        for i in range(count):
            writer.writerow([f"Ticket {i},\nwith a second line", ("billing", "bug")[i % 2], i // 4])


def test_a_csv_file_is_cut_into_parts_that_share_no_customer(tmp_path: Path) -> None:
    path = tmp_path / "tickets.csv"
    write_csv(path, 200)
    task = make(split_columns=["customer"])
    parts = [
        load_examples(task, split, Source("local", str(path)))
        for split in ("train", "validation", "test")
    ]
    numbers = [
        {int(example.body.split()[1].strip(",")) for example in part.examples} for part in parts
    ]
    assert sum(map(len, numbers)) == 200
    customers = [{number // 4 for number in part} for part in numbers]
    assert sum(map(len, customers)) == len(set.union(*customers)) == 50
    assert min(map(len, numbers)) > 0


def test_given_splits_are_taken(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", 10)
    write_csv(tmp_path / "test.csv", 4)
    task = make()
    counts = [
        len(load_examples(task, split, Source("local", str(tmp_path))).examples)
        for split in ("train", "test")
    ]
    assert counts == [10, 4]


def test_a_label_outside_the_options_names_its_file_and_line(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "bug"}, {"text": "b", "label": "spam"}]
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "train.jsonl").write_text(path.read_text())
    with pytest.raises(DataError, match=r"test.jsonl:2: the answer is 'spam'"):
        load_examples(make(), "test", Source("local", str(tmp_path)))
    loaded = load_examples(make(), "test", Source("local", str(tmp_path)), on_bad_row="skip")
    assert (len(loaded.examples), loaded.skipped_rows) == (1, 1)
