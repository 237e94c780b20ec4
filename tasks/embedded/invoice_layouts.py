"""Invoices on paper: the same content in many layouts, as the lines that an OCR engine would read.

A page is blocks (vendor, meta data, recipient, items, totals) of lines; layouts differ in the
blocks' order, in the wording, in how labels and values are set, and in the numbers that distract.
"""

import random

from tasks.embedded.invoices import Invoice, Item, format_cents, make_number

STREETS = ("Mill Lane", "Station Rd", "Hauptstr.", "Rue Verte", "Park Ave", "Kirchweg", "Quay St")
TOWNS = ("Leeds", "Boston", "Bremen", "Lyon", "Zug", "Dayton", "Ghent", "Basel", "Exeter", "Metz")
BUYERS = ("M. Carter", "Orion Labs", "J. Weber", "City School", "A. Petit", "Hotel Astra")
THANKS = (
    "Thank you for your order",
    "Payable within 30 days",
    "No signature needed",
    "Page 1 of 1",
)


def lay_out(rng: random.Random, invoice: Invoice) -> list[list[str]]:
    """Blocks of lines, top to bottom."""
    vendor = _write_vendor(rng, invoice)
    meta = _write_meta(rng, invoice)
    buyer = _write_buyer(rng)
    body = [_write_items(rng, invoice), _write_totals(rng, invoice)]
    opening = [block for block in (vendor, meta, buyer) if block]
    if rng.random() < 0.5:
        rng.shuffle(opening)
    closing = [[rng.choice(THANKS)]] if rng.random() < 0.3 else []
    if rng.random() < 0.15:
        # Letterheads with the company at the foot of the page.
        opening.remove(vendor)
        closing.append(vendor)
    return [*opening, *body, *closing]


def _write_vendor(rng: random.Random, invoice: Invoice) -> list[str]:
    name = invoice.vendor.upper() if rng.random() < 0.2 else invoice.vendor
    lines = [name]
    if rng.random() < 0.6:
        lines.append(f"{rng.randint(1, 99)} {rng.choice(STREETS)}, {rng.choice(TOWNS)}")
    if rng.random() < 0.5:
        lines.append(
            f"{rng.choice(('Tel', 'Phone', 'T:'))} {rng.randint(200, 999)} {_digits(rng, 4)}"
        )
    return lines


def _write_meta(rng: random.Random, invoice: Invoice) -> list[str]:
    labels = invoice.locale.labels
    issued = invoice.issued.strftime(rng.choice(invoice.locale.date_formats))
    pairs = [(rng.choice(labels["number"]), invoice.number), (rng.choice(labels["date"]), issued)]
    distractors = [
        ("Order no", make_number(rng)),
        ("Customer", _digits(rng, 4)),
        ("Ref", make_number(rng)),
    ]
    pairs += rng.sample(distractors, k=rng.choice((0, 1, 1, 2)))
    rng.shuffle(pairs)
    return _set_pairs(rng, pairs)


def _write_buyer(rng: random.Random) -> list[str]:
    if rng.random() < 0.5:
        return []
    head = rng.choice(("Bill to:", "To", "Customer:", "Sold to"))
    return [f"{head} {rng.choice(BUYERS)}"]


def _write_items(rng: random.Random, invoice: Invoice) -> list[str]:
    style = rng.randrange(5)
    heads = ("Qty Item Price Amount", "Description Qty Price Total", "", "", "Item Price Qty Sum")
    lines = [heads[style]] if heads[style] and rng.random() < 0.7 else []
    has_codes = rng.random() < 0.2
    for item in invoice.items:
        code = f"{_digits(rng, 3)} " if has_codes else ""
        lines += _write_item(style, code, item, invoice.locale.decimal_mark)
    return lines


def _write_item(style: int, code: str, item: Item, decimal_mark: str) -> list[str]:
    price = format_cents(item.price_cents, decimal_mark)
    amount = format_cents(item.amount_cents, decimal_mark)
    name, quantity = item.name, item.quantity
    if style == 0:
        return [f"{code}{quantity} {name} {price} {amount}"]
    if style == 1:
        return [f"{code}{name} {quantity} {price} {amount}"]
    if style == 2:
        return [f"{code}{name}", f"{quantity} x {price} = {amount}"]
    if style == 3:
        return [f"{code}{quantity} x {name} @ {price}", amount]
    return [f"{code}{name} {price} {quantity} {amount}"]


def _write_totals(rng: random.Random, invoice: Invoice) -> list[str]:
    labels = {name: rng.choice(words) for name, words in invoice.locale.labels.items()}
    pairs = [(labels["net"], invoice.net_cents)]
    if invoice.discount_cents:
        sign = -1 if rng.random() < 0.5 else 1
        pairs.append((labels["discount"], sign * invoice.discount_cents))
    if invoice.tax_cents:
        pairs.append((f"{labels['tax']} {invoice.tax_percent}%", invoice.tax_cents))
    pairs.append((labels["total"], invoice.total_cents))
    has_symbols = rng.random() < 0.5
    texts = [(label, _write_amount(invoice, cents, has_symbols)) for label, cents in pairs[:-1]]
    # The currency must stand somewhere: always at the total.
    texts.append((pairs[-1][0], _write_amount(invoice, pairs[-1][1], True)))
    return _set_pairs(rng, texts)


def _write_amount(invoice: Invoice, cents: int, has_symbol: bool) -> str:
    locale = invoice.locale
    text = ("-" if cents < 0 else "") + format_cents(abs(cents), locale.decimal_mark)
    if not has_symbol:
        return text
    gap = " " if len(locale.symbol) > 1 or not locale.symbol_leads else ""
    return locale.symbol + gap + text if locale.symbol_leads else text + gap + locale.symbol


def _set_pairs(rng: random.Random, pairs: list[tuple[str, str]]) -> list[str]:
    """Labels and values: side by side, one under the other, or column after column."""
    style = rng.choices(("colon", "space", "under", "columns"), weights=(4, 4, 1, 2))[0]
    if style == "columns":
        return [*(label for label, _ in pairs), *(value for _, value in pairs)]
    if style == "under":
        return [line for pair in pairs for line in pair]
    mark = ": " if style == "colon" else " "
    return [f"{label}{mark}{value}" for label, value in pairs]


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices("0123456789", k=count))
