"""GovReport: one-page summaries of long government reports, scored by ROUGE.

The prompt is in the manner of LongBench's `gov_report`. https://arxiv.org/abs/2104.02112
"""

from tasks.base import Example, HubSource, Row, TaskSpec
from tasks.embedded.govreport import NAME, STAND_IN, read_rows
from tasks.metrics.summaries import score_summary
from tasks.rows import read_text


def to_example(row: Row) -> Example:
    summary = read_text(row, "summary").strip()
    return Example(
        id=str(row.get("id", "")),
        prefix="You are given a report by a government agency. "
        "Write a one-page summary of the report.\n\nReport:\n",
        body=read_text(row, "report").strip(),
        suffix="\n\nNow, write a one-page summary of the report.\n\nSummary:",
        completion=summary,
        reference=summary,
    )


def score(example: Example, prediction: str) -> dict[str, float]:
    return score_summary(prediction, example.reference)


def split_key(row: Row) -> str:
    return read_text(row, "report")


GOVREPORT = TaskSpec(
    name="govreport",
    columns=("report", "summary"),
    to_example=to_example,
    score=score,
    split_key=split_key,
    # The headline must be a score of one example, for comparisons are paired: SCROLLS' geometric
    # mean is taken over means of the whole set. ROUGE-L is LongBench's headline for this task.
    metric="rougeL",
    hub=HubSource(
        dataset="ccdv/govreport-summarization",
        splits={"train": "train", "validation": "validation", "test": "test"},
        revision="4e21184e01ae8017e2c036e180fe5e541fef60a0",
        config="document",
    ),
    embedded=read_rows,
    embedded_name=NAME,
    stand_in=STAND_IN,
    # LongBench cuts out the middle: reports open with their purpose and close with conclusions.
    truncation="head_tail",
)
