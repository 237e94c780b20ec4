"""ROUGE against rouge_score itself and against counts made by hand."""

import pytest
from rouge_score import rouge_scorer

from tasks.metrics.summaries import ROUGE_TYPES, score_summary

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
