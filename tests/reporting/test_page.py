"""The page in a real browser: quiet, alone, readable at every width, and its tables sort."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser, Page, open_browser
from synthetic_study import write_run, write_study

from harness.analysis.latency.latency_wording import format_milliseconds
from harness.formatting import (
    UNKNOWN,
    format_bytes,
    format_chance,
    format_count,
    format_difference_interval,
    format_p,
    format_ratio_interval,
    format_score_interval,
    format_seconds,
)
from harness.records.record import ErrorRecord
from harness.reporting.rendering import render
from harness.reporting.report_tables import Table
from harness.reporting.study_report import build_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

PHONE = 390
PRINTED = 964
"""Width of US letter in landscape, less its margins, in CSS pixels; A4 is wider."""

NAN = math.nan


def spread(describe: Callable[..., str], width: float) -> Callable[[float], str]:
    return lambda value: describe(value, value - width, value + width)


# Each column's cells are written by the project's own formatting, and sort as their values do.
COLUMNS: dict[str, tuple[Callable[[float], str], Sequence[float]]] = {
    "Score": (spread(format_score_interval, 0.03), (0.512, NAN, 0.05, 0.513, 0, 1, 0.498, 0.2)),
    "Gain": (spread(format_difference_interval, 0.3), (-0.2, 0.012, NAN, 0, -0.011, 0.3, 0.1, -1)),
    "Time / base": (spread(format_ratio_interval, 0.01), (1.163, 0.98, 10.2, NAN, 1, 1.164, 2, 9)),
    "Parameters": (format_count, (921, 4600, 1.23e6, 998e3, NAN, 2e9, 0, 45_000)),
    "Size": (format_bytes, (900, 1500, 5e6, 1.1e9, NAN, 1e6, 2**20, 0)),
    "Training": (format_seconds, (29.9, 59.94, 60, 123, 3599, 3900, NAN, 0.5)),
    "Call": (format_milliseconds, (0.5, 1.2345, 0.0123, 12.3, 2000, NAN, 0.9994, 0.2)),
    "Chance": (format_chance, (0, 0.001, 0.01, 0.5, 0.99, 0.999, 1, NAN)),
    "p": (format_p, (0.0001, 0.001, 0.5, 0.04, 1, NAN, 0.02, 0.3)),
}
WORDS = ("slower", "2 of 18", f"{UNKNOWN} (has 2 tasks)", "faster", "", "10 of 18", "b", "9")
WORDS_UP = ["2 of 18", "9", "10 of 18", "b", "faster", "slower", WORDS[2], ""]
WORDS_DOWN = ["10 of 18", "9", "2 of 18", "slower", "faster", "b", WORDS[2], ""]
TIES = ("1x", "2x") * 4
NAMES = tuple(f"set {number}" for number in (10, 9, 1, 2, 11, 3, 20, 4))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything: failures, substitute data, a long answer's majority line."""
    folder = tmp_path_factory.mktemp("results") / "study"
    line = {"majority_prediction": "a wordy answer " * 5, "majority_score": 0.9}
    write_study(
        folder, ("qkv", "o_proj+fc2", "all"), examples=20, rounds=5, scored={"medmcqa": line}
    )
    error = ErrorRecord("RuntimeError", "out_of_memory_" * 20, "Traceback ...")
    write_run(folder, "fc1", "medmcqa", error=error)
    return build_report(folder).html


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A latency page whose one table has a column of every format."""
    cells = [[describe(value) for value in values] for describe, values in COLUMNS.values()]
    table = Table(
        ("Point", *COLUMNS, "Mixed", "Ties"),
        tuple(zip(NAMES, *cells, WORDS, TIES, strict=True)),
        chosen=NAMES[0],
        references=(NAMES[1],),
    )
    facts = Table(("Fact", "Value"), (("b", "2"), ("a", "1")))
    names = ("study", "states", "model", "machine", "device", "shared_axes", "calls", "versions")
    empty = ("parts", "undefined", "troubles", "batches", "rule")
    values: dict[str, Any] = dict.fromkeys(names, "x") | dict.fromkeys(empty, ())
    values |= {"noise": table, "environment": facts, "is_timed": True}
    path = tmp_path_factory.mktemp("formats") / "latency.html"
    path.write_text(render("latency.html.j2", values), encoding="utf-8")
    return path


@pytest.fixture
def sortable(browser: Browser, formats: Path) -> Page:
    return browser.open_page(formats, width=1280)


def read_rows(page: Page) -> list[list[str]]:
    """Cells of the page's first table, row by row as they stand."""
    return page.evaluate(
        "[...document.querySelector('tbody').rows].map(r => [...r.cells].map(c => c.textContent))"
    )


def read_order(page: Page) -> list[str]:
    return [row[0] for row in read_rows(page)]


def read_marks(page: Page) -> dict[str, str]:
    """Header -> aria-sort, of the headers that have it."""
    return page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('th[aria-sort]')]"
        ".map(each => [each.textContent, each.getAttribute('aria-sort')]))"
    )


def click_header(page: Page, name: str) -> None:
    page.click(
        "[...document.querySelectorAll('thead th button')]"
        f".find(each => each.textContent === {json.dumps(name)})"
    )


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_sorts_by_the_values_behind_its_cells(sortable: Page, name: str) -> None:
    _, values = COLUMNS[name]
    known = sorted((value, row) for value, row in zip(values, NAMES, strict=True) if value == value)
    unknown = [row for value, row in zip(values, NAMES, strict=True) if value != value]
    click_header(sortable, name)
    assert read_order(sortable) == [row for _, row in known] + unknown
    assert read_marks(sortable) == {name: "ascending"}
    click_header(sortable, name)
    assert read_order(sortable) == [row for _, row in reversed(known)] + unknown
    assert read_marks(sortable) == {name: "descending"}
    click_header(sortable, name)
    assert read_order(sortable) == list(NAMES)
    assert read_marks(sortable) == {}


def test_numbers_come_before_words_and_words_before_the_unknown(sortable: Page) -> None:
    column = len(COLUMNS) + 1
    for expected in (WORDS_UP, WORDS_DOWN):
        click_header(sortable, "Mixed")
        assert [row[column] for row in read_rows(sortable)] == expected


def test_names_sort_as_people_count(sortable: Page) -> None:
    click_header(sortable, "Point")
    assert read_order(sortable) == [f"set {number}" for number in (1, 2, 3, 4, 9, 10, 11, 20)]


def test_equal_cells_keep_their_order_and_rows_stay_whole(sortable: Page) -> None:
    given = read_rows(sortable)
    click_header(sortable, "p")
    for is_down in (False, True):
        click_header(sortable, "Ties")
        rows = read_rows(sortable)
        assert rows == sorted(given, key=lambda row: row[-1], reverse=is_down)
    assert read_marks(sortable) == {"Ties": "descending"}
    classes = (
        "[...document.querySelectorAll('tr[class]')].map(r => [r.className, r.cells[0].innerText])"
    )
    marked = dict(sortable.evaluate(classes))
    assert marked == {"chosen": NAMES[0], "reference": NAMES[1]}


def test_the_keyboard_reaches_and_sorts(sortable: Page) -> None:
    sortable.evaluate("document.querySelector('.scroll').focus()")
    for name in ("Point", "Score"):
        sortable.press("Tab", 9)
        assert sortable.evaluate("document.activeElement.textContent") == name
    sortable.press("Enter", 13, "\r")
    assert read_marks(sortable) == {"Score": "ascending"}
    sortable.press(" ", 32, " ")
    assert read_marks(sortable) == {"Score": "descending"}
    assert sortable.evaluate("document.activeElement.textContent") == "Score"


def test_a_list_of_facts_does_not_sort(sortable: Page) -> None:
    assert sortable.evaluate("document.querySelectorAll('.facts button').length") == 0


@pytest.mark.parametrize("width", [1280, PHONE])
def test_the_page_opens_without_a_complaint_or_a_request(
    browser: Browser, report: Path, width: int
) -> None:
    page = browser.open_page(report, width=width, is_phone=width == PHONE)
    assert page.evaluate("[...document.images].every(each => each.naturalWidth > 0)")
    click_header(page, "Mean over tasks")
    first, *others = page.list_requests()
    assert first == page.address
    assert all(each.startswith("data:image/svg+xml") for each in others)
    assert page.list_errors() == []


# Blocks whose boxes meet, and elements whose text does not fit their box.
CROWDED = """
(() => {
    const blocks = [...document.querySelectorAll("main > *")];
    const boxes = blocks.map(each => each.getBoundingClientRect());
    const meet = (one, two) => one.bottom > two.top + 1 && two.bottom > one.top + 1;
    const found = [];
    boxes.forEach((one, i) => boxes.slice(i + 1).forEach((two, j) => {
        if (meet(one, two)) found.push(blocks[i].outerHTML + blocks[i + 1 + j].outerHTML);
    }));
    for (const each of document.querySelectorAll("h1, h2, h3, p, li, th, td, caption, button"))
        if (each.scrollWidth > each.clientWidth + 1) found.push(each.outerHTML);
    return found;
})()
"""


@pytest.mark.parametrize("width", [1280, PHONE])
def test_nothing_overlaps_and_the_page_does_not_scroll_sideways(
    browser: Browser, report: Path, width: int
) -> None:
    page = browser.open_page(report, width=width, is_phone=width == PHONE)
    root = "document.documentElement"
    assert page.evaluate("innerWidth") == width
    assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
    assert page.evaluate(CROWDED) == []
    wide = "[...document.querySelectorAll('caption, main > *')]"
    assert page.evaluate(f"Math.max(...{wide}.map(e => e.getBoundingClientRect().right))") <= width
    # A table wider than a phone scrolls in its own region, and its rows' names stay in sight.
    page.evaluate("document.querySelector('.scroll').scrollLeft = 300")
    left = page.evaluate("document.querySelector('tbody th').getBoundingClientRect().left")
    assert left >= 0
    names = "[...document.querySelectorAll('tbody th')].map(e => e.getBoundingClientRect().width)"
    assert max(page.evaluate(names)) <= width / 2


def test_plots_keep_their_text_readable_on_a_phone(browser: Browser, report: Path) -> None:
    page = browser.open_page(report, width=PHONE, is_phone=True)
    sizes = page.evaluate("[...document.images].map(each => [each.width, each.naturalWidth])")
    assert sizes
    # Labels are drawn 8.5 points high: 11 CSS pixels.
    assert all(11.3 * shown / natural >= 8 for shown, natural in sizes)


def test_nothing_is_cut_off_in_print(browser: Browser, report: Path) -> None:
    page = browser.open_page(report, width=PRINTED)
    page.call("Emulation.setEmulatedMedia", media="print")
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
    assert page.evaluate(CROWDED) == []


def test_no_other_script_runs_and_without_it_the_page_is_whole(
    browser: Browser, formats: Path, tmp_path: Path
) -> None:
    text = formats.read_text(encoding="utf-8")
    intruder = "<script>document.title = 'changed'</script>"
    other = text.replace('"use strict";', '"use strict" ;').replace("</main>", f"</main>{intruder}")
    copy = tmp_path / "latency.html"
    copy.write_text(other, encoding="utf-8")
    pages = [browser.open_page(path, width=1280) for path in (formats, copy)]
    assert [len(page.list_errors()) for page in pages] == [0, 2]
    assert all("Content Security Policy" in error for error in pages[1].list_errors())
    buttons = "document.querySelectorAll('button').length"
    assert [page.evaluate(buttons) > 0 for page in pages] == [True, False]
    whole, bare = (page.evaluate("document.querySelector('main').textContent") for page in pages)
    assert whole == bare
    assert pages[1].evaluate("document.title") == "Latency of target sets: x"
