"""Accuracy of a chosen option, the plain function behind `choice_accuracy`."""


def score_choice(prediction: str, reference: str) -> dict[str, float]:
    """1 where the letters are the same; case, spaces and a final dot are no error."""
    return {"accuracy": float(_clean(prediction) == _clean(reference) != "")}


def _clean(letter: str) -> str:
    return letter.strip().removesuffix(".").upper()
