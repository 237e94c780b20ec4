"""Seeded finance questions over small tables, with their reasoning, in FinCoT's columns.

A stand-in for FinCoT: the same form (context, question, calculation, result), made so that a small
model neither fails at nor saturates it: more than half are lookups, comparisons and sums, the rest
change, average, ratio, share, percentage change and two-step questions, on small tables of small
numbers. One answer in eight is a text: yes, no, or the name of a line. Some tables have losses in
parentheses, some have thousands separators.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from tasks.base import Row, Split
from tasks.embedded.fincot_tables import Table, make_table, write_context
from tasks.splits import assign_split

NAME = "generated finance questions, split by context"
STAND_IN = "generated finance questions instead of FinCoT"
POOL_ROWS = 4000
"""Rows of all three parts together: a train part of about 2,800."""


@dataclass(frozen=True)
class Problem:
    question: str
    reasoning: str
    answer: str


def make_rows(split: Split, seed: int) -> list[Row]:
    rng = random.Random(f"fincot {seed}")
    rows: list[Row] = []
    for number in range(POOL_ROWS):
        context, problem = _make_problem(rng)
        if assign_split(context, seed) == split:
            rows.append(_to_row(f"fincot-{seed}-{number:05d}", context, problem))
    return rows


def _to_row(name: str, context: str, problem: Problem) -> Row:
    return {
        "id": name,
        "Question": "Please answer the given financial question based on the context.\n"
        f"Context: {context}\nQuestion: {problem.question}\nAnswer:",
        "Reasoning_process": problem.reasoning,
        "Final_response": problem.answer,
        "Negative_reasoning_process": None,
        "Negative_response": None,
    }


def _make_problem(rng: random.Random) -> tuple[str, Problem]:
    table = make_table(rng)
    maker = rng.choices(list(MAKERS), weights=list(MAKERS.values()))[0]
    problem = maker(rng, table)
    return write_context(rng, table), problem


def _pick(rng: random.Random, table: Table, lines: list[str]) -> tuple[str, int, int, int, int]:
    """One of the lines, two of its years (later first), and its values in them."""
    line = rng.choice(lines)
    late, early = sorted(rng.sample(range(len(table.years)), k=2))
    values = table.values[line]
    return line, table.years[late], table.years[early], values[late], values[early]


def _pick_two(rng: random.Random, table: Table, lines: list[str]) -> tuple[str, str, int, int, int]:
    """Two of the lines, a year, and their values in it."""
    first, second = rng.sample(lines, k=2)
    index = rng.randrange(len(table.years))
    a, b = table.values[first][index], table.values[second][index]
    return first, second, table.years[index], a, b


def _operand(value: int) -> str:
    """A number as it stands in a calculation."""
    return f"({value})" if value < 0 else str(value)


def _ask(rng: random.Random, *phrasings: str) -> str:
    return rng.choice(phrasings)


def _lookup(rng: random.Random, table: Table) -> Problem:
    line, year, _, value, _ = _pick(rng, table, list(table.values))
    name = line.lower()
    question = _ask(rng, f"What was {name} in {year}?", f"How much was {name} for {year}?")
    return Problem(question, f"{line} in {year} was {value}.", f"{value} {table.unit}")


def _compare(rng: random.Random, table: Table) -> Problem:
    line, late, early, a, b = _pick(rng, table, list(table.values))
    higher = rng.random() < 0.5
    year = late if (a > b) == higher else early
    word = "higher" if higher else "lower"
    question = f"In which year was {line.lower()} {word}, {early} or {late}?"
    seen = f"{line} was {a} in {late} and {b} in {early}."
    reasoning = f"{seen} {max(a, b)} is more than {min(a, b)}, so {year}."
    return Problem(question, reasoning, str(year))


def _is_higher(rng: random.Random, table: Table) -> Problem:
    line, late, early, a, b = _pick(rng, table, list(table.values))
    question = f"Was {line.lower()} higher in {late} than in {early}?"
    word, answer = ("more", "yes") if a > b else ("less", "no")
    seen = f"{line} was {a} in {late} and {b} in {early}."
    return Problem(question, f"{seen} {a} is {word} than {b}, so {answer}.", answer)


def _larger_line(rng: random.Random, table: Table) -> Problem:
    first, second, year, a, b = _pick_two(rng, table, list(table.values))
    question = f"Which was larger in {year}, {first.lower()} or {second.lower()}?"
    answer = (first if a > b else second).lower()
    seen = f"{first} in {year} was {a} and {second.lower()} was {b}."
    reasoning = f"{seen} {max(a, b)} is more than {min(a, b)}, so {answer}."
    return Problem(question, reasoning, answer)


def _sum(rng: random.Random, table: Table) -> Problem:
    first, second, year, a, b = _pick_two(rng, table, list(table.values))
    names = f"{first.lower()} and {second.lower()}"
    question = _ask(
        rng,
        f"What was the total of {names} in {year}?",
        f"How much were {names} in {year} together?",
    )
    seen = f"{first} in {year} was {a} and {second.lower()} was {b}."
    reasoning = f"{seen} {_operand(a)} + {_operand(b)} = {a + b}."
    return Problem(question, reasoning, f"{a + b} {table.unit}")


def _change(rng: random.Random, table: Table) -> Problem:
    line, late, early, a, b = _pick(rng, table, list(table.values))
    question = _ask(
        rng,
        f"What was the change in {line.lower()} from {early} to {late}?",
        f"By how much did {line.lower()} change between {early} and {late}?",
    )
    seen = f"{line} was {a} in {late} and {b} in {early}."
    reasoning = f"{seen} {_operand(a)} - {_operand(b)} = {a - b}."
    return Problem(question, reasoning, f"{a - b} {table.unit}")


def _average(rng: random.Random, table: Table) -> Problem:
    line, late, early, a, b = _pick(rng, table, table.positive_lines)
    question = _ask(
        rng,
        f"What was the average {line.lower()} of {early} and {late}?",
        f"What is the mean of {line.lower()} in {early} and {late}?",
    )
    mean = _shorten((a + b) / 2)
    return Problem(question, f"({a} + {b}) / 2 = {a + b} / 2 = {mean}.", f"{mean} {table.unit}")


def _percent_change(rng: random.Random, table: Table) -> Problem:
    line, late, early, a, b = _pick(rng, table, table.positive_lines)
    question = _ask(
        rng,
        f"What was the percentage change in {line.lower()} from {early} to {late}?",
        f"By what percentage did {line.lower()} change between {early} and {late}?",
    )
    percent = _shorten(100 * (a - b) / b)
    return Problem(question, f"({a} - {b}) / {b} = {a - b} / {b} = {percent}%.", f"{percent}%")


def _share(rng: random.Random, table: Table) -> Problem:
    first, second, year, a, b = _pick_two(rng, table, table.positive_lines)
    percent = _shorten(100 * a / (a + b))
    question = (
        f"In {year}, what share of {first.lower()} and {second.lower()} together was the former?"
    )
    return Problem(question, f"{a} + {b} = {a + b}. {a} / {a + b} = {percent}%.", f"{percent}%")


def _ratio(rng: random.Random, table: Table) -> Problem:
    first, second, year, a, b = _pick_two(rng, table, table.positive_lines)
    ratio = f"{a / b:.2f}"
    question = f"What was the ratio of {first.lower()} to {second.lower()} in {year}?"
    return Problem(question, f"{first} was {a}, {second.lower()} {b}. {a} / {b} = {ratio}.", ratio)


def _change_of_sum(rng: random.Random, table: Table) -> Problem:
    first, second = rng.sample(table.positive_lines, k=2)
    late, early = sorted(rng.sample(range(len(table.years)), k=2))
    a, c = table.values[first][late], table.values[first][early]
    b, d = table.values[second][late], table.values[second][early]
    years = f"from {table.years[early]} to {table.years[late]}"
    question = f"What was the change in the sum of {first.lower()} and {second.lower()} {years}?"
    reasoning = f"{a} + {b} = {a + b}. {c} + {d} = {c + d}. {a + b} - {c + d} = {a + b - c - d}."
    return Problem(question, reasoning, f"{a + b - c - d} {table.unit}")


def _shorten(value: float) -> str:
    # Adding zero turns -0.0, which a small loss rounds to, into 0.0.
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


MAKERS: dict[Callable[[random.Random, Table], Problem], int] = {
    _lookup: 30,
    _compare: 8,
    _is_higher: 6,
    _larger_line: 6,
    _sum: 14,
    _change: 14,
    _average: 7,
    _percent_change: 6,
    _share: 4,
    _ratio: 3,
    _change_of_sum: 5,
}
"""Kind of question -> its weight."""
