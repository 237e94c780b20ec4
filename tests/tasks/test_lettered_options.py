"""The options of a question in every form that data sets write them in, and the right one."""

import json
from typing import Any

import pytest

from tasks.base import DataError
from tasks.schemas.lettered_options import find_letter, read_options, split_inline

FOUR = {"A": "Root", "B": "Division", "C": "Cord", "D": "Trunk"}


@pytest.mark.parametrize(
    "value",
    [
        "Answer Choices:\nA. Root\nB. Division\nC. Cord\nD. Trunk",
        "A. Root\nB. Division\nC. Cord\nD. Trunk",
        "A) Root\n B) Division\n(C) Cord\nD: Trunk\n",
        "Answer Choices: (A) Root (B) Division (C) Cord (D) Trunk",
        FOUR,
        FOUR | {"E": None},
        json.dumps(FOUR),
        str(FOUR),
        list(FOUR.values()),
        json.dumps(list(FOUR.values())),
    ],
)
def test_every_form_gives_the_same_options(value: Any) -> None:
    assert read_options(value) == FOUR


@pytest.mark.parametrize("value", [None, "", " \n", "Answer Choices:\n", "[]", "{}", {}, []])
def test_an_open_question_has_none(value: Any) -> None:
    assert read_options(value) == {}


def test_letters_within_an_option_begin_none() -> None:
    text = "Answer Choices:\nA. Vitamin\nA. or D\nB. \nC. both (A) and (B)"
    assert read_options(text) == {"A": "Vitamin\nA. or D", "B": "", "C": "both (A) and (B)"}


@pytest.mark.parametrize(
    "value",
    [7, "no options at all", "A. only one", {"A": "x"}, {"A": "x", "C": "y"}, {"A": "x", "B": 2}],
)
def test_what_is_no_list_of_options_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match="expected"):
        read_options(value)


def test_options_at_the_end_of_a_question_are_taken_apart() -> None:
    question = "What is it?\nAnswer Choices: (A) Bone (B) Cartilage"
    assert split_inline(question) == ("What is it?", {"A": "Bone", "B": "Cartilage"})
    assert split_inline("Answer choices: are there any?") == ("Answer choices: are there any?", {})


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("Cord", "C"),
        (" the cord. ", "C"),
        ("Cord. Explanation: It is the B. part of it.", "C"),
        ("C. Cord\n", "C"),
        ("(C) Cord", "C"),
        ("C", "C"),
        ("C.", "C"),
        ("(D) Trunk. Explanation: as said.", "D"),
    ],
)
def test_the_answer_is_found_among_the_options(answer: str, letter: str) -> None:
    assert find_letter(FOUR, answer) == letter
    assert find_letter(FOUR, answer, letter) == letter


def test_the_decision_of_a_pubmedqa_row_is_its_answer() -> None:
    options = {"A": "Yes", "B": "No"}
    assert find_letter(options, "The final decision is: no. It did not help.") == "B"
    with pytest.raises(DataError, match="none of the options"):
        find_letter(options, "The final decision is: maybe. It may help.")


def test_an_option_that_reads_like_a_letter_is_itself() -> None:
    assert find_letter({"A": "B", "B": "A"}, "B") == "A"
    assert find_letter({"A": "vitamin D", "B": "C. difficile", "C": "x"}, "C. difficile") == "B"
    # The letter is no article: normalised alone, all three would be the same.
    assert find_letter({"A": "| x", "B": "x |", "C": "x"}, "B. x |") == "B"


def test_case_tells_options_apart_where_nothing_else_does() -> None:
    assert find_letter({"A": "ABC", "B": "abc"}, "abc") == "B"
    with pytest.raises(DataError, match="more than one of the options"):
        find_letter({"A": "ABC", "B": "abc"}, "Abc")


def test_the_index_decides_and_is_checked() -> None:
    assert find_letter(FOUR, "the roots of it", "A") == "A"
    assert find_letter({"A": "x", "B": "x"}, "x", "b") == "B"
    with pytest.raises(DataError, match=r"'answer_idx' is 'B'.*'answer' is option C"):
        find_letter(FOUR, "Cord", "B")
    with pytest.raises(DataError, match=r"'answer_idx' is 'E'.*expected one of A, B, C, D"):
        find_letter(FOUR, "Cord", "E")


def test_an_answer_that_is_no_option_is_refused() -> None:
    with pytest.raises(DataError, match=r"'answer' is 'Nerve'.*none of the options"):
        find_letter(FOUR, "Nerve")
