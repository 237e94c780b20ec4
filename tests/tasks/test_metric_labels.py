"""Sets of labels, against scikit-learn's definitions written out with numpy."""

import random

import numpy as np
import pytest

from tasks import CustomTask, DataError, make_custom_task
from tasks.metrics.labels import read_labels, score_labels, summarize_labels
from tasks.metrics.number_errors import summarize_numbers

LABELS = ("billing", "bug", "feature", "praise")


@pytest.mark.parametrize(
    "text",
    ["bug, billing", "Billing; BUG.", '["bug", "billing"]', "- bug\n- billing",
     "1. bug\n2. billing", "**bug** | 'billing'", "['bug', 'billing']", "bug,billing,bug",
     " bug ,\nbilling "],
)  # fmt: skip
def test_ways_of_writing_a_set(text: str) -> None:
    assert read_labels(text) == {"bug", "billing"}


@pytest.mark.parametrize(
    ("prediction", "f1"),
    [
        ("bug, billing", 1.0),
        ("Labels: billing, bug", 1.0),
        ("bug", 2 / 3),
        ("bug, praise", 0.5),
        ("praise", 0.0),
        ("", 0.0),
        ("bug, billing, praise, feature", 2 / 3),
    ],
)
def test_f1_of_one_example(prediction: str, f1: float) -> None:
    scores = score_labels(prediction, "billing, bug")
    assert scores["label_f1"] == pytest.approx(f1)
    assert scores["exact_match"] == float(f1 == 1)


def test_pooled_scores_are_those_of_a_table_of_counts() -> None:
    rng = random.Random(0)
    pairs = []
    for _ in range(60):
        drawn = [rng.sample(LABELS, rng.randint(1, 3)) for _ in range(2)]
        pairs.append((", ".join(drawn[0]), ", ".join(drawn[1])))
    found, wanted = (
        np.array([[name in pair[side].split(", ") for name in LABELS] for pair in pairs])
        for side in (0, 1)
    )
    right = (found & wanted).sum(axis=0)
    each = 2 * right / (found.sum(axis=0) + wanted.sum(axis=0))
    summary = summarize_labels(pairs)
    assert summary["label_f1_macro"] == pytest.approx(each.mean())
    assert summary["label_f1_micro"] == pytest.approx(
        2 * right.sum() / (found.sum() + wanted.sum())
    )
    by_row = 2 * (found & wanted).sum(axis=1) / (found.sum(axis=1) + wanted.sum(axis=1))
    assert [score_labels(*pair)["label_f1"] for pair in pairs] == pytest.approx(by_row.tolist())


def test_labels_of_a_row_are_checked_against_those_that_there_are() -> None:
    task = make_custom_task(CustomTask("own", "{{ q }}", "a", "labels", choices=LABELS))
    assert task.to_example({"q": "?", "a": ["bug", "praise"]}).choices == ()
    with pytest.raises(DataError, match=r"has the label 'bugs' .*expected some of billing, bug"):
        task.to_example({"q": "?", "a": "bugs, praise"})
    with pytest.raises(DataError, match="expected one or more labels"):
        task.to_example({"q": "?", "a": ", ;"})
    none = task.to_example({"q": "?", "a": []})
    assert score_labels("", none.reference)["label_f1"] == 1
    assert score_labels("bug", none.reference)["label_f1"] == 0
    for labels in (["Paris, France", "Rome"], "opts"):
        with pytest.raises(DataError, match=r"separates labels|expected the labels that there are"):
            make_custom_task(CustomTask("own", "{{ q }}", "a", "labels", choices=labels))
    with pytest.raises(DataError, match=r"'paris, france' .* separates labels"):
        make_custom_task(CustomTask("own", "{{ q }}", "a", "labels")).to_example(
            {"q": "?", "a": ["Paris, France"]}
        )


def test_errors_and_ranks_of_numbers() -> None:
    scipy = pytest.importorskip("scipy.stats")
    pairs = [("Answer: 3", "4"), ("so 10", "8"), ("-2", "1"), ("1,200", "1000"), ("none", "5")]
    summary = summarize_numbers(pairs)
    found, wanted = [3, 10, -2, 1200], [4, 8, 1, 1000]
    assert summary["mean_absolute_error"] == np.abs(np.subtract(found, wanted)).mean()
    assert summary["spearman"] == pytest.approx(scipy.spearmanr(found, wanted).statistic)
    assert summary["has_number"] == 0.8
    assert np.isnan(summarize_numbers([("1", "1"), ("1", "2"), ("1", "3")])["spearman"])
    assert np.isnan(summarize_numbers([("x", "1")])["mean_absolute_error"])
