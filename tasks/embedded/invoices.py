"""Random invoices: what they say, and the JSON that a reader should make of them.

Amounts are whole hundredths of the currency's unit (cents), so that they add up exactly.
"""

import random
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from tasks.embedded.invoice_locales import LOCALES, InvoiceLocale

VENDOR_NAMES = (
    "Harlow", "Brightwater", "Kessler", "Montfort", "Oakridge", "Silverline", "Tanaka", "Vermeer",
    "Lindqvist", "Bellamy", "Castellan", "Durand", "Eastgate", "Falkner", "Greystone", "Hollis",
    "Ibarra", "Jansen", "Kowalski", "Lattimer", "Moreau", "Nordholm", "Osborne", "Pemberton",
    "Quintana", "Rossi", "Svoboda", "Teixeira", "Ullman", "Venkat", "Whitcombe", "Yamada",
)  # fmt: skip
VENDOR_TRADES = (
    "Supply", "Trading", "Tools", "Office", "Foods", "Print", "Light", "Garden", "Paper", "Parts",
)  # fmt: skip
ITEMS = (
    "Desk lamp", "Paper A4", "Steel bolts", "Garden hose", "Blue ink", "Coffee beans", "Oak shelf",
    "Wall clock", "USB cable", "Door hinge", "Wood glue", "Filter bags", "Work gloves", "Zip ties",
    "Paint roller", "Glass jar", "Tea towels", "Hand soap", "Drill bits", "Copper wire",
    "Packing tape", "Light bulb", "Notebook", "Safety vest", "Storage box", "Floor mat",
    "Repair service", "Site visit", "Brass valve", "Rubber seal", "Toner black", "Whiteboard",
)  # fmt: skip
DETAILS = (
    "size L", "white", "large", "box of 10", "type B", "heavy duty", "small", "with case",
    "green", "set of 4",
)  # fmt: skip
QUANTITIES = (1, 1, 2, 3, 4, 5, 6, 8, 10, 12)
SHIPPING_CENTS = (495, 750, 990, 1200)
FIRST_DAY = date(2018, 1, 1)
DAYS = 2800


@dataclass(frozen=True)
class Item:
    name: str
    detail: str
    """Second part of the description, which a page may set on a line of its own; may be empty."""
    quantity: int
    price_cents: int
    tax_rate: int
    """In hundredths of a percent."""

    @property
    def amount_cents(self) -> int:
        return self.quantity * self.price_cents

    @property
    def description(self) -> str:
        return f"{self.name} {self.detail}".strip()


@dataclass(frozen=True)
class TaxLine:
    rate: int
    """In hundredths of a percent."""
    cents: int


@dataclass(frozen=True)
class Invoice:
    locale: InvoiceLocale
    vendor: str
    number: str
    issued: date
    items: tuple[Item, ...]
    discount_percent: int
    shipping_cents: int

    @property
    def net_cents(self) -> int:
        return sum(item.amount_cents for item in self.items)

    @property
    def discount_cents(self) -> int:
        return _divide(self.net_cents * self.discount_percent, 100, self.locale.smallest_cents)

    @property
    def taxes(self) -> tuple[TaxLine, ...]:
        """Tax by rate, highest first: items less their part of the discount; shipping is taxed at
        the highest rate."""
        rates = sorted({item.tax_rate for item in self.items if item.tax_rate}, reverse=True)
        return tuple(TaxLine(rate, self._tax_at(rate, rate == rates[0])) for rate in rates)

    def _tax_at(self, rate: int, has_shipping: bool) -> int:
        goods = sum(item.amount_cents for item in self.items if item.tax_rate == rate)
        # In parts of the net amount, so that nothing is rounded before the end.
        taxed = goods * (self.net_cents - self.discount_cents)
        if has_shipping:
            taxed += self.shipping_cents * self.net_cents
        return _divide(taxed * rate, 10_000 * self.net_cents, self.locale.smallest_cents)

    @property
    def tax_cents(self) -> int:
        return sum(line.cents for line in self.taxes)

    @property
    def total_cents(self) -> int:
        return self.net_cents - self.discount_cents + self.shipping_cents + self.tax_cents


def make_invoice(rng: random.Random) -> Invoice:
    locale = rng.choices(LOCALES, weights=[locale.weight for locale in LOCALES])[0]
    vendor = f"{rng.choice(VENDOR_NAMES)} {rng.choice(VENDOR_TRADES)}"
    shipping = rng.choice(SHIPPING_CENTS) if rng.random() < 0.12 else 0
    return Invoice(
        locale=locale,
        vendor=f"{vendor} {rng.choice(locale.company_forms)}",
        number=make_number(rng),
        issued=FIRST_DAY + timedelta(days=rng.randrange(DAYS)),
        items=_make_items(rng, locale),
        discount_percent=rng.choice((5, 10)) if rng.random() < 0.3 else 0,
        shipping_cents=_divide(shipping * locale.money_factor, 1, locale.smallest_cents),
    )


def make_number(rng: random.Random) -> str:
    digits = str(rng.randint(1000, 99999))
    return rng.choice(("", "INV-", "R", "2023/", "F-", "A")) + digits


def _make_items(rng: random.Random, locale: InvoiceLocale) -> tuple[Item, ...]:
    names = rng.sample(ITEMS, k=rng.choice((1, 1, 2, 2, 2, 2, 3)))
    draw = rng.random()
    # A tenth without tax, a tenth of several rates where the country has them.
    rates = (0,) if draw < 0.1 else locale.tax_rates[:2] if draw < 0.2 else locale.tax_rates[:1]
    return tuple(
        Item(
            name=name,
            detail=rng.choice(DETAILS) if rng.random() < 0.2 else "",
            quantity=rng.choice(QUANTITIES),
            price_cents=_make_price(rng) * locale.money_factor,
            tax_rate=rng.choice(rates),
        )
        for name in names
    )


def _make_price(rng: random.Random) -> int:
    cents = rng.randint(4, 199) * 25
    # A few dear items, so that some amounts have a grouping mark.
    return cents * 20 if rng.random() < 0.08 else cents


def _divide(amount: int, divisor: int, step: int) -> int:
    """The quotient as the nearest multiple of `step`, halves upwards."""
    return (2 * amount + divisor * step) // (2 * divisor * step) * step


def to_fields(invoice: Invoice) -> dict[str, Any]:
    """The clean values: ISO date and currency, amounts with two decimals and a point."""
    totals = {"net": invoice.net_cents, "discount": invoice.discount_cents}
    totals |= {"shipping": invoice.shipping_cents}
    totals |= {"tax": invoice.tax_cents, "total": invoice.total_cents}
    return {
        "vendor": invoice.vendor,
        "invoice_no": invoice.number,
        "date": invoice.issued.isoformat(),
        "currency": invoice.locale.currency,
        "items": [
            {
                "name": item.description,
                "qty": item.quantity,
                "price": format_cents(item.price_cents),
            }
            for item in invoice.items
        ],
        # A paper without discount or tax has no such line, and its JSON no such key.
        "totals": {name: format_cents(cents) for name, cents in totals.items() if cents},
    }


def format_cents(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"
