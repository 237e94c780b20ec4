"""Which option a model's free text chooses.

The rule, in full:

1. Only what stands before a further line `Question:` counts: base models go on with questions of
   their own.
2. A text that is an option chooses it; case, spaces, brackets, emphasis and a final dot are no
   matter. So does a JSON object with one text or number, or one under `answer`, `label` or the
   like.
3. Else the last declaration decides: the option after `Answer:`, `the answer is`, `the correct
   option is`, `I would choose`, `\\boxed{` and the like, and, where options are labels of one
   letter or digit, the one before `is correct`, `is the best answer` and the like, and the one that
   closes a statement or has its text after it (`it is B.`, `so B.`, `the diagnosis is C. Gout`).
   What is denied, asked or supposed in its clause (`the answer is not A`, `if the answer is B`)
   declares nothing. A declaration of two options (`A or B`, `A and C are right`) leaves no choice.
4. Else the option that has a line to itself, if need be behind a few words and a colon
   (`Label: bug`, `**Rating:** 5`), unless two different ones have; and of worded options the one
   that closes a statement (`The sentiment is positive.`), unless two different ones do.
5. Else the option that the text begins with: a label must be set off (`B.`, `(B)`, `B:`,
   `B because`), and no later line may begin with another label.
6. Else, with labels, the only one that is emphasised or in brackets: `**B. Aspirin**`, `(B)`.

A label counts where it stands alone: not in a word, not in `B-cell`, and not before a word in
lower case or a number, as the article in `A patient with` or the letter in `D dimer` is, except
before a word that goes on after an answer, such as `because`. Of worded options the longest that
fits counts.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

# Runs are bounded below: an unbounded one makes the search of a degenerate text quadratic.
QUOTES = "\"'`“”‘’"  # noqa: RUF001
DASH = r"–—\-"  # noqa: RUF001
DECORATION = " .,:;!()[]{}*_$\\" + QUOTES
NEXT_QUESTION = re.compile(r"\n[ \t*#]*question\b[^\n:]{0,20}:", re.IGNORECASE)
CLAUSE_START = re.compile(r"[.,;:!?\n]|\b(?:but|so|hence|thus|therefore)\b", re.IGNORECASE)
DENIAL = re.compile(
    r"\b(?:not|never|neither|nor|whether|if|why|unlikely|cannot|hardly)\b|n['’]t\b",  # noqa: RUF001
    re.IGNORECASE,
)
REFUSAL = re.compile(
    r"[\s*_)\]}.\"']{0,6}(?:\?|\s(?:is|are|was|seems)\s+(?:\w+ly\s+)?(?:wrong|incorrect|not|false)\b)",
    re.IGNORECASE,
)
GOES_ON = (
    r"(?:because|since|as|is|are|was|for|due|which|not|but|with|would|and|or|nor|only|based|both"
    r"|i\.e)\b"
)
JOIN = (
    r"[\s*_)\]]{0,6}(?:[,;/&+]|(?<=[\s*_)\]])(?:and|or|nor|versus|vs\.?)(?=[\s*_(\[]))"
    r"(?:[\s*_(\[]|\b(?:and|or|options?|choices?|possibly|maybe)\b){0,8}"
)
ANSWER = (
    r"(?:\b(?:answer|ans|response)\b(?:\s+(?:to|for|of)\s+(?:\w+\s+){0,2}question)?"
    r"|\b(?:correct|best|right|appropriate|final|my)\s+(?:option|choice|one|letter)\b)"
)
IS = (
    r"[\s*_,()]{0,6}(?:(?:here|therefore|then|thus|clearly)\b[\s,]{0,3})?"
    rf"(?:[:=(\[{{{DASH}]|\b(?:is|was|be|are|(?:would|should|must)\s+be)\b)"
)
PICK = (
    r"(?:\bI(?:['’]d|['’]ll|\s+would|\s+will|\s+must)?"  # noqa: RUF001
    r"\s+(?:choose|pick|select|go\s+(?:with|for)|opt\s+for)\b|\\boxed\b|\bans\."
    r"|(?:^|\n)\#+[ \t*]*(?:final\s+|correct\s+)?answer[ \t*]*\n)"
)
FILLER = (
    rf"(?:[\s*_:=~>(\[{{$\\{DASH}{QUOTES}]|\b(?:is|be|the|most|likely|clearly|definitely|probably|"
    r"therefore|thus|either|both|indeed|correct|best|right|text|textbf|mathrm|mathbf|boxed|"
    r"options?|choices?|letter|answer)\b){0,30}"
)
OPENING = rf"[\s*_#>(\[{{{QUOTES}]*"
RIGHT = (
    r"\s+(?:is|are|was|would\s+be|seems)\s+(?:both\s+|clearly\s+|also\s+)?(?:the\s+)?"
    r"(?:(?:single|one|only|most|likely|appropriate|final)\s+)*(?:correct|right|best|answer|true)\b"
)
STATED = (
    r"\b(?:is|it['’]s|be|say|hence|thus|therefore|so)\b,?\s{1,3}"  # noqa: RUF001
    r"(?:(?:option|choice|answer)\s)?"
)
SET_OFF = (
    r"(?:^|[\n.,;:(*\[]\s{0,3}"
    r"|\b(?:options?|choices?|answers?|letters?|so|thus|hence|therefore|that|and|but)\s)"
)


JSON_OBJECT = re.compile(r"\{[^{}]{0,2000}\}")
ANSWER_KEYS = (
    "answer",
    "final_answer",
    "label",
    "choice",
    "option",
    "category",
    "class",
    "prediction",
)
LINE_LABEL = re.compile(rf"[\s*_#>{DASH}]*(?:[^\W\d_]+[ *_]*){{1,4}}", re.IGNORECASE)


@dataclass(frozen=True)
class Patterns:
    """Regular expressions of one tuple of options; group `option` is the one that is named, group
    `other` a second one beside it."""

    choices: dict[str, str]
    """Folded option -> option."""
    declarations: tuple[re.Pattern[str], ...]
    beginning: re.Pattern[str]
    line_label: re.Pattern[str] | None
    """A line that begins with a label; None where options are worded."""
    emphasised: re.Pattern[str] | None
    stated: re.Pattern[str] | None
    """A statement that a worded option closes; None where options are labels."""


def find_choice(text: str, choices: Sequence[str]) -> str | None:
    """The option that a text chooses, by the rule above; None where it chooses none or several."""
    choices = tuple(choices)
    if text in choices or not any(choice.strip() for choice in choices):
        return text if text in choices else None
    patterns = _make_patterns(choices)
    next_question = NEXT_QUESTION.search(text)
    return _read_choice(text[: next_question.start()] if next_question else text, patterns)


def _read_choice(text: str, patterns: Patterns) -> str | None:
    if whole := patterns.choices.get(_fold(_read_json(text))):
        return whole
    if declared := _find_declarations(text, patterns):
        return _name(max(declared, key=lambda match: match.end("option")), patterns)
    lines = {_read_line(line, patterns) for line in text.splitlines()} - {None}
    if not lines and patterns.stated is not None:
        lines = {_name(m, patterns) for m in patterns.stated.finditer(text) if not _is_denied(m)}
    if lines:
        return lines.pop() if len(lines) == 1 else None
    if match := patterns.beginning.match(text):
        is_unclear = _is_denied(match) or _lists_labels(text, patterns)
        return None if is_unclear else _name(match, patterns)
    return _find_emphasised(text, patterns)


def _read_json(text: str) -> str:
    """The text or number of a JSON object that is an answer; else the text as it is."""
    found = JSON_OBJECT.search(text)
    if found is None:
        return text
    try:
        values = json.loads(found[0])
    except ValueError:
        return text
    plain = {
        str(key).casefold(): str(value)
        for key, value in values.items()
        if isinstance(value, (str, int, float)) and not isinstance(value, bool)
    }
    named = [plain[key] for key in ANSWER_KEYS if key in plain]
    answers = named[:1] or list(plain.values())
    return answers[0] if len(answers) == 1 else text


def _read_line(line: str, patterns: Patterns) -> str | None:
    """The option that a line is, with or without a few words and a colon before it."""
    if whole := patterns.choices.get(_fold(line)):
        return whole
    before, mark, rest = line.rpartition(":")
    is_labelled = mark and LINE_LABEL.fullmatch(re.split(r"[.!?;]\s", before)[-1])
    return patterns.choices.get(_fold(rest)) if is_labelled else None


def _find_declarations(text: str, patterns: Patterns) -> list[re.Match[str]]:
    found = (match for pattern in patterns.declarations for match in pattern.finditer(text))
    return [match for match in found if not _is_denied(match)]


def _is_denied(match: re.Match[str]) -> bool:
    """Whether the clause before says no or if, or the words after say wrong."""
    before = match.string[max(0, match.start() - 200) : match.start()]
    clause = CLAUSE_START.split(before)[-1]
    return bool(DENIAL.search(clause) or REFUSAL.match(match.string, match.end()))


def _name(match: re.Match[str], patterns: Patterns) -> str | None:
    if match["other"]:
        return None
    return patterns.choices.get(_fold(match["option"]))


def _lists_labels(text: str, patterns: Patterns) -> bool:
    if patterns.line_label is None:
        return False
    return len({_fold(match["option"]) for match in patterns.line_label.finditer(text)}) > 1


def _find_emphasised(text: str, patterns: Patterns) -> str | None:
    if patterns.emphasised is None:
        return None
    found = {
        _fold(match["bold"] or match["bracketed"]) for match in patterns.emphasised.finditer(text)
    }
    return patterns.choices.get(found.pop()) if len(found) == 1 else None


@lru_cache(maxsize=1024)
def _make_patterns(choices: tuple[str, ...]) -> Patterns:
    # Of two options that differ in case alone the first counts.
    folded = {_fold(choice): choice for choice in reversed(choices)}
    folded.pop("", None)
    is_label = all(len(choice) == 1 and choice.isalnum() for choice in folded)
    one = _match_label(folded) if is_label else _match_words(folded)
    option, other = rf"(?P<option>{one})", rf"(?P<other>{JOIN}{one})?"
    declarations = [rf"(?:{ANSWER}{IS}|{PICK}){FILLER}{option}{other}"]
    if is_label:
        first = rf"(?:(?P<other>{one}){JOIN})?"
        text = rf"[)\]*]*(?:[.:,{DASH}(][^\n.;]{{0,80}}?)?"
        declarations.append(rf"{SET_OFF}[(\[*]{{0,4}}{first}{option}{text}{RIGHT}")
        closed = r"(?=[)\]*]{0,3}(?:[.!]?\s*(?:$|\n)|[.):]\s+(?-i:[A-Z])))"
        declarations.append(rf"{STATED}[(\[*]{{0,3}}{option}{closed}{other}")
    end = rf"(?=\s*(?:[.:,)\]*]|[{DASH}]\s|\n|$|{GOES_ON}))" if is_label else ""
    label_word = r"(?:(?:the\s+)?(?:option|choice|answer)\s+[(\[*]*)?"
    return Patterns(
        choices=folded,
        declarations=tuple(re.compile(each, re.IGNORECASE) for each in declarations),
        beginning=re.compile(rf"{OPENING}{label_word}{option}{end}{other}", re.IGNORECASE),
        line_label=_compile_line_label(option) if is_label else None,
        emphasised=_compile_emphasised(one) if is_label else None,
        stated=None if is_label else _compile_stated(one),
    )


def _compile_stated(one: str) -> re.Pattern[str]:
    verb = r"\b(?:is|are|was|as|(?<!could )(?<!might )(?<!may )(?<!can )be)\s+"
    linked = rf"{verb}(?:(?:clearly|probably|most\s+likely|the|an?)\s+){{0,3}}"
    pattern = rf"{linked}[*_{QUOTES}]{{0,3}}(?P<option>{one})(?P<other>(?!))?[*_{QUOTES}]{{0,3}}"
    return re.compile(rf"{pattern}\s*(?:[.!]|$)", re.IGNORECASE | re.MULTILINE)


def _match_label(labels: Iterable[str]) -> str:
    # The article of "A patient" is no label, and "A because" is one.
    article = rf"(?![ \t]+(?!{GOES_ON})(?-i:[a-z])|[ \t]+\d)"
    return rf"(?<!\w)(?<!\w[-'’])[{''.join(labels)}](?!\w|[-'’]\w|\.\d){article}"  # noqa: RUF001


def _match_words(choices: Iterable[str]) -> str:
    longest_first = sorted(choices, key=len, reverse=True)
    words = (r"\s+".join(map(re.escape, choice.split())) for choice in longest_first)
    # Where numbers are options, a sign or a decimal point makes another one.
    signed = r"(?<![-+.\u2212\u2011](?=\d))" if any(c[:1] in "-+" for c in longest_first) else ""
    return rf"(?<!\w)(?<!\w-){signed}(?:{'|'.join(words)})(?!\w|-\w|\.\d)"


def _compile_line_label(option: str) -> re.Pattern[str]:
    return re.compile(
        rf"^[ \t*_#(\[-]*(?:option\s+)?{option}\s*[*_]*[.:)\]]", re.IGNORECASE | re.MULTILINE
    )


def _compile_emphasised(one: str) -> re.Pattern[str]:
    bold = rf"\*\*\s?(?:(?:option|choice|answer)\s*:?\s*)?[(\[]?(?P<bold>{one})[^*\n]*\*\*(?!-?\w)"
    marked = rf"{bold}|(?<!\w)[(\[](?P<bracketed>{one})[)\]]"
    return re.compile(marked, re.IGNORECASE)


def _fold(text: str) -> str:
    folded = " ".join(text.lower().split())
    return folded.strip(DECORATION) or folded
