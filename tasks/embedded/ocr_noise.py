"""What OCR does to a page: confused characters, lines split, joined or out of order."""

import random

CONFUSIONS = {
    "0": "O", "O": "0", "1": "l", "l": "1", "I": "1", "5": "S", "S": "5", "8": "B", "B": "8",
    "6": "G", "G": "6", "2": "Z", "Z": "2", "e": "c", "c": "e", "a": "o", "o": "a", "u": "v",
    "n": "r", "t": "f", "i": "j", "h": "b", ".": ",", ",": ".", "7": "1", "3": "8", "9": "g",
}  # fmt: skip
PAGE_RATES = (0.0, 0.005, 0.01, 0.02, 0.04)
"""Share of characters that are confused: a page is clean or bad as a whole, as scans are."""


def read_page(rng: random.Random, blocks: list[list[str]]) -> str:
    """The text that an imperfect OCR engine makes of a page's blocks."""
    blocks = [list(block) for block in blocks]
    if rng.random() < 0.15:
        # Columns are read in the wrong order.
        index = rng.randrange(len(blocks) - 1)
        blocks[index], blocks[index + 1] = blocks[index + 1], blocks[index]
    lines = _break_lines(rng, [line for block in blocks for line in block])
    rate = rng.choice(PAGE_RATES)
    return "\n".join(_confuse(rng, line, rate) for line in lines)


def _break_lines(rng: random.Random, lines: list[str]) -> list[str]:
    broken: list[str] = []
    for line in lines:
        draw = rng.random()
        words = line.split(" ")
        if draw < 0.06 and broken:
            broken[-1] += " " + line
        elif draw < 0.12 and len(words) > 1:
            cut = rng.randrange(1, len(words))
            broken += [" ".join(words[:cut]), " ".join(words[cut:])]
        else:
            broken.append(line)
    return broken


def _confuse(rng: random.Random, line: str, rate: float) -> str:
    read = []
    for character in line:
        draw = rng.random()
        if draw < rate:
            read.append(CONFUSIONS.get(character, character))
        elif draw < rate * 1.2 and character == " ":
            continue
        else:
            read.append(character)
    return "".join(read)
