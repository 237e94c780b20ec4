"""Random invoices: what they say, and the JSON that a reader should make of them."""

import random
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

VENDOR_NAMES = (
    "Harlow", "Brightwater", "Kessler", "Montfort", "Oakridge", "Silverline", "Tanaka", "Vermeer",
    "Lindqvist", "Bellamy", "Castellan", "Durand", "Eastgate", "Falkner", "Greystone", "Hollis",
    "Ibarra", "Jansen", "Kowalski", "Lattimer", "Moreau", "Nordholm", "Osborne", "Pemberton",
)  # fmt: skip
VENDOR_TRADES = (
    "Supply", "Trading", "Tools", "Office", "Foods", "Print", "Light", "Garden", "Paper", "Parts",
)  # fmt: skip
ITEMS = (
    "Desk lamp", "Paper A4", "Steel bolts", "Garden hose", "Blue ink", "Coffee beans", "Oak shelf",
    "Wall clock", "USB cable", "Door hinge", "Wood glue", "Filter bags", "Work gloves", "Zip ties",
    "Paint roller", "Glass jar", "Tea towels", "Hand soap", "Drill bits", "Copper wire",
    "Packing tape", "Light bulb", "Notebook", "Safety vest", "Storage box", "Floor mat",
    "Repair service", "Delivery fee", "Brass valve", "Rubber seal", "Toner black", "Whiteboard",
)  # fmt: skip


@dataclass(frozen=True)
class Locale:
    currency: str
    symbol: str
    symbol_leads: bool
    decimal_mark: str
    company_form: str
    date_formats: tuple[str, ...]
    labels: dict[str, tuple[str, ...]]
    """What a field is called on paper, in several wordings."""


ENGLISH = {
    "number": ("Invoice No", "Invoice #", "Inv. no.", "Invoice number", "Bill no"),
    "date": ("Date", "Invoice date", "Issued", "Date of issue"),
    "net": ("Subtotal", "Net amount", "Net"),
    "discount": ("Discount", "Less discount", "Rebate"),
    "tax": ("Tax", "VAT", "Sales tax"),
    "total": ("Total", "Amount due", "TOTAL DUE", "Balance due"),
}
GERMAN = {
    "number": ("Rechnung Nr.", "Rechnungsnummer", "Re-Nr."),
    "date": ("Datum", "Rechnungsdatum"),
    "net": ("Netto", "Zwischensumme"),
    "discount": ("Rabatt", "Nachlass"),
    "tax": ("MwSt", "USt"),
    "total": ("Gesamt", "Rechnungsbetrag", "Brutto"),
}
FRENCH = {
    "number": ("Facture n°", "No de facture"),
    "date": ("Date", "Date de facture"),
    "net": ("Total HT", "Montant HT"),
    "discount": ("Remise", "Rabais"),
    "tax": ("TVA",),
    "total": ("Total TTC", "Net a payer"),
}
LOCALES = (
    Locale("USD", "$", True, ".", "Inc.", ("%m/%d/%Y", "%b %d, %Y", "%m-%d-%y"), ENGLISH),
    Locale("GBP", "£", True, ".", "Ltd", ("%d/%m/%Y", "%d %B %Y", "%d %b %y"), ENGLISH),
    Locale("EUR", "€", False, ",", "GmbH", ("%d.%m.%Y", "%d.%m.%y"), GERMAN),
    Locale("EUR", "€", False, ",", "SARL", ("%d/%m/%Y", "%d-%m-%Y"), FRENCH),
    Locale("CHF", "CHF", True, ".", "AG", ("%d.%m.%Y",), GERMAN),
)


@dataclass(frozen=True)
class Item:
    name: str
    quantity: int
    price_cents: int

    @property
    def amount_cents(self) -> int:
        return self.quantity * self.price_cents


@dataclass(frozen=True)
class Invoice:
    locale: Locale
    vendor: str
    number: str
    issued: date
    items: tuple[Item, ...]
    discount_cents: int
    tax_percent: int

    @property
    def net_cents(self) -> int:
        return sum(item.amount_cents for item in self.items)

    @property
    def tax_cents(self) -> int:
        return round((self.net_cents - self.discount_cents) * self.tax_percent / 100)

    @property
    def total_cents(self) -> int:
        return self.net_cents - self.discount_cents + self.tax_cents


def make_invoice(rng: random.Random) -> Invoice:
    locale = rng.choice(LOCALES)
    vendor = f"{rng.choice(VENDOR_NAMES)} {rng.choice(VENDOR_TRADES)} {locale.company_form}"
    names = rng.sample(ITEMS, k=rng.choice((1, 2, 2, 2, 3)))
    items = tuple(
        Item(name, rng.choice((1, 1, 2, 3, 4, 5, 6, 8, 10, 12)), rng.randint(4, 199) * 25)
        for name in names
    )
    net = sum(item.amount_cents for item in items)
    return Invoice(
        locale=locale,
        vendor=vendor,
        number=make_number(rng),
        issued=date(2018, 1, 1) + timedelta(days=rng.randrange(2500)),
        items=items,
        discount_cents=round(net * rng.choice((5, 10)) / 100) if rng.random() < 0.4 else 0,
        tax_percent=rng.choice((0, 5, 7, 8, 19, 20)),
    )


def make_number(rng: random.Random) -> str:
    digits = str(rng.randint(1000, 99999))
    return rng.choice(("", "INV-", "R", "2023/", "F-", "A")) + digits


def to_fields(invoice: Invoice) -> dict[str, Any]:
    """The clean values: ISO date and currency, amounts with two decimals and a point."""
    totals = {"net": invoice.net_cents, "discount": invoice.discount_cents}
    totals |= {"tax": invoice.tax_cents, "total": invoice.total_cents}
    return {
        "vendor": invoice.vendor,
        "invoice_no": invoice.number,
        "date": invoice.issued.isoformat(),
        "currency": invoice.locale.currency,
        "items": [
            {"name": item.name, "qty": item.quantity, "price": format_cents(item.price_cents)}
            for item in invoice.items
        ],
        # A paper without discount or tax has no such line, and its JSON no such key.
        "totals": {name: format_cents(cents) for name, cents in totals.items() if cents},
    }


def format_cents(cents: int, decimal_mark: str = ".") -> str:
    return f"{cents // 100}{decimal_mark}{cents % 100:02d}"
