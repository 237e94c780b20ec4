"""Right or wrong of one numeric or textual answer, the plain function behind `answer_accuracy`.

The rule, in full:

1. What is judged stands on the first line after the last `Answer:` that opens a line; without such
   a one, after the last anywhere (`the answer is`); without any mark, on the last line that is not
   blank. What follows a line `Question:` after an answer is not looked at: base
   models go on with questions of their own.
2. Its number is the last one there; a closing remark after a number is no part of it: words in
   parentheses, and years (`12.5% (rounded)`, `5 million in 2019`). Thousands separators (1,234 and
   12,34,567; the apostrophe and the no-break space likewise), currency signs and codes and spaces
   are left out; a minus sign or enclosing parentheses make it negative; a percent sign divides by
   100; thousand, million, billion, trillion (k, m, mn, mm, bn, b, tn, t), lakh and crore multiply,
   and so does an exponent.
3. Where only one side has a percent sign or a scale word, it may also be read without: tables are
   "in millions", and `12.5` is often meant as `12.5%`.
4. Two whole numbers with the same unit must be equal. Else they may differ by 0.1% of the reference
   or by half a unit of the reference's last decimal, whichever is more.
5. A reference without a number is compared as text: lower case, no punctuation, no articles. `yes`
   and `no` are judged by the first word.
"""

import re
from dataclasses import dataclass

RELATIVE_TOLERANCE = 1e-3
ROUNDING_SLACK = 1e-9
MAX_REMARKS = 4
REMARK_CHARACTERS = 300

SCALES = {
    "thousand": 1e3, "k": 1e3,
    "lakh": 1e5,
    "million": 1e6, "mn": 1e6, "mm": 1e6, "m": 1e6,
    "crore": 1e7,
    "billion": 1e9, "bn": 1e9, "b": 1e9,
    "trillion": 1e12, "tn": 1e12, "t": 1e12,
}  # fmt: skip

MARK = re.compile(
    r"\banswer[ \t*_]*(?:\([^()\n]{0,40}\)[ \t*_]*)?(?:is\b\s*:?|[:=])", re.IGNORECASE
)
OPENING_MARK = re.compile(
    rf"^[ \t*_#>]*(?:final[ \t]+)?{MARK.pattern}", re.IGNORECASE | re.MULTILINE
)
YEAR = r"(?:fiscal\s+(?:year\s+)?|FY\s?)?(?:19|20)\d\d\b"
REMARK = re.compile(
    rf"(?<=\S)(?:\s+\((?:{YEAR}|[a-z][^()]{{0,200}})\)"
    rf"|,?\s+(?:in|of|for|from|to|through|until|between|and|during|as\s+of|over|vs\.?)\s+(?:the\s+)?{YEAR})"
    r"[\s.;,*_]*$",
    re.IGNORECASE,
)
NEXT_QUESTION = re.compile(r"\n[ \t*#]*question\b[^\n:]{0,20}:", re.IGNORECASE)
SEPARATOR = re.compile("(?<=\\d)['’\u00a0\u202f\u2009](?=\\d{3}(?!\\d))")  # noqa: RUF001
CURRENCY = (
    r"(?:[A-Z]{0,3}[$€£¥₹₩₪₺₽]|Rs\.?|USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|CNY|INR|HKD|SGD|SEK|NOK|DKK|KRW"
    r"|BRL|MXN|ZAR)"
)
NUMBER = re.compile(
    rf"""
    (?P<open>\()?\s*
    (?<![\w.)])(?P<sign>[-+])?\s*{CURRENCY}?\s*(?P<inner>[-(])?\s*
    (?P<digits>
        \d{{1,3}}(?:,\d{{3}}){{1,9}}(?:\.\d+)?(?!,?\d)
        | \d{{1,2}}(?:,\d{{2}}){{1,9}},\d{{3}}(?:\.\d+)?(?!,?\d)
        | (?:\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d{{1,2}}\b)?
    )
    \s*(?P<percent>%|percent(?:age\ points?)?\b|pct\b|per\ cent\b)?
    \s*(?P<scale>(?:(?:thousand|lakh|million|crore|billion|trillion)s?|mn|mm|bn|tn|k|m|b|t)\b)?
    \s*(?P<percent_after>%)?\s*(?:{CURRENCY}\s*)?(?P<close>\))?
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Number:
    bare: float
    """Value as written, without percent sign and scale word."""
    unit: float
    """What percent sign and scale word multiply by; 1 without them."""
    decimals: int
    """Digits after the decimal point."""
    has_unit: bool
    """Whether a percent sign or a scale word is written."""

    @property
    def value(self) -> float:
        return self.bare * self.unit


def score_answer(prediction: str, reference: str) -> dict[str, float]:
    """`answer_accuracy` by the rule above; `has_answer`: something follows an `Answer:`."""
    written = find_answer(prediction)
    judged = written or _last_line(prediction)
    return {
        "answer_accuracy": float(is_same_answer(judged, reference)),
        "has_answer": float(bool(written)),
    }


def find_answer(text: str) -> str:
    """First line after the last answer mark; empty where there is none."""
    text = _leave_out_next_question(text)
    marks = _find_marks(text)
    lines = text[marks[-1].end() :].strip().splitlines() if marks else []
    return lines[0].strip() if lines else ""


def split_reasoning(prediction: str) -> str:
    """What stands before the last answer mark; all of it where there is none, since a text that
    comes to no answer only leads to one."""
    text = _leave_out_next_question(prediction)
    marks = _find_marks(text)
    return text[: marks[-1].start()] if marks else prediction


def _find_marks(text: str) -> list[re.Match[str]]:
    """The marks that open a line; where none does, all."""
    return list(OPENING_MARK.finditer(text)) or list(MARK.finditer(text))


def _leave_out_next_question(text: str) -> str:
    first_mark = MARK.search(text)
    following = NEXT_QUESTION.search(text, first_mark.end()) if first_mark else None
    return text[: following.start()] if following else text


def is_same_answer(answer: str, reference: str) -> bool:
    if not answer:
        return False
    expected = find_numbers(_leave_out_remarks(reference))
    if not expected:
        return _is_same_text(answer, reference)
    found = find_numbers(_leave_out_remarks(answer))
    return bool(found) and is_same_number(found[-1], expected[-1])


def _leave_out_remarks(text: str) -> str:
    """Without what closes a line after its number: words in parentheses, and years."""
    # More than a few, and it is no remark any more.
    for _ in range(MAX_REMARKS):
        remark = REMARK.search(text, max(0, len(text) - REMARK_CHARACTERS))
        if remark is None or not find_numbers(text[: remark.start()]):
            break
        text = text[: remark.start()]
    return text


def find_numbers(text: str) -> list[Number]:
    """Every number of a text, left to right, with its sign, percent sign and scale word."""
    text = text.replace("−", "-").replace("–", "-")  # noqa: RUF001
    text = SEPARATOR.sub(",", text)
    return [_read_number(match) for match in NUMBER.finditer(text)]


def _read_number(match: re.Match[str]) -> Number:
    digits = match["digits"].replace(",", "").lower()
    mantissa, _, exponent = digits.partition("e")
    negative = match["sign"] == "-" or match["inner"] == "-"
    # Accountants' brackets: (5) and $(5) are -5.
    if match["close"] and (match["open"] or match["inner"] == "("):
        negative = not negative
    scale = (match["scale"] or "").lower()
    unit = SCALES[scale if scale in SCALES else scale.removesuffix("s")] if scale else 1.0
    has_percent = bool(match["percent"] or match["percent_after"])
    return Number(
        bare=-float(digits) if negative else float(digits),
        unit=unit / 100 if has_percent else unit,
        decimals=max(0, len(mantissa.partition(".")[2]) - int(exponent or 0)),
        has_unit=has_percent or bool(scale),
    )


def is_same_number(found: Number, expected: Number) -> bool:
    if found.has_unit == expected.has_unit:
        if found.unit == expected.unit and found.decimals == expected.decimals == 0:
            return found.bare == expected.bare
        return _is_close(found.value, expected.value, expected.decimals, expected.unit)
    if found.has_unit:
        readings = (found.value, found.bare)
        return any(_is_close(value, expected.bare, expected.decimals, 1) for value in readings)
    return _is_close(found.bare, expected.value, expected.decimals, expected.unit) or _is_close(
        found.bare, expected.bare, expected.decimals, 1
    )


def _is_close(found: float, expected: float, decimals: int, unit: float) -> bool:
    # Half a unit of a whole number would take 7.4 for 7.
    half_unit = 0.5 * 10.0**-decimals * unit if decimals else 0.0
    allowed = max(half_unit, RELATIVE_TOLERANCE * abs(expected))
    return abs(found - expected) <= allowed + ROUNDING_SLACK * max(1.0, abs(expected))


def _is_same_text(answer: str, reference: str) -> bool:
    found, expected = _normalise(answer), _normalise(reference)
    if expected in ("yes", "no"):
        found = found.partition(" ")[0]
    return found == expected != ""


def _normalise(text: str) -> str:
    words = re.sub(r"[^\w\s.%-]", " ", text.casefold()).split()
    kept = (word.strip(".-") for word in words if word not in ("a", "an", "the"))
    return " ".join(word for word in kept if word)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
