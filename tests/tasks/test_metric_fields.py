"""Field scores against hand-made cases, a brute-force search over pairings, and counts that are
pooled without the harness."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from donut_evaluator import load_donut_evaluator
from growth import assert_linear

from tasks.invoice_ocr import INVOICE_OCR
from tasks.metrics.fields import (
    SCORES,
    compare_fields,
    has_fields,
    score_fields,
    summarize_fields,
)

RATES = ("field_f1", "field_precision", "field_recall", "exact_match", "parse_rate")

REFERENCE: dict[str, Any] = {
    "vendor": "Acme Ltd",
    "items": [{"name": "Lamp", "qty": 2}, {"name": "Pen", "qty": 1}],
    "totals": {"net": "4.50", "total": "5.00"},
}


def score(prediction: Any, reference: Any = REFERENCE) -> dict[str, float]:
    text = prediction if isinstance(prediction, str) else json.dumps(prediction)
    return score_fields(text, json.dumps(reference))


def rates(prediction: Any, reference: Any = REFERENCE) -> dict[str, float]:
    """The scores of fields alone: tree-edit accuracy and ANLS* have rules of their own."""
    scores = score(prediction, reference)
    return {name: scores[name] for name in RATES}


def test_the_reference_itself_is_perfect() -> None:
    assert score(REFERENCE) == dict.fromkeys(SCORES, 1.0)


def test_order_of_items_and_keys_does_not_matter() -> None:
    turned = dict(reversed(list(REFERENCE.items()))) | {"items": REFERENCE["items"][::-1]}
    assert set(rates(turned).values()) == {1.0}


def test_one_wrong_of_seven_fields() -> None:
    wrong = json.loads(json.dumps(REFERENCE).replace('"qty": 1', '"qty": 3'))
    assert rates(wrong) == {
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
    assert set(rates({"vendor": "Acme", "date": " "}, reference).values()) == {1.0}


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


@pytest.mark.parametrize("text", ["", "no JSON", json.dumps(REFERENCE)[:-1], '{"a":' * 3000])
def test_without_an_object_every_score_is_0(text: str) -> None:
    assert score(text) == dict.fromkeys(SCORES, 0.0)
    # ANLS* gives an empty object half of this.
    assert set(score(text, {"a": "x", "b": None}).values()) == {0.0}


def test_an_empty_object_parses_and_has_nothing() -> None:
    assert score("{}") == dict.fromkeys(SCORES, 0.0) | {"parse_rate": 1.0}


def test_an_object_around_which_a_model_talks_scores_as_alone() -> None:
    text = json.dumps(REFERENCE)
    assert score(f"Here it is:\n```json\n{text}\n```\nDone {{really}}.") == score(text)


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
        counts, turned = compare_fields(found, expected), compare_fields(expected, found)
        assert counts.agreed.total() == agree_by_brute_force(found, expected), (found, expected)
        assert counts.agreed.total() == turned.agreed.total()
        assert counts.found.total() == len(list(flatten(found)))


def test_paths_have_no_list_positions() -> None:
    counts = compare_fields(REFERENCE, REFERENCE)
    expected = {("vendor",): 1, ("items", "name"): 2, ("items", "qty"): 2}
    expected |= {("totals", "net"): 1, ("totals", "total"): 1}
    assert counts.agreed == counts.found == counts.expected == expected


def test_pooled_scores_by_hand() -> None:
    pairs = [
        ({"a": "1", "b": "x"}, {"a": "1", "b": "y"}),
        ({"a": "2", "c": "z"}, {"a": "2"}),
        ("cut off {", {"a": "3", "b": "u"}),
    ]
    texts = [(p if isinstance(p, str) else json.dumps(p), json.dumps(r)) for p, r in pairs]
    # Agreed 2 (a, a); found 4; expected 5. a: 2 of 2 found and 3 expected. b: 0 of 1 and 2.
    assert summarize_fields(texts) == {
        "field_precision_micro": pytest.approx(2 / 4),
        "field_recall_micro": pytest.approx(2 / 5),
        "field_f1_micro": pytest.approx(4 / 9),
        "field_f1_macro": pytest.approx((4 / 5 + 0) / 2),
    }


def test_pools_of_nothing() -> None:
    assert set(summarize_fields([]).values()) == {1.0}
    assert set(summarize_fields([("{}", "{}")]).values()) == {1.0}
    assert summarize_fields([('{"a": 1}', "{}")]) == {
        "field_precision_micro": 0.0,
        "field_recall_micro": 1.0,
        "field_f1_micro": 0.0,
        "field_f1_macro": 0.0,
    }


def test_an_invented_key_costs_micro_precision_alone() -> None:
    scores = summarize_fields([('{"a": 1, "zz": 2}', '{"a": 1}')])
    assert scores["field_precision_micro"] == pytest.approx(1 / 2)
    assert scores["field_f1_macro"] == 1


def make_flat(rng: random.Random) -> dict[str, Any]:
    """No lists; values as Donut and the harness both leave them."""
    keys = rng.sample(["vendor", "date", "total", "tax", "sub"], k=rng.randint(1, 5))
    flat: dict[str, Any] = {key: rng.choice(["abc", "x y", "4.50", "7"]) for key in keys}
    return flat | (
        {"sub": {"net": rng.choice("ab"), "vat": rng.choice("ab")}} if rng.random() < 0.5 else {}
    )


def test_micro_f1_without_lists_equals_donuts() -> None:
    donut = load_donut_evaluator()
    rng = random.Random(3)
    for _ in range(200):
        documents = [(make_flat(rng), make_flat(rng)) for _ in range(rng.randint(1, 6))]
        texts = [(json.dumps(found), json.dumps(expected)) for found, expected in documents]
        assert summarize_fields(texts)["field_f1_micro"] == pytest.approx(
            donut.cal_f1([found for found, _ in documents], [truth for _, truth in documents])
        )


def test_micro_and_macro_equal_scikit_learns() -> None:
    """Documents without lists as labels: one row a key and value that occurs."""
    metrics = pytest.importorskip("sklearn.metrics", reason="comes with lm-eval")
    rng = random.Random(4)
    for _ in range(100):
        documents = [(make_flat(rng), make_flat(rng)) for _ in range(5)]
        sides = [[set(flatten(side)) for side in pair] for pair in documents]
        labels = sorted(set().union(*(side for pair in sides for side in pair)))
        found = [[label in pair[0] for label in labels] for pair in sides]
        truth = [[label in pair[1] for label in labels] for pair in sides]
        scores = summarize_fields([(json.dumps(p), json.dumps(r)) for p, r in documents])
        micro = metrics.precision_recall_fscore_support(truth, found, average="micro")
        names = ("field_precision_micro", "field_recall_micro", "field_f1_micro")
        assert [scores[name] for name in names] == pytest.approx(micro[:3])
        paths = {label[:-1] for pair in sides for label in pair[1]}
        by_path = []
        for path in paths:
            columns = [i for i, label in enumerate(labels) if label[:-1] == path]
            truth_cells = [row[i] for row in truth for i in columns]
            found_cells = [row[i] for row in found for i in columns]
            by_path.append(metrics.f1_score(truth_cells, found_cells))
        assert scores["field_f1_macro"] == pytest.approx(sum(by_path) / len(by_path))


def test_altered_predictions_fall_in_the_right_score() -> None:
    rng = random.Random(5)
    for _ in range(100):
        truth = make_document(rng)
        if not truth["items"] or not has_fields(truth["items"][-1]):
            continue
        shorter = truth | {"items": truth["items"][:-1]}
        longer = truth | {"items": truth["items"] + [{"new": "n"}]}
        shuffled = truth | {"items": rng.sample(truth["items"], k=len(truth["items"]))}
        assert rates(shuffled, truth) == rates(truth, truth)
        of_shorter, of_longer = score(shorter, truth), score(longer, truth)
        assert of_shorter["field_precision"] == 1 > of_shorter["field_recall"]
        assert of_longer["field_recall"] == 1 > of_longer["field_precision"]
        assert all(0 <= value <= 1 for value in (*of_shorter.values(), *of_longer.values()))


def test_thousands_of_items_are_scored_in_proportion() -> None:
    def make_items(count: int) -> dict[str, Any]:
        return {"items": [{"nm": f"item {i * 7919}", "price": f"{i}.50"} for i in range(count)]}

    scores = score(make_items(2000), make_items(20))
    assert scores["field_recall"] == 1
    assert scores["tree_edit_accuracy"] == 0
    assert_linear(lambda n: score(make_items(n), make_items(20)), 100)


def test_the_invoice_task_pools_its_examples() -> None:
    text = json.dumps(REFERENCE)
    row = {"ocr_text": "Acme", "ground_truth": json.dumps({"gt_parse": REFERENCE})}
    example = INVOICE_OCR.to_example(row)
    assert INVOICE_OCR.summarize is not None
    pooled = INVOICE_OCR.summarize([(example, text), (example, "no JSON")])
    assert pooled == summarize_fields([(text, text), ("", text)])
    assert pooled["field_recall_micro"] == pytest.approx(1 / 2)
    assert not pooled.keys() & INVOICE_OCR.score(example, text).keys()
