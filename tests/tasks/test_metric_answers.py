"""Answer accuracy against cases worked out by hand, and numbers written by babel's formatters."""

import random
import re
from collections.abc import Iterator
from decimal import Decimal

import pytest
from babel.numbers import (
    format_compact_decimal,
    format_currency,
    format_decimal,
    format_percent,
    format_scientific,
)
from growth import assert_linear

from tasks.fincot import FINCOT
from tasks.metrics.answers import (
    find_answer,
    find_numbers,
    is_same_answer,
    score_answer,
    split_reasoning,
)

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
    ("It was 1,234, up from 1,200 to 1,234,", "1234"),
    ("1.5e6", "1.5 million"),
    ("12,34,567", "1234567"),
    ("1\u2019234\u2019567", "1234567"),
    ("1\u00a0234\u00a0567", "1234567"),
    ("(CHF 12)", "-12"),
    ("(12 USD)", "-12"),
    ("-CHF12", "-12"),
    ("2 crore", "20 million"),
    ("12.5 pct", "12.5%"),
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
    ("1,234, 567", "1234567"),
    ("1.5e5", "1.5 million"),
    ("(CHF 12)", "12"),
    ("12 lakh", "12 million"),
]


SAME += [
    ("Division 1", "division 1."),
    ("the third quarter, Q3 2019", "Q3 2019"),
    ("2019", "FY 2019"),
    ("5-10", "5-10"),
    ("5 to 10", "5\u201310"),
    ("12.5%", "0.125 (12.5%)"),
    ("0.125 (12.5%)", "12.5%"),
    ("decreased by 5%", "-5%"),
    ("decreased by 5%", "5%"),
    ("a 5% decline", "-5%"),
    ("3/4", "0.75"),
    ("0.75", "3/4"),
    ("2018/2019", "2019"),
    ("50 bps", "0.5%"),
    ("0.5%", "50 basis points"),
    ("1.5 x 10^6", "1.5 million"),
    ("$1.5 \\times 10^{6}$", "1500000"),
    ("1.5\u00d710\u2076", "1500000"),
    ("\u20115", "-5"),
    ("1.234,50", "1234.5"),
    ("1.234.567", "1234567"),
    ("12 345", "12345"),
    ("12", "12 months"),
    (r"The answer is \boxed{5} because 3.", "5"),
    ("The total is $5 million.", "The total is $5 million.\n\nRevenue grew from $3 to $8 million."),
    ("12.14%", "**12.14%**\n\nThe growth of 12.14% reflects higher sales over the 3 years."),
]
DIFFERENT += [
    ("Segment 1", "Division 1"),
    ("Q2 2019", "Q3 2019"),
    ("1/4", "3/4"),
    ("10", "5-10"),
    ("5-10", "10"),
    ("-12.5%", "0.125 (12.5%)"),
    ("increased by 5%", "-5%"),
    ("increased by 5%", "decreased by 5%"),
    ("1.999,50", "1.234,50"),
    ("1 000 000", "2 000 000"),
    ("12 345", "345"),
    ("3", "**12.14%**\n\nThe growth of 12.14% reflects higher sales over the 3 years."),
    ("8 million", "The total is $5 million.\n\nRevenue grew from $3 to $8 million."),
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
        ("12, 34", [12.0, 34.0]),
        ("12,34", [12.34]),
        ("0,125", [0.125]),
        ("1,2,3", [1.0, 2.0, 3.0]),
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


@pytest.mark.parametrize(
    "text",
    [
        "so\nAnswer: 5",
        "**Answer**: 5",
        "**Answer:** 5",
        "Answer (in millions): 5",
        "The answer is 5",
        "the final answer is: $5$",
        "Answer: 7? No.\nAnswer: 5",
        "Answer: 5\n\nQuestion: and in 2019?\nAnswer: 7",
        "Answer: 5\n**Question 2:** and in 2019?\nAnswer: 7",
        "Question: what was it?\nAnswer: 5",
    ],
)
def test_answer_marks(text: str) -> None:
    assert score_answer(text, "5") == {"answer_accuracy": 1.0, "has_answer": 1.0}


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("7 - 2 = 5.\nAnswer: 5", "7 - 2 = 5.\n"),
        ("Answer: 7? No.\nAnswer: 5", "Answer: 7? No.\n"),
        ("Answer: 5", ""),
        ("7 - 2 = 5.\nSo 5", "7 - 2 = 5.\nSo 5"),
        ("", ""),
        ("x\nAnswer: 5\nQuestion: y?\nz\nAnswer: 7", "x\n"),
    ],
)
def test_reasoning_is_what_stands_before_the_last_mark(text: str, reasoning: str) -> None:
    assert split_reasoning(text) == reasoning


def test_without_a_mark_the_last_line_is_judged() -> None:
    assert score_answer("5 - 3 = 2.\nSo 2", "2") == {"answer_accuracy": 1.0, "has_answer": 0.0}


@pytest.mark.parametrize("text", ["", "  \n ", "Answer:", "Answer: \n\n"])
def test_no_answer_is_wrong(text: str) -> None:
    assert score_answer(text, "5") == {"answer_accuracy": 0.0, "has_answer": 0.0}


def test_long_runs_of_digits_and_brackets_end_quickly() -> None:
    for text in ("1" * 50_000, "(" * 50_000, "1,2" * 20_000, "$ " * 30_000, "-" * 50_000):
        assert score_answer("Answer: " + text, "5")["answer_accuracy"] == 0


LOCALES = ("en_US", "en_GB", "en_IN", "en_CH", "en_AU", "en_CA", "en_NZ", "en_IE", "en_SG", "en_HK")
CURRENCIES = ("USD", "EUR", "GBP", "JPY", "CHF", "CAD", "INR", "CNY")


def write_value(rng: random.Random, value: Decimal) -> str:
    """The value, unrounded, by one of babel's formatters."""
    locale = rng.choice(LOCALES)
    exact = {"decimal_quantization": False, "locale": locale}
    currency = rng.choice(CURRENCIES)
    kind = rng.choice(["standard", "accounting", "name"])
    return rng.choice(
        [
            lambda: str(value),
            lambda: format_decimal(value, **exact),
            lambda: format_decimal(value, group_separator=False, **exact),
            lambda: format_currency(value, currency, format_type=kind, **exact),
            lambda: f"{currency} {format_decimal(value, **exact)}",
            lambda: f"({format_decimal(-value, **exact)})" if value < 0 else f"+{value}",
            lambda: format_scientific(value, locale=locale, decimal_quantization=False),
        ]
    )()


def list_values(seed: int, count: int) -> Iterator[tuple[random.Random, Decimal]]:
    rng = random.Random(seed)
    for _ in range(count):
        digits = rng.choice([1, 2, 3, 4, 6, 8])
        whole = rng.randint(1, 10**digits)
        yield rng, Decimal(rng.choice([-1, 1]) * whole).scaleb(-rng.choice([0, 0, 1, 2, 3]))


def half_unit(written: str) -> Decimal:
    """Half of what the last decimal stands for, by Python's own reading of the digits."""
    digits = re.search(r"\d[\d.,\u2019]*(?:E-?\d+)?", written, re.IGNORECASE)
    assert digits
    number = Decimal(re.sub("[,\u2019]", "", digits[0]))
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return Decimal("0.5").scaleb(exponent) if exponent < 0 else Decimal(0)


def test_one_value_in_two_notations_is_right() -> None:
    for rng, value in list_values(0, 4000):
        answer, reference = write_value(rng, value), write_value(rng, value)
        assert is_same_answer(answer, reference), (answer, reference)


def test_a_value_off_by_more_than_the_tolerance_is_wrong() -> None:
    for rng, value in list_values(1, 4000):
        reference = write_value(rng, value)
        allowed = max(half_unit(reference), abs(value) / 1000)
        off = value + rng.choice([-1, 1]) * allowed * Decimal("1.01")
        answer = write_value(rng, off)
        assert not is_same_answer(answer, reference), (answer, reference)
        assert not is_same_answer(write_value(rng, -value), reference), (value, reference)


def test_percentages_equal_their_fractions() -> None:
    for rng, value in list_values(2, 2000):
        locale = rng.choice(LOCALES)
        percent = format_percent(value, locale=locale, decimal_quantization=False)
        assert is_same_answer(percent, str(value)), (percent, value)
        assert is_same_answer(str(value), percent), (percent, value)
        assert is_same_answer(f"{value * 100} percent", percent)
        wrong = format_percent(value * 2, locale=locale, decimal_quantization=False)
        assert not is_same_answer(wrong, percent), (wrong, percent)
        assert not is_same_answer(wrong, str(value)), (wrong, value)


def test_scale_words_equal_the_number_in_full() -> None:
    rng = random.Random(3)
    for _ in range(2000):
        # Three digits are all that the compact form shows.
        value = rng.choice([-1, 1]) * rng.randint(1000, 9999) * 10 ** rng.randint(0, 9)
        length = rng.choice(["short", "long"])
        locale = rng.choice([name for name in LOCALES if name != "en_IN"])
        compact = format_compact_decimal(
            value, format_type=length, locale=locale, fraction_digits=3
        )
        full = format_decimal(value, locale=locale)
        assert is_same_answer(compact, full), (compact, full)
        assert is_same_answer(full, compact), (compact, full)
        other = format_compact_decimal(
            value * 1000, format_type=length, locale=locale, fraction_digits=3
        )
        # A thousandfold in other words is wrong where both name a scale.
        assert not is_same_answer(other, compact), (other, compact)


def test_fincot_completions_come_apart_where_they_were_joined() -> None:
    row = {"Question": "Q?", "Reasoning_process": "The answer is: 7 - 2.", "Final_response": "5"}
    example = FINCOT.to_example(row)
    assert FINCOT.split_reasoning is not None
    assert FINCOT.split_reasoning(example.completion).strip() == row["Reasoning_process"]
    assert FINCOT.score(example, example.completion)["answer_accuracy"] == 1


@pytest.mark.parametrize(
    ("prediction", "reference", "is_right"),
    [
        ("Answer: 5 million in 2019", "5 million", True),
        ("Answer: 5 million (2019)", "5 million", True),
        ("Answer: 68.07% increase from 2018 to 2019", "68.07%", True),
        ("Answer: 12.5% (rounded to 1 decimal)", "12.5%", True),
        ("Answer: 1,200 for 2018 and 2019", "1200", True),
        ("Answer: 6 million in 2019", "5 million", False),
        ("Answer: 2019", "2019", True),
        ("Answer: in 2019", "2019", True),
        ("Answer: 2019 (5 million)", "-5 million", True),
        ("Answer: net loss (12.5 million)", "-12.5 million", True),
        ("2019: (5)", "-5", True),
    ],
)
def test_remarks_after_a_number_are_no_part_of_it(
    prediction: str, reference: str, is_right: bool
) -> None:
    assert score_answer(prediction, reference)["answer_accuracy"] == is_right


@pytest.mark.parametrize(
    "after",
    [
        "This answer is based on the data from 2019.",
        "I hope this answer is useful to 3 people",
        "The answer is rounded to 1 decimal",
    ],
)
def test_prose_after_an_answer_line_does_not_replace_it(after: str) -> None:
    text = f"2 + 3 = 5\nAnswer: 5\n\n{after}"
    assert score_answer(text, "5")["answer_accuracy"] == 1
    assert split_reasoning(text) == "2 + 3 = 5\n"
    # A line of its own does.
    assert score_answer(f"{text}\n**Answer:** 7", "7")["answer_accuracy"] == 1


def test_long_texts_take_time_in_proportion() -> None:
    assert_linear(lambda n: score_answer("Answer: " + "5 in 2019 " * n, "5"), 4000)
    assert_linear(lambda n: score_answer("( " * n, "5"), 12_000)
    assert_linear(lambda n: score_answer("Answer: 5" + " " * n + "x", "5"), 12_000)
    for piece in ("5 100 ", "1.234.", r"\boxed{", "**5", "a. B", "decreased by about ", "5/", "5-"):
        assert_linear(lambda n, piece=piece: score_answer("Answer: " + piece * n, "5"), 4000)


@pytest.mark.parametrize("remark", ["", "\nThis is in millions of 2019.", "\n\nAll 3 agree."])
def test_a_box_is_the_answer_whatever_follows_it(remark: str) -> None:
    text = rf"So 2 + 3 is \boxed{{5}}.{remark}"
    assert score_answer(text, "5") == {"answer_accuracy": 1.0, "has_answer": 1.0}


def test_an_answer_is_right_by_its_own_measure() -> None:
    """Of answers with an explanation, as FinCoT's card describes them."""
    for text in (
        "The total is $5 million.\n\nRevenue grew from $3 million to $8 million in 2018.",
        "**12.14%**\n\nThe growth of 12.14% reflects higher sales over the 3 years.",
        "Net income fell by 3.5%. It had risen by 2% in 2017.",
        "Approximately 0.125 (12.5%)",
        "Q3 2019",
    ):
        assert score_answer(f"Reasoning.\nAnswer: {text}", text)["answer_accuracy"] == 1


def test_a_time_of_day_is_no_number() -> None:
    for found, right in (("10:30", 1), ("at 10:30", 1), ("11:30", 0), ("30", 0), ("10:31", 0)):
        assert score_answer(f"Answer: {found}", "10:30")["answer_accuracy"] == right, found
