"""MedMCQA: the prompt of lm-evaluation-harness, labels, and its scoring by letter."""

from typing import Any

import pytest

from tasks.base import DataError
from tasks.medmcqa import MEDMCQA, to_example

ROW: dict[str, Any] = {
    "id": "7",
    "question": "Which vitamin is made in the skin?",
    "opa": "A",
    "opb": "C",
    "opc": "D",
    "opd": "",
    "cop": 2,
}


def test_prompt_is_that_of_lm_evaluation_harness() -> None:
    # Written out from its medmcqa task (utils_medmcqa.doc_to_text).
    assert to_example(ROW).prompt == (
        "Question: Which vitamin is made in the skin?\nChoices:\nA. A\nB. C\nC. D\nD. \nAnswer:"
    )


@pytest.mark.parametrize(("label", "letter"), enumerate("ABCD"))
def test_labels_count_from_zero(label: int, letter: str) -> None:
    example = to_example(ROW | {"cop": label})
    assert example.completion == example.reference == letter
    assert example.choices == ("A", "B", "C", "D")


@pytest.mark.parametrize("label", ["2", " 2 ", "02", "2.0", 2.0])
def test_a_label_that_is_text_or_a_float_counts_from_zero_too(label: str) -> None:
    assert to_example(ROW | {"cop": label}).reference == "C"


@pytest.mark.parametrize(
    "label", ["4", "-1", "", "C", "2.5", "²", "٢", "9" * 5000, 2.5, 4.0, float("nan"), True]
)
def test_other_labels_are_refused(label: object) -> None:
    with pytest.raises(DataError, match="column 'cop' is"):
        to_example(ROW | {"cop": label})


@pytest.mark.parametrize(("prediction", "accuracy"), [("C", 1), (" c. ", 1), ("A", 0), ("", 0)])
def test_score(prediction: str, accuracy: float) -> None:
    scores = MEDMCQA.score(to_example(ROW), prediction)
    assert scores == {"accuracy": accuracy, "has_answer": float(prediction != "")}
