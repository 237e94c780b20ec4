import re
from pathlib import Path

import pandas as pd
import pytest
from synthetic_study import write_run

from harness.analysis.comparison import Comparison, compare
from harness.analysis.results import load_examples, load_results
from harness.records.record import BASE
from harness.reporting.recipe_tables import describe_order, make_rate_table, make_recipe_table


def make_study(
    folder: Path, gains: dict[tuple[str, float], float]
) -> tuple[pd.DataFrame, Comparison]:
    """(set, rate) -> gain on one task; a rate of 1 stands for a tuned one."""
    write_run(folder, BASE, "govreport")
    for (name, rate), gain in gains.items():
        for seed in (0, 1):
            write_run(folder, name, "govreport", gain=gain, learning_rate=rate, seed=seed)
    results = load_results(folder)
    results["learning_rate_tuned"] = results["learning_rate"].eq(1.0)
    return results, compare(results, load_examples(folder))


def test_sets_that_were_trained_alike_need_no_table(tmp_path: Path) -> None:
    results, comparison = make_study(tmp_path, {("qkv", 1e-3): 0.1, ("all", 1e-3): 0.2})
    assert make_recipe_table(results, comparison) is None
    assert make_rate_table(results, comparison) is None
    assert describe_order(results, comparison) == ()


def test_tuned_rates_stand_beside_given_ones(tmp_path: Path) -> None:
    gains = {("qkv", 1e-3): 0.2, ("qkv", 1.0): 0.25, ("all", 1e-3): 0.1, ("all", 1.0): 0.3}
    results, comparison = make_study(tmp_path, gains)
    recipes = make_recipe_table(results, comparison)
    assert recipes is not None
    rows = {row[0]: row for row in recipes.rows}
    assert rows["all, lr 1.0"][1:4] == ("LoRA", "8", "1, tuned")
    assert rows["qkv, lr 0.001"][3] == "0.001"
    rates = make_rate_table(results, comparison)
    assert rates is not None
    assert [row[:2] for row in rates.rows] == [
        ("all, lr 1.0", "all, lr 0.001"),
        ("qkv, lr 1.0", "qkv, lr 0.001"),
    ]
    gained = float(rates.rows[0][2].split(" ")[0])
    assert gained == pytest.approx(0.2, abs=0.05)
    (line,) = describe_order(results, comparison)
    assert line.startswith("LoRA: tuned rates change the order of qkv above all at given rates.")
    assert line.endswith("qkv, all at given rates; all, qkv at tuned rates.")


def test_a_loss_by_tuning_lies_between_its_bounds(tmp_path: Path) -> None:
    gains = {("qkv", 1e-3): 0.3, ("qkv", 1.0): 0.1}
    rates = make_rate_table(*make_study(tmp_path, gains))
    assert rates is not None
    value, low, high = map(float, re.findall(r"[+-]\d\.\d+", rates.rows[0][2]))
    assert low < value < high
    assert value == pytest.approx(-0.2, abs=0.05)


def test_an_order_that_stays_is_said_to(tmp_path: Path) -> None:
    gains = {("qkv", 1e-3): 0.2, ("qkv", 1.0): 0.25, ("all", 1e-3): 0.3, ("all", 1.0): 0.35}
    (line,) = describe_order(*make_study(tmp_path, gains))
    assert "no pair of target sets is shown to change its order" in line
    assert line.endswith("all, qkv at given rates; all, qkv at tuned rates.")


@pytest.mark.parametrize("best", ["qkv", "all"])
def test_a_turn_that_may_be_chance_is_no_change(tmp_path: Path, best: str) -> None:
    """Equal sets at given rates have one order or the other, and one `best` turns it."""
    gains = {("qkv", 1e-3): 0.2, ("all", 1e-3): 0.2}
    gains |= {(name, 1.0): 0.4 if name == best else 0.3 for name in ("qkv", "all")}
    results, comparison = make_study(tmp_path, gains)
    means = comparison.overall.set_index("variant")["score"]
    assert means["qkv, lr 0.001"] != means["all, lr 0.001"]
    (line,) = describe_order(results, comparison)
    assert "no pair of target sets is shown to change its order" in line


def test_a_table_names_methods_that_cannot_be_merged(tmp_path: Path) -> None:
    results, comparison = make_study(tmp_path, {("qkv", 1e-3): 0.2, ("all", 1e-3): 0.3})
    is_all = results["target_set"] == "all"
    results.loc[is_all, "method"] = "bottleneck"
    results.loc[is_all, "mergeable"] = False
    table = make_recipe_table(results, comparison)
    assert table is not None
    rows = {row[0]: row for row in table.rows}
    assert rows["all"][1] == "bottleneck adapters"
    assert rows["all"][5] == "not possible"
    assert rows["qkv"][1] == "LoRA"
