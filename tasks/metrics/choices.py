"""Accuracy of a chosen option, the plain function behind `choice_accuracy`.

A prediction is one of the options, where the harness compared their likelihoods, or the free text
of a model that was asked to answer; `choice_text.py` reads the option from it.
"""

from collections.abc import Sequence

from .choice_text import find_choice


def score_choice(prediction: str, reference: str, choices: Sequence[str]) -> dict[str, float]:
    """`accuracy`: 1 where the prediction chooses the reference; `has_answer`: it chooses at all."""
    found = find_choice(prediction, choices)
    expected = find_choice(reference, choices)
    return {
        "accuracy": float(found is not None and found == expected),
        "has_answer": float(found is not None),
    }
