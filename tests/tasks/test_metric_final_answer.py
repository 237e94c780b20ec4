"""The final answer under its heading: the option where there are some, else the text."""

import pytest

from tasks.metrics.final_answer import find_final_answer, score_final_answer, split_reasoning

LETTERS = ("A", "B", "C", "D")


@pytest.mark.parametrize(
    "prediction",
    [
        "## Thinking\n\nIt is A. The answer is A.\n\n## Final Answer\n\nB. Aspirin",
        "## Final Answer\n\nB",
        "### Final Answer: (B) Aspirin",
        "**x**\n## **Final Answer**\n**B. Aspirin**",
        "## Final Answer\n\nThe answer is B.",
        "## Final Answer\n\nB. A and C are correct",
        "## Final Answer\nA\n\n## Final Answer\nB",
        "## Final Answer\nB\n\nQuestion: another?\n## Final Answer\nC",
        "B",
        "I think that the answer is (B).",
    ],
)
def test_the_option_is_read_after_the_last_heading(prediction: str) -> None:
    assert score_final_answer(prediction, "B", LETTERS) == {"accuracy": 1, "has_answer": 1}
    assert score_final_answer(prediction, "A", LETTERS)["accuracy"] == 0


@pytest.mark.parametrize(
    "prediction",
    ["", "The answer is B.\n## Final Answer\n\n", "## Final Answer\nA or B", "I do not know {"],
)
def test_no_option_is_no_answer(prediction: str) -> None:
    assert score_final_answer(prediction, "B", LETTERS) == {"accuracy": 0, "has_answer": 0}


def test_an_option_that_the_question_does_not_have_is_none() -> None:
    assert score_final_answer("## Final Answer\n\nE. x", "B", LETTERS)["accuracy"] == 0


@pytest.mark.parametrize(
    ("prediction", "accuracy", "has_answer"),
    [
        ("So.\n\n## Final Answer\n\nThe iron deficiency.", 1, 1),
        ("## Final Answer\n\nIron\n\nMore words", 0, 1),
        ("iron deficiency", 1, 0),
        ("It is iron deficiency", 0, 0),
        ("iron deficiency\n## Final Answer\n", 0, 0),
    ],
)
def test_an_open_answer_must_equal_the_reference(
    prediction: str, accuracy: float, has_answer: float
) -> None:
    found = score_final_answer(prediction, "Iron deficiency", ())
    assert found == {"accuracy": accuracy, "has_answer": has_answer}


def test_reasoning_is_what_stands_before_the_last_heading() -> None:
    assert split_reasoning("## Thinking\n\na\n\n## Final Answer\n\nb") == "## Thinking\n\na\n\n"
    assert split_reasoning("only thoughts") == "only thoughts"
    assert find_final_answer("only thoughts, and the final answer in words") is None
