"""ANLS* against its authors' package, which the cuts must not change."""

import random
from typing import Any

import pytest
from growth import assert_linear

from tasks.metrics.anls import score_anls

WORDS = [
    "",
    " ",
    "Acme Ltd",
    "acme  ltd",
    "Acme",
    "4.50",
    "12 \u0130stanbul",
    "x" * 40,
    4.5,
    7,
    None,
    True,
]


def make_value(rng: random.Random, depth: int) -> Any:
    kind = rng.random()
    if depth > 2 or kind < 0.5:
        return rng.choice(WORDS)
    if kind < 0.75:
        return {rng.choice("abc"): make_value(rng, depth + 1) for _ in range(rng.randint(0, 3))}
    return [make_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]


def make_document(rng: random.Random) -> dict[str, Any]:
    return {key: make_value(rng, 0) for key in rng.sample("abcde", k=rng.randint(0, 4))}


def test_scores_are_the_packages() -> None:
    anls_score = pytest.importorskip("anls_star").anls_score
    rng = random.Random(0)
    for _ in range(3000):
        found, expected = make_document(rng), make_document(rng)
        if rng.random() < 0.3:
            found = expected | {"a": make_value(rng, 0)}
        assert score_anls(found, expected) == pytest.approx(anls_score(expected, found))


def test_cutting_a_long_text_changes_no_score() -> None:
    anls_score = pytest.importorskip("anls_star").anls_score
    rng = random.Random(1)
    for _ in range(1000):
        expected = {"a": "".join(rng.choices("ab ", k=rng.randint(0, 9))), "b": ["ab", "a b a b"]}
        found = {
            "a": "".join(rng.choices("aB\u0130 ", k=rng.randint(0, 40))),
            "b": ["".join(rng.choices("ab", k=rng.randint(0, 30))) for _ in range(3)],
        }
        assert score_anls(found, expected) == pytest.approx(anls_score(expected, found))


def test_values_by_hand() -> None:
    assert score_anls({"a": "abcd"}, {"a": "abce"}) == pytest.approx(3 / 4)
    assert score_anls({"a": "abxy"}, {"a": "abcd"}) == pytest.approx(1 / 2)
    assert score_anls({"a": "axyz"}, {"a": "abcd"}) == 0  # under the threshold of a half
    assert score_anls({"a": ["y", "x"]}, {"a": ["x", "y"]}) == 1
    assert score_anls({"a": "x", "b": "z"}, {"a": "x"}) == pytest.approx(1 / 2)
    assert score_anls({}, {"a": "x"}) == 0


def test_a_prediction_of_far_too_many_values_is_not_worked_out() -> None:
    expected = {"items": ["a", "b", "c"]}
    assert score_anls({"items": ["a", "b", "c"] * 10_000}, expected) == 0
    assert score_anls({"items": ["a", "b", "c"] * 300}, expected) == pytest.approx(1 / 300)
    assert score_anls({"items": ["a" * 500_000] * 4}, expected) == 0
    assert_linear(lambda n: score_anls({"items": ["a", "b", "c"] * n}, expected), 1250)
    assert_linear(lambda n: score_anls({"items": ["a" * n] * 4}, expected), 60_000)
