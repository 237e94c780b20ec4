"""GovReport: one-page summaries of long government reports, scored by ROUGE.

The prompt is in the manner of LongBench's `gov_report`. https://arxiv.org/abs/2104.02112
"""

from tasks.base import SAME_SPLITS, Example, HubSource, Row, TaskSpec
from tasks.embedded.govreport import NAME, STAND_IN, read_rows
from tasks.hub import PARQUET_REVISION
from tasks.metrics.summaries import has_words, score_summary
from tasks.rows import read_text


def _read_report(row: Row) -> str:
    """The report: ccdv's set has it in `report`, launch's in `document`."""
    return read_text(row, "document" if "document" in row and "report" not in row else "report")


def to_example(row: Row) -> Example:
    summary = read_text(row, "summary").strip()
    return Example(
        id=str(row.get("id", "")),
        prefix="You are given a report by a government agency. "
        "Write a one-page summary of the report.\n\nReport:\n",
        body=_read_report(row).strip(),
        suffix="\n\nNow, write a one-page summary of the report.\n\nSummary:",
        completion=summary,
        reference=summary,
    )


def score(example: Example, prediction: str) -> dict[str, float]:
    return score_summary(prediction, example.reference)


def split_key(row: Row) -> str:
    return _read_report(row)


GOVREPORT = TaskSpec(
    name="govreport",
    columns=(("report", "summary"), ("document", "summary")),
    to_example=to_example,
    score=score,
    module="summary_rouge",
    split_key=split_key,
    # The headline must be a score of one example, for comparisons are paired: SCROLLS' geometric
    # mean is taken over means of the whole set. ROUGE-L is LongBench's headline for this task.
    metric="rougeL",
    own_score=lambda example: float(has_words(example.reference)),
    hub=(
        HubSource(
            dataset="ccdv/govreport-summarization",
            splits=SAME_SPLITS,
            revision="4e21184e01ae8017e2c036e180fe5e541fef60a0",
            config="document",
        ),
        HubSource(
            dataset="launch/gov_report",
            splits=SAME_SPLITS,
            # Its default branch is a loading script, which `datasets` no longer runs; the hub's
            # own conversion, on this branch, has a folder for each configuration.
            revision=PARQUET_REVISION,
            config="plain_text",
        ),
    ),
    embedded=read_rows,
    embedded_name=NAME,
    stand_in=STAND_IN,
    # LongBench cuts out the middle: reports open with their purpose and close with conclusions.
    truncation="head_tail",
)
