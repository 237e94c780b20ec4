"""An invoice in one layout: the blocks of lines that a perfect OCR engine would read.

The blocks are vendor, meta data, buyer, items, totals and foot. Numbers that belong to no field
(phone, order, customer, tax id, due date, previous balance, account, page) stand among the others.
"""

import random
from datetime import timedelta
from itertools import zip_longest

from tasks.embedded.invoice_layouts import Layout, PairSetting
from tasks.embedded.invoice_locales import write_amount, write_date, write_money, write_percent
from tasks.embedded.invoices import Invoice, Item, make_number

STREETS = ("Mill Lane", "Station Rd", "Hauptstr.", "Rue Verte", "Park Ave", "Via Roma", "Quay St")
BUYERS = ("M. Carter", "Orion Labs", "J. Weber", "City School", "A. Petit", "Hotel Astra")
Pair = tuple[str, str]


def lay_out(rng: random.Random, invoice: Invoice, layout: Layout) -> list[list[str]]:
    """Blocks of lines, top to bottom."""
    blocks = {
        "vendor": _write_vendor(rng, invoice, layout),
        "meta": _write_meta(rng, invoice, layout),
        "buyer": _write_buyer(rng, invoice),
    }
    opening = [blocks[name] for name in layout.opening]
    foot = _write_foot(rng, invoice)
    if layout.vendor_at_foot:
        opening.remove(blocks["vendor"])
        foot = blocks["vendor"] + foot
    elif layout.beside:
        opening = [_set_beside(opening[0], opening[1]), *opening[2:]]
    body = [_write_items(rng, invoice, layout), _write_totals(rng, invoice, layout)]
    return [block for block in (*opening, *body, foot) if block]


def _label(rng: random.Random, invoice: Invoice, name: str) -> str:
    return rng.choice(invoice.locale.labels[name])


def _write_vendor(rng: random.Random, invoice: Invoice, layout: Layout) -> list[str]:
    lines = [invoice.vendor.upper() if layout.capitals else invoice.vendor]
    if rng.random() < 0.6:
        lines.append(_write_address(rng, invoice))
    if rng.random() < 0.4:
        phone = f"{rng.randint(200, 999)} {_digits(rng, 4)}"
        lines.append(f"{_label(rng, invoice, 'phone')} {phone}")
    if rng.random() < 0.2:
        lines.append(f"{_label(rng, invoice, 'tax_id')} {_digits(rng, 8)}")
    return lines


def _write_buyer(rng: random.Random, invoice: Invoice) -> list[str]:
    lines = [f"{_label(rng, invoice, 'buyer')}: {rng.choice(BUYERS)}"]
    return [*lines, _write_address(rng, invoice)] if rng.random() < 0.4 else lines


def _write_address(rng: random.Random, invoice: Invoice) -> str:
    return f"{rng.randint(1, 99)} {rng.choice(STREETS)}, {rng.choice(invoice.locale.towns)}"


def _write_meta(rng: random.Random, invoice: Invoice, layout: Layout) -> list[str]:
    locale = invoice.locale
    due = invoice.issued + timedelta(days=rng.choice((10, 14, 30)))
    distractors = [
        ("order", make_number(rng)),
        ("customer", _digits(rng, 4)),
        ("reference", make_number(rng)),
        ("due", write_date(locale, due, layout.date_pattern)),
    ]
    pairs = [
        ("number", invoice.number),
        ("date", write_date(locale, invoice.issued, layout.date_pattern)),
        *rng.sample(distractors, k=rng.choice((0, 1, 1, 2, 2, 3))),
    ]
    rng.shuffle(pairs)
    return set_pairs(layout.meta, [(_label(rng, invoice, name), value) for name, value in pairs])


def _write_items(rng: random.Random, invoice: Invoice, layout: Layout) -> list[str]:
    lines = _write_heads(rng, invoice, layout)
    for position, item in enumerate(invoice.items, start=1):
        code = {"none": "", "article": _digits(rng, 3), "position": f"{position}."}[layout.codes]
        lines += _write_item(invoice, layout, item, code)
    return lines


def _write_heads(rng: random.Random, invoice: Invoice, layout: Layout) -> list[str]:
    orders = {
        "quantity_first": ("quantity", "item", "price", "amount"),
        "name_first": ("item", "quantity", "price", "amount"),
        "price_before_quantity": ("item", "price", "quantity", "amount"),
    }
    if not layout.has_heads or layout.items not in orders:
        return []
    words = (_label(rng, invoice, name) for name in orders[layout.items])
    return [layout.separator.join(words)]


def _write_item(invoice: Invoice, layout: Layout, item: Item, code: str) -> list[str]:
    price = write_amount(invoice.locale, item.price_cents, layout.has_groups)
    amount = write_amount(invoice.locale, item.amount_cents, layout.has_groups)
    name = item.name if layout.wraps else item.description
    quantity = str(item.quantity)
    opening = [code] if code else []
    cells = {
        "quantity_first": [[quantity, name, price, amount]],
        "name_first": [[name, quantity, price, amount]],
        "price_before_quantity": [[name, price, quantity, amount]],
        "times_below": [[name], [f"{quantity} x {price} = {amount}"]],
        "amount_below": [[f"{quantity} x {name} @ {price}"], [amount]],
        "receipt": [[name, amount], [f"{quantity} x {price}"]],
    }[layout.items]
    first, *others = [layout.separator.join(row) for row in [[*opening, *cells[0]], *cells[1:]]]
    # The second part of a description stands right under the first, before other lines.
    wrapped = [item.detail] if layout.wraps and item.detail else []
    return [first, *wrapped, *others]


def _write_totals(rng: random.Random, invoice: Invoice, layout: Layout) -> list[str]:
    def write(cents: int, is_total: bool = False) -> str:
        # The currency must stand somewhere: always at the total.
        if is_total or layout.money_everywhere:
            return write_money(invoice.locale, cents, layout.has_groups, layout.money_style)
        return write_amount(invoice.locale, cents, layout.has_groups)

    pairs = [(_label(rng, invoice, "net"), write(invoice.net_cents))]
    if invoice.discount_cents:
        percent = f" {invoice.discount_percent}%" if layout.shows_discount_percent else ""
        sign = -1 if layout.minus_discount else 1
        label = _label(rng, invoice, "discount")
        pairs.append((f"{label}{percent}", write(sign * invoice.discount_cents)))
    if invoice.shipping_cents:
        pairs.append((_label(rng, invoice, "shipping"), write(invoice.shipping_cents)))
    tax = _label(rng, invoice, "tax")
    for line in invoice.taxes:
        pairs.append((f"{tax} {write_percent(invoice.locale, line.rate)}", write(line.cents)))
    if len(invoice.taxes) > 1:
        pairs.append((_label(rng, invoice, "tax_sum"), write(invoice.tax_cents)))
    pairs.append((_label(rng, invoice, "total"), write(invoice.total_cents, is_total=True)))
    return set_pairs(layout.totals, pairs)


def _write_foot(rng: random.Random, invoice: Invoice) -> list[str]:
    draw = rng.random()
    if draw < 0.2:
        return [_label(rng, invoice, "thanks")]
    if draw < 0.32:
        return [f"{_label(rng, invoice, 'page')} 1/{rng.randint(1, 3)}"]
    if draw < 0.42:
        cents = rng.randint(20, 900) * 100 * invoice.locale.money_factor
        balance = write_amount(invoice.locale, cents, has_groups=True)
        return [f"{_label(rng, invoice, 'balance')}: {balance}"]
    if draw < 0.5:
        account = " ".join(_digits(rng, 4) for _ in range(3))
        return [f"IBAN {invoice.locale.name[-2:]}{_digits(rng, 2)} {account}"]
    return []


def set_pairs(setting: PairSetting, pairs: list[Pair]) -> list[str]:
    """Labels and values as lines."""
    if setting == "columns":
        return [*(label for label, _ in pairs), *(value for _, value in pairs)]
    if setting == "under":
        return [line for pair in pairs for line in pair]
    mark = {"space": " ", "dots": " .... ", "bar": " | "}.get(setting, ": ")
    lines = [f"{label}{mark}{value}" for label, value in pairs]
    return ["  ".join(lines)] if setting == "row" else lines


def _set_beside(left: list[str], right: list[str]) -> list[str]:
    return [f"{a}   {b}".strip() for a, b in zip_longest(left, right, fillvalue="")]


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices("0123456789", k=count))
