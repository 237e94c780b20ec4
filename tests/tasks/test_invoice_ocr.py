"""Invoice OCR: Donut's convention and the public columns, good and bad."""

import json
from typing import Any

import pytest

from tasks.base import DataError
from tasks.invoice_ocr import INVOICE_OCR, to_example

FIELDS = {"store": "Café", "items": [{"name": "Tea", "price": "2,00"}]}
ROW = {"ocr_text": " Café\nTea 2,00 ", "ground_truth": json.dumps({"gt_parse": FIELDS})}


def make_public_row(words: object, fields: object) -> dict[str, Any]:
    return {
        "raw_data": json.dumps({"ocr_words": words}),
        "parsed_data": json.dumps({"json": fields}),
    }


def test_completion_is_compact_json_in_the_rows_order() -> None:
    example = to_example(ROW)
    assert example.completion == '{"store":"Café","items":[{"name":"Tea","price":"2,00"}]}'
    assert example.body == "Café\nTea 2,00"
    assert set(INVOICE_OCR.score(example, example.completion).values()) == {1.0}


def test_public_columns_give_the_same_example() -> None:
    literal = make_public_row(str(["Café", "Tea 2,00"]), str(FIELDS))
    plain = make_public_row(["Café", "Tea 2,00"], FIELDS)
    assert to_example(literal) == to_example(plain) == to_example(ROW)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ocr_text": ""}, "column 'ocr_text' is empty"),
        ({"ground_truth": "{'gt_parse': 1}"}, "column 'ground_truth' is not JSON"),
        ({"ground_truth": "[]"}, "expected a JSON object"),
        ({"ground_truth": '{"gt": {}}'}, "'gt_parse' is None"),
        ({"ground_truth": '{"gt_parse": {"a": "", "b": [{}]}}'}, "no field with a value"),
        ({"ground_truth": None}, "column 'ground_truth' is null"),
        ({"ground_truth": "{" * 50_000}, "column 'ground_truth' is not JSON"),
    ],
)
def test_bad_rows(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        to_example(ROW | changes)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (make_public_row("[", str(FIELDS)), "'ocr_words' is no Python literal"),
        (make_public_row("['x']", "{"), "'json' is no Python literal"),
        (make_public_row("__import__('os').getcwd()", str(FIELDS)), "is no Python literal"),
        (make_public_row("[" * 5000, str(FIELDS)), "is no Python literal"),
        (make_public_row("[1]", str(FIELDS)), "'ocr_words' is .*expected texts"),
        (make_public_row("[]", str(FIELDS)), "'ocr_words' is empty"),
        (make_public_row("['x']", "['y']"), "'json' is .*expected an object"),
        ({"parsed_data": "{}"}, "column 'ocr_text' is missing|expected an object"),
        ({}, "column 'ground_truth' is missing"),
    ],
)
def test_bad_public_rows(row: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        to_example(row)
