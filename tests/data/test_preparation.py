"""From a task's configuration to tokenized examples: which source, which rule, which schema."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.data.preparation import PreparedTask, prepare_task, share_cut
from harness.errors import UserError
from tasks import DataError
from tasks.evaluate_metrics import score_examples

Compose = Callable[..., Any]

CUSTOM = (
    "task=custom",
    "task.name=tickets",
    'task.prompt="Sort: {{ text }}\n\nLabel:"',
    "task.answer=label",
    "task.metric=choice",
    "task.choices=[billing,bug]",
)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "tickets.csv"
    lines = [f"Ticket number {i},{('billing', 'bug')[i % 2]}" for i in range(60)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return path


def prepare(config: Any) -> PreparedTask:
    return prepare_task(config, context_length=512)


def test_a_file_becomes_a_task(tiny_config: Compose, rows: Path) -> None:
    prepared = prepare(tiny_config(*CUSTOM, f"task.path={rows}"))
    assert (prepared.source, prepared.scoring) == ("local", "likelihood")
    assert (len(prepared.train), len(prepared.test)) == (6, 4)
    assert prepared.spec.metric == "accuracy"
    train = {item.example.body for item in prepared.train}
    assert not train & {item.example.body for item in prepared.test}


def test_a_choice_may_be_written_instead(tiny_config: Compose, rows: Path) -> None:
    prepared = prepare(tiny_config(*CUSTOM, f"task.path={rows}", "task.choose_by=generation"))
    assert prepared.scoring == "generation"
    assert prepared.output_tokens > 1


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("task.path=nowhere.csv",), "no such file or folder; expected JSONL, JSON, CSV"),
        (
            ("task.path={rows}", "task.subset=en"),
            "task.subset is en, but task.path is .*, which has no named",
        ),
        (("task.path={rows}", "task.revision=abc"), "task.revision is abc, .* is local"),
        ((), "task.path is not set; task tickets needs a file or folder"),
        (("task.name=medmcqa", "task.path={rows}"), "give your task another name"),
        (("task.path={rows}", "task.constrained_decoding=true"), "are not JSON; turn it off"),
    ],
)
def test_settings_that_cannot_be(
    tiny_config: Compose, rows: Path, overrides: tuple[str, ...], expected: str
) -> None:
    filled = [override.replace("{rows}", str(rows)) for override in overrides]
    with pytest.raises(UserError, match=expected) as caught:
        prepare(tiny_config(*CUSTOM, *filled))
    assert "\n" not in str(caught.value)


def test_a_path_like_an_id_is_looked_for_on_the_hub(
    tiny_config: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fail(name: str, *_: object, **__: object) -> None:
        asked.append(name)
        raise ConnectionError("no route")

    monkeypatch.setattr("datasets.load_dataset", fail)
    monkeypatch.setattr("datasets.get_dataset_split_names", fail)
    with pytest.raises(DataError, match="some/set: the hub cannot be reached"):
        prepare(tiny_config(*CUSTOM, "task.path=some/set"))
    assert set(asked) == {"some/set"}


def test_auto_takes_the_embedded_data_of_a_task_that_has_some(tiny_config: Compose) -> None:
    prepared = prepare(tiny_config("task=fincot", "task.source=auto"))
    assert prepared.source == "embedded"
    assert prepared.truncation == "head_tail"


def test_the_rule_for_long_prompts_can_be_set(tiny_config: Compose) -> None:
    settings = ("task=fincot", "task.max_prompt_tokens=100")
    both = prepare(tiny_config(*settings))
    head = prepare(tiny_config(*settings, "task.truncation=head"))
    assert (both.truncation, head.truncation) == ("head_tail", "head")
    assert [item.prompt_ids for item in both.test] != [item.prompt_ids for item in head.test]
    cut = sum(item.cut_tokens for item in head.test)
    assert share_cut(head.test) == cut / (cut + sum(len(i.prompt_ids) for i in head.test)) > 0


def test_the_schema_is_that_of_the_training_examples(tiny_config: Compose) -> None:
    import jsonschema

    prepared = prepare(tiny_config("task=invoice_ocr", "task.constrained_decoding=true"))
    assert prepared.scoring == "constrained generation"
    assert prepared.schema is not None
    for item in prepared.train:
        jsonschema.validate(json.loads(item.example.completion), prepared.schema)
    assert prepare(tiny_config("task=invoice_ocr")).schema is None


OPEN_ROW = {"question": "What is it?", "answer": "the liver", "options": None}
CHOICE_ROW = {"question": "Which is it?", "answer": "skin", "options": {"A": "bone", "B": "skin"}}


def write_test(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "asked.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_test_rows_of_another_place_are_scored(tiny_config: Compose, tmp_path: Path) -> None:
    file = write_test(tmp_path, OPEN_ROW, CHOICE_ROW)
    prepared = prepare(tiny_config("task=medreason", f"task.test={file}"))
    assert prepared.test_source.dataset.startswith(f"{file}@")
    assert {item.example.body for item in prepared.test} == {"What is it?", "Which is it?"}
    assert prepared.scoring == "generation"
    assert any("1 of 2 medreason test questions" in note for note in prepared.notes)
    # The test rows have no reasoning, and a model that was trained on some writes it.
    written = [len(item.completion_ids) for item in prepared.train]
    assert prepared.output_tokens >= min(written)


def test_open_questions_cannot_be_answered_by_likelihood(
    tiny_config: Compose, tmp_path: Path
) -> None:
    settings = ("task=medreason", "task.choose_by=likelihood")
    file = write_test(tmp_path, CHOICE_ROW)
    prepared = prepare(tiny_config(*settings, f"task.test={file}"))
    assert prepared.scoring == "likelihood"
    for rows in ((CHOICE_ROW, OPEN_ROW), (OPEN_ROW,)):
        write_test(tmp_path, *rows)
        with pytest.raises(UserError, match=r"task\.choose_by is likelihood, but 1 of . test"):
            prepare(tiny_config(*settings, f"task.test={file}"))


def test_what_was_left_out_of_training_is_noted(tiny_config: Compose, tmp_path: Path) -> None:
    prepared = prepare(tiny_config("task=medreason"))
    again = [
        CHOICE_ROW | {"question": item.example.body.upper() + " ?"} for item in prepared.train[:3]
    ]
    file = write_test(tmp_path, *again)
    without = prepare(tiny_config("task=medreason", f"task.test={file}"))
    assert any("were left out of training: task.test" in note for note in without.notes)
    tested = {item.example.body for item in prepared.train[:3]}
    assert tested.isdisjoint(item.example.body for item in without.train)


def test_rows_held_back_repeat_no_training_prompt(tiny_config: Compose, tmp_path: Path) -> None:
    """No rate is chosen on what was learned by heart: here every text stands three times."""
    path = tmp_path / "tickets.csv"
    lines = [f"Ticket number {i % 30},{('billing', 'bug')[i % 2]}" for i in range(90)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    config = tiny_config(*CUSTOM, f"task.path={path}")
    held_back = dataclasses.replace(config.task, tuning_examples=30)
    prepared = prepare(dataclasses.replace(config, task=held_back))
    trained = {item.example.prompt for item in prepared.train}
    kept = [item.example.prompt for item in prepared.test]
    assert prepared.split == "validation"
    assert not trained & set(kept)
    assert 0 < len(kept) < 30  # there were some to leave out


def test_rates_are_tuned_on_a_validation_part_that_is_there(
    tiny_config: Compose, tmp_path: Path
) -> None:
    for part, count in (("train", 20), ("validation", 9), ("test", 10)):
        lines = [f"{part} {i},{('billing', 'bug')[i % 2]}" for i in range(count)]
        (tmp_path / f"{part}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    config = tiny_config(*CUSTOM, f"task.path={tmp_path}")
    tuning = dataclasses.replace(config.task, tuning_examples=64)
    prepared = prepare(dataclasses.replace(config, task=tuning))
    assert prepared.split == "validation"
    assert {item.example.body.split()[0] for item in prepared.train} == {"train"}
    assert [item.example.body.split()[0] for item in prepared.test] == ["validation"] * 9


def test_what_is_trained_on_with_a_tuned_rate_is_not_validated_on(
    tiny_config: Compose, rows: Path
) -> None:
    settings = (*CUSTOM, f"task.path={rows}", "task.train_examples=60", "task.test_examples=60")
    fixed = tiny_config(*settings)
    tuned = tiny_config(*settings, "train.learning_rate=tuned", "train.tuning_seed=9")
    assert fixed.group != tuned.group
    trial = dataclasses.replace(fixed.task, tuning_examples=64)
    validation = prepare(dataclasses.replace(fixed, task=trial))
    configs = {"fixed": fixed, "tuned": tuned}
    trained = {
        name: {item.example.body for item in prepare(config).train}
        for name, config in configs.items()
    }
    held = {item.example.body for item in validation.test}
    assert held
    assert not trained["tuned"] & held
    assert trained["fixed"] == trained["tuned"] | held
    tested = [[item.example.id for item in prepare(each).test] for each in (fixed, tuned)]
    assert tested[0] == tested[1]


def test_repeats_are_counted(tiny_config: Compose, tmp_path: Path) -> None:
    texts = {"train": ["One", "Two", "Three"], "test": ["two!", "Four", "four", "Five"]}
    for part, listed in texts.items():
        lines = [f"{text},{('billing', 'bug')[i % 2]}" for i, text in enumerate(listed)]
        (tmp_path / f"{part}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    config = tiny_config(*CUSTOM, f"task.path={tmp_path}", "task.test_examples=10")
    notes = prepare(config).notes
    assert any(n.startswith("1 of 4 test examples of tickets have a prompt that") for n in notes)
    assert any(n.startswith("1 of 4 test examples of tickets repeat the prompt") for n in notes)


def test_the_keys_of_the_answers_are_named_in_the_prompt(tiny_config: Compose, rows: Path) -> None:
    named = prepare(tiny_config("task=invoice_ocr"))
    plain = prepare(tiny_config("task=invoice_ocr", "task.schema_in_prompt=false"))
    keys = set().union(*(json.loads(item.example.completion) for item in named.train))
    for with_keys, without in zip(named.test, plain.test, strict=True):
        assert with_keys.example.completion == without.example.completion
        added = with_keys.example.prefix.removeprefix(without.example.prefix)
        skeleton = json.loads(added.splitlines()[1])
        assert set(skeleton) == keys
        # Nothing of the answers themselves.
        assert json.loads(with_keys.example.completion)["vendor"] not in added
    with pytest.raises(UserError, match=r"task.schema_in_prompt is on, .* are not JSON; turn"):
        prepare(tiny_config(*CUSTOM, f"task.path={rows}", "task.schema_in_prompt=true"))


def test_a_metric_that_fails_on_what_models_write_is_said_before_training(
    tiny_config: Compose, rows: Path
) -> None:
    (rows.parent / "my_metrics.py").write_text(
        "def score(prediction, answer):\n    return {'bug': 1, 'billing': 1}[prediction.strip()]\n"
    )
    settings = ("task=custom", "task.name=own", 'task.prompt="{{ text }}"', "task.answer=label")
    with pytest.raises(DataError, match=r"my_metrics\.py: score fails for '' .*; fix it"):
        prepare(tiny_config(*settings, "task.metric=my_metrics.py:score", f"task.path={rows}"))


NUMBERS = (
    *("task=custom", "task.name=sums", 'task.prompt="{{ q }}"', "task.answer=a"),
    "task.metric=numeric",
)


def write_sums(folder: Path, answer: str) -> Path:
    path = folder / "sums.jsonl"
    path.write_text("\n".join(json.dumps({"q": f"{n}?", "a": answer}) for n in range(40)))
    return path


def test_decimal_commas(tiny_config: Compose, tmp_path: Path) -> None:
    path = write_sums(tmp_path, "1.234,5 EUR")
    comma = prepare(tiny_config(*NUMBERS, f"task.path={path}", "task.decimal=comma"))
    example = comma.test[0].example
    assert (example.completion, example.reference) == ("1.234,5 EUR", "1234.5 EUR")
    for text, right in (("1234,5", 1), ("1.234,50", 1), ("1.230", 0), ("12,345", 0)):
        (scores,) = score_examples(comma.spec, [(example, text)])
        assert scores["answer_accuracy"] == right, text
    for answer in ("1.234", "-1.234", "1.234,0"):
        path = write_sums(tmp_path, answer)
        thousands = prepare(tiny_config(*NUMBERS, f"task.path={path}", "task.decimal=comma"))
        pairs = [(thousands.test[0].example, text) for text in (answer, "1,234")]
        assert [s["answer_accuracy"] for s in score_examples(thousands.spec, pairs)] == [1, 0]
    path = write_sums(tmp_path, "12,5")
    with pytest.raises(DataError, match=r"comma may be a decimal .*task.decimal=comma"):
        prepare(tiny_config(*NUMBERS, f"task.path={path}"))
    path = write_sums(tmp_path, "1,234")
    assert prepare(tiny_config(*NUMBERS, f"task.path={path}")).test[0].example.reference == "1,234"
    with pytest.raises(UserError, match=r"task.decimal is comma, but task.metric is not set"):
        tiny_config("task=custom", "task.decimal=comma")
    with pytest.raises(DataError, match=r"task.metric is choice, which does not read it"):
        prepare(tiny_config(*CUSTOM, f"task.path={path}", "task.decimal=comma"))


def test_a_reasoning_goes_before_any_answer(tiny_config: Compose, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": f"T{n}", "why": f"Because {n}.", "label": "bug"} for n in range(40)]
    path.write_text("\n".join(map(json.dumps, rows)))
    settings = (*CUSTOM, f"task.path={path}", "task.reasoning=why")
    with pytest.raises(UserError, match=r"set task.choose_by=generation"):
        tiny_config(*settings)
    with pytest.raises(UserError, match=r"task.constrained_decoding is on, but task.reasoning"):
        tiny_config(*settings, "task.choose_by=generation", "task.constrained_decoding=true")
    prepared = prepare(tiny_config(*settings, "task.choose_by=generation"))
    example = prepared.train[0].example
    assert example.completion.endswith(".\nAnswer: bug")
    assert example.ending == "\nAnswer: bug"
    assert example.reference == "bug"
    pairs = [
        (example, text) for text in ("It may be billing.\nAnswer: bug", "bug\nAnswer: billing")
    ]
    assert [s["accuracy"] for s in score_examples(prepared.spec, pairs)] == [1, 0]
    assert prepared.spec.split_reasoning is not None
    assert prepared.spec.split_reasoning("a\nAnswer: bug") == "a\n"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("task.format=messages", "task.answer=label"), "task.answer is 'label', but rows with"),
        (("task.format=messages", 'task.prompt="{{ a }}"'), "task.prompt is .* rows with turns"),
        (("task.format=messages", "task.cut_column=a"), "task.cut_column is 'a', but rows"),
        (("task.format=alpaca", "task.metric=null"), "task.format is set, but task.metric is not"),
        (("task.format=csv",), "task.format is 'csv'; expected one of alpaca, sharegpt, messages"),
        (("task.encoding=klingon", "task.format=alpaca"), "task.encoding is 'klingon'"),
        (("task.encoding=undefined", "task.format=alpaca"), "task.encoding is 'undefined'"),
        (
            ("task.split_columns=5", "task.format=alpaca"),
            "task.split_columns is 5; expected column",
        ),
        (("task.name=..", "task.format=alpaca"), "task.name is '..'; expected a name"),
        (("task.format=alpaca", "task.name=medmcqa"), "task.format is set, but task.name is 'medm"),
    ],
)
def test_formats_that_do_not_go_with_other_settings(
    tiny_config: Compose, rows: Path, overrides: tuple[str, ...], expected: str
) -> None:
    settings = ("task=custom", "task.name=own", "task.metric=exact", f"task.path={rows}")
    with pytest.raises((UserError, DataError), match=expected) as caught:
        prepare(tiny_config(*settings, *overrides))
    assert "\n" not in str(caught.value)


def test_a_list_of_data_sets_is_read_by_name(tiny_config: Compose, tmp_path: Path) -> None:
    info = {"one": {"file_name": "one.json"}, "two": {"file_name": "two.json"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    rows = [{"instruction": f"Say {n}.", "input": "", "output": str(n)} for n in range(60)]
    (tmp_path / "two.json").write_text(json.dumps(rows))
    settings = ("task=custom", "task.name=own", "task.metric=exact")
    place = f"task.path={tmp_path / 'dataset_info.json'}"
    config = tiny_config(*settings, place, "task.subset=two")
    assert prepare(config).train[0].example.prompt.startswith("Say ")
    (tmp_path / "two.json").write_text(json.dumps(rows[1:]))
    assert tiny_config(*settings, place, "task.subset=two").run_id != config.run_id
    with pytest.raises(UserError, match="expected one of its data sets: one, two"):
        tiny_config(*settings, place)
