"""Seeded invoices as noisy OCR text, with their clean fields, in the task's columns.

A stand-in for the public set, whose rows are scanned invoices and receipts: many layouts, five
locales, distracting numbers, and noise that falls on the text alone, so that the truth stays clean.
Dates, currencies and amounts must be brought into one form, and a digit that OCR lost can at times
be found again by arithmetic.
"""

import json
import random

from tasks.base import Row, Split
from tasks.embedded.invoice_layouts import lay_out
from tasks.embedded.invoices import make_invoice, to_fields
from tasks.embedded.ocr_noise import read_page
from tasks.splits import assign_split

NAME = "generated invoices with OCR noise, split by content"
STAND_IN = "generated invoices instead of scanned ones"
POOL_ROWS = 3000
"""Rows of all three parts together: a train part of about 2,100."""


def make_rows(split: Split, seed: int) -> list[Row]:
    rng = random.Random(f"invoice_ocr {seed}")
    rows: list[Row] = []
    for number in range(POOL_ROWS):
        invoice = make_invoice(rng)
        text = read_page(rng, lay_out(rng, invoice))
        truth = json.dumps({"gt_parse": to_fields(invoice)}, ensure_ascii=False)
        # By the clean fields: one invoice scanned twice would have two texts.
        if assign_split(truth, seed) == split:
            name = f"invoice-{seed}-{number:05d}"
            rows.append({"id": name, "ocr_text": text, "ground_truth": truth})
    return rows
