"""FinCoT: taking the public prompt apart, the form of the answer, and what must not be shared."""

import pytest

from tasks.fincot import FINCOT, split_key, split_question, to_example
from tasks.splits import assign_split

QUESTION = "Answer the question.\nContext: Revenue | 5\nCosts | 3\nQuestion: What is left?\nAnswer:"
ROW = {"Question": QUESTION, "Reasoning_process": "5 - 3", "Final_response": "2 million"}


def test_only_the_context_may_be_cut() -> None:
    example = to_example(ROW)
    assert example.prefix == "Answer the question.\nContext:"
    assert example.body == " Revenue | 5\nCosts | 3"
    assert example.suffix.startswith("\nQuestion: What is left?\n")
    assert example.suffix.endswith("Reasoning:")


def test_the_answer_follows_the_reasoning() -> None:
    example = to_example(ROW)
    assert example.completion == "5 - 3\nAnswer: 2 million"
    assert example.reference == "2 million"
    assert FINCOT.score(example, example.completion)["answer_accuracy"] == 1


def test_the_last_question_is_the_question() -> None:
    parts = split_question("Context: a\nQuestion: old?\nb\nQuestion: new?")
    assert parts.context == " a\nQuestion: old?\nb"
    assert parts.question == "\nQuestion: new?"


def test_a_prompt_without_marks_is_all_context() -> None:
    parts = split_question("How much is 5 - 3?")
    assert (parts.opening, parts.context, parts.question) == ("", "How much is 5 - 3?", "")
    example = to_example(ROW | {"Question": "How much is 5 - 3?"})
    assert example.prompt.startswith("How much is 5 - 3?\n")


def test_two_questions_on_one_context_share_a_key() -> None:
    other = ROW | {"Question": QUESTION.replace("What is left?", "What came in?")}
    assert split_key(ROW) == split_key(other)
    assert split_key(ROW) != split_key(ROW | {"Question": QUESTION.replace("| 5", "| 6")})


def list_sides(first: str, second: str) -> list[tuple[str, str]]:
    """Sides of two prompts' rows under many seeds: unrelated ones would often differ."""
    keys = [split_key(ROW | {"Question": question}) for question in (first, second)]
    return [(assign_split(keys[0], seed), assign_split(keys[1], seed)) for seed in range(200)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # Case, spacing and punctuation of the context.
        (QUESTION, QUESTION.replace("Revenue | 5", "revenue  |  5;")),
        (QUESTION, QUESTION.replace("\nCosts", " \r\n  COSTS")),
        # The same letters, composed and not.
        (QUESTION.replace("Costs", "Coûts"), QUESTION.replace("Costs", "Cou\u0302ts")),
        # Another instruction before the same context.
        (QUESTION, QUESTION.replace("Answer the question.", "Please answer:")),
        # Without marks: the question is the last line, or the last sentence of a single line.
        ("Revenue was 5.\nIt fell.\nBy how much?", "Revenue was 5.\nIt fell.\nWhy?\nAnswer:"),
        ("Revenue was 5.5 in May. How much?", "Revenue was 5.5 in May. Is 2.5% of it 3?"),
        ("Revenue was 5.5 in May. How much?", "Revenue was 5.5 in May. Compute the change."),
    ],
)
def test_two_questions_on_one_context_never_part(first: str, second: str) -> None:
    assert all(side == other for side, other in list_sides(first, second))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (QUESTION, QUESTION.replace("| 5", "| 6")),
        ("Revenue was 5.\nBy how much?", "Revenue was 6.\nBy how much?"),
        ("How much is 5 - 3?", "How much is 5 - 4?"),
        ("Revenue was 5. How much?", "Revenue was 6. How much?"),
    ],
)
def test_other_contexts_may_part(first: str, second: str) -> None:
    assert any(side != other for side, other in list_sides(first, second))
