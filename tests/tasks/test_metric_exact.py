"""Exact match and token F1 against lm-eval's metric and SQuAD's own definition."""

import random
import re
import string

import pytest

from tasks.metrics.exact import normalize, score_exact

WORDS = [
    "Paris",
    "the",
    "The",
    "a",
    "an",
    "Theatre",
    "is",
    "U.S.",
    "don't",
    "5%",
    "é",
    "--",
    ",",
    "x",
]


def make_text(rng: random.Random, words: list[str]) -> str:
    return rng.choice([" ", "  ", "\t"]).join(rng.choices(words, k=rng.randint(0, 6)))


@pytest.mark.parametrize(
    ("prediction", "reference", "exact", "f1"),
    [
        ("Paris", "paris", 1, 1),
        ("The  Paris.", "Paris", 1, 1),
        ("in Paris", "Paris", 0, 2 / 3),
        ("Paris Paris", "Paris", 0, 2 / 3),
        ("Lyon", "Paris", 0, 0),
        ("", "Paris", 0, 0),
        ("theatre", "atre", 0, 0),
        ("U.S.", "us", 1, 1),
        ("Paris\n\nQuestion: next?", "Paris", 1, 1),
        ("\n \nParis\nLyon", "Paris", 1, 1),
        ("one\ntwo", "one\ntwo", 1, 1),
        ("one", "one\ntwo", 0, 2 / 3),
        # Nothing is left of these after normalisation: SQuAD would call each right.
        ("+", "-", 0, 0),
        ("+", "+", 1, 1),
        ("a", "A", 1, 1),
        ("the", "A", 0, 0),
        ("", "A", 0, 0),
        ("", "", 1, 1),
        # Other values, which SQuAD's rule makes the same.
        ("1", "-1", 0, 0),
        ("\u22121", "-1", 1, 1),
        ("35", "3.5", 0, 0),
        ("510", "5-10", 0, 0),
        ("34", "3/4", 0, 0),
        ("1000", "1,000", 1, 1),
        ("C", "C++", 0, 0),
        ("C++.", "C++", 1, 1),
        ("C", "C#", 0, 0),
        ("wellknown", "well-known", 1, 1),
        ("Caf\u00e9", "Cafe\u0301", 1, 1),
    ],
)
def test_by_hand(prediction: str, reference: str, exact: float, f1: float) -> None:
    assert score_exact(prediction, reference) == {
        "exact_match": exact,
        "token_f1": pytest.approx(f1),
    }


def test_exact_match_equals_lm_evals() -> None:
    """Texts without articles and with single spaces, which lm-eval does not take away."""
    metrics = pytest.importorskip("lm_eval.api.metrics", reason="lm-eval is not installed")
    rng = random.Random(0)
    words = [word for word in WORDS if word not in ("the", "The", "a", "an", "--", ",")]
    for _ in range(3000):
        texts = (" ".join(rng.choices(words, k=rng.randint(1, 3))) for _ in range(2))
        prediction, reference = texts
        if rng.random() < 0.4:
            prediction = rng.choice([reference.upper(), reference + ".", f'"{reference}"'])
        expected = metrics.exact_match_hf_evaluate(
            [prediction], [reference], ignore_case=True, ignore_punctuation=True
        )
        assert score_exact(prediction, reference)["exact_match"] == expected["exact_match"]


def squad_normalize(text: str) -> list[str]:
    """Character by character from the description, not by the functions under test."""
    kept = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return [word for word in re.split(r"\s+", kept) if word not in ("a", "an", "the", "")]


def count_common(found: list[str], expected: list[str]) -> int:
    left = list(expected)
    return sum(1 for word in found if word in left and not left.remove(word))


def test_f1_equals_precision_and_recall_over_tokens() -> None:
    rng = random.Random(1)
    compared = 0
    for _ in range(4000):
        prediction, reference = make_text(rng, WORDS), make_text(rng, WORDS)
        found, expected = squad_normalize(prediction), squad_normalize(reference)
        assert normalize(prediction).split() == found
        if not found and not expected:
            continue
        compared += 1
        common = count_common(found, expected)
        f1 = 0.0
        if common:
            precision, recall = common / len(found), common / len(expected)
            f1 = 2 * precision * recall / (precision + recall)
        scores = score_exact(prediction, reference)
        assert scores["token_f1"] == pytest.approx(f1)
        assert scores["exact_match"] == float(found == expected)
    assert compared > 3000


def test_f1_of_words_that_occur_once_equals_scikit_learns() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="comes with lm-eval")
    rng = random.Random(2)
    words = [f"w{number}" for number in range(8)]
    for _ in range(500):
        found, expected = (rng.sample(words, k=rng.randint(1, 8)) for _ in range(2))
        f1 = sklearn.f1_score([w in expected for w in words], [w in found for w in words])
        scores = score_exact(" ".join(found), " ".join(expected))
        assert scores["token_f1"] == pytest.approx(f1)


def test_a_decimal_comma_is_not_left_out() -> None:
    for found, expected in (("125", "12,5"), ("12", "1,2"), ("12345", "1,2345")):
        assert score_exact(found, expected)["exact_match"] == 0
    assert score_exact("1234567", "1,234,567")["exact_match"] == 1
