"""The looks at a study: how often it was decided about, with more in it each time.

Whoever adds seeds until a study is decided would be wrong too often, unless looks are counted.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from harness.records.files import write_json

FILE = "looks.json"


def count_look(study: Path, evidence: Iterable[str]) -> int:
    """Return the number of this look, from 1, and keep it; the same evidence is the same look.

    `evidence` names what is looked at, such as the runs that have scores, in any order. A file that
    cannot be read counts as none.
    """
    text = "\n".join(sorted(set(evidence)))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    looks = read_looks(study)
    if digest not in looks:
        looks.append(digest)
        write_json(study / FILE, {"looks": looks})
    return looks.index(digest) + 1


def read_looks(study: Path) -> list[str]:
    """Return the digests of the looks so far, in order."""
    try:
        looks = json.loads((study / FILE).read_text(encoding="utf-8"))["looks"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [str(each) for each in looks] if isinstance(looks, list) else []
