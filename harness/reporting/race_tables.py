"""The rounds of a race as a table."""

from harness.analysis.race.race_wording import count_runs
from harness.formatting import UNKNOWN, format_chance, format_duration, join_words
from harness.records.race_record import Race, Round
from harness.reporting.report_tables import Table


def make_rounds_table(race: Race) -> Table:
    """Return one row a round: runs, time, what it ran and why, and what was known after it."""
    headers = ("Round", "Runs so far", "Time", "What ran, and why", "After it", "Ruled out")
    rows = tuple(
        (
            str(number),
            str(count_runs(race, number)),
            format_duration(each.seconds),
            each.reason,
            _describe_end(each),
            join_words([s.variant for s in each.standings if s.is_out]) or UNKNOWN,
        )
        for number, each in enumerate(race.rounds, start=1)
    )
    return Table(headers, rows)


def _describe_end(finished: Round) -> str:
    if not finished.is_over:
        return "not finished"
    if finished.choice is not None:
        return f"{finished.verdict}: {finished.choice}"
    if finished.leader is None:
        return finished.verdict
    chance = next(s.chance for s in finished.standings if s.variant == finished.leader)
    return f"{finished.leader} leads, {format_chance(chance)} within the tolerance"
