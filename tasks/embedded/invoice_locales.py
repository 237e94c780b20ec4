"""The countries of the embedded invoices: currency, notation of numbers and dates, and wording.

Notation follows the Unicode CLDR through babel, with plain spaces and hyphens, as OCR writes them.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from babel.dates import format_date
from babel.numbers import format_currency, format_decimal

from tasks.embedded.invoice_labels import (
    CZECH,
    DANISH,
    DUTCH,
    ENGLISH,
    FRENCH,
    GERMAN,
    INDIAN_ENGLISH,
    ITALIAN,
    JAPANESE_IN_LATIN_SCRIPT,
    NORWEGIAN,
    POLISH,
    PORTUGUESE,
    SPANISH,
    SWEDISH,
    Labels,
)

PLAIN = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2212": "-", "\uffe5": "¥"})
"""No-break spaces, the minus sign and the full-width yen sign, which OCR does not tell apart."""


@dataclass(frozen=True)
class InvoiceLocale:
    name: str
    """CLDR locale."""
    currency: str
    """ISO 4217 code."""
    weight: int
    """How often it is drawn, relative to the others."""
    labels: Labels
    company_forms: tuple[str, ...]
    towns: tuple[str, ...]
    tax_rates: tuple[int, ...]
    """In hundredths of a percent, the standard rate first."""
    date_patterns: tuple[str, ...]
    """CLDR patterns."""
    money_factor: int = 1
    """Prices relative to those of the US."""
    number_pattern: str = "#,##0.00"
    money_styles: tuple[str, ...] = ("symbol", "symbol", "code")
    """How amounts name the currency: by its symbol or its code."""

    @property
    def smallest_cents(self) -> int:
        """The smallest amount on paper, in hundredths of the currency's unit."""
        return 1 if "." in self.number_pattern else 100


def write_amount(locale: InvoiceLocale, cents: int, has_groups: bool) -> str:
    """An amount without its currency: `1.234,50`."""
    text: str = format_decimal(
        Decimal(cents) / 100,
        format=locale.number_pattern,
        locale=locale.name,
        group_separator=has_groups,
    )
    return text.translate(PLAIN)


def write_money(locale: InvoiceLocale, cents: int, has_groups: bool, style: str) -> str:
    """An amount with its currency: `1.234,50 €`, `$1,234.50`, `EUR 1.234,50`."""
    if style == "code":
        return f"{locale.currency} {write_amount(locale, cents, has_groups)}"
    text: str = format_currency(
        Decimal(cents) / 100,
        locale.currency,
        locale=locale.name,
        group_separator=has_groups,
    )
    return text.translate(PLAIN)


def write_percent(locale: InvoiceLocale, hundredths: int) -> str:
    """A rate: `8,25%`."""
    return f"{format_decimal(Decimal(hundredths) / 100, format='0.##', locale=locale.name)}%"


def write_date(locale: InvoiceLocale, day: date, pattern: str) -> str:
    text: str = format_date(day, format=pattern, locale=locale.name)
    return text.translate(PLAIN)


EUROPEAN_SLASHES = ("dd/MM/yyyy", "dd/MM/yyyy", "dd/MM/yy", "d MMMM yyyy")
IBERIAN_DATES = ("dd/MM/yyyy", "dd/MM/yyyy", "d 'de' MMMM 'de' yyyy")
DOTTED_DATES = ("dd.MM.yyyy", "dd.MM.yyyy", "dd.MM.yy", "d. MMMM yyyy")
KRONE_STYLES = ("code",)
"""`kr` alone would leave Danish, Norwegian and Swedish money to be told apart by wording."""

LOCALES = (
    InvoiceLocale(
        name="en_US", currency="USD", weight=6, labels=ENGLISH,
        company_forms=("Inc.", "LLC", "Corp."), towns=("Boston", "Dayton", "Tulsa", "Reno"),
        tax_rates=(800, 600, 825, 500), date_patterns=("MM/dd/yyyy", "MMM d, yyyy", "MM-dd-yy"),
    ),
    InvoiceLocale(
        name="en_GB", currency="GBP", weight=5, labels=ENGLISH,
        company_forms=("Ltd", "plc", "LLP"), towns=("Leeds", "Exeter", "Derby", "York"),
        tax_rates=(2000, 500), date_patterns=("dd/MM/yyyy", "d MMMM yyyy", "d MMM yy"),
    ),
    InvoiceLocale(
        name="de_DE", currency="EUR", weight=4, labels=GERMAN,
        company_forms=("GmbH", "KG", "OHG"), towns=("Bremen", "Ulm", "Kassel", "Jena"),
        tax_rates=(1900, 700), date_patterns=DOTTED_DATES,
    ),
    InvoiceLocale(
        name="fr_FR", currency="EUR", weight=4, labels=FRENCH,
        company_forms=("SARL", "SAS", "SA"), towns=("Lyon", "Metz", "Nantes", "Dijon"),
        tax_rates=(2000, 550, 1000), date_patterns=EUROPEAN_SLASHES,
    ),
    InvoiceLocale(
        name="de_CH", currency="CHF", weight=2, labels=GERMAN,
        company_forms=("AG", "GmbH"), towns=("Zug", "Basel", "Chur"),
        tax_rates=(810, 260), date_patterns=DOTTED_DATES,
    ),
    InvoiceLocale(
        name="es_ES", currency="EUR", weight=2, labels=SPANISH,
        company_forms=("S.L.", "S.A."), towns=("Toledo", "Burgos", "Gijón"),
        tax_rates=(2100, 1000), date_patterns=IBERIAN_DATES,
    ),
    InvoiceLocale(
        name="it_IT", currency="EUR", weight=2, labels=ITALIAN,
        company_forms=("S.r.l.", "S.p.A."), towns=("Parma", "Pisa", "Trento"),
        tax_rates=(2200, 1000), date_patterns=EUROPEAN_SLASHES,
    ),
    InvoiceLocale(
        name="nl_NL", currency="EUR", weight=2, labels=DUTCH,
        company_forms=("B.V.", "N.V."), towns=("Delft", "Breda", "Zwolle"),
        tax_rates=(2100, 900), date_patterns=("dd-MM-yyyy", "dd-MM-yyyy", "d MMMM yyyy"),
    ),
    InvoiceLocale(
        name="en_IN", currency="INR", weight=2, labels=INDIAN_ENGLISH,
        company_forms=("Pvt Ltd", "Ltd"), towns=("Pune", "Kochi", "Jaipur"),
        tax_rates=(1800, 500, 1200), date_patterns=("dd/MM/yyyy", "dd-MM-yyyy", "d MMM yyyy"),
        money_factor=40, number_pattern="#,##,##0.00",
    ),
    InvoiceLocale(
        name="pl_PL", currency="PLN", weight=1, labels=POLISH,
        company_forms=("Sp. z o.o.", "S.A."), towns=("Gdynia", "Lublin", "Opole"),
        tax_rates=(2300, 800), date_patterns=("dd.MM.yyyy", "d MMMM yyyy"), money_factor=2,
    ),
    InvoiceLocale(
        name="sv_SE", currency="SEK", weight=1, labels=SWEDISH,
        company_forms=("AB",), towns=("Lund", "Kalmar", "Umeå"),
        tax_rates=(2500, 1200), date_patterns=("yyyy-MM-dd", "yyyy-MM-dd", "d MMMM yyyy"),
        money_factor=4,
    ),
    InvoiceLocale(
        name="ja_JP", currency="JPY", weight=1, labels=JAPANESE_IN_LATIN_SCRIPT,
        company_forms=("K.K.", "Co., Ltd."), towns=("Kobe", "Nara", "Sendai"),
        tax_rates=(1000, 800), date_patterns=("yyyy/MM/dd", "yyyy-MM-dd"),
        money_factor=80, number_pattern="#,##0",
    ),
    InvoiceLocale(
        name="pt_BR", currency="BRL", weight=1, labels=PORTUGUESE,
        company_forms=("Ltda.", "S.A."), towns=("Recife", "Santos", "Natal"),
        tax_rates=(1800, 1200), date_patterns=IBERIAN_DATES, money_factor=2,
    ),
    InvoiceLocale(
        name="cs_CZ", currency="CZK", weight=1, labels=CZECH,
        company_forms=("s.r.o.", "a.s."), towns=("Brno", "Plzeň", "Zlín"),
        tax_rates=(2100, 1200), date_patterns=("dd.MM.yyyy", "d. M. yyyy"), money_factor=8,
    ),
    InvoiceLocale(
        name="da_DK", currency="DKK", weight=1, labels=DANISH,
        company_forms=("ApS", "A/S"), towns=("Odense", "Vejle", "Ribe"),
        tax_rates=(2500,), date_patterns=DOTTED_DATES, money_factor=3, money_styles=KRONE_STYLES,
    ),
    InvoiceLocale(
        name="nb_NO", currency="NOK", weight=1, labels=NORWEGIAN,
        company_forms=("AS",), towns=("Bergen", "Bodø", "Molde"),
        tax_rates=(2500, 1500), date_patterns=DOTTED_DATES, money_factor=4,
        money_styles=KRONE_STYLES,
    ),
)  # fmt: skip
