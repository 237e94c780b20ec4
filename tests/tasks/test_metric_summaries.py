"""ROUGE against rouge_score itself, and against counts from the definitions of Lin (2004)."""

import random
import re
from collections import Counter
from collections.abc import Sequence

import pytest
from rouge_score import rouge_scorer

from tasks.metrics.summaries import (
    ROUGE_TYPES,
    UnicodeTokenizer,
    describe_words,
    score_summary,
)

PAIRS = [
    ("The agency cut costs. Staff fell!", "The agency reduced costs. It hired staff."),
    ("Reports were filed", "A report was filed in 2019. Nobody read it? They did."),
    ("one two three four", "one two three four"),
    ("Überprüfung der Häuser", "Überprüfung der Häuser"),
]


@pytest.mark.parametrize(("prediction", "reference"), PAIRS)
def test_scores_are_those_of_rouge_score(prediction: str, reference: str) -> None:
    def break_lines(text: str) -> str:
        for end in ".!?":
            text = text.replace(f"{end} ", f"{end}\n")
        return text

    scorer = rouge_scorer.RougeScorer(list(ROUGE_TYPES), use_stemmer=True)
    expected = scorer.score(break_lines(reference), break_lines(prediction))
    scores = score_summary(prediction, reference)
    assert scores == {name: pytest.approx(expected[name].fmeasure) for name in ROUGE_TYPES}


def test_values_by_hand() -> None:
    scores = score_summary("the cat sat", "the cat ran off")
    assert scores["rouge1"] == pytest.approx(2 * 2 / 7)
    assert scores["rouge2"] == pytest.approx(2 * 1 / 5)
    assert scores["rougeL"] == pytest.approx(2 * 2 / 7)


def test_lsum_forgives_another_order_of_sentences_and_l_does_not() -> None:
    scores = score_summary(
        "Costs fell fast. Staff grew slowly.", "Staff grew slowly. Costs fell fast."
    )
    assert scores["rougeLsum"] == 1
    assert scores["rougeL"] == pytest.approx(0.5)


@pytest.mark.parametrize("prediction", ["", "   ", "...", "\n\n"])
def test_nothing_written_scores_nothing(prediction: str) -> None:
    assert set(score_summary(prediction, "A report.").values()) == {0.0}


SENTENCES = [
    "The agency cut costs.", "Costs fell in 2019!", "Did staff grow?", "GAO's, e.g. Table 1.",
    "U.S. exports rose 5.4% to $1.2 bn.", "\u00dcberpr\u00fcfung", "\u4ed6\u8bf4", "...", "no end",
    "Running runs ran.", "a", "\u0645\u0631\u062d\u0628\u0627",
]  # fmt: skip


LATIN = [
    sentence
    for sentence in SENTENCES
    if sentence not in ("\u4ed6\u8bf4", "\u0645\u0631\u062d\u0628\u0627")
]


def make_text(rng: random.Random, sentences: Sequence[str] = SENTENCES) -> str:
    return rng.choice([" ", "\n", "  "]).join(rng.choices(sentences, k=rng.randint(0, 8)))


def test_generated_pairs_equal_rouge_score() -> None:
    """Lsum with the sentences put on lines by another rule than a regular expression's."""
    rng = random.Random(0)
    scorer = rouge_scorer.RougeScorer(list(ROUGE_TYPES), use_stemmer=True)
    for _ in range(600):
        prediction, reference = make_text(rng), make_text(rng, LATIN)
        if rng.random() < 0.2:
            prediction = reference
        lines = ["\n".join(split_sentences(text)) for text in (reference, prediction)]
        expected = scorer.score(*lines)
        plain = scorer.score(reference, prediction)
        scores = score_summary(prediction, reference)
        for name in ("rouge1", "rouge2", "rougeL"):
            assert scores[name] == pytest.approx(plain[name].fmeasure)
        assert scores["rougeLsum"] == pytest.approx(expected["rougeLsum"].fmeasure)


def test_scores_equal_lm_evals_of_cnn_dailymail() -> None:
    """The task of lm-eval that scores summaries by rouge_score with its stemmer; it has no Lsum."""
    reason = "lm-eval is not installed"
    reference_task = pytest.importorskip("lm_eval.tasks.cnn_dailymail.utils", reason=reason)
    rng = random.Random(3)
    pairs = [(make_text(rng), make_text(rng, LATIN)) for _ in range(200)]
    means = reference_task.calculate_rouge_scores(*map(list, zip(*pairs, strict=True)))
    scores = [score_summary(*pair) for pair in pairs]
    for name in ("rouge1", "rouge2", "rougeL"):
        assert means[name] == pytest.approx(sum(s[name] for s in scores) / len(scores))


def split_sentences(text: str) -> list[str]:
    """Words are collected until one ends in a full stop, a question or an exclamation mark."""
    sentences: list[list[str]] = [[]]
    for line in text.splitlines():
        for word in line.split():
            sentences[-1].append(word)
            if word[-1] in ".!?":
                sentences.append([])
        sentences.append([])
    return [" ".join(words) for words in sentences if words]


def measure_f1(common: int, found: int, expected: int) -> float:
    return 2 * common / (found + expected) if common else 0.0


def common_subsequence(left: list[str], right: list[str]) -> int:
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, first in enumerate(left):
        for j, second in enumerate(right):
            longer = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if first == second else longer
    return table[-1][-1]


def list_ngrams(words: list[str], n: int) -> list[list[str]]:
    return [words[i : i + n] for i in range(len(words) - n + 1)]


def test_scores_equal_the_definitions() -> None:
    """Words that the stemmer leaves alone: n-grams counted, the longest common subsequence."""
    rng = random.Random(1)
    words = ["cat", "dog", "sun", "map", "tin", "box"]
    for _ in range(400):
        texts = [" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(2)]
        found, expected = (text.split() for text in texts)
        scores = score_summary(*texts)
        for n in (1, 2):
            left, right = (Counter(map(tuple, list_ngrams(t, n))) for t in (found, expected))
            f1 = measure_f1((left & right).total(), left.total(), right.total())
            assert scores[f"rouge{n}"] == pytest.approx(f1)
        longest = common_subsequence(found, expected)
        assert scores["rougeL"] == pytest.approx(measure_f1(longest, len(found), len(expected)))
        # One sentence on both sides: Lsum is L.
        assert scores["rougeLsum"] == pytest.approx(scores["rougeL"])


WORDS_BY_HAND = {
    "他说公司第三季度亏损": list("他说公司第三季度亏损"),
    "東京の会社、増益。": list("東京の会社増益"),
    "서울 지하철 4호선": ["서울", "지하철", "4호선"],
    "Привет, мир! Как дела?": ["привет", "мир", "как", "дела"],
    "Καλημέρα κόσμε.": ["καλημέρα", "κόσμε"],
    "مرحبا بالعالم": ["مرحبا", "بالعالم"],
    "सरकार ने नई योजना": ["सरकार", "ने", "नई", "योजना"],
    "รถไฟ 4 สาย": ["ร", "ถ", "ไ", "ฟ", "4", "ส", "า", "ย"],
}  # fmt: skip


@pytest.mark.parametrize("text", WORDS_BY_HAND)
def test_words_of_other_scripts(text: str) -> None:
    """rouge_score's own words are [a-z0-9]+, so that gold scored 0. Japanese, Chinese and Thai set
    no spaces: each character is a word."""
    assert UnicodeTokenizer().tokenize(text) == WORDS_BY_HAND[text]
    assert set(score_summary(text, text).values()) == {1.0}
    assert set(score_summary("none of it", text).values()) == {0.0}


def test_scores_of_other_scripts_are_rouge_scores_of_words_that_stand_for_them() -> None:
    """Each distinct word as a number, which rouge_score reads as it is."""
    rng = random.Random(4)
    scorer = rouge_scorer.RougeScorer(list(ROUGE_TYPES))
    texts = list(WORDS_BY_HAND)
    numbers = {w: str(i) for i, w in enumerate(w for t in texts for w in WORDS_BY_HAND[t])}
    for _ in range(60):
        pair = [rng.choices(texts, k=rng.randint(1, 5)) for _ in range(2)]
        given = ["\n".join(chosen) for chosen in pair]
        coded = [
            "\n".join(" ".join(numbers[w] for w in WORDS_BY_HAND[t]) for t in chosen)
            for chosen in pair
        ]
        expected, found = scorer.score(*coded), score_summary(given[1], given[0])
        for name in ("rouge1", "rouge2", "rougeL"):
            assert found[name] == pytest.approx(expected[name].fmeasure)


def test_an_empty_text_scores_0() -> None:
    assert set(score_summary("", "").values()) == {0.0}
    assert set(score_summary("...", "...").values()) == {0.0}


def test_a_very_long_summary_is_scored() -> None:
    rng = random.Random(2)
    long = " ".join(f"w{rng.randint(0, 500)}{'.' * (i % 20 == 0)}" for i in range(3000))
    scores = score_summary(long, " ".join(re.split(r"\s", long)[:600]))
    assert scores["rouge1"] == pytest.approx(2 * 600 / 3600, rel=0.01)


def test_words_that_are_not_rouge_scores_own_are_said() -> None:
    assert describe_words(["A report.", "Überprüfung"]) is None
    note = describe_words(["A report.", "他说公司第三季度亏损"])
    assert note is not None
    assert "on 1 of 2 examples" in note
