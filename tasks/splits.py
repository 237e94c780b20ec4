"""Which part of a source is a split, and the one rule that cuts parts where the source has none.

The rule looks at content alone, so that rows of equal content (a context with two questions, the
same question twice) never end on two sides, and neither row order nor row count matters.
"""

import hashlib
import random
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.base import Split

TRAIN_SHARE = 0.7
VALIDATION_SHARE = 0.1
"""The rest, a fifth, is the test part."""

SPLIT_NAMES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "eval"),
}
"""The names that sources give their parts, the usual one first."""


ASCII_PUNCTUATION = {
    code: " " for code in range(128) if not (chr(code).isalnum() or chr(code) == "_")
}


@dataclass(frozen=True)
class SplitChoice:
    name: str
    """The source's own name of the part to read."""
    is_whole_set: bool = False
    """Whether that part is all there is, and the wanted split is to be cut from it."""


def choose_split(
    names: Sequence[str], split: Split, known: Mapping[Split, str]
) -> SplitChoice | None:
    """The part of a source that is `split`, by the names of its parts; None where there is none.

    `known` has the names of the task's public set. Without a test part, the validation part is the
    test part; a train part alone, or a single part of any other name, is a whole set.
    """
    found = {part: _find_name(names, part, known) for part in SPLIT_NAMES}
    if not found["validation"] and not found["test"]:
        only = found["train"] or (names[0] if len(names) == 1 else None)
        return SplitChoice(only, is_whole_set=True) if only else None
    own = found[split] or (found["validation"] if split == "test" else None)
    return SplitChoice(own) if own else None


def _find_name(names: Sequence[str], split: Split, known: Mapping[Split, str]) -> str | None:
    candidates = (*SPLIT_NAMES[split], *([known[split]] if split in known else []))
    return next((name for name in candidates if name in names), None)


def assign_split(content: str, seed: int) -> Split:
    """Side of a row: SHA-256 of seed and content, as `normalise_content` writes it."""
    position = hash_content(normalise_content(content), seed)
    if position < TRAIN_SHARE:
        return "train"
    return "validation" if position < TRAIN_SHARE + VALIDATION_SHARE else "test"


def normalise_content(content: str) -> str:
    """One spelling of contents that count as equal: case, spacing and punctuation left out.

    Spellings that Unicode holds equal (NFKC), such as an accent of its own, count as equal.
    """
    if content.isascii():  # the same, five times as fast
        return " ".join(content.lower().translate(ASCII_PUNCTUATION).split()) or content
    same_form = unicodedata.normalize("NFKC", content).casefold()
    # Content of symbols alone would normalise to nothing, and all of it count as equal.
    return re.sub(r"\W+", " ", same_form).strip() or content


def shuffle_indices(indices: Sequence[int], seed: int) -> list[int]:
    """A seeded order: the same in every process, and the start of it is a random sample."""
    order = list(indices)
    random.Random(seed).shuffle(order)
    return order


def hash_content(content: str, seed: int) -> float:
    """A number in [0, 1) that depends on seed and content alone."""
    digest = hashlib.sha256(f"{seed}\n{content}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
