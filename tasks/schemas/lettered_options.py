"""The options of a question, in any of the forms that data sets write them in, and the right one.

A text is read as MedReason's generation code writes it (`Answer Choices:`, then `A. ...` a line:
`src/data_generation/data/dataset.py` of https://github.com/UCSC-VLAA/MedReason), or with letters in
parentheses on one line, as MedXpertQA does. A mapping has letters for keys; a list has none.
"""

import ast
import json
import re
import string
from collections.abc import Mapping
from typing import Any

from tasks.base import DataError
from tasks.metrics.exact import normalize
from tasks.rows import check_characters, show_value

HEADER = re.compile(r"\s*answer\s+choices\s*:", re.IGNORECASE)
INLINE_HEADER = re.compile(r"\n?\s*\banswer\s+choices\s*:(?=\s*\(A\)\s)", re.IGNORECASE)
LINE_LETTER = re.compile(r"(?:^|\n)[ \t]*\(?([A-Z])[.):](?=\s|$)")
INLINE_LETTER = re.compile(r"(?:^|\s)\(([A-Z])\)(?=\s|$)")
LABELLED = re.compile(r"\(?([A-Z])[.):](?:\s+(.*))?", re.DOTALL)
EXPLANATION = re.compile(r"\.?\s*\bExplanation:\s")
DECISION = re.compile(r"the final decision is:\s*(\w+)\b", re.IGNORECASE)
"""How MedReason's PubMedQA rows begin their answer."""
EXPECTED = (
    "expected options lettered from A (a text such as 'A. ...' a line, an object, or a list), or "
    "null or empty for a question without options"
)


def read_options(value: Any) -> dict[str, str]:
    """Letter -> text of each option, in order; empty for a question that has none.

    Raises DataError for what is no list of two options or more.
    """
    if isinstance(value, str):
        value = _read_text(value)
    if isinstance(value, Mapping):
        # A column of objects has a null for each key that only other rows have.
        options = {str(key).strip(): text for key, text in value.items() if text is not None}
    elif isinstance(value, (list, tuple)) and len(value) <= len(string.ascii_uppercase):
        options = dict(zip(string.ascii_uppercase, value, strict=False))
    elif value is None:
        options = {}
    else:
        raise DataError(f"column 'options' is {show_value(value)}, {EXPECTED}")
    _check(options)
    return {letter: text.strip() for letter, text in options.items()}


def split_inline(question: str) -> tuple[str, dict[str, str]]:
    """A question that has its options at its end (`Answer Choices: (A) ... (B) ...`), apart."""
    found = INLINE_HEADER.search(question)
    options = _cut(question[found.end() :], INLINE_LETTER) if found else {}
    if found is None or len(options) < 2:
        return question, {}
    return question[: found.start()].rstrip(), options


def find_letter(options: Mapping[str, str], answer: str, index: object = None) -> str:
    """The letter of the right option: by `index` (a letter) where there is one, and by `answer`.

    The answer is the option's text, with or without its letter, or the letter alone; an explanation
    may follow (`Explanation: ...`). Raises DataError where it is none of the options, or where the
    two say different things.
    """
    by_answer = _match(options, answer)
    if index is None or index == "":
        if len(by_answer) != 1:
            how = "none" if not by_answer else "more than one"
            listed = "; ".join(f"{letter}. {text}" for letter, text in options.items())
            raise DataError(
                f"column 'answer' is {show_value(answer)}, {how} of the options, expected one of "
                f"them ({show_value(listed)})"
            )
        return by_answer[0]
    letter = index.strip().upper() if isinstance(index, str) else ""
    if letter not in options:
        raise DataError(
            f"column 'answer_idx' is {show_value(index)}, expected one of {', '.join(options)}"
        )
    if by_answer and letter not in by_answer:
        raise DataError(
            f"column 'answer_idx' is {show_value(index)}, but column 'answer' is option "
            f"{by_answer[0]}, expected the same"
        )
    return letter


def _read_text(text: str) -> Any:
    """The options of a text: lettered, or an object or list as JSON or Python writes it."""
    stripped = text.strip()
    if stripped[:1] in ("{", "["):
        for read in (json.loads, ast.literal_eval):
            try:
                return read(stripped)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    header = HEADER.match(text)
    listed = text[header.end() :] if header else text
    if not listed.strip():
        return None
    forms = (_cut(listed, mark) for mark in (LINE_LETTER, INLINE_LETTER))
    return next((options for options in forms if len(options) > 1), text)


def _cut(text: str, mark: re.Pattern[str]) -> dict[str, str]:
    """What stands between the marks A, B, C and so on; an `A.` within an option is no mark."""
    found: list[re.Match[str]] = []
    for match in mark.finditer(text):
        if len(found) < 26 and match[1] == string.ascii_uppercase[len(found)]:
            found.append(match)
    starts = [match.start() for match in found] + [len(text)]
    return {
        match[1]: text[match.end() : end].strip()
        for match, end in zip(found, starts[1:], strict=True)
    }


def _check(options: Mapping[str, Any]) -> None:
    expected = list(string.ascii_uppercase[: len(options)])
    if list(options) != expected or len(options) == 1:
        raise DataError(f"column 'options' is {show_value(dict(options))}, {EXPECTED}")
    for letter, text in options.items():
        if not isinstance(text, str):
            raise DataError(f"option {letter} is {show_value(text)}, expected text")
        check_characters(text, f"option {letter}")


def _match(options: Mapping[str, str], answer: str) -> list[str]:
    """The letters that an answer fits, by the first reading of it that fits any."""
    for reading in _list_readings(answer):
        if exact := [letter for letter, text in options.items() if text == reading]:
            return exact
        # Before normalisation, which takes the letter A for an article.
        labelled = LABELLED.fullmatch(reading)
        if labelled and labelled[1] in options:
            text = labelled[2] or ""
            if not text or _fold(text) == _fold(options[labelled[1]]):
                return [labelled[1]]
        if reading in options:
            return [reading]
        if alike := [name for name, text in options.items() if _fold(text) == _fold(reading)]:
            return alike
    return []


def _list_readings(answer: str) -> list[str]:
    """The answer as it is, without its explanation, and what it says was decided."""
    readings = [answer.strip(), EXPLANATION.split(answer, maxsplit=1)[0].strip()]
    if decision := DECISION.match(answer.strip()):
        readings.append(decision[1])
    return [reading for reading in dict.fromkeys(readings) if reading]


def _fold(text: str) -> str:
    return normalize(text) or " ".join(text.casefold().split())
