"""How numbers are written in tables, plots and sentences; an unknown one is a dash everywhere."""

import math
from collections.abc import Sequence

UNKNOWN = "\N{EN DASH}"


def format_score(value: float) -> str:
    """A score or regret, in units of [0, 1], to three decimals."""
    return UNKNOWN if math.isnan(value) else f"{value:.3f}"


def format_ratio(value: float) -> str:
    """A ratio of times to the base's: 1.05x is 5% longer."""
    return UNKNOWN if math.isnan(value) else f"{value:.3f}x"


def format_score_interval(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return UNKNOWN
    bounds = "interval unknown" if math.isnan(low) else f"{low:.3f} to {high:.3f}"
    return f"{value:.3f} ({bounds})"


def format_difference_interval(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return UNKNOWN
    bounds = "interval unknown" if math.isnan(low) else f"{low:+.3f} to {high:+.3f}"
    return f"{value:+.3f} ({bounds})"


def format_ratio_interval(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return UNKNOWN
    return f"{value:.3f}x ({low:.3f} to {high:.3f})"


def format_chance(value: float) -> str:
    """A chance, as a percentage; only all of them are 100%, and none of them 0%."""
    if math.isnan(value):
        return UNKNOWN
    if 0 < value < 0.005 or 0.995 <= value < 1:
        return "under 1%" if value < 0.5 else "over 99%"
    return f"{value:.0%}"


def format_p(value: float) -> str:
    """The p value of a test."""
    if math.isnan(value):
        return UNKNOWN
    return "under 0.001" if value < 0.001 else f"{value:.3f}"


def format_share(value: float) -> str:
    """A share as a percentage; one too small for its decimal is not called 0."""
    if math.isnan(value):
        return UNKNOWN
    return "under 0.1%" if 0 < value < 0.0005 else f"{value:.1%}"


def format_tokens(value: float) -> str:
    """A mean number of tokens: with a decimal where it is short."""
    return UNKNOWN if math.isnan(value) else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def format_count(value: float) -> str:
    """A count in the usual short form: 921, 4.6 k, 1.23 M."""
    if math.isnan(value):
        return UNKNOWN
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def format_bytes(value: float) -> str:
    if math.isnan(value):
        return UNKNOWN
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if abs(value) >= 1024**power:
            return f"{value / 1024**power:.1f} {unit}"
    return f"{value:.0f} B"


def format_duration(seconds: float) -> str:
    """Format a duration roughly, as a person says it: 45 s, 10 min, 1.6 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def format_seconds(value: float) -> str:
    if math.isnan(value):
        return UNKNOWN
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def pad_columns(rows: Sequence[Sequence[str]], *, is_right: bool = False) -> list[str]:
    """Return rows as lines whose columns have one width each.

    Cells stand to the left or, `is_right`, those behind the first to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ["<", *[">" if is_right else "<"] * len(widths)]
    template = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=False))
    return [template.format(*row).rstrip() for row in rows]


def rule_table(rows: Sequence[Sequence[str]], *, is_right: bool = False) -> str:
    """Return rows as a table of text, with a rule under the first; `is_right` as `pad_columns`."""
    header, *lines = pad_columns(rows, is_right=is_right)
    return "\n".join([header, "-" * max(map(len, [header, *lines])), *lines])


def capitalize(text: str) -> str:
    """Make the first letter a capital; the rest, such as names, stays as it is."""
    return text[:1].upper() + text[1:]


def join_words(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; where words have commas of their own, `a, x; b and c`."""
    comma = "; " if any("," in word for word in words) else ", "
    return " and ".join([comma.join(words[:-1]), words[-1]] if len(words) > 1 else words)


def pluralize(count: int, noun: str, plural: str = "") -> str:
    """`1 set`, `2 sets`; `plural` is given where it is not the noun and an s."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"
