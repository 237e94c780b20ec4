"""Ways to set an invoice on paper: independent choices, so that thousands of layouts differ."""

import random
from dataclasses import dataclass
from typing import Literal, TypeVar

T = TypeVar("T")

PairSetting = Literal["colon", "space", "dots", "bar", "under", "columns", "row"]
ItemSetting = Literal[
    "quantity_first",
    "name_first",
    "price_before_quantity",
    "times_below",
    "amount_below",
    "receipt",
]
CodeSetting = Literal["none", "article", "position"]

OPENING_BLOCKS = ("vendor", "meta", "buyer")
PAIR_SETTINGS: dict[PairSetting, int] = {
    "colon": 8,
    "space": 7,
    "dots": 1,
    "bar": 1,
    "under": 2,
    "columns": 2,
    "row": 1,
}
"""How labels and values stand: side by side with a mark, one under the other, all labels and then
all values, or all on one line. With their weights."""
ITEM_SETTINGS: dict[ItemSetting, int] = {
    "quantity_first": 5,
    "name_first": 6,
    "price_before_quantity": 2,
    "times_below": 2,
    "amount_below": 2,
    "receipt": 2,
}
"""Where quantity, price and amount of an item stand. With their weights."""
SEPARATORS = {" ": 14, "  ": 3, " | ": 2, "; ": 1}
"""What stands between the cells of a table. With their weights."""
CODES: dict[CodeSetting, int] = {"none": 8, "article": 2, "position": 2}
"""What a line of the table begins with. With their weights."""


@dataclass(frozen=True)
class Layout:
    opening: tuple[str, ...]
    """Blocks above the table, in their order."""
    vendor_at_foot: bool
    """Letterheads with the company at the foot of the page."""
    beside: bool
    """Vendor and meta data are two columns, which OCR reads line by line across."""
    meta: PairSetting
    totals: PairSetting
    items: ItemSetting
    separator: str
    has_heads: bool
    codes: CodeSetting
    wraps: bool
    """Descriptions of two parts take two lines."""
    capitals: bool
    """The vendor in capitals."""
    money_style: str
    """`symbol` or `code`: how the total, at least, names its currency."""
    money_everywhere: bool
    """All of the totals name the currency."""
    has_groups: bool
    """Thousands are grouped."""
    minus_discount: bool
    shows_discount_percent: bool
    date_pattern: str


def draw_layout(
    rng: random.Random, money_styles: tuple[str, ...], date_patterns: tuple[str, ...]
) -> Layout:
    return Layout(
        opening=_draw_opening(rng),
        vendor_at_foot=rng.random() < 0.12,
        beside=rng.random() < 0.1,
        meta=_draw(rng, PAIR_SETTINGS),
        totals=_draw(rng, PAIR_SETTINGS),
        items=_draw(rng, ITEM_SETTINGS),
        separator=_draw(rng, SEPARATORS),
        has_heads=rng.random() < 0.5,
        codes=_draw(rng, CODES),
        wraps=rng.random() < 0.5,
        capitals=rng.random() < 0.15,
        money_style=rng.choice(money_styles),
        money_everywhere=rng.random() < 0.4,
        has_groups=rng.random() < 0.7,
        minus_discount=rng.random() < 0.5,
        shows_discount_percent=rng.random() < 0.3,
        date_pattern=rng.choice(date_patterns),
    )


def _draw_opening(rng: random.Random) -> tuple[str, ...]:
    blocks = list(OPENING_BLOCKS if rng.random() < 0.55 else OPENING_BLOCKS[:2])
    if rng.random() < 0.5:
        rng.shuffle(blocks)
    return tuple(blocks)


def _draw(rng: random.Random, weights: dict[T, int]) -> T:
    return rng.choices(list(weights), weights=list(weights.values()))[0]
