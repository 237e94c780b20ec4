"""Seeded invoices as OCR text, with their clean fields, in the task's columns.

A stand-in for the public sets, whose rows are scanned invoices and receipts: many layouts, sixteen
locales, distracting numbers, and noise that falls on the text alone, so that the truth stays clean.
Dates, currencies and amounts must be brought into one form, and a digit that OCR lost can at times
be found again by arithmetic.

Where Tesseract is installed, every eighth row has an image of its page instead of text, for
Tesseract to read back. Its id then ends in `-scan`, so that its scores never pair with those of the
same page under the synthetic noise that it has elsewhere. Pages are laid out and drawn only when
they are asked for.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tasks.base import Row, Split
from tasks.embedded.invoice_layouts import Layout, draw_layout
from tasks.embedded.invoice_pages import lay_out
from tasks.embedded.invoices import Invoice, make_invoice, to_fields
from tasks.embedded.ocr_noise import add_noise, draw_condition
from tasks.embedded.rendering import render_page
from tasks.readers.lazy_row import LazyRow
from tasks.schemas.scans import ScannerMissing, find_version
from tasks.splits import assign_split

NAME = "generated invoices with OCR noise, split by content"
STAND_IN = "generated invoices instead of scanned ones"
POOL_ROWS = 3000
"""Rows of all three parts together: a train part of about 2,100."""
SCAN_INTERVAL = 8
"""One page in so many is to be read from an image."""


@dataclass(frozen=True)
class Paper:
    """An invoice as it was printed: the same for a seed and number in every process."""

    name: str
    invoice: Invoice
    is_for_scanner: bool

    @property
    def layout(self) -> Layout:
        locale = self.invoice.locale
        return draw_layout(self._rng("layout"), locale.money_styles, locale.date_patterns)

    @property
    def blocks(self) -> list[list[str]]:
        """Lines without noise, block by block."""
        return lay_out(self._rng("page"), self.invoice, self.layout)

    def read_with_noise(self) -> str:
        rng = self._rng("noise")
        return add_noise(rng, self.blocks, draw_condition(rng))

    def draw_scan(self) -> bytes:
        """A PNG of the page."""
        return render_page(self._rng("scan"), self.blocks)

    def _rng(self, purpose: str) -> random.Random:
        # One for each purpose, so that no step depends on whether another was taken.
        return random.Random(f"{self.name} {purpose}")


def make_rows(split: Split, seed: int) -> list[Row]:
    has_scanner = can_read_scans()
    rows: list[Row] = []
    for paper in make_papers(seed):
        truth = json.dumps({"gt_parse": to_fields(paper.invoice)}, ensure_ascii=False)
        # By the clean fields: one invoice scanned twice would have two texts.
        if assign_split(truth, seed) == split:
            rows.append(_make_row(paper, truth, has_scanner and paper.is_for_scanner))
    return rows


def _make_row(paper: Paper, truth: str, is_scanned: bool) -> Row:
    is_read: dict[str, Callable[[], str | bytes]] = (
        {"image": paper.draw_scan} if is_scanned else {"ocr_text": paper.read_with_noise}
    )
    name = paper.name + ("-scan" if is_scanned else "")
    return LazyRow({"id": lambda: name, **is_read, "ground_truth": lambda: truth})


def make_papers(seed: int) -> Iterator[Paper]:
    """The papers of all three parts."""
    rng = random.Random(f"invoice_ocr {seed}")
    for number in range(POOL_ROWS):
        name = f"invoice-{seed}-{number:05d}"
        yield Paper(name, make_invoice(rng), is_for_scanner=number % SCAN_INTERVAL == 0)


def can_read_scans() -> bool:
    """Whether Tesseract and the packages that it takes are there."""
    try:
        find_version()
    except ScannerMissing:
        return False
    return True
