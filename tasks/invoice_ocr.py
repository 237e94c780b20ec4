"""Invoice OCR: the text of a scanned invoice or receipt -> nested JSON, scored field by field.

Rows carry `ocr_text` and `ground_truth`, a JSON string {"gt_parse": {...}} (Donut's convention,
https://arxiv.org/abs/2111.15664), or the public set's own `raw_data` and `parsed_data`.
"""

import ast
import json
from collections.abc import Mapping
from typing import Any

from tasks.base import DataError, Example, HubSource, Row, TaskSpec
from tasks.embedded.invoice_ocr import NAME, STAND_IN, make_rows
from tasks.metrics.fields import count_fields, score_fields
from tasks.rows import read_text, read_value, show_value

MAX_LITERAL_CHARACTERS = 2_000_000


def to_example(row: Row) -> Example:
    fields = _read_fields(row)
    if count_fields(fields) == 0:
        raise DataError("the ground truth has no field with a value, so nothing can be scored")
    # Keys stay in the row's order: it is the order of the document, and easier to learn.
    target = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return Example(
        id=str(row.get("id", "")),
        # Schemas differ from source to source, so the keys are learned, not listed.
        prefix="Extract the fields of this scanned document as JSON.\n\n",
        body=_read_ocr_text(row).strip(),
        suffix="\n\nJSON:",
        completion=target,
        reference=target,
    )


def _read_ocr_text(row: Row) -> str:
    if "ocr_text" in row or "raw_data" not in row:
        return read_text(row, "ocr_text")
    words = _read_literal(row, "raw_data", "ocr_words")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DataError(f"column 'raw_data': 'ocr_words' is {show_value(words)}, expected texts")
    if not "".join(words).strip():
        raise DataError("column 'raw_data': 'ocr_words' is empty, expected text")
    return "\n".join(words)


def _read_fields(row: Row) -> Mapping[str, Any]:
    if "ground_truth" not in row and "parsed_data" in row:
        fields = _read_literal(row, "parsed_data", "json")
        name = "column 'parsed_data': 'json'"
    else:
        fields = _read_object(row, "ground_truth").get("gt_parse")
        name = "column 'ground_truth': 'gt_parse'"
    if not isinstance(fields, Mapping):
        raise DataError(f"{name} is {show_value(fields)}, expected an object of fields")
    return fields


def _read_object(row: Row, column: str) -> Mapping[str, Any]:
    value = read_value(row, column)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DataError(f"column {column!r} is not JSON ({error})") from error
    if not isinstance(value, Mapping):
        raise DataError(f"column {column!r} is {show_value(value)}, expected a JSON object")
    return value


def _read_literal(row: Row, column: str, key: str) -> Any:
    """The public set stores Python literals inside JSON; they are read, never evaluated."""
    value = _read_object(row, column).get(key)
    if not isinstance(value, str):
        return value
    try:
        if len(value) > MAX_LITERAL_CHARACTERS:
            raise ValueError(f"{len(value)} characters are too many")
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise DataError(f"column {column!r}: {key!r} is no Python literal ({error})") from error


def score(example: Example, prediction: str) -> dict[str, float]:
    return score_fields(prediction, example.reference)


def split_key(row: Row) -> str:
    return _read_ocr_text(row)


INVOICE_OCR = TaskSpec(
    name="invoice_ocr",
    columns=("ocr_text", "ground_truth"),
    to_example=to_example,
    score=score,
    split_key=split_key,
    metric="field_f1",
    hub=HubSource(
        dataset="mychen76/invoices-and-receipts_ocr_v1",
        splits={"train": "train", "validation": "valid", "test": "test"},
        columns=("raw_data", "parsed_data"),
        revision="83835c87346de32ac9223bdce5264e69ef3366ad",
    ),
    embedded=make_rows,
    embedded_name=NAME,
    stand_in=STAND_IN,
)
