"""ROUGE of one summary, the plain function behind `summary_rouge`."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def score_summary(prediction: str, reference: str) -> dict[str, float]:
    """F-measures of ROUGE-1, 2, L and Lsum by Google's rouge_score, with its stemmer.

    Lsum compares sentence by sentence. Sentences end at line breaks and at `.`, `!` or `?` before a
    space: rouge_score would ask nltk for them, which downloads a model. Words are rouge_score's
    too, runs of a-z and 0-9, unless a tenth of the reference's letters or more are of another
    script: then they are Unicode's, and single characters where a script sets no spaces.
    """
    scorer = _load_scorer(has_other_script(reference))
    scores = scorer.score(_break_lines(reference), _break_lines(prediction))
    return {name: float(scores[name].fmeasure) for name in ROUGE_TYPES}


def has_words(text: str) -> bool:
    """Whether a text has anything that ROUGE counts: it scores 1 on itself then, and else 0."""
    if not text.isascii() and has_other_script(text):
        return bool(UnicodeTokenizer().tokenize(text))
    return re.search("[a-z0-9]", text.lower()) is not None


@cache
def _load_scorer(is_unicode: bool) -> Any:
    from rouge_score import rouge_scorer

    if is_unicode:
        return rouge_scorer.RougeScorer(list(ROUGE_TYPES), tokenizer=UnicodeTokenizer())
    return rouge_scorer.RougeScorer(list(ROUGE_TYPES), use_stemmer=True)


class UnicodeTokenizer:
    """Words in any script, in lower case and composed (NFKC), as rouge_score asks for them."""

    def tokenize(self, text: str) -> list[str]:
        return WORD.findall(unicodedata.normalize("NFKC", text).lower())


UNSPACED = (
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"
)
"""Japanese, Chinese, Thai, Lao, Burmese and Khmer, which set no spaces between words."""

MARKS = "\u0300-\u036f\u0900-\u0dff\u064b-\u065f"
"""Signs of vowels and accents, which `\\w` leaves out: parts of a word (Hindi, Arabic)."""

WORD = re.compile(f"[{UNSPACED}]|(?:(?![{UNSPACED}_])[\\w{MARKS}])+")

OTHER_SHARE = 0.1
"""Of a text's letters, so many of another script than Latin make it one of that script."""


def has_other_script(text: str) -> bool:
    """Whether a good part of a text is in another script than Latin."""
    letters = [character for character in text if character.isalpha()]
    others = sum(not _is_latin(character) for character in letters)
    return others > 0 and others >= OTHER_SHARE * len(letters)


def describe_words(references: Sequence[str]) -> str | None:
    """A sentence on the words that are counted, where they are not rouge_score's own."""
    count = sum(map(has_other_script, references))
    if not count:
        return None
    return (
        "ROUGE counts Unicode words, and single characters in Chinese, Japanese and Thai, on "
        f"{count} of {len(references)} examples, whose references are in another script than Latin."
    )


@cache
def _is_latin(character: str) -> bool:
    return character.isascii() or unicodedata.name(character, "").startswith("LATIN")


def _break_lines(text: str) -> str:
    return re.sub(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f\u0964])\s*", "\n", text.strip())
