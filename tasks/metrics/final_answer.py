"""Right or wrong of what stands after `## Final Answer`, the function behind
`final_answer_accuracy`.

The rule, in full:

1. Judged is what follows the last heading `Final Answer` (Markdown, of any level); without one, the
   whole text. What follows a line `Question:` after a heading is not looked at: base models go on
   with questions of their own.
2. With options, which are letters: under a heading, a first line that is a letter, or begins with
   one and a dot, colon or bracket (`B`, `(B)`, `**B. Aspirin**`), chooses it. Else the rule of
   `choice_text.py` decides.
3. Without options the answer must equal the reference, both normalised as in `exact.py`.
"""

import re
from collections.abc import Sequence

from .choice_text import NEXT_QUESTION, find_choice
from .exact import score_exact

HEADING = re.compile(
    r"^[ \t]*#{1,6}[ \t]*\**[ \t]*final[ \t]+answer\b[ \t]*:?[ \t]*\**[ \t]*:?",
    re.IGNORECASE | re.MULTILINE,
)
LETTER = re.compile(r"\s*[*_(\[]{0,4}([A-Z])(?:[*_)\]]{1,4}|[.:]|[ \t]*(?:\n|$))")


def score_final_answer(prediction: str, reference: str, choices: Sequence[str]) -> dict[str, float]:
    """`accuracy`: the final answer is the reference; `has_answer`: there is one.

    An answer to a question with options is one of them; any other is what follows the heading.
    """
    written = find_final_answer(prediction)
    if not choices:
        judged = prediction if written is None else written
        return {
            "accuracy": score_exact(judged, reference)["exact_match"],
            "has_answer": float(bool(written)),
        }
    found = _find_option(prediction, written, choices)
    return {"accuracy": float(found == reference), "has_answer": float(found is not None)}


def find_final_answer(text: str) -> str | None:
    """What follows the last heading, which may be nothing; None where there is no heading."""
    marks, text = _find_headings(text)
    return text[marks[-1].end() :].strip() if marks else None


def split_reasoning(prediction: str) -> str:
    """What stands before the last heading; all of it where there is none, since a text that comes
    to no answer only leads to one."""
    marks, text = _find_headings(prediction)
    return text[: marks[-1].start()] if marks else prediction


def _find_headings(text: str) -> tuple[list[re.Match[str]], str]:
    """All headings, and the text up to a next question."""
    first = HEADING.search(text)
    following = NEXT_QUESTION.search(text, first.end()) if first else None
    text = text[: following.start()] if following else text
    return list(HEADING.finditer(text)), text


def _find_option(prediction: str, written: str | None, choices: Sequence[str]) -> str | None:
    if written is None:
        return find_choice(prediction, choices)
    # Read before any other rule, for the option's own text may name other letters (`A and C`).
    opening = LETTER.match(written)
    if opening and opening[1] in choices:
        return opening[1]
    return find_choice(written, choices)
