"""Studies side by side: the numbers of each, what changes between them, and what is refused."""

import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from several_studies import GAINS, TASKS, TURNED, edit_records, write_side
from synthetic_study import write_run

from harness.analysis.results import load_examples, load_results
from harness.analysis.studies.study_comparison import StudiesComparison, compare_studies
from harness.analysis.studies.study_gains import ALL_TASKS
from harness.analysis.verdict.recommendation import recommend
from harness.cli.compare import main
from harness.errors import UserError
from harness.records.record import BASE

ONE = ("fincot",)


def write_seeds(
    folder: Path,
    gains: Mapping[str, float] = GAINS,
    tasks: Sequence[str] = TASKS,
    *,
    base: bool = True,
    **options: Any,
) -> Path:
    """A study of two seeds, of which a set may be chosen; the base is run once."""
    write_side(folder, gains, tasks, seed=0, base=base, **options)
    return write_side(folder, gains, tasks, seed=1, base=False, **options)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models with opposite orders of their sets."""
    root = tmp_path_factory.mktemp("results")
    return [
        write_seeds(root / "before", GAINS, ratio=1.1, rounds=6),
        write_seeds(root / "after", TURNED, ratio=1.2, rounds=6, model="other"),
    ]


@pytest.fixture(scope="module")
def turned(paths: list[Path]) -> StudiesComparison:
    return compare_studies(paths)


def means_of(compared: StudiesComparison, study: str) -> pd.DataFrame:
    rows = compared.table[compared.table["task"] == ALL_TASKS]
    return rows[rows["study"] == study].set_index("variant")


def test_each_study_keeps_the_numbers_of_its_records(
    turned: StudiesComparison, paths: list[Path]
) -> None:
    assert turned.names == ("before", "after")
    assert turned.tasks == TASKS
    for path in paths:
        runs = load_results(path)
        scores = runs.pivot_table(index="variant", columns="task", values="score")
        own = means_of(turned, path.name)
        np.testing.assert_allclose(own["score"], scores.mean(axis=1)[own.index])
        gains = (scores - scores.loc[BASE]).mean(axis=1).drop(BASE)
        np.testing.assert_allclose(own.loc[gains.index, "gain"], gains)
        # Against the single variant that is best in the mean; the base loses, too.
        means = scores.mean(axis=1)
        np.testing.assert_allclose(own.loc[means.index, "regret"], means.max() - means, atol=1e-12)
        assert own["end_to_end_ratio"].drop(BASE).between(1.0, 1.3).all()


def test_the_verdicts_are_those_of_the_studies_own_reports(
    turned: StudiesComparison, paths: list[Path]
) -> None:
    assert list(turned.verdicts["own_verdict"]) == ["chosen", "chosen"]
    for path, row in zip(paths, turned.verdicts.to_dict("records"), strict=True):
        own = recommend(load_results(path), load_examples(path, texts=False))
        assert (row["own_verdict"], row["own_choice"]) == (own.verdict, own.choice)
        assert row["headline"] == own.headline
        assert (row["verdict"], row["choice"]) == (own.verdict, own.choice)
    assert turned.findings[0] == "The recommendation changes: all in before; qkv in after."


def test_changes_are_differences_of_gains_with_the_root_of_the_summed_squares(
    turned: StudiesComparison,
) -> None:
    gains = turned.table.set_index(["study", "variant", "task"])
    for row in turned.changes.to_dict("records"):
        old, new = (gains.loc[(name, row["variant"], row["task"])] for name in turned.names)
        if row["variant"] != BASE:
            assert row["change"] == pytest.approx(new["gain"] - old["gain"])
            low = math.hypot(new["gain"] - new["gain_low"], old["gain_high"] - old["gain"])
            assert row["change"] - row["change_low"] == pytest.approx(low)
    assert set(turned.changes["study"]) == {"after"}
    assert turned.differences == ("model differs: tiny in before; other in after",)
    shift = turned.changes.set_index(["variant", "task"]).loc[("all", ALL_TASKS)]
    assert shift["change_low"] < -0.15 < shift["change_high"] < 0


def test_the_ranking_is_kendalls_tau_of_the_gains(tmp_path: Path) -> None:
    gains = {"qkv": 0.05, "o_proj": 0.12, "all": 0.2, "fc1": 0.3, "fc2": 0.4}
    # Of 10 pairs one is turned.
    moved = gains | {"fc1": 0.4, "fc2": 0.3}
    compared = compare_studies(
        [
            write_side(tmp_path / "a", gains, ONE),
            write_side(tmp_path / "b", moved, ONE, learning_rate=1e-3),
        ]
    )
    (row,) = compared.rankings.to_dict("records")
    known = [means_of(compared, name)["gain"].drop(BASE) for name in ("a", "b")]
    assert row["tau"] == pytest.approx(stats.kendalltau(*known).statistic)
    assert row["tau"] == pytest.approx(0.8)
    assert (row["sets"], row["pairs"], row["same"], row["opposite"]) == (5, 10, 9, 1)
    (reversal,) = compared.pairs[compared.pairs["order"] == "opposite"].to_dict("records")
    assert (reversal["better"], reversal["worse"]) == ("fc2", "fc1")
    assert reversal["difference_other"] < reversal["high_other"] < 0 < reversal["low"]
    sentence = next(each for each in compared.findings if "Kendall" in each)
    above, below = reversal["difference"], -reversal["difference_other"]
    assert f"fc2 is {above:.3f} above fc1 in a and {below:.3f} below it in b" in sentence


def test_a_turn_within_the_noise_is_not_called_one(tmp_path: Path) -> None:
    gains = {"qkv": 0.2, "all": 0.2}
    compared = compare_studies(
        [
            write_side(tmp_path / f"{number}", gains, ONE, learning_rate=rate, examples=40)
            for number, rate in enumerate((1e-3, 2e-3, 3e-3, 4e-3))
        ]
    )
    # Chance turned the order in some pair of these studies, and that is no finding.
    assert (compared.rankings["tau"] < 0).any()
    assert set(compared.pairs["order"]) == {"open"}
    assert not any("opposite" in finding for finding in compared.findings)


def test_ratios_of_other_machines_are_shown_and_no_seconds(
    tmp_path: Path, paths: list[Path]
) -> None:
    other = write_side(tmp_path / "other", rounds=6, ratio=1.3, seconds=13.0)
    edit_records(other, cpu_count=4)
    compared = compare_studies([paths[0], other])
    assert any("timed on different machines" in line for line in compared.differences)
    for name, ratio in (("before", 1.1), ("other", 1.3)):
        known = means_of(compared, name)["end_to_end_ratio"].drop(BASE)
        assert known.between(ratio - 0.05, ratio + 0.05).all()
    assert not [name for name in compared.table if "seconds" in name]


@pytest.mark.parametrize(("has_base", "choice"), [(True, "qkv"), (False, None)])
def test_one_common_set_has_no_ranking(tmp_path: Path, has_base: bool, choice: str | None) -> None:
    """It may still be chosen over the base; a choice among one is none."""
    compared = compare_studies(
        [
            write_seeds(tmp_path / "a", {"qkv": 0.2, "all": 0.1}, ONE, base=has_base),
            write_seeds(
                tmp_path / "b", {"qkv": 0.2, "o_proj": 0.1}, ONE, base=has_base, seconds=13.0
            ),
        ]
    )
    assert compared.sets == ("qkv",)
    assert any("every task: no ranking" in finding for finding in compared.findings)
    assert list(compared.verdicts["own_choice"]) == ["qkv", "qkv"]
    assert list(compared.verdicts["choice"]) == [choice, choice]
    assert "target sets not in every study are left out: all (only in a); o_proj (only in b)" in (
        compared.notes
    )


def test_one_seed_chooses_nothing_and_is_named(tmp_path: Path, paths: list[Path]) -> None:
    single = write_side(tmp_path / "single", rounds=6, seconds=13.0)
    compared = compare_studies([paths[0], single])
    assert list(compared.verdicts["verdict"]) == ["chosen", "undecided"]
    assert list(compared.verdicts["seeds"]) == [2, 1]
    assert compared.findings[0] == (
        "Not every study recommends a set: all in before; undecided in single."
    )
    assert any("single has sets with one seed only" in finding for finding in compared.findings)


def test_regret_is_against_the_sets_that_all_have(tmp_path: Path) -> None:
    """A set that only one study has would make the same set look worse there."""
    compared = compare_studies(
        [
            write_seeds(tmp_path / "a", GAINS | {"fc1": 0.4}, ONE),
            write_seeds(tmp_path / "b", GAINS, ONE, seconds=13.0),
        ]
    )
    for name in ("a", "b"):
        assert means_of(compared, name).loc["all", "regret"] == 0
    assert list(compared.verdicts["own_choice"]) == ["fc1", "all"]
    assert list(compared.verdicts["choice"]) == ["all", "all"]
    assert compared.findings[0] == "The recommendation is all in every study."


def test_a_task_of_one_study_counts_in_no_mean(tmp_path: Path) -> None:
    compared = compare_studies(
        [
            write_side(tmp_path / "a", tasks=("fincot", "govreport")),
            write_side(tmp_path / "b", tasks=ONE, seconds=13.0),
        ]
    )
    assert compared.tasks == ONE
    assert "govreport" not in set(compared.table["task"])
    assert means_of(compared, "a")["score"].to_dict() == means_of(compared, "b")["score"].to_dict()
    assert "tasks not in every study are left out: govreport (only in a)" in compared.notes


def test_a_study_done_again_agrees_and_is_no_copy(tmp_path: Path) -> None:
    compared = compare_studies(
        [write_side(tmp_path / "a", tasks=ONE), write_side(tmp_path / "b", tasks=ONE, seconds=13.0)]
    )
    assert compared.differences == ()
    assert compared.notes == ()
    assert (compared.changes["change"].dropna() == 0).all()
    assert compared.rankings["tau"].tolist() == [1.0]


def test_without_a_base_scores_are_ranked_and_gains_unknown(tmp_path: Path) -> None:
    one = write_side(tmp_path / "a", tasks=ONE, base=False)
    two = write_side(tmp_path / "b", tasks=ONE, seconds=13.0)
    compared = compare_studies([one, two])
    assert means_of(compared, "a")["gain"].isna().all()
    assert compared.changes["change"].isna().all()
    assert compared.rankings["tau"].tolist() == [1.0]


def test_what_each_comparison_leaves_out_is_told_by_study(tmp_path: Path) -> None:
    one, two = write_side(tmp_path / "a"), write_side(tmp_path / "b", seconds=13.0)
    write_run(two, "fc1", "fincot")
    write_run(one, "fc1", "fincot")
    shutil.rmtree(next(two.glob("runs/tiny--medmcqa--all--*")))
    compared = compare_studies([one, two])
    assert any(note.startswith("b: all has no scores on medmcqa") for note in compared.notes)
    assert math.isnan(means_of(compared, "b").loc["all", "score"])
    # A set that lacks a task in one study has no rank there.
    assert compared.rankings["sets"].tolist() == [2]


def test_three_studies_are_ranked_pair_by_pair(tmp_path: Path) -> None:
    folders = [
        write_side(tmp_path / name, gains, ONE, seconds=seconds, learning_rate=rate)
        for name, gains, seconds, rate in (
            ("a", GAINS, 12.0, 1e-3),
            ("b", TURNED, 13.0, 2e-3),
            ("c", GAINS, 14.0, 3e-3),
        )
    ]
    compared = compare_studies(folders)
    assert compared.rankings["tau"].tolist() == [-1.0, 1.0, -1.0]
    assert set(compared.changes["study"]) == {"b", "c"}
    assert compared.differences == (
        "train.learning_rate differs: 0.001 in a; 0.002 in b; 0.003 in c",
    )


def test_a_delta_that_is_no_loss_is_refused(paths: list[Path]) -> None:
    with pytest.raises(UserError, match="expected a number above 0"):
        compare_studies(paths, math.nan)


def test_the_command_prints_and_writes(
    paths: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "compared"
    assert main([*map(str, paths), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "The recommendation changes: all in before; qkv in after." in printed
    assert "Over fincot and medmcqa:" in printed
    assert str(out / "studies.md") in printed
    table = pd.read_csv(out / "studies.csv")
    assert len(table) == 2 * (len(GAINS) + 1) * (len(TASKS) + 1)
    page = (out / "studies.md").read_text(encoding="utf-8")
    for block in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    header = next(line for line in page.splitlines() if line.startswith("| Target set"))
    for group in ("before: gain", "after: mean score lost", "Change of gain, after against before"):
        assert group in header


def test_hostile_names_are_escaped_on_the_page(tmp_path: Path) -> None:
    evil = "<b>|x|</b>"
    one, two = (
        write_side(tmp_path / "a", tasks=ONE),
        write_side(tmp_path / "b", tasks=ONE, seconds=13.0),
    )
    for folder in (one, two):
        write_run(folder, evil, "fincot", scored={"seconds": 1.0 if folder == one else 2.0})
    assert main([str(one), str(two), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "studies.md").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert r"&lt;b&gt;\|x\|&lt;/b&gt;" in page


@pytest.mark.parametrize("case", ["absent", "alone", "latency", "disk"])
def test_a_mistake_is_one_line_and_status_2(
    paths: list[Path], tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latency").mkdir()
    (tmp_path / "latency" / "latency.json").write_text("{}")
    (tmp_path / "file").write_text("")
    arguments, expected = {
        "absent": ([paths[0], tmp_path / "absent"], "pass a study's folder"),
        "alone": ([paths[0]], "pass the folders of two or more studies"),
        "latency": ([paths[0], tmp_path / "latency"], "harness.compare_latency"),
        "disk": ([*paths, "--out", tmp_path / "file"], "cannot be written"),
    }[case]
    assert main([str(each) for each in arguments]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert len(printed.splitlines()) == 1
    assert expected in printed
