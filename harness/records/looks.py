"""The looks at a study: how often it was decided about, with more in it each time.

Whoever adds seeds until a study is decided would be wrong too often, unless looks are counted.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from harness.records.files import write_json

FILE = "looks.json"

LOST = "lost"
"""Stands for the looks of a file that was damaged: there was one at least."""


def count_look(study: Path, evidence: Iterable[str]) -> int:
    """Return the number of this look, from 1, and keep it; the same evidence is the same look.

    `evidence` names what is looked at, such as the runs that have scores, in any order. A file that
    cannot be read counts as one look, and is written anew.
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
    """Return the digests of the looks so far, in order; of a file that is damaged, LOST."""
    try:
        looks = json.loads((study / FILE).read_text(encoding="utf-8"))["looks"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        return [LOST]
    return [str(each) for each in looks] if isinstance(looks, list) else [LOST]


def describe_loss(study: Path) -> str | None:
    """Return a sentence where a damaged file lost the count of looks, at whatever time."""
    if LOST not in read_looks(study):
        return None
    return (
        f"{study / FILE} was damaged, so how often this study was looked at before is unknown. One "
        "earlier look is assumed, and bounds are as wide as that takes."
    )


def _digest(evidence: Iterable[str]) -> str:
    text = "\n".join(sorted(set(evidence)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
