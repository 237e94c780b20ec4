"""A row's text and fields, in each of the ways that invoices and receipts are published.

Fields stand in `ground_truth`, a JSON string {"gt_parse": {...}} (Donut's convention,
https://arxiv.org/abs/2111.15664), or in `parsed_data`. The text is the first that a row has of:

- `ocr_text`;
- `raw_data`, JSON whose `ocr_words` or `ocr_boxes` is JSON or a Python literal, which is read by
  ast.literal_eval and never run;
- the words of `valid_line` in `ground_truth`, grouped into visual rows by their boxes. CORD has
  them: read by people, and without what they marked as noise, so cleaner than any OCR;
- `image`, read by Tesseract (`tasks.schemas.scans`).
"""

import ast
import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.base import DataError, Row
from tasks.metrics.json_object import MAX_DEPTH, is_deeper
from tasks.rows import check_characters, read_object, read_text, read_value, show_value
from tasks.schemas.scans import ScannerMissing, read_image_bytes, read_scan
from tasks.schemas.word_boxes import WordBox, write_lines

MAX_LITERAL_CHARACTERS = 2_000_000


def read_invoice_text(row: Row) -> str:
    """The document's text; DataError where the row has none, ScannerMissing as `read_scan`."""
    if "ocr_text" in row:
        return read_text(row, "ocr_text")
    if "raw_data" in row:
        return _read_words(row)
    if text := write_lines(_read_valid_lines(row)):
        check_characters(text, "column 'ground_truth': 'valid_line'")
        return text
    if "image" in row:
        return _read_image(row)
    return read_text(row, "ocr_text")


def make_split_key(row: Row) -> str:
    """What makes a document itself: its text, or its image, which is not read for that."""
    if "image" not in row or "ocr_text" in row or "raw_data" in row:
        return read_invoice_text(row)
    try:
        return hashlib.sha256(read_image_bytes(read_value(row, "image"))).hexdigest()
    except DataError as error:
        raise DataError(f"column 'image': {error}") from error


def read_fields(row: Row) -> dict[str, Any]:
    """The fields, as JSON has them; DataError where they are none or cannot be written as JSON."""
    if "ground_truth" not in row and "parsed_data" in row:
        fields = _read_literal(row, "parsed_data", "json")
        name = "column 'parsed_data': 'json'"
    else:
        fields = read_object(row, "ground_truth").get("gt_parse")
        name = "column 'ground_truth': 'gt_parse'"
    if not isinstance(fields, Mapping):
        raise DataError(f"{name} is {show_value(fields)}, expected an object of fields")
    try:
        clean: dict[str, Any] = json.loads(json.dumps(fields, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{name} cannot be written as JSON ({error}), expected JSON") from error
    if is_deeper(clean, MAX_DEPTH):
        raise DataError(f"{name} is nested deeper than {MAX_DEPTH} levels, expected fewer")
    for text in _list_texts(clean):
        check_characters(text, name)
    return clean


def _list_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for child in value.values():
            yield from _list_texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from _list_texts(child)


def _read_image(row: Row) -> str:
    try:
        return read_scan(read_value(row, "image"))
    except ScannerMissing:
        raise
    except DataError as error:
        raise DataError(f"column 'image': {error}") from error


def _read_words(row: Row) -> str:
    if "ocr_words" not in read_object(row, "raw_data"):
        return _read_boxes(row)
    words = _read_literal(row, "raw_data", "ocr_words")
    if isinstance(words, list):
        words = [word for word in words if word is not None]
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DataError(f"column 'raw_data': 'ocr_words' is {show_value(words)}, expected texts")
    text = "\n".join(words)
    if not text.strip():
        raise DataError("column 'raw_data': 'ocr_words' is empty, expected text")
    check_characters(text, "column 'raw_data': 'ocr_words'")
    return text


def _read_boxes(row: Row) -> str:
    """PaddleOCR's form: [[corner, corner, corner, corner], (text, confidence)] for each line."""
    boxes = _read_literal(row, "raw_data", "ocr_boxes")
    name = "column 'raw_data': 'ocr_boxes'"
    try:
        # As of PaddleOCR, with a list around the lines of the one page.
        lines = boxes[0] if len(boxes) == 1 and not _is_box(boxes[0]) else boxes
        words = [_make_box(read[0], corners) for corners, read in lines]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise DataError(
            f"{name} is {show_value(boxes)}, expected [[corners, (text, confidence)], ...]"
        ) from error
    text = write_lines(words)
    if not text.strip():
        raise DataError(f"{name} is empty, expected text")
    check_characters(text, name)
    return text


def _is_box(value: Any) -> bool:
    """Whether a value is one line with its box, rather than a page of them."""
    return len(value) == 2 and isinstance(value[1], (tuple, list)) and isinstance(value[1][0], str)


def _read_valid_lines(row: Row) -> list[WordBox]:
    """The words of CORD's `valid_line`; none where there is no such key."""
    if "ground_truth" not in row:
        return []
    truth = read_object(row, "ground_truth")
    lines = truth.get("valid_line") or []
    try:
        words = [
            _make_box(
                word["text"], [(word["quad"][f"x{i}"], word["quad"][f"y{i}"]) for i in range(1, 5)]
            )
            for line in lines
            for word in line["words"]
            if word["text"].strip()
        ]
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise DataError(
            f"column 'ground_truth': 'valid_line' is {show_value(lines)}, expected lines of words "
            "with text and quad"
        ) from error
    if not words and "valid_line" in truth:
        raise DataError("column 'ground_truth': 'valid_line' is empty, expected words")
    return words


def _make_box(text: object, corners: Sequence[Sequence[float]]) -> WordBox:
    """A word from the corners of its box; ValueError or TypeError where that is none."""
    if not isinstance(text, str):
        raise TypeError(text)
    horizontal = [float(x) for x, _ in corners]
    vertical = [float(y) for _, y in corners]
    return WordBox(text, left=min(horizontal), top=min(vertical), bottom=max(vertical))


def _read_literal(row: Row, column: str, key: str) -> Any:
    """JSON, or a Python literal, inside JSON: read, never evaluated."""
    value = read_object(row, column).get(key)
    if not isinstance(value, str):
        return value
    # With null, true or false it is no literal.
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(value)
    try:
        if len(value) > MAX_LITERAL_CHARACTERS:
            raise ValueError(f"{len(value)} characters are too many")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise DataError(
            f"column {column!r}: {key!r} is no Python literal of at most "
            f"{MAX_LITERAL_CHARACTERS} characters: {show_value(value)}"
        ) from error
