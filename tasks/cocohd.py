"""CoCoHD: transcripts of hearings of the U.S. Congress -> nested JSON of their details.

Transcripts of tens of thousands of tokens, whose answers are mostly in the front matter. CoCoHD has
the transcripts and the details in two data sets, joined by GovInfo's id of the hearing.
https://arxiv.org/abs/2410.03099
"""

import json
import re

from tasks.base import DataError, Example, HubSource, JoinedFiles, Row, TaskSpec
from tasks.embedded.cocohd import NAME, STAND_IN, make_rows
from tasks.evaluate_metrics import pool_scores
from tasks.json_schema import infer_answers
from tasks.metrics.fields import score_fields
from tasks.rows import read_text, show_value
from tasks.schemas.hearing_details import COLUMNS, KEYS, read_hearing

INSTRUCTION = (
    "Extract the details of this congressional hearing as one JSON object with the keys title, "
    "congress (its number), chamber, committee, subcommittee, date, witnesses (a list of objects "
    "with name, role and organisation) and members (of the panel that held the hearing: a list of "
    "objects with name and state, the state by its two letters). Leave out what the hearing does "
    "not have."
)


def find_transcript(govinfo_id: str) -> str:
    """CHRG-115hhrg24668 -> its file in the set of transcripts, a folder for each Congress."""
    match = re.fullmatch(r"(CHRG-\d+)[a-z]+hrg[\w-]+", govinfo_id)
    if match is None:
        raise DataError(
            f"column 'govinfo_id' is {show_value(govinfo_id)}, expected GovInfo's id of a hearing, "
            "such as CHRG-115hhrg24668"
        )
    return f"data/{match[1]}/{govinfo_id}.txt"


def to_example(row: Row) -> Example:
    target = json.dumps(read_hearing(row), ensure_ascii=False, separators=(",", ":"))
    return Example(
        id=str(row.get("id", "")),
        prefix=f"{INSTRUCTION}\n\nTranscript:\n",
        body=read_text(row, "transcript").strip(),
        suffix="\n\nJSON:",
        completion=target,
        reference=target,
    )


def score(example: Example, prediction: str) -> dict[str, float]:
    return score_fields(prediction, example.reference)


def split_key(row: Row) -> str:
    """Title and days: the parts and addenda of one hearing are on one side. The transcript is not
    read for that, for it is a file of its own."""
    fields = read_hearing(row)
    return json.dumps([fields["title"], fields.get("date")], ensure_ascii=False)


COCOHD = TaskSpec(
    name="cocohd",
    columns=(
        ("transcript", "details"),
        ("transcript", *COLUMNS),
        ("transcript", *KEYS),
    ),
    to_example=to_example,
    score=score,
    module="json_fields",
    split_key=split_key,
    metric="field_f1",
    # A hearing has a title.
    own_score=lambda example: 1.0,
    hub=(
        HubSource(
            dataset="gtfintechlab/CoCoHD_hearing_details_cleaned",
            splits={"train": "train"},
            joined=JoinedFiles(
                dataset="gtfintechlab/CoCoHD_transcripts",
                key="govinfo_id",
                path=find_transcript,
                column="transcript",
                revision="245d21784cf4f757aa44e546bc5030eece773a56",
            ),
        ),
    ),
    embedded=make_rows,
    embedded_name=NAME,
    stand_in=STAND_IN,
    summarize=pool_scores("json_fields"),
    make_schema=infer_answers,
    # Title, panel, date, members and the list of witnesses are the front matter of a hearing; its
    # end is appended material.
    truncation="head",
)
