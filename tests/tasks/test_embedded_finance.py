"""Embedded finance questions: every answer recomputed from the printed table by another reader."""

import re
from collections import Counter
from collections.abc import Callable

import pytest

from tasks import TASKS
from tasks.base import Row
from tasks.embedded import fincot
from tasks.metrics.answers import is_same_answer

Cells = dict[tuple[str, str], float]
"""(line in lower case, year) -> value."""


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return fincot.make_rows("train", 0)


def read_number(cell: str) -> float:
    digits = float(cell.strip("()").replace(",", ""))
    return -digits if cell.startswith("(") else digits


def read_cells(context: str) -> Cells:
    cells: Cells = {}
    years: list[str] = []
    for line in context.splitlines():
        name, *columns = [part.strip() for part in line.split("|")]
        if columns and not name:
            years = columns
        elif columns:
            for year, cell in zip(years, columns, strict=True):
                cells[name.lower(), year] = read_number(cell)
        for cell, year in re.findall(r"(\(?[\d,]*\d\)?) in (\d{4})", line):
            cells[line.partition(":")[0].lower(), year] = read_number(cell)
    return cells


def name_larger(cells: Cells, year: str, first: str, second: str) -> str:
    return first if cells[first, year] > cells[second, year] else second


def add(cells: Cells, first: str, second: str, year: str) -> float:
    return cells[first, year] + cells[second, year]


def subtract(cells: Cells, line: str, early: str, late: str) -> float:
    return cells[line, late] - cells[line, early]


def average(cells: Cells, line: str, early: str, late: str) -> float:
    return (cells[line, early] + cells[line, late]) / 2


def grow(cells: Cells, line: str, early: str, late: str) -> str:
    return f"{100 * (cells[line, late] / cells[line, early] - 1):.1f}%"


def share(cells: Cells, year: str, first: str, second: str) -> str:
    return f"{100 * cells[first, year] / add(cells, first, second, year):.1f}%"


SOLVERS: list[tuple[str, Callable[..., object]]] = [
    (
        r"In which year was (.+) higher, (\d+) or (\d+)\?",
        lambda cells, line, y, z: y if cells[line, y] > cells[line, z] else z,
    ),
    (
        r"In which year was (.+) lower, (\d+) or (\d+)\?",
        lambda cells, line, y, z: y if cells[line, y] < cells[line, z] else z,
    ),
    (
        r"Was (.+) higher in (\d+) than in (\d+)\?",
        lambda cells, line, y, z: "yes" if cells[line, y] > cells[line, z] else "no",
    ),
    (r"Which was larger in (\d+), (.+) or (.+)\?", name_larger),
    (r"What was the total of (.+) and (.+) in (\d+)\?", add),
    (r"How much were (.+) and (.+) in (\d+) together\?", add),
    (
        r"What was the change in the sum of (.+) and (.+) from (\d+) to (\d+)\?",
        lambda cells, n, m, y, z: subtract(cells, n, y, z) + subtract(cells, m, y, z),
    ),
    (r"What was the change in (.+) from (\d+) to (\d+)\?", subtract),
    (r"By how much did (.+) change between (\d+) and (\d+)\?", subtract),
    (r"What was the average (.+) of (\d+) and (\d+)\?", average),
    (r"What is the mean of (.+) in (\d+) and (\d+)\?", average),
    (r"What was the percentage change in (.+) from (\d+) to (\d+)\?", grow),
    (r"By what percentage did (.+) change between (\d+) and (\d+)\?", grow),
    (r"In (\d+), what share of (.+) and (.+) together was the former\?", share),
    (
        r"What was the ratio of (.+) to (.+) in (\d+)\?",
        lambda cells, n, m, year: f"{cells[n, year] / cells[m, year]:.2f}",
    ),
    (r"What was (.+) in (\d+)\?", lambda cells, line, year: cells[line, year]),
    (r"How much was (.+) for (\d+)\?", lambda cells, line, year: cells[line, year]),
]
"""The questions, the narrower patterns first, and how an answer is had from the table."""


def solve(row: Row) -> tuple[str, str]:
    """The question's pattern, and the answer by the table alone."""
    context, _, rest = row["Question"].partition("\nQuestion: ")
    question = rest.splitlines()[0]
    for pattern, solver in SOLVERS:
        if match := re.fullmatch(pattern, question):
            return pattern, str(solver(read_cells(context), *match.groups()))
    raise AssertionError(f"no solver for {question!r}")


def test_answers_follow_from_the_printed_table(rows: list[Row]) -> None:
    patterns = Counter[str]()
    for row in rows:
        pattern, answer = solve(row)
        patterns[pattern] += 1
        assert is_same_answer(answer, row["Final_response"]), (row, answer)
    assert len(patterns) == len(SOLVERS)
    assert min(patterns.values()) > 10


def test_reasoning_is_right_and_ends_in_the_answer(rows: list[Row]) -> None:
    equations = 0
    for row in rows:
        reasoning = row["Reasoning_process"]
        for sentence in reasoning.removesuffix(".").split(". "):
            # `(3 + 5) / 2 = 8 / 2 = 4`: every link of the chain, by Python's own arithmetic.
            links = sentence.split(" = ")
            factor = 100 if links[-1].endswith("%") else 1
            for link in links[:-1] if len(links) > 1 else []:
                right = float(links[-1].rstrip("%"))
                assert eval(link) * factor == pytest.approx(right, abs=0.051), row
                equations += 1
        answer = row["Final_response"]
        if re.search(r"\d", answer):
            last = re.findall(r"-?\d[\d.]*\d%?|-?\d%?", reasoning)[-1]
            assert is_same_answer(last, answer), row
        else:
            assert reasoning.endswith(f"so {answer}."), row
    assert equations > 1800


def test_some_answers_are_texts_and_few_can_be_guessed(rows: list[Row]) -> None:
    answers = [row["Final_response"] for row in rows]
    texts = Counter(answer for answer in answers if not re.search(r"\d", answer))
    assert 0.08 < sum(texts.values()) / len(rows) < 0.16
    assert texts["yes"] + texts["no"] < 0.08 * len(rows)
    assert 0.4 < texts["yes"] / (texts["yes"] + texts["no"]) < 0.6
    assert len(texts) > 12
    # No constant answer scores.
    assert Counter(answers).most_common(1)[0][1] < 0.06 * len(rows)


def test_some_tables_have_losses_in_parentheses_and_grouped_thousands(rows: list[Row]) -> None:
    contexts = [row["Question"].partition("\nQuestion:")[0] for row in rows]
    losses = sum(bool(re.search(r"\([\d,]+\)", context)) for context in contexts)
    grouped = sum(bool(re.search(r"\d,\d{3}\b", context)) for context in contexts)
    assert 0.1 < losses / len(rows) < 0.2
    assert 0.1 < grouped / len(rows) < 0.25
    assert not any(re.search(r"[|:,] -\d|\b\d{4},\d{3}", context) for context in contexts)
    # Losses are asked for, too.
    assert any(row["Final_response"].startswith("-") for row in rows if "result" in row["Question"])


def test_the_text_answers_are_scored_as_texts(rows: list[Row]) -> None:
    task = TASKS["fincot"]
    row = next(row for row in rows if row["Final_response"] == "yes")
    example = task.to_example(row)
    assert task.score(example, "It was. Answer: Yes.")[task.metric] == 1
    assert task.score(example, "It was not. Answer: no")[task.metric] == 0
