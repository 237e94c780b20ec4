"""The latency page from raw files alone: verdict first, doubt in red, nothing injected."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_latency import RULE, SINGLES, write_latency_study
from synthetic_study import write_study
from test_study_report import Page, check_markdown_tables

from harness.cli.report import main
from harness.records.files import write_table
from harness.reporting.latency_report import build_latency_report
from harness.reporting.rendering import escape_markdown

EVIL = "<script>alert('x')</script> | a | $b$"
BATCHES = ({"batch_size": 1}, {"batch_size": 8})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "study"
    sets = (*SINGLES, "all")
    write_latency_study(folder, sets, points=BATCHES, rounds=6, interaction=0.03)
    build_latency_report(folder)
    return folder


def read_page(folder: Path) -> tuple[str, Page]:
    text = (folder / "latency.html").read_text(encoding="utf-8")
    return text, Page(text)


def find_boxes(folder: Path) -> list[tuple[str, str]]:
    """(class, text) of the boxes at the top of the page."""
    text = (folder / "latency.html").read_text(encoding="utf-8")
    boxes = re.findall(r'<div class="(verdict[^"]*)">(.*?)</div>', text, flags=re.DOTALL)
    return [(name, " ".join(re.sub(r"<[^>]+>", " ", body).split())) for name, body in boxes]


def test_every_file_is_written(study: Path) -> None:
    names = {str(path.relative_to(study)) for path in study.rglob("*") if path.is_file()}
    tables = {"ratios.csv", "ratios.parquet", "pairs.csv", "costs.csv", "checks.csv"}
    tables |= {"operations.csv"}
    plots = ("forest_point_0", "forest_point_1", "predictions_point_1", "tpot_against_batch_0")
    assert tables <= names
    assert {f"plots/{plot}.{kind}" for plot in plots for kind in ("png", "svg")} <= names
    assert {"latency.md", "latency.html"} <= names
    assert not [name for name in names if Path(name).name.startswith(".")]


def test_the_tables_hold_all(study: Path) -> None:
    assert len(pd.read_csv(study / "ratios.csv")) == 2 * 3 * (3 + 2 * 7 + 1)
    assert len(pd.read_csv(study / "pairs.csv")) == 2 * 2 * 21
    assert len(pd.read_csv(study / "costs.csv")) == 2 * 63
    ratios = pd.read_parquet(study / "ratios.parquet")
    pd.testing.assert_frame_equal(ratios, pd.read_csv(study / "ratios.csv"), check_dtype=False)


def test_the_verdicts_come_first(study: Path) -> None:
    boxes = find_boxes(study)
    assert [name for name, _ in boxes] == ["verdict", "verdict"]
    text = boxes[0][1]
    assert text.startswith("batch 1, prompt 128, output 33 Trusted: ")
    unmerged = re.search(r"Unmerged, (.*?)\.(?= [A-Z])", text)
    assert unmerged
    slower = unmerged[1].split("; ")[0]
    assert slower.startswith("slower: ")
    assert {"fc1", "all"} <= set(re.findall(r"[\w+]+(?= \d)", slower))
    assert "Merged, equivalent within 3%: " in text
    assert "Mixed batch, slower: 1.2" in text
    assert "The rows of the mixed batch use q, k, v and o_proj in turn." in text
    assert re.search(r"the base with its tensors copied is (0\.99|1\.00)\dx ±[\d.]+, equiv", text)
    assert "Publishable: 18 rounds in 3 processes" in text
    assert "one process" not in text
    page = (study / "latency.html").read_text(encoding="utf-8")
    assert page.index('class="verdict"') < page.index("<h2")
    assert "commit 0123abc" in page
    assert "torch 2.9.0" in page


def test_the_page_needs_no_network_and_fits_a_phone(study: Path) -> None:
    text, page = read_page(study)
    for tag, attributes in page.seen:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), (tag, attributes)
    assert not re.search(r"url\(|@import|<script ", text)
    images = [attributes for tag, attributes in page.seen if tag == "img"]
    assert len(images) == 5
    assert all(attributes["alt"] for attributes in images)
    scrolling = [a for tag, a in page.seen if a.get("class") == "scroll" and tag == "div"]
    assert len(scrolling) == sum(tag == "table" for tag, _ in page.seen)
    assert "@media print" in text


def test_the_markdown_is_whole(study: Path) -> None:
    text = (study / "latency.md").read_text(encoding="utf-8")
    # For each of two points: ratios, two of pairs, terms, held-out sets, operations.
    assert check_markdown_tables(text) == 2 * 6 + 2
    for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text):
        assert (study / path).is_file()


def test_all_is_rebuilt_from_the_raw_files(tmp_path: Path) -> None:
    sets = ("qkv", "all")
    study = write_latency_study(tmp_path / "one" / "study", sets, points=BATCHES, rounds=3)
    build_latency_report(study)
    copy = tmp_path / "two" / "study"
    copy.mkdir(parents=True)
    for name in ("latency.parquet", "operations.parquet", "latency.json"):
        shutil.copy(study / name, copy)
    assert main([str(copy)]) == 0
    for path in sorted(study.rglob("*")):
        if path.suffix in (".csv", ".md", ".html", ".svg"):
            assert (copy / path.relative_to(study)).read_bytes() == path.read_bytes(), path


def test_the_terminal_gets_table_and_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_latency_study(tmp_path / "study", rounds=6)
    assert main([str(study)]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "batch 1, prompt 128, output 33"
    assert lines[1].startswith("Trusted: ")
    assert re.search(r"^unmerged all +1\.1\d\dx \(.*\) +18 in 3 +slower$", out, re.MULTILINE)
    assert str(study / "latency.html") in lines[-1]


def test_an_untrusted_point_is_red_and_has_no_verdict(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write_latency_study(folder, noise=0.05, ratios={("base_again", "base"): 1.3}, busy=True)
    report = build_latency_report(folder)
    assert not report.is_trusted
    assert "UNTRUSTED: " in report.text
    ((name, text),) = find_boxes(folder)
    assert name == "verdict untrusted"
    assert "UNTRUSTED: " in text
    assert not re.search(r"slower|faster|equivalent", text)
    assert "Not publishable" in text
    page, _ = read_page(folder)
    assert ".verdict.untrusted" in page
    cells = re.findall(r"<td>((?:slower|faster|equivalent|unresolved)[^<]*)</td>", page)
    assert cells
    assert all(cell.endswith("(untrusted)") for cell in cells)


def test_an_untrusted_point_says_so_at_each_of_its_tables(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    ratios = {("base_again", "base"): 1.3}
    sets = ("o_proj", "fc2", "o_proj+fc2")
    write_latency_study(folder, sets, ratios=ratios, interaction=0.05)
    build_latency_report(folder)
    text, _ = read_page(folder)
    captions = re.findall(r"<caption>(.*?)</caption>", text)
    doubted = [caption for caption in captions if caption.startswith("UNTRUSTED: ")]
    # Ratios, two of pairs, terms, held-out sets; not operations, noise and machine.
    assert len(doubted) == 5
    assert len(captions) == 8
    assert re.search(r"<p>UNTRUSTED: The role costs do not add up", text)
    found = re.findall(r"<td>((?:departs|no departure found|not tested)[^<]*)</td>", text)
    assert found == ["departs (untrusted)"]
    markdown = (folder / "latency.md").read_text(encoding="utf-8")
    assert markdown.count("\nUNTRUSTED: ") == 6
    assert "Trusted" not in markdown


def test_times_that_fail_their_own_control_are_marked(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s")
    calls = pd.read_parquet(folder / "latency.parquet")
    calls.loc[calls["arm"] == "base_again", "ttft_seconds"] *= 1.2
    write_table(folder / "latency.parquet", calls)
    report = build_latency_report(folder)
    assert report.is_trusted
    assert "TTFT is UNTRUSTED here: the TTFT of the base against itself" in report.text
    assert "TPOT is UNTRUSTED" not in report.text
    cells = re.findall(r"<td>([^<]*, untrusted)</td>", read_page(folder)[0])
    # Every arm but the base has a TTFT over the base's.
    assert len(cells) == 9


def test_a_layout_that_matters_is_said_of_merged_sets(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", ratios={("base_cloned", "base"): 1.06})
    text = build_latency_report(folder).text
    assert re.search(r"Memory layout: the base with its tensors copied is 1\.06\dx ±0\.\d+, ", text)
    assert "slower. A difference of this size between a merged set and the base may be" in text


def test_what_a_later_run_added_is_named_and_held_against_the_first(tmp_path: Path) -> None:
    later = {"added_to": 0, "target_sets": ["o_proj+fc2", "fc1+fc2"]}
    again = {"added_to": 0, "target_sets": ["o_proj+fc1"]}
    folder, sets = tmp_path / "s", ("o_proj", "fc1", "fc2")
    write_latency_study(folder, sets, points=[{}, later, again], interaction=0.05, processes=6)
    report = build_latency_report(folder)
    name = "batch 1, prompt 128, output 33"
    titles = [text.split(" Trusted")[0] for _, text in find_boxes(folder)]
    assert titles == [name, f"{name}, added later, point 1", f"{name}, added later, point 2"]
    page = " ".join(read_page(folder)[1].texts)
    sentence = re.search(
        rf"Compared with the prediction from the role costs at {name}: (.*?)\. \n", page
    )
    assert sentence
    found = r"departs: o_proj\+fc2 \(\+[45]\.\d% of the base's time\) and fc1\+fc2 \("
    assert re.match(found, sentence[1])
    assert "No cost model" not in page
    assert "The rows of the mixed batch use o_proj+fc2 and fc1+fc2 in turn." in page
    checks = pd.read_csv(report.checks_csv)
    assert checks[["target_set", "point", "added_to"]].to_numpy().tolist() == [
        ["o_proj+fc2", 1, 0],
        ["fc1+fc2", 1, 0],
        ["o_proj+fc1", 2, 0],
    ]
    assert (folder / "plots" / "checks_point_1.svg").is_file()
    check_markdown_tables(report.markdown.read_text(encoding="utf-8"))


def test_sets_without_a_model_say_what_to_time_and_no_more(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", ("qkv+o_proj", "o_proj+fc2"), rounds=5)
    build_latency_report(folder)
    page = " ".join(read_page(folder)[1].texts)
    problem = re.search(r"No cost model: (.*?\.) A model uses the sets of one run only\.", page)
    assert problem
    assert "cost model" not in problem[1]
    assert "; also time qkv" in problem[1]


def test_points_that_failed_are_named_and_the_others_stay(tmp_path: Path) -> None:
    points = [
        {},
        {"batch_size": 64, "status": "out of memory", "message": "tried to get 9 GiB\nmore"},
        {"batch_size": 2, "status": "interrupted"},
        {"batch_size": 4, "status": "failed", "message": "the process died"},
    ]
    folder = write_latency_study(tmp_path / "s", points=points, rounds=5)
    report = build_latency_report(folder)
    assert not report.is_trusted
    boxes = find_boxes(folder)
    assert boxes[0][1].startswith("batch 1, prompt 128, output 33 Trusted")
    assert boxes[1] == (
        "verdict open",
        "batch 64, prompt 128, output 33 Not measured: out of memory: tried to get 9 GiB.",
    )
    assert "Ended early: interrupted" in boxes[2][1]
    assert "Not measured: failed: the process died." in boxes[3][1]
    assert "the calls timed before are kept" in report.text
    assert set(pd.read_csv(folder / "ratios.csv")["point"]) == {0, 2}
    text = (folder / "latency.md").read_text(encoding="utf-8")
    assert "4 points: " in text
    assert "2 not measured" in text


def test_lost_arms_and_cold_processes_are_named_once(tmp_path: Path) -> None:
    failure = {"point": 0, "variant": "all", "arm": "merged", "message": "weights are torn\nat 3"}
    failures = [failure | {"process": process} for process in range(3)]
    folder = write_latency_study(tmp_path / "s", rounds=5, facts={"failures": failures})
    calls = pd.read_parquet(folder / "latency.parquet")
    lost = (calls["arm"] == "merged") & (calls["variant"] == "all")
    write_table(folder / "latency.parquet", calls[~lost])
    report = build_latency_report(folder)
    assert report.text.count("merged all could not be timed: weights are torn") == 1
    assert "at 3" not in report.text
    page = " ".join(read_page(folder)[1].texts)
    assert "merged all could not be timed: weights are torn" in page


def test_arms_that_broke_off_keep_their_rounds_and_their_name(tmp_path: Path) -> None:
    failures = [
        {"point": 0, "process": 2, "variant": "all", "arm": "merged", "message": "no room"},
        {"point": 0, "process": 0, "variant": "qkv", "arm": "unmerged", "message": "torn"},
    ]
    folder = write_latency_study(tmp_path / "s", rounds=5, facts={"failures": failures})
    calls = pd.read_parquet(folder / "latency.parquet")
    names = calls["arm"] + " " + calls["variant"]
    cut = (names == "merged all") & ((calls["process"] == 2) & (calls["round"] > 0))
    write_table(folder / "latency.parquet", calls[~cut & (names != "unmerged qkv")])
    text = build_latency_report(folder).text
    assert "merged all failed after 11 rounds: no room" in text
    assert "unmerged qkv could not be timed: torn" in text
    assert "Preregistered and never timed: unmerged qkv." in text


def test_an_unsettled_process_is_named(tmp_path: Path) -> None:
    process = {"point": 0, "process": 1, "warmup_rounds": 12, "settled": False}
    folder = write_latency_study(tmp_path / "s", rounds=5, facts={"processes": [process]})
    assert (
        "process 1 had not reached a steady speed after 12 warm-up rounds"
        in build_latency_report(folder).text
    )


def test_one_token_outputs_have_no_tpot_and_say_so(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", points=[{"output_tokens": 1}], rounds=5)
    build_latency_report(folder)
    text = (folder / "latency.md").read_text(encoding="utf-8")
    assert "TPOT, the time per output token after the first, is undefined" in text
    assert "| undefined |" in text
    assert "nan" not in text
    assert not list((folder / "plots").glob("tpot*"))


def test_a_study_without_a_call_still_has_a_page(tmp_path: Path) -> None:
    points = [{"status": "out of memory", "message": "no room"}]
    report = build_latency_report(write_latency_study(tmp_path / "s", points=points))
    assert not report.is_trusted
    assert "out of memory: no room" in report.text
    assert "No call was timed." in report.html.read_text(encoding="utf-8")
    assert check_markdown_tables(report.markdown.read_text(encoding="utf-8")) == 1


def test_a_spent_budget_names_what_stayed_wide(tmp_path: Path) -> None:
    points = [{"stopped": "time budget"}]
    folder = write_latency_study(tmp_path / "s", points=points, rounds=6)
    calls = pd.read_parquet(folder / "latency.parquet")
    wide = (calls["arm"] == "unmerged") & (calls["variant"] == "qkv")
    spread = np.exp(np.random.default_rng(0).normal(0, 0.3, int(wide.sum())))
    calls.loc[wide, "end_to_end_seconds"] *= spread
    write_table(folder / "latency.parquet", calls)
    text = build_latency_report(folder).text
    assert "its time budget (300 s) was spent. Not within ±0.02: unmerged qkv." in text


def test_the_limits_of_a_study_in_one_process_are_said(tmp_path: Path) -> None:
    folder = write_latency_study(tmp_path / "s", processes=1, rounds=20)
    text = build_latency_report(folder).text
    assert "Not publishable" in text
    assert "20 rounds in 1 process" in text
    limit = "the intervals assume independent rounds and exclude variation between processes."
    assert f"Only one process was timed: {limit}" in text
    page = " ".join(read_page(folder)[1].texts)
    assert f"Only one process was timed: {limit}" in page
    assert f"With one process, {limit}" in page


def test_a_lax_rule_makes_nothing_publishable(tmp_path: Path) -> None:
    rule = RULE | {"min_rounds": 2, "min_processes": 1}
    folder = write_latency_study(tmp_path / "s", rounds=4, facts={"rule": rule})
    text = build_latency_report(folder).text
    assert "Not publishable: 12 rounds in 3 processes (needed: 15 rounds in 3 processes)." in text


def test_a_torn_study_keeps_no_other_report_from_being_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_study(tmp_path / "s", sets=("qkv", "all"), tasks=("fincot",))
    write_latency_study(folder, rounds=2)
    (folder / "latency.json").write_text('{"schema_version": 1')
    assert main([str(folder)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert "latency.json" in captured.err
    assert (folder / "report.html").is_file()
    assert str(folder / "report.html") in captured.out


def test_names_are_escaped(tmp_path: Path) -> None:
    points = [{}, {"dtype": EVIL, "batch_size": 2, "status": "failed", "message": EVIL}]
    folder = write_latency_study(tmp_path / "s", points=points, rounds=4, facts={"model": EVIL})
    for name in ("latency.parquet", "operations.parquet"):
        table = pd.read_parquet(folder / name)
        table["variant"] = table["variant"].replace("all", EVIL)
        write_table(folder / name, table)
    build_latency_report(folder)
    text, page = read_page(folder)
    assert text.count("<script") == 1  # the page's own
    assert EVIL in "".join(page.texts)
    markdown = (folder / "latency.md").read_text(encoding="utf-8")
    assert escape_markdown(EVIL) in markdown
    check_markdown_tables(markdown)


def test_points_that_ran_alike_keep_names_apart(tmp_path: Path) -> None:
    ran = {"ran": {"adapter_dtype": "float32"}}
    points = [{"adapter_dtype": "auto", **ran}, {"adapter_dtype": "base", **ran}]
    folder = write_latency_study(tmp_path / "s", points=points, rounds=4)
    build_latency_report(folder)
    titles = [text.split(" Trusted")[0].split(" UNTRUSTED")[0] for _, text in find_boxes(folder)]
    assert len(set(titles)) == 2


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_what_is_no_study_is_one_line(
    tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "latency.json" in error
