"""MedMCQA: medical entrance-exam questions with four options, scored by the letter's likelihood.

Prompt and labels are those of lm-evaluation-harness's `medmcqa` task, so that a score can stand
beside a published one. https://arxiv.org/abs/2203.14371
"""

import re

from tasks.base import DataError, Example, HubSource, Row, TaskSpec
from tasks.embedded.medmcqa import NAME, read_rows
from tasks.metrics.choices import score_choice
from tasks.rows import read_text, read_value, show_value

LETTERS = ("A", "B", "C", "D")
OPTION_COLUMNS = ("opa", "opb", "opc", "opd")
WHOLE_NUMBER = re.compile(r"\s*-?[0-9]{1,4}(?:\.0{1,6})?\s*")


def to_example(row: Row) -> Example:
    letter = LETTERS[_read_label(row)]
    question = read_text(row, "question")
    # Some public rows have a blank option; lm-evaluation-harness prints it as it is.
    options = [read_text(row, column, may_be_empty=True) for column in OPTION_COLUMNS]
    lines = [f"{name}. {option}" for name, option in zip(LETTERS, options, strict=True)]
    return Example(
        id=str(row.get("id", "")),
        prefix="Question: ",
        body=question,
        suffix="\nChoices:\n" + "\n".join(lines) + "\nAnswer:",
        completion=letter,
        reference=letter,
        choices=LETTERS,
    )


def _read_label(row: Row) -> int:
    label = read_value(row, "cop")
    if isinstance(label, str) and WHOLE_NUMBER.fullmatch(label):
        # All that CSV has is text.
        label = float(label)
    if isinstance(label, float) and label.is_integer():
        # A column with a missing value is one of floating-point numbers.
        label = int(label)
    if isinstance(label, bool) or not isinstance(label, int):
        raise DataError(f"column 'cop' is {show_value(label)}, expected a whole number from 0 to 3")
    if label == -1:
        raise DataError(
            "column 'cop' is -1, which means that the label is withheld; expected 0 to 3: use "
            "labelled rows (MedMCQA's validation split has labels, its test split does not)"
        )
    if not 0 <= label <= 3:
        raise DataError(f"column 'cop' is {label}, expected 0 to 3 (0 is option A)")
    return label


def score(example: Example, prediction: str) -> dict[str, float]:
    return score_choice(prediction, example.reference, example.choices)


def split_key(row: Row) -> str:
    return read_text(row, "question")


MEDMCQA = TaskSpec(
    name="medmcqa",
    columns=(("question", *OPTION_COLUMNS, "cop"),),
    to_example=to_example,
    score=score,
    module="choice_accuracy",
    split_key=split_key,
    metric="accuracy",
    hub=(
        HubSource(
            dataset="openlifescienceai/medmcqa",
            # The public test split has no labels.
            splits={"train": "train", "validation": "validation", "test": "validation"},
            revision="91c6572c454088bf71b679ad90aa8dffcd0d5868",
        ),
    ),
    embedded=read_rows,
    embedded_name=NAME,
)
