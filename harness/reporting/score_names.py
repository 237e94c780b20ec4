"""Scores and ways of scoring in the field's own spelling; an unknown name stands as it is."""

from collections.abc import Iterable

SCORE_NAMES = {
    "accuracy": "Accuracy",
    "accuracy_norm": "Accuracy (length-normalized)",
    "answer_accuracy": "Answer accuracy",
    "has_answer": "Has an answer",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "field_f1": "Field F1",
    "field_precision": "Field precision",
    "field_recall": "Field recall",
    "field_f1_micro": "Field F1 (micro)",
    "field_precision_micro": "Field precision (micro)",
    "field_recall_micro": "Field recall (micro)",
    "field_f1_macro": "Field F1 (macro)",
    "tree_edit_accuracy": "TED accuracy",
    "anls_star": "ANLS*",
    "exact_match": "Exact match",
    "token_f1": "Token F1",
    "parse_rate": "Parse rate",
    "label_f1": "Label F1",
    "label_precision": "Label precision",
    "label_recall": "Label recall",
    "label_f1_micro": "Label F1 (micro)",
    "label_f1_macro": "Label F1 (macro)",
    "has_number": "Has a number",
    "mean_absolute_error": "Mean absolute error (lower is better)",
    "spearman": "Spearman",
}
"""Name in the records -> name in print."""


def order_scores(names: Iterable[str]) -> list[str]:
    """Return names in the order of SCORE_NAMES, unknown ones last, by alphabet."""
    places = {name: place for place, name in enumerate(SCORE_NAMES)}
    return sorted(names, key=lambda name: (places.get(name, len(places)), name))


def name_score(name: str) -> str:
    """Return a score's name in print: `ROUGE-L` for rougeL, and an unknown name as it is."""
    return SCORE_NAMES.get(name, name)
