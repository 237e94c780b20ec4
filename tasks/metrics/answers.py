"""Right or wrong of one numeric or textual answer, the plain function behind `answer_accuracy`.

The rule, in full:

1. What is judged stands on the first line after the last `Answer:` that opens a line; without such
   a one, after the last anywhere (`the answer is`); without any mark, in the last `\\boxed{}`, or
   on the last line that is not blank. Of that line it is what is boxed or set in bold with a
   number, else its first sentence. What follows a line `Question:` after an answer is not looked
   at: base models go on with questions of their own.
2. Its number is the last one there; a closing remark after a number is no part of it: words in
   parentheses, years, and the same number once more (`12.5% (rounded)`, `5 million in 2019`, `0.125
   (12.5%)`). Thousands separators (1,234 and 12,34,567; 12 345, 1.234.567 and 1.234,50; the
   apostrophe and the no-break space likewise), currency signs and codes and spaces are left out; a
   minus sign or enclosing parentheses make it negative; a percent sign divides by 100, basis points
   by 10,000; thousand, million, billion, trillion (k, m, mn, mm, bn, b, tn, t), lakh and crore
   multiply, and so does an exponent (`1.5e6`, `1.5 x 10^6`). A fraction (`3/4`) is its value.
3. Where only one side has a percent sign or a scale word, it may also be read without: tables are
   "in millions", and `12.5` is often meant as `12.5%`.
4. Two whole numbers with the same unit must be equal. Else they may differ by 0.1% of the reference
   or by half a unit of the reference's last decimal, whichever is more.
5. A number that is said to fall or rise (`decreased by 5%`, `a 5% decline`) may be meant with
   either sign, but does not rise where the reference falls. A reference that is a range (`5-10`)
   asks for both ends, and a time of day for the same one. Words before a bare whole number are a
   part of it (`Division 1`, `Q3 2019`).
6. A reference without a number is compared as text: lower case, no punctuation, no articles. `yes`
   and `no` are judged by the first word.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
MINUS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"))
SUPERSCRIPT = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-"
)
RAISED = re.compile("(?<=10)[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]{1,3}")
POWER = re.compile(
    r"(?<=\d)\s?(?:[x\u00d7*]|\\times)\s?10\s?(?:\^|\*\*)\s?\{?([-+]?\d{1,2})\}?", re.IGNORECASE
)
EUROPEAN = re.compile(
    r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?:,\d+|(?=[^\d.,]|[.,]?$)(?<=\.\d{3}\.\d{3}))(?![\d])"
)
DECIMAL_COMMA = re.compile(r"(?<![\d.,])(?:0,\d+|\d+,(?:\d{1,2}|\d{4,}))(?![\d]|[.,]\d)")
"""A comma that separates no group of three digits."""
SPACED = re.compile(r"(?<![\d.,])(?<!\d )\d{1,3}(?: \d{3})+(?![\d]| \d)")
BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\}){1,200})\}")
BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
SENTENCE = re.compile(r"(?<=[^\W_])[.!?]\s+(?=[A-Z\"'(])|(?<=[%)])[.!?]\s+(?=[A-Z\"'(])")
DOWN = r"(?:decreas|declin|fell|fall|dropp?|reduc|lower|shr[aiu]nk)\w*"
UP = r"(?:increas|rose|ris|grew|grow|gain|climb)\w*"
TOLD = re.compile(
    rf"\b(?:(?P<down>{DOWN})|(?P<up>{UP}))\s+(?:of\s+|by\s+)?(?:(?:about|roughly|nearly|approximately"
    rf"|around|almost|an?)\s+)*[$\u20ac\u00a3\u00a5~]?\s*$",
    re.IGNORECASE,
)
TOLD_AFTER = re.compile(rf"\s*(?:(?P<down>{DOWN})|(?P<up>{UP}))\b", re.IGNORECASE)
TIME = re.compile(r"(?<![\d:.])\d{1,2}:\d{2}(?::\d{2})?(?![\d:])")
"""A time of day, which is no number."""
FILLERS = frozenset(
    (
        *("a", "an", "the", "about", "approximately", "around", "roughly", "nearly"),
        *("almost", "is", "was", "are", "were", "be", "of", "to"),
        *("by", "at", "in", "for", "and", "or", "total", "value"),
        *("answer", "result", "equals", "only", "just", "exactly", "fy", "fiscal"),
        *("year"),
    )
)
MOST_LABEL_WORDS = 4
NUMBER = re.compile(
    rf"""
    (?P<open>\()?\s*
    (?<![\w.)])(?P<sign>[-+])?\s*{CURRENCY}?\s*(?P<inner>[-(])?\s*
    (?P<digits>
        (?<!/)\d{{1,6}}\s?/\s?[1-9]\d{{0,5}}(?![\d/]|[.,]\d)
        | \d{{1,3}}(?:,\d{{3}}){{1,9}}(?:\.\d+)?(?!,?\d)
        | \d{{1,2}}(?:,\d{{2}}){{1,9}},\d{{3}}(?:\.\d+)?(?!,?\d)
        | (?:\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d{{1,2}}\b)?
    )
    \s*(?P<points>bps\b|bp\b|basis\ points?\b)?
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
    start: int = 0
    end: int = 0
    """Where it stands."""

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
    """First line after the last answer mark, or what is boxed; empty where there is neither."""
    text = _leave_out_next_question(text)
    marks = _find_marks(text)
    lines = text[marks[-1].end() :].strip().splitlines() if marks else []
    if lines and lines[0].strip():
        return lines[0].strip()
    boxed = BOXED.findall(text)
    return boxed[-1].strip() if boxed else ""


def find_value(text: str) -> str:
    """What of an answer with an explanation is it: boxed, in bold, or in the first sentence.

    That is a part of the first line that is not blank, without an answer mark before it.
    """
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if marks := _find_marks(line):
        line = line[marks[-1].end() :].strip()
    boxed = BOXED.findall(line)
    if boxed:
        return str(boxed[-1]).strip()
    bold = [found for found in BOLD.findall(line) if find_numbers(found)]
    if len(bold) == 1:
        return str(bold[0]).strip()
    return SENTENCE.split(line)[0].strip()


def split_reasoning(prediction: str) -> str:
    """What stands before the last answer mark; all of it where there is none, since a text that
    comes to no answer only leads to one."""
    text = _leave_out_next_question(prediction)
    marks = _find_marks(text)
    return text[: marks[-1].start()] if marks else prediction


def find_answer_text(text: str) -> str:
    """All that follows the last `Answer:` that opens a line; the whole text where there is none."""
    text = _leave_out_next_question(text)
    marks = list(OPENING_MARK.finditer(text))
    return text[marks[-1].end() :].strip() if marks else text


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
    answer, reference = (_leave_out_remarks(find_value(each)) for each in (answer, reference))
    expected, found = find_numbers(reference), find_numbers(answer)
    if not expected:
        return _is_same_text(answer, reference)
    if times := TIME.findall(reference):
        return TIME.findall(answer)[-len(times) :] == times
    if not found or not _has_words_of(reference, expected[-1], answer):
        return False
    if _is_range(reference, expected):
        ends = zip(found[-2:], expected, strict=False)
        return len(found) >= 2 and all(is_same_number(*pair) for pair in ends)
    if len(expected) == 1 and _is_range(answer, found):
        return False
    last, wanted = _tell(answer, found[-1]), _tell(reference, expected[-1])
    if last and wanted and last != wanted:
        return False
    signs = itertools.product(
        (1, -1) if last == "down" else (1,), (1, -1) if wanted == "down" else (1,)
    )
    return any(
        is_same_number(
            replace(found[-1], bare=a * found[-1].bare),
            replace(expected[-1], bare=b * expected[-1].bare),
        )
        for a, b in signs
    )


def _is_range(text: str, numbers: Sequence[Number]) -> bool:
    """Whether a text is two numbers with a dash, or `to`, between them."""
    if len(numbers) != 2:
        return False
    text = _normalise_digits(text)
    first, second = numbers
    between = text[first.end : second.start].strip()
    outside = text[: first.start].strip(" ~$(") + text[second.end :].strip(" .)*")
    return between in ("-", "to") and not outside


def _tell(text: str, number: Number) -> str | None:
    """Whether a number is said to go down or up, by the words beside it."""
    text = _normalise_digits(text)
    # What is found of a number includes the space before it.
    found = TOLD.search(f"{text[max(0, number.start - 60) : number.start]} ")
    found = found or TOLD_AFTER.match(text, number.end)
    return None if found is None else "down" if found["down"] else "up"


def _has_words_of(reference: str, number: Number, answer: str) -> bool:
    """Whether an answer has the words that a bare whole number of a reference stands behind."""
    text = _normalise_digits(reference)
    before = re.findall(r"[^\W_]+", text[: number.start].casefold())
    is_bare = not number.has_unit and not number.decimals and number.bare >= 0
    if not is_bare or len(before) > MOST_LABEL_WORDS or text[: number.start].rstrip()[-1:] in "=:$":
        return True
    wanted = set() if FILLERS & set(before) else set(before)
    return wanted <= set(re.findall(r"[^\W_]+", answer.casefold()))


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
    """Every number of a text, left to right, with its sign, percent sign and scale word.

    One that says in parentheses what the one before it says is left out.
    """
    numbers: list[Number] = []
    text = _normalise_digits(text)
    for match in NUMBER.finditer(text):
        number = _read_number(match)
        if numbers and match["open"] and match["close"] and match.start() == numbers[-1].end:
            again = replace(number, bare=abs(number.bare))
            if is_same_number(again, replace(numbers[-1], bare=abs(numbers[-1].bare))):
                continue
        numbers.append(number)
    return numbers


def is_ambiguous(text: str) -> bool:
    """Whether a text has a comma that may be a decimal sign or not, as in `12,5`."""
    return DECIMAL_COMMA.search(EUROPEAN.sub("", text)) is not None


WITH_COMMA = re.compile(
    r"(?<![\w.,])\d{1,3}(?:[. \u00a0\u202f']\d{3})+(?:,\d+)?(?!\d)|\d+,\d+(?!\d)"
)
"""A number with groups and a decimal comma, as in `1.234,5`, or with one of the two."""


def write_points(text: str) -> str:
    """Write numbers with a decimal comma (`1.234,5`) with a decimal point (`1234.5`)."""
    return WITH_COMMA.sub(lambda found: re.sub(r"[^\d,]", "", found[0]).replace(",", "."), text)


def _normalise_digits(text: str) -> str:
    """One way of writing minus signs, groups of digits, decimal points and powers of ten."""
    text = text.translate(MINUS)
    text = RAISED.sub(lambda found: "^" + found[0].translate(SUPERSCRIPT), text)
    text = POWER.sub(r"e\1", text)
    text = EUROPEAN.sub(lambda found: found[0].replace(".", "").replace(",", "."), text)
    text = DECIMAL_COMMA.sub(lambda found: found[0].replace(",", "."), text)
    text = SPACED.sub(lambda found: found[0].replace(" ", ""), text)
    return SEPARATOR.sub(",", text)


def _read_number(match: re.Match[str]) -> Number:
    digits = match["digits"].replace(",", "").lower()
    upper, slash, lower = digits.partition("/")
    if slash and not (_is_year(upper) and _is_year(lower)):
        # As exact as the tolerance asks for.
        digits = f"{int(upper) / int(lower):.9f}"
    elif slash:
        digits = lower.strip()
    mantissa, _, exponent = digits.partition("e")
    negative = match["sign"] == "-" or match["inner"] == "-"
    # Accountants' brackets: (5) and $(5) are -5.
    if match["close"] and (match["open"] or match["inner"] == "("):
        negative = not negative
    scale = (match["scale"] or "").lower()
    unit = SCALES[scale if scale in SCALES else scale.removesuffix("s")] if scale else 1.0
    has_percent = bool(match["percent"] or match["percent_after"])
    if match["points"]:
        unit /= 10_000
    return Number(
        bare=-float(digits) if negative else float(digits),
        unit=unit / 100 if has_percent else unit,
        decimals=max(0, len(mantissa.partition(".")[2]) - int(exponent or 0)),
        has_unit=has_percent or bool(scale) or bool(match["points"]),
        start=match.start(),
        end=match.end(),
    )


def _is_year(digits: str) -> bool:
    return re.fullmatch(r"\s*(?:19|20)\d\d\s*", digits) is not None


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
