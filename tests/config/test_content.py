"""An edited data file is other data: another run, another base, and no comparison across."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import load_results
from harness.analysis.comparison import compare
from harness.analysis.results import load_examples
from harness.config.content import digest_data
from harness.sweep import run

Compose = Callable[..., Any]


def write_rows(path: Path, *, shift: int = 0) -> None:
    lines = [f"Ticket number {i},{('bug', 'billing')[(i + shift) % 2]}" for i in range(60)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")


def make(tiny_config: Compose, path: Path, target_set: str) -> Any:
    return tiny_config(
        "task=custom",
        "task.name=tickets",
        'task.prompt="{{ text }}\nLabel:"',
        "task.answer=label",
        "task.metric=choice",
        "task.choices=[billing,bug]",
        "latency=off",
        f"task.path={path}",
        f"target_modules={target_set}",
    )


def test_the_digest_tells_contents_apart_and_nothing_else(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "folder" / "a.csv"
    second.parent.mkdir()
    write_rows(first)
    write_rows(second)
    assert digest_data(str(first)) == digest_data(str(second)) == digest_data(None, str(first))
    (second.parent / "notes.txt").write_text("no data")
    before = digest_data(str(second.parent))
    (second.parent / "notes.txt").write_text("still none")
    assert digest_data(str(second.parent)) == before
    write_rows(second, shift=1)
    assert digest_data(str(second)) != digest_data(str(first))
    assert digest_data(str(second.parent)) != before
    assert digest_data(str(tmp_path / "nothing")) is None


def test_after_an_edit_all_is_done_again_and_compared_among_itself(
    tiny_config: Compose, tmp_path: Path
) -> None:
    path = tmp_path / "tickets.csv"
    write_rows(path)
    old = make(tiny_config, path, "o_proj")
    run.run_sweep([old])
    write_rows(path, shift=1)
    new = [make(tiny_config, path, name) for name in ("o_proj", "qkv")]
    assert new[0].run_id != old.run_id
    assert new[0].base_run_id != old.base_run_id
    run.run_sweep(new)
    results = load_results(old.study_folder)
    assert len(results) == 2 + 3
    assert results["dataset"].nunique() == 2
    comparison = compare(results, load_examples(old.study_folder, texts=False), resamples=200)
    assert any("runs differ in metric, scoring or data" in note for note in comparison.notes)


def test_embedded_and_hub_data_have_none(tiny_config: Compose) -> None:
    assert tiny_config("task=fincot").data_digest is None
    assert tiny_config("task=fincot", "task.source=hub").data_digest is None


def test_a_missing_file_is_no_error_here(tiny_config: Compose) -> None:
    # That it is missing is said where it is to be read.
    assert tiny_config("task=custom", "task.path=nowhere.csv").data_digest is None
