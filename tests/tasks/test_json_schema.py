"""Inferred schemas against the jsonschema package and the grammar engine that decodes by them."""

import copy
import json
import random
from typing import Any

import pytest

from tasks.invoice_ocr import INVOICE_OCR
from tasks.json_schema import infer_schema, write_skeleton

SCALARS: list[Any] = ["", "x", 1, -2, 1.5, 2.0, True, False, None]


def make_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if depth > 3 or kind < 0.4:
        return rng.choice(SCALARS)
    if kind < 0.75:
        return {k: make_value(rng, depth + 1) for k in rng.sample("abcd", k=rng.randint(0, 4))}
    return [make_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]


def validator(schema: dict[str, Any]) -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_every_given_value_satisfies_the_schema() -> None:
    rng = random.Random(0)
    for _ in range(300):
        values = [make_value(rng) for _ in range(rng.randint(1, 6))]
        checker = validator(infer_schema(values))
        for value in values:
            assert checker.is_valid(value), (value, values)


def list_alterations(value: Any) -> list[Any]:
    """Copies with one object's key more, one key less, or one text made an object."""
    altered: list[Any] = []
    if isinstance(value, dict):
        altered.append(value | {"unseen": "x"})
        for key in value:
            altered.append({name: item for name, item in value.items() if name != key})
            altered += [value | {key: item} for item in list_alterations(value[key])]
    elif isinstance(value, list):
        for i, item in enumerate(value):
            altered += [value[:i] + [other] + value[i + 1 :] for other in list_alterations(item)]
    else:
        altered.append({"unseen": value})
    return altered


def has_several_items(value: Any) -> bool:
    if isinstance(value, dict):
        value = [[item] for item in value.values()]
        return any(has_several_items(item) for item in value)
    return isinstance(value, list) and (len(value) > 1 or any(map(has_several_items, value)))


def test_every_alteration_of_a_lone_value_is_refused() -> None:
    rng = random.Random(1)
    checked = 0
    for _ in range(300):
        value = {key: make_value(rng, 2) for key in "ab"}
        # In a list of several items, what one lacks another may have.
        if has_several_items(value):
            continue
        checker = validator(infer_schema([value]))
        for altered in list_alterations(copy.deepcopy(value)):
            checked += 1
            assert not checker.is_valid(altered), (altered, value)
    assert checked > 1000


def test_schema_by_hand() -> None:
    values = [
        {"vendor": "x", "items": [{"name": "a", "qty": 1}], "tax": None},
        {"vendor": "y", "items": [{"name": "b", "qty": 2.5}], "date": "z", "tax": "1"},
    ]
    item = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 18}, "qty": {"type": "number"}},
        "required": ["name", "qty"],
        "additionalProperties": False,
    }
    schema = infer_schema(values)
    assert schema == {
        "type": "object",
        "properties": {
            "vendor": {"type": "string", "maxLength": 18},
            "items": {"type": "array", "items": item, "maxItems": 6},
            "tax": {"type": ["null", "string"], "maxLength": 18},
            "date": {"type": "string", "maxLength": 18},
        },
        "required": ["vendor", "items", "tax"],
        "additionalProperties": False,
    }
    assert list(schema["properties"]) == ["vendor", "items", "tax", "date"]


def test_an_item_alone_or_in_a_list_may_be_both() -> None:
    """Donut writes a single line item as an object."""
    schema = infer_schema([{"menu": {"nm": "Tea"}}, {"menu": [{"nm": "Tea"}, {"nm": "Ham"}]}])
    assert [part["type"] for part in schema["properties"]["menu"]["anyOf"]] == ["object", "array"]


def test_true_is_no_number_and_empty_stays_empty() -> None:
    assert infer_schema([True, 1]) == {"type": ["boolean", "integer"]}
    assert infer_schema([[], []]) == {"type": "array", "maxItems": 0}
    assert infer_schema([]) == {}
    assert not validator(infer_schema([{}])).is_valid({"a": 1})


def test_the_grammar_engine_takes_every_schema() -> None:
    matcher = pytest.importorskip("llguidance", reason="llguidance is not installed").LLMatcher
    rng = random.Random(2)
    for _ in range(200):
        schema = infer_schema([make_value(rng) for _ in range(rng.randint(1, 4))])
        grammar = matcher.grammar_from_json_schema(json.dumps(schema))
        # An empty message: no error.
        assert matcher.validate_grammar(grammar) == "", schema


def test_the_invoice_tasks_schema_is_that_of_its_completions() -> None:
    documents = [{"vendor": "x", "tax": None}, {"vendor": "y", "tax": "1"}]
    rows = [{"ocr_text": "x", "ground_truth": json.dumps({"gt_parse": d})} for d in documents]
    assert INVOICE_OCR.make_schema is not None
    schema = INVOICE_OCR.make_schema([INVOICE_OCR.to_example(row) for row in rows])
    assert schema == infer_schema(documents)


def test_texts_and_arrays_have_a_bound_beyond_what_was_given() -> None:
    checker = validator(infer_schema([{"a": ["x" * 20]}, {"a": ["y"] * 3}]))
    assert checker.is_valid({"a": ["z" * 56] * 10})
    assert not checker.is_valid({"a": ["z" * 57]})
    assert not checker.is_valid({"a": ["z"] * 11})


def test_a_skeleton_names_every_key_and_no_value() -> None:
    values = [
        {"menu": {"nm": "Tea"}, "total": 3},
        {"menu": [{"nm": "Tea", "cnt": "1"}], "total": 3, "rare": None, "none": []},
    ]
    skeleton = write_skeleton(infer_schema(values))
    assert json.loads(skeleton) == {
        "menu": {"nm": "..."}, "total": "...", "rare": "...", "none": []
    }  # fmt: skip
    assert "Tea" not in skeleton


def test_a_long_skeleton_keeps_what_every_value_has() -> None:
    values = [{"total": 1, f"seldom_{n}": "x"} for n in range(300)]
    assert write_skeleton(infer_schema(values)) == '{"total":"..."}'
