"""Seeded transcripts of hearings, in the columns of CoCoHD's two sets.

A stand-in for the public sets, whose transcripts are tens of thousands of tokens long: the front
matter and the turns of a hearing, with members of the full committee, staff, authors of letters,
other panels and other dates that are not to be taken for the hearing's own. OCR noise falls on the
text, but never on the one place that says something that is asked for.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tasks.base import Row, Split
from tasks.embedded.congress.hearing_pages import Block, draw_layout, lay_out
from tasks.embedded.congress.hearings import Hearing, make_hearing, to_columns
from tasks.embedded.ocr_noise import add_noise, draw_condition
from tasks.readers.lazy_row import LazyRow
from tasks.splits import assign_split

NAME = "generated hearing transcripts with OCR noise, split by content"
STAND_IN = "generated hearing transcripts instead of CoCoHD"
POOL_ROWS = 1200
"""Rows of all three parts together: a train part of about 840."""
CHARACTERS = (5_500, 18_000)
"""Shortest and longest transcript to aim at: 1,500 to 6,000 tokens of SmolLM2."""


@dataclass(frozen=True)
class Transcript:
    """A hearing as it was printed: the same for a seed and number in every process."""

    name: str
    hearing: Hearing

    @property
    def blocks(self) -> list[Block]:
        """Without noise."""
        rng = self._rng("layout")
        layout = draw_layout(rng)
        return lay_out(rng, self.hearing, layout, characters=rng.randint(*CHARACTERS))

    def read_with_noise(self) -> str:
        rng = self._rng("noise")
        # The order stays: the blocks of a transcript are pages, not columns of one page.
        condition = replace(draw_condition(rng), swap_rate=0.0, shuffle_rate=0.0)
        is_clean = condition.confusion_rate == condition.break_rate == 0
        return "\n".join(
            "\n".join(block.lines)
            if is_clean or block.is_exact
            else add_noise(rng, [block.lines], condition)
            for block in self.blocks
        )

    def _rng(self, purpose: str) -> random.Random:
        # One for each purpose, so that no step depends on whether another was taken.
        return random.Random(f"{self.name} {purpose}")


def make_rows(split: Split, seed: int) -> list[Row]:
    rows: list[Row] = []
    for transcript in make_transcripts(seed):
        columns = to_columns(transcript.hearing)
        # By the details: one hearing printed twice would have two texts.
        if assign_split(str(columns), seed) == split:
            rows.append(_make_row(transcript, columns))
    return rows


def _make_row(transcript: Transcript, columns: dict[str, str]) -> Row:
    details = {name: lambda value=value: value for name, value in columns.items()}
    return LazyRow(
        {
            "id": lambda: transcript.name,
            "transcript": transcript.read_with_noise,
            **details,
        }
    )


def make_transcripts(seed: int) -> Iterator[Transcript]:
    """The transcripts of all three parts."""
    rng = random.Random(f"cocohd {seed}")
    for number in range(POOL_ROWS):
        yield Transcript(f"hearing-{seed}-{number:05d}", make_hearing(rng))
