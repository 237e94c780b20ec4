"""FinCoT: questions on financial tables and text, answered by reasoning and a final number.

The model writes the reasoning, then `Answer:` and the result. https://arxiv.org/abs/2502.08127
"""

import re
from dataclasses import dataclass

from tasks.base import DataError, Example, HubSource, Row, TaskSpec
from tasks.embedded.fincot import NAME, STAND_IN, make_rows
from tasks.metrics.answers import is_same_answer, score_answer, split_reasoning
from tasks.rows import read_text, show_value

CONTEXT_MARK = "Context:"
QUESTION_MARK = "\nQuestion:"
SENTENCE_END = re.compile(r"[.!?]\s")
CLOSE = '\nReason step by step, then write the result after "Answer:".\nReasoning:'


@dataclass(frozen=True)
class QuestionParts:
    opening: str
    """Instruction up to and with the context's mark."""
    context: str
    """Tables and text that the question is about."""
    question: str
    """The question with its mark; empty where the prompt has no such mark."""


def split_question(text: str) -> QuestionParts:
    """Take a FinCoT prompt apart; without marks, all of it counts as context."""
    text = text.rstrip().removesuffix("Answer:").rstrip()
    opening, mark, rest = text.partition(CONTEXT_MARK)
    if not mark:
        opening, rest = "", text
    context, question_mark, question = rest.rpartition(QUESTION_MARK)
    if not question_mark:
        context, question = rest, ""
    return QuestionParts(opening + mark, context, question_mark + question)


def to_example(row: Row) -> Example:
    parts = split_question(read_text(row, "Question"))
    answer = read_text(row, "Final_response").strip()
    if not is_same_answer(answer, answer):
        raise DataError(
            f"column 'Final_response' is {show_value(answer)}, expected a number or words"
        )
    ending = f"\nAnswer: {answer}"
    return Example(
        id=str(row.get("id", "")),
        prefix=parts.opening,
        body=parts.context,
        suffix=parts.question + CLOSE,
        completion=read_text(row, "Reasoning_process").strip() + ending,
        ending=ending,
        reference=answer,
    )


def score(example: Example, prediction: str) -> dict[str, float]:
    return score_answer(prediction, example.reference)


def split_key(row: Row) -> str:
    """The context: two questions about one report must not end on two sides.

    Where a prompt has no question mark, its last line is taken for the question, or, of a single
    line, the last sentence: a key that leaves out too much only keeps more rows together.
    """
    parts = split_question(read_text(row, "Question"))
    if parts.question:
        return parts.context
    text = parts.context.rstrip()
    lines_before = text.rpartition("\n")[0]
    ends = [end.end() for end in SENTENCE_END.finditer(text.rstrip(" .!?"))]
    before = lines_before or (text[: ends[-1]] if ends else "")
    return before if before.strip() else text


FINCOT = TaskSpec(
    name="fincot",
    columns=(("Question", "Reasoning_process", "Final_response"),),
    to_example=to_example,
    score=score,
    module="answer_accuracy",
    split_key=split_key,
    metric="answer_accuracy",
    # The set has no test split, and its RL rows may share reports with its SFT rows: all three
    # parts are cut from SFT, by context. No commit of it could be verified, so none is pinned.
    hub=(
        HubSource(
            dataset="TheFinAI/FinCoT",
            splits={"train": "SFT"},
            terms="a form, CC BY-NC-SA 4.0 and the licences of its sources",
        ),
    ),
    embedded=make_rows,
    embedded_name=NAME,
    stand_in=STAND_IN,
    # Prompts without marks have the question at their end.
    truncation="head_tail",
    split_reasoning=split_reasoning,
)
