"""The split rule: content alone decides, and the shares are what they say."""

import subprocess
import sys

import pytest

from tasks.splits import SplitChoice, assign_split, choose_split, shuffle_indices


def test_shares_are_seventy_ten_twenty() -> None:
    sides = [assign_split(f"question {number}", seed=0) for number in range(5000)]
    assert abs(sides.count("train") / 5000 - 0.7) < 0.03
    assert abs(sides.count("validation") / 5000 - 0.1) < 0.02
    assert abs(sides.count("test") / 5000 - 0.2) < 0.03


def test_case_spacing_and_punctuation_do_not_move_a_row() -> None:
    for number in range(200):
        plain = assign_split(f"what is drug {number}", seed=3)
        assert assign_split(f"  What is\n drug {number}?!", seed=3) == plain


def test_another_seed_is_another_split() -> None:
    sides = [
        (assign_split(str(number), seed=0), assign_split(str(number), seed=1))
        for number in range(500)
    ]
    assert any(first != second for first, second in sides)


def test_contents_of_symbols_alone_are_spread() -> None:
    assert len({assign_split("?" * length, seed=0) for length in range(1, 60)}) == 3


def test_lone_surrogates_do_not_crash() -> None:
    assert assign_split("broken \ud800 text", seed=0) in ("train", "validation", "test")


def test_neither_rule_depends_on_the_hash_seed() -> None:
    program = (
        "from tasks.splits import assign_split, shuffle_indices;"
        "print([assign_split(str(i), 0) for i in range(50)], shuffle_indices(range(50), 7))"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [assign_split(str(i), 0) for i in range(50)], shuffle_indices(range(50), 7)
    assert other.stdout.split() == " ".join(map(str, here)).split()


def test_shuffling_keeps_every_index() -> None:
    order = shuffle_indices(range(100), seed=0)
    assert sorted(order) == list(range(100))
    assert order != list(range(100))


@pytest.mark.parametrize(
    ("names", "train", "validation", "test"),
    [
        (["train", "validation", "test"], "train", "validation", "test"),
        (["test", "dev", "train", "extra"], "train", "dev", "test"),
        (["train", "val", "eval"], "train", "val", "eval"),
        (["train", "valid"], "train", "valid", "valid"),
        (["train", "test"], "train", None, "test"),
        (["test"], None, None, "test"),
        (["validation"], None, "validation", "validation"),
        (["dev", "valid", "validation", "train"], "train", "validation", "validation"),
        (["one", "two"], None, None, None),
        ([], None, None, None),
    ],
)
def test_parts_are_found_by_their_names(
    names: list[str], train: str | None, validation: str | None, test: str | None
) -> None:
    expected = [SplitChoice(name) if name else None for name in (train, validation, test)]
    found = [
        choose_split(names, "train", {}),
        choose_split(names, "validation", {}),
        choose_split(names, "test", {}),
    ]
    assert found == expected


@pytest.mark.parametrize(
    ("names", "known", "whole"),
    [
        (["train"], {}, "train"),
        (["train", "extra"], {}, "train"),
        (["everything"], {}, "everything"),
        (["SFT", "RL"], {"train": "SFT"}, "SFT"),
        (["train", "SFT"], {"train": "SFT"}, "train"),
    ],
)
def test_a_whole_set_is_all_splits_at_once(
    names: list[str], known: dict[str, str], whole: str
) -> None:
    for split in ("train", "validation", "test"):
        choice = choose_split(names, split, known)  # type: ignore[arg-type]
        assert choice == SplitChoice(whole, is_whole_set=True)


def test_spellings_that_unicode_holds_equal_stay_together() -> None:
    for number in range(100):
        composed = assign_split(f"caf\u00e9 {number} \ufb01", seed=1)
        assert assign_split(f"cafe\u0301 {number} fi", seed=1) == composed
