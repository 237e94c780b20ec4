"""Invoice OCR: Donut's convention and the public columns, good and bad."""

import hashlib
import json
from pathlib import Path
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
    # As JSON, which has null where Python has None.
    as_json = make_public_row(
        '["Caf\\u00e9", null, "Tea 2,00"]', json.dumps(FIELDS | {"tax": None})
    )
    example = to_example(as_json)
    assert example.body == "Café\nTea 2,00"
    assert json.loads(example.completion) == FIELDS | {"tax": None}


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
        (make_public_row("['x']", "{'a': b'bytes'}"), "'json' cannot be written as JSON"),
        (make_public_row("['x']", "{'a': {1, 2}}"), "'json' cannot be written as JSON"),
        (make_public_row("['x']", "{('a',): 1}"), "'json' cannot be written as JSON"),
        (make_public_row("['x']", "{'a': 1e999}"), "'json' cannot be written as JSON"),
        (make_public_row("['x']", "{'a': 2 + 1j}"), "'json' cannot be written as JSON"),
        (make_public_row("['a\\x00']", str(FIELDS)), "'ocr_words' has the control character"),
        (make_public_row("['\\ud800']", str(FIELDS)), "'ocr_words' has the lone surrogate"),
        (make_public_row("['x']", "{'a': '\\ud800'}"), "'json' has the lone surrogate"),
        (make_public_row("(" * 300 + ")" * 300, str(FIELDS)), "is no Python literal|expected"),
        (make_public_row("open('x')", str(FIELDS)), "is no Python literal"),
        (make_public_row("[x for x in 'ab']", str(FIELDS)), "is no Python literal"),
        (make_public_row("'a' * 9", str(FIELDS)), "is no Python literal"),
        (
            make_public_row("[", str(FIELDS)) | {"raw_data": '{"ocr_boxes": "[[1, 2]]"}'},
            "ocr_boxes",
        ),
        (make_public_row("[", str(FIELDS)) | {"raw_data": '{"ocr_boxes": "7"}'}, "ocr_boxes"),
        (make_public_row("[", str(FIELDS)) | {"raw_data": '{"ocr_boxes": "[]"}'}, "ocr_boxes"),
        (make_public_row("[", str(FIELDS)) | {"raw_data": "{}"}, "'ocr_boxes' is None"),
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


NO_NUMBERS = {f"{axis}{corner}": None for axis in "xy" for corner in range(1, 5)}


@pytest.mark.parametrize(
    "lines",
    [
        7,
        ["x"],
        [{"words": 7}],
        [{"words": [{"text": "x"}]}],
        [{"words": [{"text": 1, "quad": {}}]}],
        [{"words": [{"text": "x", "quad": NO_NUMBERS}]}],
    ],
)
def test_valid_lines_of_another_form_are_bad_rows(lines: object) -> None:
    truth = json.dumps({"gt_parse": FIELDS, "valid_line": lines})
    with pytest.raises(DataError, match="column 'ground_truth': 'valid_line' is"):
        to_example({"ground_truth": truth})


def test_a_receipt_without_words_is_a_bad_row_and_is_not_scanned() -> None:
    truth = json.dumps({"gt_parse": FIELDS, "valid_line": []})
    with pytest.raises(DataError, match="'valid_line' is empty, expected words"):
        to_example({"ground_truth": truth, "image": b"an image"})


def test_a_single_item_that_is_an_object_is_learned_and_scored_as_it_is() -> None:
    fields = {"menu": {"nm": "Tea", "price": "2.000"}, "total": {"total_price": "2.000"}}
    row = ROW | {"ground_truth": json.dumps({"gt_parse": fields})}
    example = to_example(row)
    assert json.loads(example.completion) == fields
    assert INVOICE_OCR.score(example, example.completion)["field_f1"] == 1
    without_menu = json.dumps({"total": fields["total"]})
    assert INVOICE_OCR.score(example, without_menu)["field_recall"] == pytest.approx(1 / 3)


def test_a_split_key_is_the_text_or_the_image_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.schemas.scans.find_version", pytest.fail)
    assert INVOICE_OCR.split_key(ROW) == ROW["ocr_text"]
    (tmp_path / "page").write_bytes(b"bytes of an image")
    keys = {
        INVOICE_OCR.split_key({"image": image})
        for image in (
            b"bytes of an image",
            {"bytes": b"bytes of an image", "path": "x"},
            str(tmp_path / "page"),
        )
    }
    assert keys == {hashlib.sha256(b"bytes of an image").hexdigest()}
    with pytest.raises(DataError, match="column 'image': the image is 7"):
        INVOICE_OCR.split_key({"image": 7})
