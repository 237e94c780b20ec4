"""What would decide a study soonest: more seeds, more test examples, or a larger tolerance."""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from harness.analysis.comparison import FEW_EXAMPLES, Comparison
from harness.analysis.race.allocation import cost_examples, cost_seeds, plan_round
from harness.analysis.race.race_wording import name_steps
from harness.analysis.regret import find_level, find_needs
from harness.analysis.verdict.decision import Evidence, Ruling
from harness.analysis.verdict.wording import MOST_LISTED
from harness.formatting import format_chance, format_duration, format_score
from harness.records.record import BASE


def describe_needs(
    ruling: Ruling,
    comparison: Comparison,
    results: pd.DataFrame,
    delta: float,
    *,
    is_race: bool = False,
) -> str:
    """Return what would decide soonest, and which tolerance would decide now.

    A race picks seeds and examples by itself, within its budgets.
    """
    if len(ruling.inputs) < 2:
        return "Run at least two target sets."
    if comparison.scores.is_one_seed and comparison.can_decide:
        seconds = _estimate_seconds(results, ruling.inputs)
        how = "give the race more time (race.hours, race.max_runs)" if is_race else "add seed=0,1"
        return (
            f"Run a second seed: {how}, and run the same command; what is finished is kept."
            f"{f' It takes about {format_duration(seconds)}.' if seconds else ''}"
        )
    known = [each for each in ruling.inputs if each.is_complete and each.is_bounded]
    if not known or not comparison.can_decide:
        where = "In another study, score" if is_race else "Score"
        seeds = "" if is_race else ", and two seeds or more (seed=0,1)"
        return (
            f"{where} every target set on the same tasks, with at least {FEW_EXAMPLES} test "
            "examples a task (task.test_examples) on which some variant is above the "
            f"majority-class baseline{seeds}."
        )
    loosest = min(known, key=lambda each: (each.needed_delta, each.variant))
    ways = list(_describe_more(ruling, comparison, results, delta, is_race=is_race))
    ways += _describe_race(ruling, comparison, results, delta, is_race=is_race)
    tolerance = _round_up(loosest.needed_delta)
    if tolerance < 1:
        ways.append(f"At a tolerance of {tolerance:g}, {loosest.variant} would qualify now.")
    return " ".join(ways)


def _describe_more(
    ruling: Ruling,
    comparison: Comparison,
    results: pd.DataFrame,
    delta: float,
    *,
    is_race: bool,
) -> Iterator[str]:
    """Yield how much more of what would let the likeliest variant qualify, if means stay."""
    today = ruling.today
    if today is None:
        return
    if today.is_vetoed(delta):
        yield (
            f"While {today.variant} stays {format_score(today.worst_regret)} below the best "
            f"variant on {today.worst_task} (allowed {2 * delta:g}), neither seeds nor examples "
            "let it qualify."
        )
        return
    seeds, factor = find_needs(
        comparison.scores, today.variant, delta, find_level(comparison.look + 1)
    )
    seconds = _estimate_seconds(results, ruling.candidates)
    now = comparison.seed_count
    ways = []
    if math.isfinite(seeds) and seeds > now:
        numbers = ",".join(str(number) for number in range(int(seeds)))
        listed = numbers if seeds <= MOST_LISTED else f"0,1,...,{seeds - 1:.0f}"
        time = f"; about {format_duration((seeds - now) * seconds)}" if seconds else ""
        how = f"race.max_seeds={seeds:.0f}" if is_race else f"seed={listed}"
        ways.append(((seeds - now) * seconds, f"{seeds:.0f} seeds ({how}{time})"))
    if math.isfinite(factor) and factor > 1:
        # Other test examples make other runs, which are trained again.
        time = f"; at most {format_duration(now * factor * seconds)}" if seconds else ""
        how = "race.more_examples=true" if is_race else "task.test_examples"
        ways.append(
            (
                now * factor * seconds,
                f"{_round_up(factor):g} times the test examples ({how}{time})",
            )
        )
    if ways:
        soonest, *others = [text for _, text in sorted(ways)]
        rest = f" Or with {others[0]}." if others else ""
        yield (
            f"If the means stay as they are, {today.variant} would qualify soonest with {soonest}, "
            f"added to the same command{_WITHOUT_RULED_OUT if not is_race else ''}.{rest}"
        )
    else:
        yield (
            f"Neither more seeds nor more test examples alone would let {today.variant} qualify: "
            "it takes both, or a larger tolerance."
        )


_WITHOUT_RULED_OUT = " with the target sets that are not ruled out"


def _describe_race(
    ruling: Ruling,
    comparison: Comparison,
    results: pd.DataFrame,
    delta: float,
    *,
    is_race: bool,
) -> Iterator[str]:
    """Yield the command that goes on by itself, and what it would begin with."""
    running = [each.variant for each in ruling.candidates if each.variant != BASE]
    tasks = comparison.tasks
    steps = [*cost_seeds(results, tasks, running), *cost_examples(results, tasks, running)]
    outlook = plan_round(comparison, ruling, delta, steps)
    # Where no set that is left can be chosen yet, nothing is known to help.
    if not running or outlook is None or not outlook.chance > 0:
        return
    is_tuned = results["learning_rate_tuned"].eq(True).any()
    rates = "" if is_tuned else " race.tune_rates=false"
    time = f" (about {format_duration(outlook.seconds)} in one process)" if outlook.seconds else ""
    how = (
        "The same command does so with larger budgets (race.hours, race.max_runs, race.max_seeds)"
        if is_race
        else f"The same command with hydra/sweeper=race{rates} instead of seed=... does so"
    )
    yield (
        f"{'The' if is_race else 'A'} race would next run {name_steps(outlook)}{time}, which "
        f"decides with a chance of {format_chance(outlook.chance)}. {how}, and goes on until it is "
        "decided."
    )


def _estimate_seconds(results: pd.DataFrame, evidence: Sequence[Evidence]) -> float:
    """One more seed of these variants on every task, as their runs took."""
    variants = [each.variant for each in evidence if not each.is_base]
    return sum(each.seconds for each in cost_seeds(results, set(results["task"]), variants))


def _round_up(value: float) -> float:
    """Round up to two significant digits."""
    size = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return float(f"{math.ceil(round(value / size, 6)) * size:.2g}")
