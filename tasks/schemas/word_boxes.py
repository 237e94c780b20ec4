"""Words with their boxes on a page -> lines of text, as one reads them."""

from collections.abc import Iterable
from dataclasses import dataclass

LEAST_OVERLAP = 0.5
"""Share of the lower of two heights that a word and its line have in common."""


@dataclass(frozen=True)
class WordBox:
    text: str
    left: float
    top: float
    bottom: float
    """Pixels; the top is the smaller number."""


def write_lines(words: Iterable[WordBox]) -> str:
    """Visual rows from top to bottom, their words from left to right, one space between them.

    A word belongs to the row above it where they overlap by half of the lower height; a row's top
    and bottom are the means of its words, so that a tilted line does not run into the next.
    """
    rows: list[list[WordBox]] = []
    for word in sorted(words, key=lambda word: (word.top + word.bottom, word.left)):
        if rows and _overlap(rows[-1], word) >= LEAST_OVERLAP:
            rows[-1].append(word)
        else:
            rows.append([word])
    return "\n".join(
        " ".join(word.text for word in sorted(row, key=lambda word: word.left)) for row in rows
    )


def _overlap(row: list[WordBox], word: WordBox) -> float:
    top = sum(other.top for other in row) / len(row)
    bottom = sum(other.bottom for other in row) / len(row)
    common = min(bottom, word.bottom) - max(top, word.top)
    return common / max(min(bottom - top, word.bottom - word.top), 1e-9)
