"""The examples that the page shows: of the right sets, of the right model, whole and cut."""

from pathlib import Path

import numpy as np
import pytest
from synthetic_study import write_run

from harness.analysis.comparison import compare
from harness.analysis.results import load_examples, load_results
from harness.records.record import BASE
from harness.reporting.duels import LONGEST_TEXT, Duel, list_duels
from harness.reporting.study_report import build_report

SCORES = {BASE: 0.2, "qkv": 0.5, "all": 0.6}


def write_duel(study: Path, prediction: str = "forty two") -> Path:
    for name, score in SCORES.items():
        scores = np.full(12, score)
        scores[0] = 0.9 - score
        texts = {"prediction": [prediction] * 12, "reference": ["42"] * 12}
        write_run(study, name, "fincot", scores=scores, columns=texts)
    return study


def list_of(study: Path, choice: str | None = None) -> list[Duel]:
    results = load_results(study)
    comparison = compare(results, load_examples(study, texts=False))
    return list(list_duels(study, results, comparison, choice))


def test_the_leader_stands_against_the_base_and_the_next_best(tmp_path: Path) -> None:
    study = write_duel(tmp_path / "study")
    assert [(duel.one, duel.other) for duel in list_of(study)] == [("all", BASE), ("all", "qkv")]
    chosen = list_of(study, "qkv")
    assert [(duel.one, duel.other) for duel in chosen] == [("qkv", BASE), ("qkv", "all")]


def test_examples_are_won_and_lost_by_what_the_counts_say(tmp_path: Path) -> None:
    duel = list_of(write_duel(tmp_path / "study"))[0]
    assert duel.counts.rows[0][:4] == ("fincot", "11", "1", "0")
    (group,) = duel.examples
    titles = [shown.title for shown in group.shown]
    assert sum("won by 0.400" in title for title in titles) == 3
    assert sum("lost by 0.400" in title for title in titles) == 1
    texts = dict(group.shown[0].texts)
    assert texts == {"all, 0.600": "forty two", "base, 0.200": "forty two", "Reference": "42"}


def test_long_texts_are_cut_and_empty_ones_say_so(tmp_path: Path) -> None:
    long = list_of(write_duel(tmp_path / "long", "word " * 500))[0]
    text = long.examples[0].shown[0].texts[0][1]
    assert len(text) <= LONGEST_TEXT
    assert text.endswith(" …")
    empty = list_of(write_duel(tmp_path / "empty", " "))[0]
    assert empty.examples[0].shown[0].texts[0][1] == "(empty)"


def test_every_link_of_the_page_leads_somewhere(tmp_path: Path) -> None:
    page = build_report(write_duel(tmp_path / "study")).html.read_text()
    links = {part.split('"')[0] for part in page.split('href="#')[1:]}
    assert len([link for link in links if link.startswith("examples-")]) == 2
    for link in links:
        assert page.count(f'id="{link}"') == 1


def test_no_set_with_scores_has_no_duel(tmp_path: Path) -> None:
    write_run(tmp_path / "study", BASE, "fincot")
    assert list_of(tmp_path / "study") == []


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "</details><b>"])
def test_what_a_model_wrote_is_no_markup(tmp_path: Path, hostile: str) -> None:
    page = build_report(write_duel(tmp_path / "study", hostile)).html.read_text()
    assert hostile not in page
