"""The one rule that puts a row on a side of a split where its source has no such split.

It looks at content alone, so that rows of equal content (a context with two questions, the same
question twice) never end on two sides, and neither row order nor row count matters.
"""

import hashlib
import random
import re
from collections.abc import Sequence

from tasks.base import Split

TRAIN_SHARE = 0.7
VALIDATION_SHARE = 0.1
"""The rest, a fifth, is the test part."""


def assign_split(content: str, seed: int) -> Split:
    """Side of a row: SHA-256 of seed and content, case, spacing and punctuation left out."""
    normalised = re.sub(r"\W+", " ", content.casefold()).strip()
    # Content of symbols alone would normalise to nothing, and all of it land on one side.
    position = _hash_to_unit(f"{seed}\n{normalised or content}")
    if position < TRAIN_SHARE:
        return "train"
    return "validation" if position < TRAIN_SHARE + VALIDATION_SHARE else "test"


def shuffle_indices(indices: Sequence[int], seed: int) -> list[int]:
    """A seeded order: the same in every process, and the start of it is a random sample."""
    order = list(indices)
    random.Random(seed).shuffle(order)
    return order


def _hash_to_unit(text: str) -> float:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
