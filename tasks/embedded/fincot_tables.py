"""Small tables of a company's figures, and the text that shows one with a note or two."""

import random
from dataclasses import dataclass

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
RESULT_LINES = ("Exchange result", "Other result", "Hedging result", "Associates result")
"""Lines that may be negative."""
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

    @property
    def positive_lines(self) -> list[str]:
        return [line for line, values in self.values.items() if min(values) > 0]


def make_table(rng: random.Random) -> Table:
    newest = rng.randint(2012, 2024)
    years = tuple(newest - i for i in range(rng.choice((2, 2, 2, 3))))
    step = rng.choice((1, 5, 10, 10, 10, 100))
    lines = rng.sample(LINES, k=rng.choice((2, 2, 3, 3)))
    # All distinct, so that one year is the larger, and the value of a wrong cell is a wrong answer.
    sizes = iter(rng.sample(range(2, 41), k=(len(lines) + 1) * len(years)))
    values = {line: tuple(step * next(sizes) for _ in years) for line in lines}
    if rng.random() < 0.15:
        values[rng.choice(RESULT_LINES)] = tuple(
            step * next(sizes) * (rng.choice((-1, 1)) if position else -1)
            for position, _ in enumerate(years)
        )
    return Table(unit=rng.choice(UNITS), years=years, values=values)


def write_context(rng: random.Random, table: Table) -> str:
    """The table under the company's name, as a grid or a list, and up to two notes."""
    company = rng.choice(COMPANIES)
    head = rng.choice(("{} (in {}s)", "{}, amounts in {}s", "{}: selected figures, {}s"))
    rows = _write_grid(table) if rng.random() < 0.5 else _write_list(table)
    year = rng.choice(table.years)
    notes = [
        note.format(year=year, count=rng.randint(3, 900))
        for note in rng.sample(NOTES, k=rng.randint(0, 2))
    ]
    return "\n".join([head.format(company, table.unit), *rows, *notes])


def _write_cell(value: int) -> str:
    """Losses in parentheses and thousands with commas, as accounts have them."""
    return f"({-value:,})" if value < 0 else f"{value:,}"


def _write_grid(table: Table) -> list[str]:
    head = " | ".join(["", *map(str, table.years)])
    return [
        head,
        *(" | ".join([line, *map(_write_cell, row)]) for line, row in table.values.items()),
    ]


def _write_list(table: Table) -> list[str]:
    return [
        f"{line}: "
        + ", ".join(f"{_write_cell(v)} in {y}" for v, y in zip(row, table.years, strict=True))
        for line, row in table.values.items()
    ]
