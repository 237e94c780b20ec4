"""The rounds of a race: what each ran, what was known after it, and what came next and why."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.records.files import write_json

FILE = "race.json"


@dataclass(frozen=True)
class RaceJob:
    arm: str
    """Run id of the variant on its task under the first seed."""
    seed: int
    extra_test_examples: int = 0
    """Examples that are scored beyond `task.test_examples`."""


@dataclass(frozen=True)
class Standing:
    """What was known of one variant after a round."""

    variant: str
    seeds: int
    lost: float
    """Mean score lost against the best variant."""
    lost_high: float
    """Its upper bound, of all variants and looks at once."""
    chance: float
    """Chance that it loses no more than the tolerance."""
    is_out: bool
    """Whether it was ruled out, and gets no more runs."""


@dataclass(frozen=True)
class Round:
    jobs: tuple[RaceJob, ...]
    """What it runs; what had run before counts too."""
    reason: str
    """Why these, in a sentence."""
    seconds: float = 0.0
    """Wall time, over all starts."""
    started: float = 0.0
    """When its last start began, in seconds since 1970; 0 before the first."""
    standings: tuple[Standing, ...] = ()
    """Empty until the round has ended."""
    verdict: str = ""
    choice: str | None = None
    leader: str | None = None
    """The likeliest choice, where undecided."""

    @property
    def is_over(self) -> bool:
        return bool(self.verdict)


@dataclass(frozen=True)
class Race:
    tolerance: float
    """Mean score that may be lost against the best set."""
    arms: tuple[str, ...]
    """Run ids of every variant on every task under the first seed."""
    rounds: tuple[Round, ...] = ()
    ended: str = ""
    """Why it stopped, in words; empty while it runs."""

    @property
    def seconds(self) -> float:
        """Wall time of all rounds."""
        return sum(each.seconds for each in self.rounds)


def write_race(study: Path, race: Race) -> None:
    """Keep a race in the study's folder, atomically."""
    write_json(study / FILE, dataclasses.asdict(race))


def read_race(study: Path) -> Race | None:
    """Return a study's race, None where it is none; UserError for a file that is not whole."""
    path = study / FILE
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: not the record of a race ({error}); restore it, or delete it to begin the "
            "rounds anew: finished runs are kept"
        ) from error


def _parse(values: dict[str, Any]) -> Race:
    rounds = tuple(_parse_round(each) for each in values.pop("rounds"))
    race = Race(**{**values, "arms": tuple(map(str, values["arms"])), "rounds": rounds})
    if not rounds:
        raise ValueError("it has no rounds")
    for job in (job for each in rounds for job in each.jobs):
        if job.arm not in race.arms:
            raise ValueError(f"{job.arm} is run, but is none of its variants")
    return dataclasses.replace(race, tolerance=float(race.tolerance), ended=str(race.ended))


def _parse_round(values: dict[str, Any]) -> Round:
    jobs = tuple(_parse_job(job) for job in values.pop("jobs"))
    standings = tuple(_parse_standing(each) for each in values.pop("standings"))
    values |= {name: float(values[name]) for name in ("seconds", "started") if name in values}
    return Round(**{**values, "jobs": jobs, "standings": standings})


def _parse_job(values: dict[str, Any]) -> RaceJob:
    numbers = {name: int(values[name]) for name in ("seed", "extra_test_examples")}
    if min(numbers.values()) < 0:
        raise ValueError(f"{values} has a number below 0")
    return RaceJob(**{**values, **numbers})


def _parse_standing(values: dict[str, Any]) -> Standing:
    """JSON has no NaN: unknown numbers are null."""
    numbers = {name: values[name] for name in ("lost", "lost_high", "chance")}
    known = {
        name: math.nan if number is None else float(number) for name, number in numbers.items()
    }
    return Standing(**{**values, **known, "seeds": int(values["seeds"])})
