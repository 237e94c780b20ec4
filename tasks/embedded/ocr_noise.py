"""What OCR does to a page: confused characters, lines split, joined or out of order.

A page is good or bad as a whole, as scans are; about a third have no noise at all.
"""

import random
from dataclasses import dataclass

CONFUSIONS = {
    "0": ("O", "o"), "O": ("0", "Q"), "1": ("l", "I", "7"), "l": ("1", "I"), "I": ("1", "l"),
    "5": ("S",), "S": ("5",), "8": ("B", "3"), "B": ("8",), "6": ("G", "b"), "G": ("6",),
    "2": ("Z",), "Z": ("2",), "7": ("1",), "3": ("8",), "9": ("g",), "4": ("A",),
    "e": ("c",), "c": ("e",), "a": ("o",), "o": ("a",), "u": ("v", "ii"), "n": ("r", "ri"),
    "m": ("rn", "nn"), "w": ("vv",), "d": ("cl",), "t": ("f",), "f": ("t",), "i": ("j", "l"),
    "h": ("b",), "r": ("n",), ".": (",",), ",": (".",), ":": (".", ";"), "€": ("E", "C"),
    "£": ("E",), "$": ("S",), "ü": ("u", "ii"), "ö": ("o",), "ä": ("a",), "é": ("e",), "à": ("a",),
    "ç": ("c",), "ł": ("l",), "ø": ("o",), "å": ("a",), "č": ("c",), "í": ("i",),
}  # fmt: skip
"""A character -> what it is taken for."""


@dataclass(frozen=True)
class Condition:
    """How bad a page is. Rates are expected shares."""

    weight: int
    """How often it is met, relative to the others."""
    confusion_rate: float
    """Of the characters, taken for others."""
    space_rate: float
    """Of the spaces, lost; as many are doubled."""
    break_rate: float
    """Of the lines, split; as many are joined to the line before."""
    swap_rate: float
    """Of the pages, with two neighbouring blocks in the wrong order."""
    shuffle_rate: float
    """Of the pages, with all blocks in disorder."""


CONDITIONS = (
    Condition(6, 0.0, 0.0, 0.0, 0.0, 0.0),
    Condition(7, 0.004, 0.005, 0.03, 0.1, 0.02),
    Condition(4, 0.012, 0.015, 0.06, 0.15, 0.05),
    Condition(2, 0.03, 0.03, 0.08, 0.2, 0.1),
)


def draw_condition(rng: random.Random) -> Condition:
    return rng.choices(CONDITIONS, weights=[condition.weight for condition in CONDITIONS])[0]


def add_noise(rng: random.Random, blocks: list[list[str]], condition: Condition) -> str:
    """The text that an imperfect OCR engine makes of a page's blocks."""
    lines = [line for block in _disorder(rng, blocks, condition) for line in block]
    return "\n".join(
        confuse(rng, line, condition) for line in _break_lines(rng, lines, condition.break_rate)
    )


def _disorder(rng: random.Random, blocks: list[list[str]], condition: Condition) -> list[list[str]]:
    """Columns are read in the wrong order."""
    blocks, draw = list(blocks), rng.random()
    if draw < condition.shuffle_rate:
        rng.shuffle(blocks)
    elif draw < condition.shuffle_rate + condition.swap_rate and len(blocks) > 1:
        index = rng.randrange(len(blocks) - 1)
        blocks[index], blocks[index + 1] = blocks[index + 1], blocks[index]
    return blocks


def _break_lines(rng: random.Random, lines: list[str], rate: float) -> list[str]:
    broken: list[str] = []
    for line in lines:
        draw = rng.random()
        words = line.split(" ")
        if draw < rate and broken:
            broken[-1] += " " + line
        elif rate <= draw < 2 * rate and len(words) > 1:
            cut = rng.randrange(1, len(words))
            broken += [" ".join(words[:cut]), " ".join(words[cut:])]
        else:
            broken.append(line)
    return broken


def confuse(rng: random.Random, line: str, condition: Condition) -> str:
    """A line with characters mistaken, and spaces lost or doubled."""
    return "".join(_read_character(rng, character, condition) for character in line)


def _read_character(rng: random.Random, character: str, condition: Condition) -> str:
    draw = rng.random()
    if character == " ":
        if draw < condition.space_rate:
            return ""
        return "  " if draw < 2 * condition.space_rate else " "
    if draw < condition.confusion_rate and character in CONFUSIONS:
        return rng.choice(CONFUSIONS[character])
    return character
