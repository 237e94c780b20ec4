"""The report from the records alone: complete, escaped, and self-contained."""

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import ROOT
from synthetic_study import ELEVEN, FIVE, TASKS, write_run, write_study

from harness.analysis.caveats import list_truncation, list_untrusted_timing
from harness.analysis.comparison import compare
from harness.analysis.results import load_examples, load_results
from harness.cli.report import main
from harness.errors import UserError
from harness.formatting import UNKNOWN
from harness.records.record import BASE, ErrorRecord
from harness.reporting.rendering import escape_markdown
from harness.reporting.report_tables import make_environment_table, text_table
from harness.reporting.study_report import build_report

EVIL = "<script>alert('x')</script> | a | $b$"
UNSEEN = pytest.mark.usefixtures("blank_plots")
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Collects what a test asks about, and checks that tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_study(tmp_path_factory.mktemp("results") / "study", seeds=(0,))
    build_report(folder)
    return folder


def check_markdown_tables(text: str) -> int:
    """Count tables; every line of one has as many cells as its header."""
    tables = 0
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()]
        assert len(set(cells)) == 1, block
        assert re.fullmatch(r"\|( :?-+:? \|)+", block.splitlines()[1])
        tables += 1
    return tables


def test_every_file_is_written(study: Path) -> None:
    names = {str(path.relative_to(study)) for path in study.rglob("*") if path.is_file()}
    assert {
        *("summary.csv", "summary.parquet", "report.md", "report.html", "recommendation.json"),
        *("plots/accuracy_against_latency.png", "plots/accuracy_against_latency.svg"),
        *("plots/learning_curves.png", "plots/learning_curves.svg"),
    } <= names
    assert not [name for name in names if Path(name).name.startswith(".")]


def test_the_verdict_comes_first(study: Path) -> None:
    verdict = json.loads((study / "recommendation.json").read_text())
    headline = verdict["models"][0]["headline"]
    assert escape_markdown(headline) in "\n".join(
        (study / "report.md").read_text().splitlines()[:3]
    )
    page = Page((study / "report.html").read_text())
    assert headline in "".join(page.texts)


def test_the_page_needs_no_network_and_fits_a_phone(study: Path) -> None:
    text = (study / "report.html").read_text()
    page = Page(text)
    for tag, attributes in page.seen:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), (tag, attributes)
    assert not re.search(r"url\(|@import|<script ", text)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in [
        (tag, attributes) for tag, attributes in page.seen
    ]
    images = [attributes for tag, attributes in page.seen if tag == "img"]
    assert len(images) == 3
    assert all(attributes["alt"] for attributes in images)
    scrolling = [a for tag, a in page.seen if a.get("class") == "scroll" and tag == "div"]
    assert len(scrolling) == sum(tag == "table" for tag, _ in page.seen)


def test_the_markdown_is_whole(study: Path) -> None:
    text = (study / "report.md").read_text()
    assert check_markdown_tables(text) == 10 + len(TASKS)
    for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text):
        assert (study / path).is_file()
    assert not re.search(r"^\|.*\n(?!\||\n)", text, flags=re.MULTILINE)


def test_the_table_holds_base_and_every_set(study: Path) -> None:
    text = (study / "report.md").read_text()
    rows = text.split("## Results")[1].split("\n\n")[1].splitlines()
    names = [row.split("|")[1].strip(" *") for row in rows[2:]]
    assert names[0] == BASE
    assert set(names) == {BASE, *FIVE}
    header = rows[0]
    for column in (*TASKS, "Score lost, worst task", "TTFT", "TPOT", "Merged", "Peak memory"):
        assert column in header
    score = load_results(study).query("target_set == 'qkv' and task == 'fincot'")["score"].iloc[0]
    assert f"{score:.3f} (" in next(row for row in rows if "| qkv |" in row)


def test_stand_ins_and_cuts_are_named(study: Path) -> None:
    for name in ("report.md", "report.html"):
        text = (study / name).read_text()
        assert "govreport: Multi-LexSum stands in for GovReport" in text
        assert "3 of 60 scored prompts were truncated" in text
    head = (study / "report.md").read_text().split("## Results")[0]
    assert "Substitute data" in head


LINE = {"majority_prediction": "A", "majority_score": 0.4}


def write_lined_study(folder: Path, right: Mapping[str, int]) -> Path:
    """MedMCQA with so many right answers of 40 by set, and always A right 16 times; fincot."""
    for name, count in right.items():
        scores = [1.0] * count + [0.0] * (40 - count)
        write_run(folder, name, "medmcqa", scores=scores, scored=LINE)
        write_run(folder, name, "fincot", examples=40, gain=0.0 if name == BASE else 0.2)
    return folder


def read_table(markdown: str, heading: str) -> list[list[str]]:
    """Cells of the first table under a heading, its rule left out."""
    block = re.search(r"(?:^\|.*\n)+", markdown.split(heading)[1], flags=re.MULTILINE)
    assert block is not None
    lines = block[0].splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]
    ]


@UNSEEN
def test_the_majority_line_stands_under_the_base(tmp_path: Path) -> None:
    # Sorted by score it would stand second; it is no set, and is never sorted among them.
    folder = write_lined_study(tmp_path / "study", {BASE: 2, "qkv": 10, "all": 39})
    report = build_report(folder)
    table = read_table(report.markdown.read_text(), "## Results")
    column = table[0].index("medmcqa")
    cells = {row[0].strip("*"): row[column] for row in table[1:]}
    assert list(cells) == [BASE, "always A", "all", "qkv"]
    assert cells["always A"] == "0.400 (0.263 to 0.554)"
    assert [name for name, cell in cells.items() if cell.endswith(", not above baseline")] == [
        BASE,
        "qkv",
    ]
    other = [row[table[0].index("fincot")] for row in table[1:]]
    assert other[1] == ""
    assert not any("not above baseline" in cell for cell in other)
    page = Page(report.html.read_text())
    assert [tag for tag, attributes in page.seen if attributes.get("class") == "reference"] == [
        "tr"
    ]
    for name in ("always A", "not above baseline"):
        assert name in "".join(page.texts)
    assert "always A" not in report.recommendation_json.read_text().split('"caveats"')[0]
    assert "always A" not in set(pd.read_csv(report.summary_csv)["variant"])


@UNSEEN
def test_sets_without_skill_are_named_among_the_caveats(tmp_path: Path) -> None:
    folder = write_lined_study(tmp_path / "study", {BASE: 2, "qkv": 10, "o_proj": 3, "all": 39})
    caveats = build_report(folder).recommendations[0].caveats
    (caveat,) = (each for each in caveats if "baseline" in each)
    assert caveat.startswith("Not above the majority-class baseline on medmcqa: o_proj and qkv.")
    assert "above 0.554, the upper 95% bound of always A (0.400)" in caveat


@UNSEEN
def test_a_task_on_which_no_set_has_skill_is_said_to_tell_nothing(tmp_path: Path) -> None:
    folder = write_lined_study(tmp_path / "study", {BASE: 39, "qkv": 10, "all": 22})
    report = build_report(folder)
    sentence = "On medmcqa, no target set is above the majority-class baseline"
    assert sentence in " ".join(report.recommendations[0].caveats)
    for path in (report.markdown, report.html):
        before_results = re.split(r"<h2>Results|## Results", path.read_text())[0]
        assert sentence in before_results
        assert "This task does not separate the sets." in before_results


@UNSEEN
def test_the_terminal_marks_scores_without_skill(tmp_path: Path) -> None:
    folder = write_lined_study(tmp_path / "study", {BASE: 2, "qkv": 10, "all": 39})
    comparison = compare(load_results(folder), load_examples(folder))
    *lines, legend = text_table(comparison).splitlines()
    assert [line.split()[0] for line in lines if "!" in line] == [BASE, "qkv"]
    assert len({line.index(" ±") for line in lines[2:]}) == 1
    assert len({len(line) for line in lines}) == 1
    assert legend.startswith("! not above the majority-class baseline on medmcqa: not above 0.554")
    skilled = write_lined_study(tmp_path / "skilled", {BASE: 38, "qkv": 38, "all": 39})
    comparison = compare(load_results(skilled), load_examples(skilled))
    assert "!" not in text_table(comparison)


@UNSEEN
def test_a_hostile_majority_answer_is_escaped(tmp_path: Path) -> None:
    line = {"majority_prediction": "<i>*|$x$", "majority_score": 0.9}
    folder = write_study(tmp_path / "study", ("qkv",), ("medmcqa",), scored={"medmcqa": line})
    report = build_report(folder)
    assert check_markdown_tables(report.markdown.read_text()) == 6
    page = Page(report.html.read_text())
    assert not [tag for tag, _ in page.seen if tag == "i"]
    assert "always <i>*|$x$" in "".join(page.texts)


@UNSEEN
def test_every_score_of_a_task_is_shown_under_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for seed, f1 in ((0, 0.2), (1, 0.4)):
        scores = {"field_f1_micro": f1, "anls_star": math.nan, "rougeLsum": 0.5, "my_own": 0.1}
        scored = {"scores": scores, "scoring": "generation"}
        write_run(folder, "qkv", "govreport", seed=seed, scored=scored)
    write_run(folder, "all", "govreport", error=ErrorRecord("E", "boom", "t"))
    write_run(folder, "qkv", "fincot")
    markdown = build_report(folder).markdown.read_text()
    part = markdown.split("### All scores")[1].split("### ")[0]
    assert "**fincot**" in part
    header, *rows = read_table(part, "**govreport, scored by generation**")
    assert header[1:] == [
        *("ROUGE-L (headline)", "ROUGE-Lsum", "Field F1 (micro)", "my_own", "parsed"),
    ]
    cells = {row[0].strip("*"): row[1:] for row in rows}
    assert cells["qkv"][1:] == ["0.500", "0.300", "0.100", "1.000"]
    assert cells["all"] == [UNKNOWN] * 5


@UNSEEN
def test_lengths_are_shown_where_they_are_known(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for seed, tokens in ((0, 80.0), (1, 100.0)):
        known = {"completion_tokens": tokens, "reasoning_tokens": tokens / 2}
        write_run(folder, "qkv", "fincot", seed=seed, scored=known)
    write_run(folder, "all", "fincot", scored={"completion_tokens": 1234.4})
    write_run(folder, BASE, "fincot")
    write_run(folder, "qkv", "medmcqa")
    table = read_table(build_report(folder).markdown.read_text(), "### Output length")
    assert table[0] == ["Target set", "fincot"]
    assert dict(table[1:]) == {"base": UNKNOWN, "qkv": "90.0 (45.0)", "all": "1,234"}
    silent = write_study(tmp_path / "silent", ("qkv",), ("fincot",))
    assert "### Output length" not in build_report(silent).markdown.read_text()


@UNSEEN
def test_cuts_are_told_by_stage_and_rule(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    scored = {"truncated_examples": 3, "truncated_tokens_ratio": 0.25, "truncation": "head_tail"}
    trained = {"truncated_examples": 4, "truncated_tokens_ratio": 0.0002, "skipped_rows": 1}
    write_run(folder, "qkv", "fincot", scored=scored | {"skipped_rows": 2}, trained=trained)
    # As an older record has it: neither the rule nor the share of training.
    write_run(folder, "qkv", "medmcqa", trained={"truncated_examples": 5})
    assert list(list_truncation(load_results(folder))) == [
        "fincot: 3 of 60 scored prompts were truncated (25.0% of all prompt tokens removed; head "
        "and tail of each were kept)",
        "fincot: 4 training examples were truncated (under 0.1% of all prompt tokens removed; head "
        "and tail of each were kept)",
        "fincot: 2 bad rows were left out of scoring",
        "fincot: 1 bad row was left out of training",
        "medmcqa: 5 training examples were truncated",
    ]


@UNSEEN
def test_constrained_and_mixed_scoring_are_caveats(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    write_run(folder, "qkv", "fincot", scored={"scoring": "constrained generation"})
    write_run(folder, "all", "fincot", scored={"scoring": "generation"})
    caveats = " ".join(build_report(folder).recommendations[0].caveats)
    assert "Scores of fincot come from decoding constrained to a schema" in caveats
    assert "latency was timed with unconstrained decoding" in caveats
    both = "scored by constrained generation and generation: their scores are not comparable"
    assert both in caveats


@UNSEEN
def test_untrusted_timing_names_model_session_and_variants(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for model in ("small", "large"):
        for name in ("qkv", "all", "o_proj"):
            write_run(folder, name, "fincot", model=model)
    results = load_results(folder)
    assert list_untrusted_timing(results) == []
    # One session failed, of which each run saw other noise; o_proj was timed in a later one.
    reasons = {
        "qkv": "the base is 1.1; others kept 0.2 cores busy",
        "all": "the base is 1.1; others kept 0.3 cores busy",
        "o_proj": "the base is known to 9%",
    }
    results["latency_trusted"] = results["model"] == "large"
    results["latency_distrust"] = results["variant"].map(reasons).where(~results["latency_trusted"])
    assert list_untrusted_timing(results) == [
        "fincot (small), all and qkv: the base is 1.1; others kept 0.3 cores busy.",
        "fincot (small), o_proj: the base is known to 9%.",
    ]
    small = results[results["model"] == "small"]
    assert list_untrusted_timing(small[small["variant"] != "o_proj"]) == [
        "fincot: the base is 1.1; others kept 0.3 cores busy."
    ]
    mixed = small.assign(latency_trusted=small["variant"] != "all")
    assert list_untrusted_timing(mixed) == [
        "fincot, all: the base is 1.1; others kept 0.3 cores busy."
    ]


def test_the_reference_study_still_reports(tmp_path: Path) -> None:
    copy = tmp_path / "reference"
    shutil.copytree(ROOT / "results" / "reference" / "runs", copy / "runs")
    report = build_report(copy)
    assert "| ROUGE-L (headline) | ROUGE-1 | ROUGE-2 |" in report.markdown.read_text()


def test_the_summaries_agree(study: Path) -> None:
    table, text = pd.read_parquet(study / "summary.parquet"), pd.read_csv(study / "summary.csv")
    assert list(table) == list(text)
    assert len(table) == len(text) == (len(FIVE) + 1) * (len(TASKS) + 1)
    assert table["score"].round(9).tolist() == text["score"].round(9).tolist()


def test_the_records_alone_suffice_and_give_the_same_again(study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(study / "runs", copy / "runs")
    build_report(copy)
    for name in ("report.md", "report.html", "summary.csv", "recommendation.json"):
        assert (copy / name).read_bytes() == (study / name).read_bytes()


def test_hostile_text_is_escaped_everywhere(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for name in ("qkv", EVIL, BASE):
        write_run(folder, name, "fincot", stand_in=EVIL, model=EVIL)
    write_run(folder, "all", EVIL, model=EVIL, error=ErrorRecord("E", f"{EVIL}\nsecond", "t"))
    report = build_report(folder)
    page = Page(report.html.read_text())
    # One script is the page's own.
    assert len([tag for tag, _ in page.seen if tag == "script"]) == 1
    assert "alert('x')" in "".join(page.texts)
    markdown = report.markdown.read_text()
    assert "<script" not in markdown
    assert check_markdown_tables(markdown) == 10 + 1


@UNSEEN
def test_a_choice_comes_ready_for_other_tools(tmp_path: Path) -> None:
    folder = write_study(
        tmp_path / "study",
        sets=("o_proj+fc2", "all"),
        gains={"o_proj+fc2": 0.2, "all": 0.2},
        ratios={"o_proj+fc2": 1.02, "all": 1.3},
        tasks=("fincot", "medmcqa"),
        seeds=(0, 1),
        examples=300,
    )
    report = build_report(folder)
    assert report.recommendations[0].choice == "o_proj+fc2"
    text = "".join(Page(report.html.read_text()).texts)
    for path_text in (text, report.markdown.read_text()):
        assert 'target_modules=["o_proj", "down_proj"]' in path_text
        assert "--lora-target-modules o_proj down_proj" in path_text
        assert "torchtune" in path_text


@pytest.mark.parametrize("gain", [0.2, -0.2])
def test_without_a_choice_what_to_take_today_comes_ready(tmp_path: Path, gain: float) -> None:
    gains = {"o_proj": gain, "all": gain - 0.1}
    shape: dict[str, Any] = {"examples": 40, "rounds": 3, "tasks": ("fincot",)}
    report = build_report(write_study(tmp_path / "study", tuple(gains), gains=gains, **shape))
    (verdict,) = report.recommendations
    assert (verdict.verdict, verdict.choice) == ("undecided", None)
    assert verdict.if_today == ("o_proj" if gain > 0 else BASE)
    pages = [report.markdown.read_text(), "".join(Page(report.html.read_text()).texts)]
    for text in pages:
        today = "o_proj" if gain > 0 else "train nothing"
        assert f"If you must choose today: {today}" in text.replace("\\", "")
        assert ("target_modules=" in text) is (gain > 0)
        assert ("in other tools" in text) is (gain > 0)


@UNSEEN
def test_training_that_is_not_worth_it_is_the_verdict_of_every_page(tmp_path: Path) -> None:
    gains = {"qkv": -0.1, "all": 0.003}
    shape: dict[str, Any] = {"examples": 400, "rounds": 3, "seeds": (0, 1)}
    folder = write_study(tmp_path / "study", tuple(gains), ("fincot",), gains=gains, **shape)
    report = build_report(folder)
    stored = json.loads(report.recommendation_json.read_text())
    assert (stored["verdict"], stored["choice"]) == ("train nothing", BASE)
    for text in (
        report.markdown.read_text().split("## Results")[0],
        "".join(Page(report.html.read_text()).texts),
        report.text,
    ):
        assert "Train nothing with this recipe: with 95% confidence, no target set gains" in text
    assert "in other tools" not in report.markdown.read_text()
    # The examples are still those of the best set.
    assert "all against base" in report.markdown.read_text()


@UNSEEN
def test_failures_and_unreadable_records_are_shown(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",))
    error = ErrorRecord("FloatingPointError", "loss is nan at step 3", "Traceback ...")
    write_run(folder, "o_proj", "fincot", error=error)
    write_run(folder, "fc2", "fincot", status="interrupted")
    broken = write_run(folder, "fc1", "fincot")
    (broken / "record.json").write_text("{")
    report = build_report(folder)
    for path in (report.markdown, report.html):
        text = path.read_text()
        assert "o_proj on fincot (seed 0) failed: FloatingPointError: loss is nan at step 3" in text
        assert "fc2 on fincot (seed 0) was interrupted" in text
        assert broken.name in text
        assert "no result" in text
    assert "o_proj" in set(pd.read_csv(report.summary_csv)["variant"])


@pytest.mark.parametrize(
    "case", ["one set", "no base", "no latency", "one example", "all failed", "unreadable"]
)
def test_thin_studies_still_report(tmp_path: Path, case: str) -> None:
    folder = tmp_path / "study"
    error = ErrorRecord("RuntimeError", "", "Traceback ...")
    if case == "all failed":
        write_run(folder, "qkv", "fincot", error=error)
    elif case == "unreadable":
        (write_run(folder, "qkv", "fincot") / "record.json").write_text("")
    else:
        write_study(
            folder,
            sets=("qkv",) if case == "one set" else ("qkv", "all"),
            tasks=("fincot",),
            base=case != "no base",
            rounds=0 if case == "no latency" else 8,
            examples=1 if case == "one example" else 40,
        )
    report = build_report(folder)
    Page(report.html.read_text())
    has_scores = case not in ("all failed", "unreadable")
    has_pairs = has_scores and case != "one set"
    duels = has_scores * (1 if case in ("one set", "no base") else 2)
    tables = 4 + has_scores + 4 * has_pairs + duels
    assert check_markdown_tables(report.markdown.read_text()) == tables
    assert report.recommendations[0].verdict == "undecided"
    assert len(pd.read_parquet(report.summary_parquet)) == len(pd.read_csv(report.summary_csv))


@UNSEEN
def test_two_models_are_reported_apart(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for model in ("small", "org/large"):
        for target_set in (BASE, "qkv", "all"):
            write_run(folder, target_set, "fincot", model=model, gain=0.2)
    report = build_report(folder)
    assert [each.model for each in report.recommendations] == ["org/large", "small"]
    assert (folder / "plots" / "accuracy_against_latency_org-large.png").is_file()
    assert set(pd.read_csv(report.summary_csv)["model"]) == {"small", "org/large"}
    assert json.loads(report.recommendation_json.read_text())["choice"] is None


@UNSEEN
def test_ranks_have_rows_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    write_run(folder, BASE, "fincot")
    for rank in (8, 16):
        for target_set in ("qkv", "all"):
            write_run(folder, target_set, "fincot", rank=rank)
    text = build_report(folder).markdown.read_text()
    assert "| qkv, rank 8 |" in text
    assert "| all, rank 16 |" in text


@pytest.mark.slow
def test_eleven_sets_build(tmp_path: Path) -> None:
    build_report(write_study(tmp_path / "study", sets=ELEVEN, examples=100))
    page = (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in ELEVEN)


def test_the_terminal_table_lines_up(study: Path) -> None:
    comparison = compare(load_results(study), load_examples(study))
    lines = text_table(comparison, "all").splitlines()
    assert len(lines) == 2 + 6
    assert len({len(line) for line in lines}) == 1
    assert lines[2].startswith("base ")
    assert any(line.startswith("all * ") for line in lines)


def test_the_command_prints_table_verdict_and_place(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(study)]) == 0
    printed = capsys.readouterr().out
    assert "target set" in printed
    assert str(study / "report.html") in printed


@pytest.mark.parametrize("arguments", [["absent"], ["{study}", "--delta", "-1"]])
def test_bad_input_is_one_line_and_status_2(
    study: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([each.format(study=study) for each in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) == 1


@pytest.mark.slow
def test_it_runs_as_a_module(study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(study / "runs", copy / "runs")
    subprocess.run(
        [sys.executable, "-m", "harness.report", str(copy)],
        cwd=Path(__file__).resolve().parents[2],
        check=True,
        capture_output=True,
    )
    assert (copy / "report.html").is_file()


def test_a_full_disk_is_one_line(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(UserError, match="No space left"):
        build_report(study)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("o_proj+fc2", "o_proj+fc2"),
        ("a|b", r"a\|b"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("two\nlines", "two lines"),
        ("_x_ *y* `z`", r"\_x\_ \*y\* \`z\`"),
    ],
)
def test_markdown_is_escaped(text: str, expected: str) -> None:
    assert escape_markdown(text) == expected


def test_an_environment_that_no_run_recorded_is_said() -> None:
    assert make_environment_table({"run": {}}).rows == (("all", "not recorded"),)
    assert make_environment_table({"run": {"cpu": "x"}}).rows == (("cpu", "x"),)
