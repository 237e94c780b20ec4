"""The looks at a study: how often it was decided about, with more in it each time.

Whoever adds seeds until a study is decided would be wrong too often, unless looks are counted.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from harness.errors import UserError
from harness.formatting import pluralize
from harness.records.files import write_json
from harness.records.race_record import read_race

FILE = "looks.json"

LOST = "lost"
"""Stands for a look whose file was damaged or deleted."""


def count_look(study: Path, evidence: Iterable[str]) -> int:
    """Return the number of this look, from 1, and keep it; the same evidence is the same look.

    `evidence` names what is looked at, such as the runs that have scores, in any order. A file that
    cannot be read counts as `read_looks` says, and is written anew.
    """
    digest, looks = _digest(evidence), read_looks(study)
    if digest not in looks:
        looks.append(digest)
        write_json(study / FILE, {"looks": looks})
    return looks.index(digest) + 1


def find_look(study: Path, evidence: Iterable[str]) -> int:
    """Return the number that `count_look` would return, and keep nothing."""
    digest = _digest(evidence)
    return [*read_looks(study), digest].index(digest) + 1


def read_looks(study: Path) -> list[str]:
    """Return the digests of the looks so far, in order.

    What is missing is made up by LOST: of a damaged file one look at least, and of a race as many
    as it had rounds that could choose.
    """
    fewest = _count_race_looks(study)
    try:
        looks = json.loads((study / FILE).read_text(encoding="utf-8"))["looks"]
        known = [str(each) for each in looks] if isinstance(looks, list) else [LOST]
    except FileNotFoundError:
        known = []
    except (OSError, ValueError, KeyError, TypeError):
        known = [LOST]
    return [LOST] * (fewest - len(known)) + known


def _count_race_looks(study: Path) -> int:
    try:
        race = read_race(study)
    except UserError:  # said where the race itself is wanted
        return 0
    rounds = race.rounds if race else ()
    return sum(each.is_over and any(s.seeds > 1 for s in each.standings) for each in rounds)


def describe_loss(study: Path) -> str | None:
    """Return a sentence where a damaged or deleted file lost looks, at whatever time."""
    lost = read_looks(study).count(LOST)
    if not lost:
        return None
    verb = "is" if lost == 1 else "are"
    return (
        f"{study / FILE} was damaged or deleted, so how often this study was looked at before is "
        f"unknown. {pluralize(lost, 'earlier look')} {verb} assumed, and bounds are as wide as "
        "that takes."
    )


def _digest(evidence: Iterable[str]) -> str:
    text = "\n".join(sorted(set(evidence)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
