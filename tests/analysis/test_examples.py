"""Examples won and lost, against counting by hand and scipy; only what is shown is read."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_study import write_run, write_study

from harness.analysis.comparison import Comparison, compare
from harness.analysis.examples import EXAMPLE_COLUMNS, WIN_COLUMNS, count_wins, find_examples
from harness.analysis.results import load_examples, load_results
from harness.errors import UserError
from harness.records.record import BASE, ErrorRecord


def load(study: Path) -> tuple[pd.DataFrame, Comparison]:
    results = load_results(study)
    return results, compare(results, load_examples(study, texts=False))


def find(study: Path, one: str, other: str, limit: int = 3) -> pd.DataFrame:
    results, comparison = load(study)
    return find_examples(study, results, comparison, one, other, limit)


def write_answers(
    study: Path,
    target_set: str,
    scores: Sequence[float],
    *,
    task: str = "fincot",
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> Path:
    """A run whose predictions name their set, seed and example."""
    names = ids if ids is not None else [f"e{index}" for index in range(len(scores))]
    texts = {
        "prediction": [f"{target_set} {seed} {name}" for name in names],
        "reference": [f"truth of {name}" for name in names],
    }
    folder = write_run(
        study, target_set, task, seed=seed, scores=scores, ids=names, rounds=0, columns=texts
    )
    return folder


def test_wins_are_counted_as_by_hand(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_answers(study, "qkv", [1, 1, 1, 0, 0.5, 1])
    write_answers(study, "all", [0, 0, 0.5, 1, 0.5, 0])
    _, comparison = load(study)
    (row,) = count_wins(comparison, "qkv", "all").to_dict("records")
    assert [row[name] for name in ("task", "won", "lost", "tied")] == ["fincot", 4, 1, 1]
    assert row["difference"] == pytest.approx(2.5 / 6)
    # 4 or more heads, or 4 or more tails, of 5.
    assert row["p"] == pytest.approx(2 * stats.binom.sf(3, 5, 0.5))
    (back,) = count_wins(comparison, "all", "qkv").to_dict("records")
    assert (back["won"], back["lost"], back["p"]) == (1, 4, row["p"])


def test_seeds_are_averaged_before_they_are_counted(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for seed, own, other in ((0, [1, 0, 1], [0, 1, 1]), (1, [1, 0, 0], [0, 0, 1])):
        write_answers(study, "qkv", own, seed=seed)
        write_answers(study, "all", other, seed=seed)
    # One seed more of one set counts, as it does in the comparison.
    write_answers(study, "qkv", [0, 1, 1], seed=2)
    results, comparison = load(study)
    (row,) = count_wins(comparison, "qkv", "all").to_dict("records")
    assert (row["won"], row["lost"], row["tied"]) == (1, 2, 0)
    found = find_examples(study, results, comparison, "qkv", "all").set_index("id")
    assert found["difference"].to_dict() == pytest.approx({"e0": 2 / 3, "e1": -1 / 6, "e2": -1 / 3})
    assert found.loc["e0", ["score_one", "score_other"]].tolist() == pytest.approx([2 / 3, 0.0])
    compared = comparison.all_scores.compare("qkv", "all")
    assert compared is not None
    assert row["difference"] == pytest.approx(compared.value)
    # The texts are of a seed that both have.
    assert set(found["prediction_one"].str.split().str[1]) <= {"0", "1"}


def test_equal_scores_averaged_in_another_order_are_ties(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for seed, own, other in ((0, 0.1, 0.3), (1, 0.2, 0.1), (2, 0.3, 0.2)):
        write_answers(study, "qkv", [own, 0.4], seed=seed)
        write_answers(study, "all", [other, 0.4], seed=seed)
    results, comparison = load(study)
    (row,) = count_wins(comparison, "qkv", "all").to_dict("records")
    assert (row["won"], row["lost"], row["tied"], row["p"]) == (0, 0, 2, 1.0)
    assert find_examples(study, results, comparison, "qkv", "all").empty


def test_the_base_stands_beside_every_seed(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_answers(study, BASE, [0, 1, 0.5], seed=5)
    for seed, scores in enumerate(([1, 1, 0], [1, 0, 0], [1, 0, 0])):
        write_answers(study, "qkv", scores, seed=seed)
    results, comparison = load(study)
    (row,) = count_wins(comparison, "qkv", BASE).to_dict("records")
    assert (row["won"], row["lost"], row["tied"]) == (1, 2, 0)
    found = find_examples(study, results, comparison, "qkv", BASE).set_index("id")
    assert found.loc["e1", "difference"] == pytest.approx(-2 / 3)
    # The seeds that lost are nearest to the mean, not the one that tied.
    assert found.loc["e1", "prediction_one"] == "qkv 1 e1"
    assert found.loc["e1", "prediction_other"] == "base 5 e1"
    assert found.loc["e1", "reference"] == "truth of e1"


def test_sets_that_share_no_seed_are_averaged_each_over_its_own(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_answers(study, "qkv", [1, 0], seed=0)
    write_answers(study, "qkv", [0, 0], seed=1)
    write_answers(study, "all", [0.25, 1], seed=7)
    results, comparison = load(study)
    (row,) = count_wins(comparison, "qkv", "all").to_dict("records")
    assert (row["won"], row["lost"]) == (1, 1)
    found = find_examples(study, results, comparison, "qkv", "all").set_index("id")
    assert found["difference"].to_dict() == {"e0": 0.25, "e1": -1.0}
    assert found.loc["e1", "prediction_other"] == "all 7 e1"


def test_the_largest_differences_come_first_and_ties_by_id(tmp_path: Path) -> None:
    study = tmp_path / "study"
    ids = ["f", "e", "d", "c", "b", "a", "z"]
    write_answers(study, "qkv", [1, 1, 0.5, 0, 0.2, 0, 0.3], ids=ids)
    write_answers(study, "all", [0, 0, 0.4, 1, 0.6, 1, 0.3], ids=ids)
    found = find(study, "qkv", "all", limit=2)
    assert list(found.columns) == list(EXAMPLE_COLUMNS)
    assert found["id"].tolist() == ["e", "f", "a", "c"]
    assert found["prediction_one"].tolist() == ["qkv 0 e", "qkv 0 f", "qkv 0 a", "qkv 0 c"]
    everything = find(study, "qkv", "all", limit=9)
    assert everything["id"].tolist() == ["e", "f", "d", "a", "c", "b"]
    pd.testing.assert_frame_equal(everything, find(study, "qkv", "all", limit=9))


def test_the_order_of_the_results_does_not_show(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for seed, scores in ((2, [1, 0]), (10, [0, 1])):
        write_answers(study, "qkv", scores, seed=seed)
        write_answers(study, "all", [0.25, 0.25], seed=seed)
    results, comparison = load(study)
    found = find_examples(study, results, comparison, "qkv", "all")
    # Both seeds are as near to the mean; the lower one is shown.
    assert found["prediction_one"].tolist() == ["qkv 2 e0", "qkv 2 e1"]
    turned = find_examples(study, results[::-1], comparison, "qkv", "all")
    pd.testing.assert_frame_equal(found, turned)


def test_tasks_are_kept_apart(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for task, own in (("fincot", [1.0, 0.0]), ("medmcqa", [0.0, 0.0])):
        write_answers(study, "qkv", own, task=task)
        write_answers(study, "all", [0.0, 1.0], task=task)
    results, comparison = load(study)
    wins = count_wins(comparison, "qkv", "all").set_index("task")
    assert wins["won"].to_dict() == {"fincot": 1, "medmcqa": 0}
    found = find_examples(study, results, comparison, "qkv", "all")
    assert found["task"].tolist() == ["fincot", "fincot", "medmcqa"]


def test_a_planted_gain_wins_and_the_sign_test_says_so(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",), gains={"all": 0.2}, rounds=0
    )
    _, comparison = load(study)
    wins = count_wins(comparison, "all", BASE).iloc[0]
    assert wins["won"] > 50
    assert wins["p"] < 1e-6
    overall = comparison.overall.set_index("variant")
    assert wins["difference"] == pytest.approx(overall.loc["all", "difference"])


def test_a_task_that_either_lacks_has_no_row(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for task in ("fincot", "medmcqa"):
        write_answers(study, "qkv", [1, 0], task=task)
    write_answers(study, "all", [0, 1])
    write_run(study, "all", "medmcqa", error=ErrorRecord("RuntimeError", "boom", "Traceback"))
    results, comparison = load(study)
    assert count_wins(comparison, "qkv", "all")["task"].tolist() == ["fincot"]
    assert set(find_examples(study, results, comparison, "qkv", "all")["task"]) == {"fincot"}


def test_no_common_examples_or_scores_leave_empty_tables(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_answers(study, "qkv", [1, 0], ids=["a", "b"])
    write_answers(study, "all", [0, 1], ids=["c", "d"])
    # A metric of the whole set stands in no example.
    scored = {"metric": "field_f1_micro", "scores": {"field_f1_micro": 0.7}}
    for target_set in ("qkv", "all"):
        write_run(study, target_set, "invoice_ocr", scored=scored, rounds=0)
    results = load_results(study)
    with pytest.warns(UserWarning, match="column field_f1_micro is missing"):
        examples = load_examples(study)
    comparison = compare(results, examples)
    wins = count_wins(comparison, "qkv", "all")
    assert wins.empty
    assert list(wins.columns) == list(WIN_COLUMNS)
    found = find_examples(study, results, comparison, "qkv", "all")
    assert found.empty
    assert list(found.columns) == list(EXAMPLE_COLUMNS)


def test_a_file_that_was_cut_off_is_named_and_its_seed_left_out(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for seed in (0, 1):
        write_answers(study, "all", [0, 1], seed=seed)
    write_answers(study, "qkv", [1, 0], seed=0)
    cut = write_answers(study, "qkv", [0, 0], seed=1) / "examples.parquet"
    results, comparison = load(study)
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"s1--.*examples.parquet: cannot be read"):
        found = find_examples(study, results, comparison, "qkv", "all")
    assert found.set_index("id")["difference"].to_dict() == {"e0": 1.0, "e1": -1.0}
    cut.unlink()
    with pytest.warns(UserWarning, match=r"cannot be read \(missing\)"):
        assert len(find_examples(study, results, comparison, "qkv", "all")) == 2


def test_no_readable_file_leaves_an_empty_table(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_answers(study, "all", [0, 1])
    folder = write_answers(study, "qkv", [1, 0])
    results, comparison = load(study)
    (folder / "examples.parquet").unlink()
    with pytest.warns(UserWarning, match="missing"):
        assert find_examples(study, results, comparison, "qkv", "all").empty


def test_unknown_scores_and_missing_texts_are_no_obstacle(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_answers(study, "qkv", [1, math.nan, 1, 0])
    folder = write_answers(study, "all", [0, 1, 1, 1])
    table = pd.read_parquet(folder / "examples.parquet")
    table.assign(prediction=None).to_parquet(folder / "examples.parquet")
    found = find(study, "qkv", "all")
    assert found["id"].tolist() == ["e0", "e3"]
    assert found["prediction_other"].isna().all()
    assert found["prediction_one"].tolist() == ["qkv 0 e0", "qkv 0 e3"]


def test_only_runs_that_were_compared_count(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for seed in (0, 1):
        write_answers(study, "qkv", [1, 1], seed=seed)
    write_answers(study, "all", [0, 0], seed=0)
    other = {"dataset": "another set"}
    write_run(study, "all", "fincot", seed=1, scores=[1, 1], scored=other, rounds=0)
    results, comparison = load(study)
    assert count_wins(comparison, "qkv", "all")["won"].tolist() == [2]
    found = find_examples(study, results, comparison, "qkv", "all")
    assert found["difference"].tolist() == [1.0, 1.0]


def test_other_models_runs_are_left_out(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for target_set, scores in (("qkv", [1, 0]), ("all", [0, 0])):
        write_answers(study, target_set, scores)
        write_run(study, target_set, "fincot", model="wide", scores=[0, 1], rounds=0)
    results = load_results(study)
    examples = load_examples(study)
    own = results[results["model"] == "tiny"]
    comparison = compare(own, examples[examples["model"] == "tiny"])
    found = find_examples(study, results, comparison, "qkv", "all")
    assert found["prediction_one"].tolist() == ["qkv 0 e0"]


def test_long_texts_are_whole(tmp_path: Path) -> None:
    study = tmp_path / "study"
    text = "x\n" * 50_000
    for target_set, score in (("qkv", 1.0), ("all", 0.0)):
        write_run(
            *(study, target_set, "fincot"),
            scores=[score, 0.5],
            columns={"prediction": [text, ""], "reference": [text, ""]},
        )
    found = find(study, "qkv", "all")
    assert found["prediction_one"].tolist() == [text]


def test_an_unknown_variant_is_the_users_mistake(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_answers(study, "qkv", [1, 0])
    results, comparison = load(study)
    message = "variant is 'fc9'; this study has qkv"
    with pytest.raises(UserError, match=message):
        count_wins(comparison, "qkv", "fc9")
    with pytest.raises(UserError, match=message):
        find_examples(study, results, comparison, "fc9", "qkv")


def test_the_difference_counted_is_that_of_the_compared_scores(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", sets=("qkv", "all"), tasks=("fincot",), seeds=(0, 1, 2))
    results, comparison = load(study)
    paired = comparison.all_scores.tasks["fincot"].scores
    expected = paired["all"].mean(axis=0) - paired["qkv"].mean(axis=0)
    (row,) = count_wins(comparison, "all", "qkv").to_dict("records")
    assert (row["won"], row["lost"]) == ((expected > 0).sum(), (expected < 0).sum())
    found = find_examples(study, results, comparison, "all", "qkv", limit=1000)
    np.testing.assert_allclose(sorted(found["difference"]), sorted(expected))
