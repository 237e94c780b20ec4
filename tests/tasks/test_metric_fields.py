"""Field scores against hand-made cases and a brute-force search over pairings."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.metrics.fields import count_agreed, count_fields, extract_object, score_fields

REFERENCE: dict[str, Any] = {
    "vendor": "Acme Ltd",
    "items": [{"name": "Lamp", "qty": 2}, {"name": "Pen", "qty": 1}],
    "totals": {"net": "4.50", "total": "5.00"},
}


def score(prediction: Any, reference: Any = REFERENCE) -> dict[str, float]:
    text = prediction if isinstance(prediction, str) else json.dumps(prediction)
    return score_fields(text, json.dumps(reference))


def test_the_reference_itself_is_perfect() -> None:
    assert set(score(REFERENCE).values()) == {1.0}


def test_order_of_items_and_keys_does_not_matter() -> None:
    turned = dict(reversed(list(REFERENCE.items()))) | {"items": REFERENCE["items"][::-1]}
    assert set(score(turned).values()) == {1.0}


def test_one_wrong_of_seven_fields() -> None:
    wrong = json.loads(json.dumps(REFERENCE).replace('"qty": 1', '"qty": 3'))
    assert score(wrong) == {
        "field_f1": pytest.approx(6 / 7),
        "field_precision": pytest.approx(6 / 7),
        "field_recall": pytest.approx(6 / 7),
        "exact_match": 0.0,
        "parse_rate": 1.0,
    }


def test_missing_and_invented_fields_cost_recall_and_precision() -> None:
    scores = score({"vendor": "ACME  ltd", "iban": "x", "totals": "5.00"})
    assert scores["field_precision"] == pytest.approx(1 / 3)
    assert scores["field_recall"] == pytest.approx(1 / 7)
    assert scores["field_f1"] == pytest.approx(2 / 10)


def test_blank_and_null_fields_count_as_absent() -> None:
    reference: dict[str, Any] = {"vendor": "Acme", "tax": "", "tip": None, "items": []}
    assert set(score({"vendor": "Acme", "date": " "}, reference).values()) == {1.0}


def test_values_are_numbers_only_where_one_side_is_one() -> None:
    assert score({"a": 4.5}, {"a": "4.50"})["field_f1"] == 1
    assert score({"a": 2}, {"a": 2.0})["field_f1"] == 1
    assert score({"a": "007"}, {"a": "7"})["field_f1"] == 0
    assert score({"a": True}, {"a": 1})["field_f1"] == 0
    assert score({"a": "ten"}, {"a": 10})["field_f1"] == 0


def test_a_single_item_may_be_an_object() -> None:
    assert score({"menu": {"nm": "Tea"}}, {"menu": [{"nm": "Tea"}]})["exact_match"] == 1
    assert score({"menu": [{"nm": "Tea"}]}, {"menu": {"nm": "Tea"}})["exact_match"] == 1


def test_the_same_item_counts_once() -> None:
    scores = score({"items": ["x", "x", "x"]}, {"items": ["x", "y"]})
    assert scores["field_precision"] == pytest.approx(1 / 3)
    assert scores["field_recall"] == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    "text",
    [
        "Here it is:\n```json\n{}\n```\nDone {really}.",
        "The {fields} are: {}",
        "{} {}",
        "\ufeff{}",
    ],
)
def test_the_object_is_found_in_prose_and_fences(text: str) -> None:
    assert score(text.replace("{}", json.dumps(REFERENCE), 1))["exact_match"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[1, 2]",
        "null",
        json.dumps(REFERENCE)[:-1],
        json.dumps(REFERENCE)[:30],
        '{"a": 1,, "b": {"vendor": "Acme Ltd"}}',
        "{'vendor': 'Acme Ltd', 'x': {\"vendor\": 1}}",
        '{"a":' * 3000,
        '{"a":' + "[" * 100_000,
        "{" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_malformed_and_cut_objects_score_nothing(text: str) -> None:
    assert set(score(text).values()) == {0.0}


def test_nesting_that_parses_but_is_too_deep_scores_without_a_crash() -> None:
    text = '{"vendor":' + "[" * 900 + "]" * 900 + "}"
    assert score(text)["field_f1"] == 0


def test_an_empty_object_parses() -> None:
    assert score("{}") == {
        "field_f1": 0.0,
        "field_precision": 0.0,
        "field_recall": 0.0,
        "exact_match": 0.0,
        "parse_rate": 1.0,
    }


def test_line_breaks_inside_a_text_are_read() -> None:
    assert extract_object('{"a": "x\ny"}') == {"a": "x\ny"}


def flatten(value: Any, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flatten(item, (*path, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from flatten(item, (*path, position))
    elif value not in ("", None):
        yield (*path, str(value))


def agree_by_brute_force(found: dict[str, Any], expected: dict[str, Any]) -> int:
    """Try every order of both lists' items, padded to one length."""
    length = max(len(found["items"]), len(expected["items"]))
    padded = found["items"] + [None] * (length - len(found["items"]))
    wanted = Counter(flatten(expected))
    return max(
        (Counter(flatten(found | {"items": list(order)})) & wanted).total()
        for order in itertools.permutations(padded)
    )


def make_document(rng: random.Random) -> dict[str, Any]:
    def make_item() -> dict[str, Any]:
        keys = rng.sample(["name", "qty", "price", "sub"], k=rng.randint(1, 4))
        values = {key: rng.choice(["a", "b", "c", ""]) for key in keys}
        return values | ({"sub": {"x": rng.choice("ab")}} if "sub" in keys else {})

    items = [make_item() for _ in range(rng.randint(0, 5))]
    return {"vendor": rng.choice("ab"), "total": {"net": rng.choice("ab")}, "items": items}


def test_best_pairing_equals_brute_force() -> None:
    rng = random.Random(0)
    for _ in range(400):
        found, expected = make_document(rng), make_document(rng)
        agreed = count_agreed(found, expected)
        assert agreed == agree_by_brute_force(found, expected), (found, expected)
        assert agreed == count_agreed(expected, found)
        assert count_fields(found) == len(list(flatten(found)))
