"""FinCoT: taking the public prompt apart, and the form of the answer."""

from tasks.fincot import FINCOT, split_key, split_question, to_example

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
