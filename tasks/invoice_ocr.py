"""Invoice OCR: the text of a scanned invoice or receipt -> nested JSON, scored field by field.

`tasks.schemas.invoice_rows` says in which columns the public sets have the two.
"""

import json

from tasks.base import SAME_SPLITS, DataError, Example, HubSource, Row, TaskSpec
from tasks.embedded.invoice_ocr import NAME, STAND_IN, make_rows
from tasks.evaluate_metrics import pool_scores
from tasks.json_schema import infer_answers
from tasks.metrics.fields import has_fields, score_fields
from tasks.schemas.invoice_rows import make_split_key, read_fields, read_invoice_text


def to_example(row: Row) -> Example:
    fields = read_fields(row)
    if not has_fields(fields):
        raise DataError("the ground truth has no field with a value, expected one or more to score")
    # Keys stay in the row's order: it is the order of the document, and easier to learn.
    target = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return Example(
        id=str(row.get("id", "")),
        # Schemas differ from source to source, so the keys are learned, not listed.
        prefix="Extract the fields of this scanned document as JSON.\n\n",
        body=read_invoice_text(row).strip(),
        suffix="\n\nJSON:",
        completion=target,
        reference=target,
    )


def score(example: Example, prediction: str) -> dict[str, float]:
    return score_fields(prediction, example.reference)


INVOICE_OCR = TaskSpec(
    name="invoice_ocr",
    columns=(
        ("ocr_text", "ground_truth"),
        ("raw_data", "parsed_data"),
        ("image", "ground_truth"),
    ),
    to_example=to_example,
    score=score,
    module="json_fields",
    split_key=make_split_key,
    metric="field_f1",
    # A field or more was counted.
    own_score=lambda example: 1.0,
    hub=(
        HubSource(
            dataset="mychen76/invoices-and-receipts_ocr_v1",
            splits={"train": "train", "validation": "valid", "test": "test"},
            revision="83835c87346de32ac9223bdce5264e69ef3366ad",
        ),
        HubSource(dataset="naver-clova-ix/cord-v2", splits=SAME_SPLITS),
        HubSource(dataset="katanaml-org/invoices-donut-data-v1", splits=SAME_SPLITS),
    ),
    embedded=make_rows,
    embedded_name=NAME,
    stand_in=STAND_IN,
    summarize=pool_scores("json_fields"),
    make_schema=infer_answers,
)
