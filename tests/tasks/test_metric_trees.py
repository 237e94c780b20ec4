"""Tree-edit accuracy against Donut's own evaluator, which runs zss, on generated documents."""

import random
from typing import Any

import pytest
from donut_evaluator import load_donut_evaluator

from tasks.metrics.trees import build_tree, measure_distance, normalize, tree_edit_accuracy

LEAVES = ["", " ", "abc", "abd", "Xyzzy", "1.50", "12", " a ", 0, 1, 5, 2.5, None, True, False]


def make_value(rng: random.Random, depth: int) -> Any:
    kind = rng.random()
    if depth > 3 or kind < 0.45:
        return rng.choice(LEAVES)
    if kind < 0.75:
        return make_object(rng, depth + 1)
    return [make_value(rng, depth + 1) for _ in range(rng.randint(0, 4))]


def make_object(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    keys = (rng.choice("abcde") * rng.randint(1, 2) for _ in range(rng.randint(0, 4)))
    return {key: make_value(rng, depth) for key in keys}


def alter(rng: random.Random, value: Any) -> Any:
    """A copy with a few fields changed, left out, moved or doubled."""
    if isinstance(value, dict):
        kept = {key: alter(rng, item) for key, item in value.items() if rng.random() > 0.1}
        return kept | ({"new": "n"} if rng.random() < 0.1 else {})
    if isinstance(value, list):
        items = [alter(rng, item) for item in value for _ in range(rng.choice([0, 1, 1, 1, 2]))]
        return rng.sample(items, k=len(items))
    return rng.choice(LEAVES) if rng.random() < 0.15 else value


def test_accuracy_and_normal_form_equal_donuts() -> None:
    donut = load_donut_evaluator()
    rng = random.Random(0)
    compared = 0
    for _ in range(1500):
        expected = make_object(rng)
        found = rng.choice([make_object(rng), alter(rng, expected), expected])
        assert normalize(found) == donut.normalize_dict(found)
        if not donut.normalize_dict(expected):
            continue
        compared += 1
        assert tree_edit_accuracy(found, expected) == pytest.approx(
            donut.cal_acc(found, expected), abs=1e-12
        ), (found, expected)
    assert compared > 900


def make_receipt(rng: random.Random, items: int) -> dict[str, Any]:
    def write(letters: str, length: int) -> str:
        return "".join(rng.choices(letters, k=length))

    menu = [
        {
            "nm": write("abcde ", rng.randint(3, 12)),
            "cnt": write("123", 1),
            "price": write("0123", 4),
        }
        for _ in range(items)
    ]
    return {"menu": menu, "total": {"total_price": write("0123", 5), "cashprice": "50,000"}}


def test_receipts_of_several_items_equal_donuts() -> None:
    donut = load_donut_evaluator()
    rng = random.Random(1)
    for _ in range(20):
        expected = make_receipt(rng, rng.randint(1, 8))
        for found in (make_receipt(rng, rng.randint(1, 8)), alter(rng, expected)):
            assert tree_edit_accuracy(found, expected) == pytest.approx(
                donut.cal_acc(found, expected)
            )


def test_distance_by_hand() -> None:
    def distance(found: dict[str, Any], expected: dict[str, Any]) -> float:
        return measure_distance(build_tree(found), build_tree(expected))

    assert distance({"a": "abc"}, {"a": "abd"}) == 1
    assert distance({"a": "abc"}, {"b": "abc"}) == 1
    assert distance({}, {"a": "abc"}) == 1 + 3
    assert distance({"a": ["x", "yy"]}, {"a": ["yy"]}) == 1
    # Items are in order: the cheapest is to rewrite both.
    assert distance({"a": ["xx", "yy"]}, {"a": ["yy", "xx"]}) == 4
    assert distance({"a": {"b": "x"}}, {"b": "x"}) == 2  # the key and its list item


def test_distance_is_symmetric_and_0_only_to_itself() -> None:
    rng = random.Random(2)
    for _ in range(500):
        first, second = make_object(rng), make_object(rng)
        left, right = build_tree(first), build_tree(second)
        assert measure_distance(left, right) == measure_distance(right, left)
        assert (measure_distance(left, right) == 0) == (normalize(first) == normalize(second))


def test_nothing_expected() -> None:
    assert tree_edit_accuracy({}, {}) == 1
    assert tree_edit_accuracy({"a": ""}, {"b": []}) == 1
    assert tree_edit_accuracy({"a": " "}, {}) == 0  # Donut leaves out the empty, not the blank
    assert tree_edit_accuracy({"a": "x"}, {}) == 0
    assert tree_edit_accuracy({}, {"a": "x"}) == 0


def test_what_is_refused_unseen_for_its_weight_scores_0_in_full() -> None:
    """Twice the reference's weight is a bound, not a guess: Donut says 0 too."""
    donut = load_donut_evaluator()
    rng = random.Random(3)
    for _ in range(300):
        expected = {"a": "xy", "b": ["abc"]}
        found = make_receipt(rng, rng.randint(0, 2)) | expected
        assert tree_edit_accuracy(found, expected) == pytest.approx(donut.cal_acc(found, expected))


def test_a_long_receipt_and_a_deep_one_are_compared() -> None:
    rng = random.Random(4)
    long, deep = make_receipt(rng, 60), {"a": "x"}
    for _ in range(90):
        deep = {"a": deep, "b": "y"}
    assert 0 < tree_edit_accuracy(alter(rng, long), long) < 1
    assert tree_edit_accuracy(long | {"menu": long["menu"] * 50}, long) == 0
    assert measure_distance(build_tree(deep), build_tree(long)) > 0
