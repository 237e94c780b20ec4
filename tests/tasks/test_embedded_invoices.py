"""Embedded invoices: sums, notation and noise, checked with babel and decimal arithmetic."""

import io
import json
import re
from collections import Counter
from dataclasses import fields, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from babel.dates import get_month_names, parse_date
from babel.numbers import NumberFormatError, get_currency_symbol, get_group_symbol, parse_decimal
from rapidfuzz.distance import Levenshtein

from tasks import TASKS, Source, load_examples
from tasks.embedded import invoice_ocr
from tasks.embedded.invoice_locales import LOCALES
from tasks.embedded.invoice_ocr import Paper, can_read_scans, make_papers, make_rows
from tasks.embedded.invoices import to_fields
from tasks.embedded.ocr_noise import CONDITIONS, CONFUSIONS, add_noise, confuse

needs_scanner = pytest.mark.skipif(not can_read_scans(), reason="Tesseract is not installed")
PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def papers() -> list[Paper]:
    return list(make_papers(0))


def write_clean(paper: Paper) -> str:
    return "\n".join(line for block in paper.blocks for line in block)


def read_json(paper: Paper) -> dict[str, Any]:
    """The fields as they come back from the row's JSON."""
    return dict(json.loads(json.dumps(to_fields(paper.invoice))))


def test_amounts_add_up(papers: list[Paper]) -> None:
    keys = Counter[str]()
    for paper in papers:
        found = read_json(paper)
        totals = {name: Decimal(text) for name, text in found["totals"].items()}
        net = sum(Decimal(item["price"]) * item["qty"] for item in found["items"])
        assert totals["net"] == net
        taxed = net - totals.get("discount", 0) + totals.get("shipping", 0)
        assert totals["total"] == taxed + totals.get("tax", 0)
        assert all(re.fullmatch(r"\d+\.\d\d", text) for text in found["totals"].values())
        assert all(Decimal(text) > 0 for text in found["totals"].values())
        keys.update(list(found["totals"]))
    assert keys["discount"] / len(papers) == pytest.approx(0.3, abs=0.05)
    assert keys["shipping"] / len(papers) == pytest.approx(0.12, abs=0.03)
    assert keys["tax"] / len(papers) == pytest.approx(0.9, abs=0.05)


def test_tax_is_that_of_the_printed_rates(papers: list[Paper]) -> None:
    counts = Counter[int]()
    for paper in papers:
        locale = paper.invoice.locale
        labels = "|".join(map(re.escape, locale.labels["tax"]))
        printed = re.findall(rf"^(?:.*  )?(?:{labels}) ([\d.,]+)%", write_clean(paper), re.M)
        if paper.layout.totals == "row":
            printed = re.findall(rf"(?:{labels}) ([\d.,]+)%", write_clean(paper))
        rates = sorted(parse_decimal(text, locale=locale.name) / 100 for text in printed)
        counts[len(rates)] += 1
        totals = {name: Decimal(text) for name, text in read_json(paper)["totals"].items()}
        if not rates:
            assert "tax" not in totals
            continue
        taxed = totals["net"] - totals.get("discount", 0) + totals.get("shipping", 0)
        unit = Decimal(1) if locale.currency == "JPY" else Decimal("0.01")
        if len(rates) == 1 and not any(item.tax_rate == 0 for item in paper.invoice.items):
            assert totals["tax"] == (taxed * rates[0]).quantize(unit, ROUND_HALF_UP)
        assert taxed * rates[0] - unit <= totals["tax"] <= taxed * rates[-1] + unit
    assert set(counts) == {0, 1, 2}
    assert min(counts.values()) > 0.02 * len(papers)


def find_numbers(text: str, locale: str) -> set[Decimal]:
    """Every number that babel reads in the local notation, spaces as grouping marks included."""
    found: set[Decimal] = set()
    for line in text.splitlines():
        words = [re.sub(r"^\D+|\D+$", "", word) for word in line.split(" ")]
        for start in range(len(words)):
            for stop in range(start + 1, start + 4):
                try:
                    number = get_group_symbol(locale).join(words[start:stop])
                    found.add(parse_decimal(number, locale=locale, strict=True))
                except NumberFormatError:
                    continue
    return found


def find_dates(text: str, locale: str) -> set[date]:
    numeric = re.findall(r"\d{1,4}[./-] ?\d{1,2}[./-] ?\d{2,4}", text)
    found = set()
    for token in numeric:
        try:
            found.add(parse_date(token.replace(" ", ""), locale=locale))
        except ValueError:
            continue
    names = {
        name.lower(): month
        for width in ("abbreviated", "wide")
        for month, name in get_month_names(width, "format", locale).items()
    }
    pattern = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    text = text.lower()
    day_first = re.findall(rf"(\d+)\.? (?:de )?({pattern}) (?:de )?(\d+)", text)
    month_first = re.findall(rf"({pattern}) (\d+), (\d+)", text)
    for day, name, year in [*day_first, *((d, n, y) for n, d, y in month_first)]:
        found.add(date(int(year) + (2000 if len(year) == 2 else 0), names[name], int(day)))
    return found


def test_every_field_stands_on_the_clean_page_in_its_local_notation(papers: list[Paper]) -> None:
    for paper in papers[:600]:
        text, found, locale = write_clean(paper), read_json(paper), paper.invoice.locale.name
        numbers = find_numbers(text, locale)
        prices = [item["price"] for item in found["items"]]
        for amount in [*prices, *found["totals"].values()]:
            assert Decimal(amount) in numbers, (amount, text)
        assert all(Decimal(item["qty"]) in numbers for item in found["items"]), text
        assert date.fromisoformat(found["date"]) in find_dates(text, locale), text
        assert found["vendor"].upper() in text.upper()
        assert found["invoice_no"] in text
        symbol = get_currency_symbol(found["currency"], locale=locale).replace("￥", "¥")
        assert symbol in text or found["currency"] in text
        for item in found["items"]:
            words = item["name"].split()
            cuts = [(" ".join(words[:n]), " ".join(words[n:])) for n in range(1, len(words) + 1)]
            assert any(head in text and tail in text for head, tail in cuts), (item, text)


def test_locales_and_currencies_are_many(papers: list[Paper]) -> None:
    assert len(LOCALES) >= 10
    shares = Counter(paper.invoice.locale.name for paper in papers)
    currencies = Counter(read_json(paper)["currency"] for paper in papers)
    assert set(shares) == {locale.name for locale in LOCALES}
    assert len(currencies) >= 10
    assert min(currencies.values()) > 0.01 * len(papers)
    # No two currencies share a way to be written.
    signs = {
        locale.currency: get_currency_symbol(locale.currency, locale=locale.name)
        for locale in LOCALES
        if "symbol" in locale.money_styles
    }
    assert len(set(signs.values())) == len(signs)


def test_layouts_are_many_and_every_choice_is_taken(papers: list[Paper]) -> None:
    # Wording, notation of dates and currency are left out: these differ with the locale.
    layouts = [replace(paper.layout, date_pattern="", money_style="") for paper in papers]
    assert len(set(layouts)) > 2000
    for field in fields(layouts[0]):
        values = Counter(getattr(layout, field.name) for layout in layouts)
        expected = 1 if field.name in ("date_pattern", "money_style") else 2
        assert len(values) >= expected, field.name
    assert {len(paper.invoice.items) for paper in papers} == {1, 2, 3}


def test_items_of_several_lines_and_details_on_a_line_of_their_own(papers: list[Paper]) -> None:
    wrapped = own_line = 0
    for paper in papers:
        lines = write_clean(paper).splitlines()
        wrapped += any(item.detail in lines for item in paper.invoice.items)
        own_line += any(re.match(r"\d+ x [\d.,]+", line) for line in lines)
    assert 0.1 < wrapped / len(papers) < 0.3
    assert 0.1 < own_line / len(papers) < 0.35


def test_pages_have_numbers_that_belong_to_no_field(papers: list[Paper]) -> None:
    names = ("order", "customer", "reference", "due", "tax_id", "phone", "balance", "page")
    counts, with_any = Counter[str](), 0
    for paper in papers:
        text, labels = write_clean(paper), paper.invoice.locale.labels
        there = {
            name
            for name in names
            if any(re.search(rf"{re.escape(word)}(?:\W|$)", text) for word in labels[name])
        }
        counts.update(there)
        with_any += bool(there)
        counts["IBAN"] += "IBAN" in text
        counts["dates"] += len(find_dates(text, paper.invoice.locale.name)) > 1
    assert with_any > 0.8 * len(papers)
    assert all(counts[name] > 0.05 * len(papers) for name in (*names, "IBAN", "dates"))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_noise_keeps_its_rates(condition: Any) -> None:
    rng = Random(1)
    letters = "".join(rng.choices(list(CONFUSIONS), k=40_000))
    spaced = " ".join(letters)
    noisy = confuse(rng, letters, condition)
    # One confusion costs one edit, or two where a letter becomes two.
    errors = Levenshtein.distance(letters, noisy) / len(letters)
    assert condition.confusion_rate * 0.9 <= errors <= condition.confusion_rate * 1.5
    lost_or_doubled = Levenshtein.distance(spaced, confuse(rng, spaced, condition)) / len(letters)
    expected = errors + 2 * condition.space_rate
    assert lost_or_doubled == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_lines_break_and_blocks_move_at_their_rates(condition: Any) -> None:
    rng, blocks = Random(2), [[f"{block}{line} x" for line in "klmn"] for block in "ABCDE"]
    quiet = replace(condition, confusion_rate=0.0, space_rate=0.0)
    pages = [add_noise(rng, blocks, quiet) for _ in range(2000)]
    clean = [line for block in blocks for line in block]
    kept = sum(len(set(clean) & set(page.splitlines())) for page in pages)
    # A line joined to another takes that one along.
    broken = 1 - kept / (len(clean) * len(pages))
    assert condition.break_rate <= broken <= 3.2 * condition.break_rate
    moved = sum(
        [word[0] for word in page.split() if word != "x"] != sorted("ABCDE" * 4) for page in pages
    )
    assert moved / len(pages) == pytest.approx(
        condition.swap_rate + condition.shuffle_rate, abs=0.03
    )
    assert all(sorted(page.split()) == sorted(" ".join(clean).split()) for page in pages)


def test_a_third_of_the_pages_is_clean_and_most_are_legible(papers: list[Paper]) -> None:
    pages = [(write_clean(paper), paper.read_with_noise()) for paper in papers[:1500]]
    assert 0.25 < sum(clean == noisy for clean, noisy in pages) / len(pages) < 0.5
    # By the stock of characters, which moved lines do not change.
    lost = (Counter(clean) - Counter(noisy) for clean, noisy in pages)
    wrong = sorted(
        sum(n for character, n in missing.items() if not character.isspace()) / len(clean)
        for missing, (clean, _) in zip(lost, pages, strict=True)
    )
    assert wrong[len(wrong) // 2] < 0.01
    assert wrong[int(0.95 * len(wrong))] < 0.04
    assert wrong[-1] > 0.02


def test_no_text_and_no_content_is_in_two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoice_ocr, "can_read_scans", lambda: False)
    parts = [make_rows(part, 4) for part in PARTS]  # type: ignore[arg-type]
    assert [len(part) for part in parts] == pytest.approx([2100, 300, 600], rel=0.15)
    for column in ("id", "ocr_text", "ground_truth"):
        values = [{row[column] for row in part} for part in parts]
        assert sum(map(len, values)) == len(set.union(*values)), column


def test_scans_are_drawn_only_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoice_ocr, "can_read_scans", lambda: True)
    monkeypatch.setattr(Paper, "draw_scan", lambda _: pytest.fail("drawn too early"))
    rows = make_rows("test", 0)
    scans = [row for row in rows if row["id"].endswith("-scan")]
    assert len(scans) / len(rows) == pytest.approx(1 / 8, abs=0.03)
    assert all(row["ground_truth"] and "image" in row for row in scans)
    with pytest.raises(pytest.fail.Exception, match="drawn too early"):
        dict(scans[0])


def test_a_scan_never_pairs_with_its_synthetic_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for has_scanner in (True, False):
        monkeypatch.setattr(invoice_ocr, "can_read_scans", lambda value=has_scanner: value)
        found.append(make_rows("test", 0))
    for with_scanner, without in zip(*found, strict=True):
        assert with_scanner["ground_truth"] == without["ground_truth"]
        assert not without["id"].endswith("-scan")
        if with_scanner["id"] == without["id"]:
            assert with_scanner["ocr_text"] == without["ocr_text"]
        else:
            assert with_scanner["id"] == without["id"] + "-scan"


@needs_scanner
def test_drawn_pages_are_legible(papers: list[Paper], monkeypatch: pytest.MonkeyPatch) -> None:
    import pytesseract
    from PIL import Image

    # More threads than one slow small pages down.
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    scanned = [paper for paper in papers if paper.is_for_scanner][:5]
    words = survivors = 0
    for paper in scanned:
        text = pytesseract.image_to_string(Image.open(io.BytesIO(paper.draw_scan())))
        clean = " ".join(write_clean(paper).split())
        assert Levenshtein.normalized_distance(clean, " ".join(text.split())) < 0.1
        for word in paper.invoice.vendor.casefold().split():
            words += 1
            survivors += word in text.casefold()
    assert survivors >= 0.8 * words


@needs_scanner
def test_scanned_rows_are_read_by_the_scanner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    task = TASKS["invoice_ocr"]
    loaded = load_examples(task, "validation", Source("embedded"), limit=12)
    scanned = [example for example in loaded.examples if example.id.endswith("-scan")]
    assert len(list(tmp_path.rglob("*.txt"))) == len(scanned) > 0
    papers = {f"{paper.name}-scan": paper for paper in make_papers(0)}
    for example in scanned:
        clean = " ".join(write_clean(papers[example.id]).split())
        read = " ".join(example.body.split())
        assert Levenshtein.normalized_distance(clean, read) < 0.1
        assert task.score(example, example.completion)["field_f1"] == 1
