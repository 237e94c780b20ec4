"""Answer accuracy against cases worked out by hand."""

import pytest

from tasks.metrics.answers import find_answer, find_numbers, is_same_answer, score_answer

SAME = [
    ("40 million", "40 million"),
    ("40", "40 million"),  # the table is in millions
    ("40,000,000", "40 million"),
    ("$40m", "40 million"),
    ("0.04 billion", "40 million"),
    ("$ 1,234.50", "1234.5"),
    ("1234.5", "$1,234.50"),
    ("-12.5%", "-0.125"),
    ("(12.5)%", "-12.5%"),
    ("(12.5%)", "-12.5%"),
    ("$(3,000)", "-3000"),
    ("-$3,000", "-3000"),
    ("−3000", "-3000"),  # noqa: RUF001
    ("12.5", "12.5%"),
    ("0.125", "12.5%"),
    ("12.5 percent", "12.5%"),
    ("941.93%", "9.41928"),
    ("9.42", "9.41928"),
    ("0.2857", "0.29"),
    ("68.1%", "68.07%"),
    ("3.5m", "3.5 million"),
    ("2.0 thousand", "2 thousand"),
    ("The change from 2018 to 2019 was 91 million", "91 million"),
    ("0", "0%"),
    (".5", "0.5"),
    ("Yes.", "yes"),
    ("No, it fell", "no"),
    ("the Increase in Sales", "increase in sales."),
    ("FY2019", "FY2019"),
]
DIFFERENT = [
    ("-40 million", "40 million"),
    ("40 thousand", "40 million"),
    ("41", "40"),
    ("10001", "10000"),  # whole numbers must be equal
    ("1,509 thousand", "1,508 thousand"),
    ("7.4", "7"),
    ("12.6%", "12.5"),
    ("125%", "12.5%"),
    ("1.25", "12.5%"),
    ("-12.5%", "12.5%"),
    ("0.28", "0.29"),
    ("5", "0"),
    ("", "5"),
    ("", "yes"),
    ("no", "yes"),
    ("none", "no"),
    ("sales", "increase in sales"),
    ("about twelve", "12"),
    ("2019", "2018"),
]


@pytest.mark.parametrize(("answer", "reference"), SAME)
def test_right_answers(answer: str, reference: str) -> None:
    assert is_same_answer(answer, reference)


@pytest.mark.parametrize(("answer", "reference"), DIFFERENT)
def test_wrong_answers(answer: str, reference: str) -> None:
    assert not is_same_answer(answer, reference)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("from 2018-2019", [2018.0, 2019.0]),
        ("10-5 = 5", [10.0, 5.0, 5.0]),
        ("(5) and (6", [-5.0, 6.0]),
        ("1,234,567.89", [1234567.89]),
        ("12,34", [12.0, 34.0]),
        ("Q3 of FY2019", []),
        ("5km", [5.0]),
        ("3 bn, 4 mn, 5 tn, 6 k", [3e9, 4e6, 5e12, 6e3]),
        ("2 Millions", [2e6]),
        ("US$ 7", [7.0]),
        ("no number", []),
    ],
)
def test_numbers_of_a_text(text: str, values: list[float]) -> None:
    assert [number.value for number in find_numbers(text)] == pytest.approx(values)


def test_what_follows_the_last_mark_is_judged() -> None:
    text = "The answer is: 7, no.\nAnswer: 5 million\n\nQuestion: what was it in 2019?"
    assert find_answer(text) == "5 million"
    assert score_answer(text, "5 million") == {"answer_accuracy": 1.0, "has_answer": 1.0}


def test_bold_marks_and_answers_on_the_next_line_are_read() -> None:
    assert score_answer("**Answer:** 12.5%", "12.5%")["answer_accuracy"] == 1
    assert score_answer("Answer:\n\n 12.5%", "12.5%")["answer_accuracy"] == 1


def test_without_a_mark_the_last_line_is_judged() -> None:
    assert score_answer("5 - 3 = 2.\nSo 2", "2") == {"answer_accuracy": 1.0, "has_answer": 0.0}


@pytest.mark.parametrize("text", ["", "  \n ", "Answer:", "Answer: \n\n"])
def test_no_answer_is_wrong(text: str) -> None:
    assert score_answer(text, "5") == {"answer_accuracy": 0.0, "has_answer": 0.0}


def test_long_runs_of_digits_and_brackets_end_quickly() -> None:
    for text in ("1" * 50_000, "(" * 50_000, "1,2" * 20_000, "$ " * 30_000, "-" * 50_000):
        assert score_answer("Answer: " + text, "5")["answer_accuracy"] == 0
