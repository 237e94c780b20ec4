"""The rounds of a race in words, for the terminal and the report."""

import math

from harness.analysis.race.allocation import LEAST_CHANCE, Outlook
from harness.formatting import (
    format_chance,
    format_duration,
    format_score,
    join_words,
    pad_columns,
    pluralize,
)
from harness.records.race_record import Race, Round, Standing
from harness.records.record import BASE

HEADER = ("set", "seeds", "score lost", "at most", "within {tolerance:g}", "")


def count_runs(race: Race, upto: int | None = None) -> int:
    """Training runs of the first `upto` rounds, of all by default."""
    return len({(job.arm, job.seed) for each in race.rounds[:upto] for job in each.jobs})


def format_round(race: Race) -> str:
    """The last round as text: what was run, and where every variant stands after it."""
    last, number = race.rounds[-1], len(race.rounds)
    own, runs = count_runs(race) - count_runs(race, number - 1), count_runs(race)
    title = (
        f"round {number}: {pluralize(own, 'run')} in {format_duration(last.seconds)}; "
        f"{runs} in {format_duration(race.seconds)} so far"
    )
    header = [cell.format(tolerance=race.tolerance) for cell in HEADER]
    rows = [header, *(list(make_row(each, last)) for each in order_standings(last))]
    return "\n".join([title, *(f"  {line}".rstrip() for line in pad_columns(rows))])


def order_standings(finished: Round) -> list[Standing]:
    """Those in the race before those that are out, each from the least score lost."""
    return sorted(finished.standings, key=lambda each: (each.is_out, each.lost, each.variant))


def make_row(standing: Standing, finished: Round) -> tuple[str, ...]:
    """One variant's cells: set, seeds, score lost, at most, chance, state."""
    numbers = (standing.lost, standing.lost_high)
    lost, high = ("?" if math.isnan(value) else format_score(value) for value in numbers)
    chance = "?" if math.isnan(standing.chance) else format_chance(standing.chance)
    seeds = "" if standing.variant == BASE else str(standing.seeds)
    return standing.variant, seeds, lost, high, chance, _name_state(standing, finished)


def _name_state(standing: Standing, finished: Round) -> str:
    if standing.variant == finished.choice:
        return "chosen"
    if standing.is_out:
        return "ruled out"
    return "leads" if standing.variant == finished.leader else ""


def name_steps(outlook: Outlook) -> str:
    """What the next round runs."""
    seeds = [step.name for step in outlook.steps if step.kind == "seed"]
    tasks = [step.name for step in outlook.steps if step.kind == "examples"]
    parts = [f"one more seed of {join_words(seeds)}"] if seeds else []
    parts += [f"twice the test examples of {join_words(tasks)}"] if tasks else []
    return " and ".join(parts)


def describe_plan(outlook: Outlook, seconds: float) -> str:
    """What the next round runs, how long it takes, and why."""
    what = f"{name_steps(outlook)}, about {format_duration(seconds)}"
    if math.isnan(outlook.chance):
        return f"{what}, because the budget allows no more"
    if outlook.leader == BASE and outlook.chance == 0:
        return f"{what}, because no set that is left could be chosen yet"
    if outlook.chance < LEAST_CHANCE:
        return f"{what}, because nothing less is likely to bring a decision near"
    return f"{what}, because it decides with a chance of {format_chance(outlook.chance)}"
