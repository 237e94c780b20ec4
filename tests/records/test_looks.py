"""Looks at a study: each with new evidence counts once, and a damaged file counts as one."""

import itertools
import json
from pathlib import Path

import pytest

from harness.records.looks import FILE, LOST, count_look, describe_loss, find_look, read_looks

RUNS = ("fincot--qkv--0", "fincot--all--0", "medmcqa--qkv--0")


def test_the_same_evidence_is_the_same_look_in_whatever_order(tmp_path: Path) -> None:
    for names in itertools.permutations(RUNS):
        assert count_look(tmp_path, names) == 1
    assert count_look(tmp_path, iter([*RUNS, *RUNS])) == 1
    assert len(read_looks(tmp_path)) == 1


def test_new_evidence_is_a_new_look_and_an_old_one_keeps_its_number(tmp_path: Path) -> None:
    growing = [RUNS[:count] for count in (1, 2, 3)]
    assert [count_look(tmp_path, names) for names in growing] == [1, 2, 3]
    before = (tmp_path / FILE).read_bytes()
    # As where runs are deleted, or the report is built again from a part of them.
    assert [count_look(tmp_path, names) for names in reversed(growing)] == [3, 2, 1]
    assert (tmp_path / FILE).read_bytes() == before
    assert count_look(tmp_path, RUNS[1:]) == 4


def test_nothing_seen_is_evidence_too(tmp_path: Path) -> None:
    assert count_look(tmp_path, []) == 1
    assert count_look(tmp_path, RUNS) == 2


def test_names_are_told_apart_where_they_would_join_to_the_same(tmp_path: Path) -> None:
    assert count_look(tmp_path, ["ab", "c"]) == 1
    assert count_look(tmp_path, ["a", "bc"]) == 2
    assert count_look(tmp_path, ["abc"]) == 3


def test_each_study_has_its_own_looks(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert count_look(tmp_path / name, RUNS) == 1
    assert count_look(tmp_path / "one", RUNS[:1]) == 2
    assert len(read_looks(tmp_path / "two")) == 1


def test_looks_are_kept_as_plain_json_in_order(tmp_path: Path) -> None:
    for names in (RUNS, RUNS[:2]):
        count_look(tmp_path, names)
    assert json.loads((tmp_path / FILE).read_text()) == {"looks": read_looks(tmp_path)}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert not any(run in (tmp_path / FILE).read_text() for run in RUNS)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b'{"looks": ["0123', b"\xff\xfe\x00", b"null", b"3", b"[]", b'["a", "b"]'),
        *(b"{}", b'{"looks": null}', b'{"looks": 3}', b'{"looks": "abc"}', b'{"looks": {"a": 1}}'),
    ],
)
def test_a_torn_or_foreign_file_counts_as_one_look_and_is_written_anew(
    tmp_path: Path, content: bytes
) -> None:
    assert describe_loss(tmp_path) is None
    (tmp_path / FILE).write_bytes(content)
    assert read_looks(tmp_path) == [LOST]
    assert find_look(tmp_path, RUNS) == 2
    assert (tmp_path / FILE).read_bytes() == content
    said = describe_loss(tmp_path)
    assert said is not None
    assert said.startswith(f"{tmp_path / FILE} was damaged")
    assert count_look(tmp_path, RUNS) == 2
    assert count_look(tmp_path, RUNS[:1]) == 3
    looks = json.loads((tmp_path / FILE).read_text())["looks"]
    assert (looks[0], len(looks)) == (LOST, 3)
    # What was lost stays unknown.
    assert describe_loss(tmp_path) == said


def test_a_folder_in_its_place_is_damage(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    assert read_looks(tmp_path) == [LOST]


def test_a_number_is_found_without_counting(tmp_path: Path) -> None:
    assert find_look(tmp_path, RUNS) == 1
    assert not (tmp_path / FILE).exists()
    assert count_look(tmp_path, RUNS[:1]) == 1
    before = (tmp_path / FILE).read_bytes()
    assert [find_look(tmp_path, names) for names in (RUNS, RUNS[:1])] == [2, 1]
    assert (tmp_path / FILE).read_bytes() == before


def test_looks_of_another_kind_still_count(tmp_path: Path) -> None:
    """What another version wrote was a look, too."""
    (tmp_path / FILE).write_text('{"looks": [17, "x"], "more": true}')
    assert count_look(tmp_path, RUNS) == 3
