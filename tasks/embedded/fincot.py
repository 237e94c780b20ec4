"""Seeded finance questions over small tables, with their reasoning, in FinCoT's columns.

A stand-in for FinCoT: the same form (context, question, calculation, result), made so that a small
model neither fails at nor saturates it: half are lookups, comparisons and sums, the rest change,
average, ratio, share, percentage change and two-step questions, on small tables of small numbers.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from tasks.base import Row, Split
from tasks.splits import assign_split

NAME = "generated finance questions, split by context"
STAND_IN = "generated finance questions instead of FinCoT"
POOL_ROWS = 4000
"""Rows of all three parts together: a train part of about 2,800."""

COMPANIES = (
    "Alder Foods", "Birch Energy", "Cobalt Mining", "Delta Freight", "Elm Retail", "Fjord Shipping",
    "Garnet Health", "Harbor Bank", "Iris Media", "Juniper Homes", "Kestrel Air", "Lumen Power",
    "Maple Insurance", "Nimbus Software", "Onyx Steel", "Pioneer Rail",
)  # fmt: skip
LINES = (
    "Revenue", "Cost of sales", "Research expense", "Marketing expense", "Interest expense",
    "Net income", "Trade receivables", "Inventories", "Cash", "Total debt", "Rental income",
    "Service fees", "Licence fees", "Staff costs", "Depreciation", "Dividends paid",
)  # fmt: skip
UNITS = ("million", "thousand")
NOTES = (
    "The figures are audited.",
    "Figures for {year} include one acquisition.",
    "The group employed {count} people at the end of {year}.",
    "Comparatives were not restated.",
    "The board met {count} times in {year}.",
)


@dataclass(frozen=True)
class Table:
    unit: str
    years: tuple[int, ...]
    """Newest first."""
    values: dict[str, tuple[int, ...]]
    """Line -> its value in each year."""


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
    table = _make_table(rng)
    maker = rng.choices(list(MAKERS), weights=list(MAKERS.values()))[0]
    problem = maker(rng, table)
    year = rng.choice(table.years)
    notes = [
        note.format(year=year, count=rng.randint(3, 900))
        for note in rng.sample(NOTES, k=rng.randint(0, 2))
    ]
    return _write_context(rng, table, notes), problem


def _make_table(rng: random.Random) -> Table:
    newest = rng.randint(2012, 2024)
    years = tuple(newest - i for i in range(rng.choice((2, 2, 2, 3))))
    lines = rng.sample(LINES, k=rng.choice((2, 3, 3, 4)))
    step = rng.choice((1, 5, 10, 10))
    # All distinct, so that one year is the larger, and the value of a wrong cell is a wrong answer.
    values = iter(rng.sample(range(2, 41), k=len(lines) * len(years)))
    return Table(
        unit=rng.choice(UNITS),
        years=years,
        values={line: tuple(step * next(values) for _ in years) for line in lines},
    )


def _write_context(rng: random.Random, table: Table, notes: list[str]) -> str:
    company = rng.choice(COMPANIES)
    head = rng.choice(("{} (in {}s)", "{}, amounts in {}s", "{}: selected figures, {}s"))
    rows = _write_grid(table) if rng.random() < 0.5 else _write_list(table)
    return "\n".join([head.format(company, table.unit), *rows, *notes])


def _write_grid(table: Table) -> list[str]:
    head = " | ".join(["", *map(str, table.years)])
    return [head, *(" | ".join([line, *map(str, row)]) for line, row in table.values.items())]


def _write_list(table: Table) -> list[str]:
    return [
        f"{line}: " + ", ".join(f"{v} in {y}" for v, y in zip(row, table.years, strict=True))
        for line, row in table.values.items()
    ]


def _pick(rng: random.Random, table: Table) -> tuple[str, int, int, int, int]:
    """A line, two of its years (later first), and its values in them."""
    line = rng.choice(list(table.values))
    late, early = sorted(rng.sample(range(len(table.years)), k=2))
    values = table.values[line]
    return line, table.years[late], table.years[early], values[late], values[early]


def _ask(rng: random.Random, *phrasings: str) -> str:
    return rng.choice(phrasings)


def _lookup(rng: random.Random, table: Table) -> Problem:
    line, year, _, value, _ = _pick(rng, table)
    name = line.lower()
    question = _ask(rng, f"What was {name} in {year}?", f"How much was {name} for {year}?")
    return Problem(question, f"{line} in {year} was {value}.", f"{value} {table.unit}")


def _compare(rng: random.Random, table: Table) -> Problem:
    line, late, early, a, b = _pick(rng, table)
    higher = rng.random() < 0.5
    year = late if (a > b) == higher else early
    word = "higher" if higher else "lower"
    question = f"In which year was {line.lower()} {word}, {early} or {late}?"
    seen = f"{line} was {a} in {late} and {b} in {early}."
    reasoning = f"{seen} {max(a, b)} is more than {min(a, b)}, so {year}."
    return Problem(question, reasoning, str(year))


def _sum(rng: random.Random, table: Table) -> Problem:
    first, second = rng.sample(list(table.values), k=2)
    index = rng.randrange(len(table.years))
    year, a, b = table.years[index], table.values[first][index], table.values[second][index]
    names = f"{first.lower()} and {second.lower()}"
    question = _ask(
        rng,
        f"What was the total of {names} in {year}?",
        f"How much were {names} in {year} together?",
    )
    reasoning = f"{first} in {year} was {a} and {second.lower()} was {b}. {a} + {b} = {a + b}."
    return Problem(question, reasoning, f"{a + b} {table.unit}")


def _change(rng: random.Random, table: Table) -> Problem:
    line, late, early, a, b = _pick(rng, table)
    question = _ask(
        rng,
        f"What was the change in {line.lower()} from {early} to {late}?",
        f"By how much did {line.lower()} change between {early} and {late}?",
    )
    reasoning = f"{line} was {a} in {late} and {b} in {early}. {a} - {b} = {a - b}."
    return Problem(question, reasoning, f"{a - b} {table.unit}")


def _average(rng: random.Random, table: Table) -> Problem:
    line, late, early, a, b = _pick(rng, table)
    question = _ask(
        rng,
        f"What was the average {line.lower()} of {early} and {late}?",
        f"What is the mean of {line.lower()} in {early} and {late}?",
    )
    mean = _shorten((a + b) / 2)
    return Problem(question, f"({a} + {b}) / 2 = {a + b} / 2 = {mean}.", f"{mean} {table.unit}")


def _percent_change(rng: random.Random, table: Table) -> Problem:
    line, late, early, a, b = _pick(rng, table)
    question = _ask(
        rng,
        f"What was the percentage change in {line.lower()} from {early} to {late}?",
        f"By what percentage did {line.lower()} change between {early} and {late}?",
    )
    percent = _shorten(100 * (a - b) / b)
    return Problem(question, f"({a} - {b}) / {b} = {a - b} / {b} = {percent}%.", f"{percent}%")


def _share(rng: random.Random, table: Table) -> Problem:
    first, second = rng.sample(list(table.values), k=2)
    index = rng.randrange(len(table.years))
    year, a, b = table.years[index], table.values[first][index], table.values[second][index]
    percent = _shorten(100 * a / (a + b))
    question = (
        f"In {year}, what share of {first.lower()} and {second.lower()} together was the former?"
    )
    return Problem(question, f"{a} + {b} = {a + b}. {a} / {a + b} = {percent}%.", f"{percent}%")


def _ratio(rng: random.Random, table: Table) -> Problem:
    first, second = rng.sample(list(table.values), k=2)
    index = rng.randrange(len(table.years))
    year, a, b = table.years[index], table.values[first][index], table.values[second][index]
    ratio = f"{a / b:.2f}"
    question = f"What was the ratio of {first.lower()} to {second.lower()} in {year}?"
    return Problem(question, f"{first} was {a}, {second.lower()} {b}. {a} / {b} = {ratio}.", ratio)


def _change_of_sum(rng: random.Random, table: Table) -> Problem:
    first, second = rng.sample(list(table.values), k=2)
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
    _compare: 10,
    _sum: 16,
    _change: 16,
    _average: 8,
    _percent_change: 7,
    _share: 4,
    _ratio: 3,
    _change_of_sum: 6,
}
"""Kind of question -> its weight."""
