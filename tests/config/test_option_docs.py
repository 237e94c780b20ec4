"""Every option is documented once, in the schema; YAML comments and docs/options.md follow it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli.options import format_page
from harness.config.option_docs import FILLED_IN, Option, list_options

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("adapter", "latency", "model", "target_modules", "task", "train")
"""Folders of `conf/` whose files set the section of their name; an experiment says why it sets a
value, not what the value means."""
OPTIONS = {each.key: each for each in list_options()}


def read_comments(text: str, section: str) -> Iterator[tuple[str, str]]:
    """Key of each option, and the comment right above it, on one line.

    The first comment of a group's file is about the file.
    """
    comment: list[str] = []
    is_heading, parent = bool(section), section
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line.strip().removeprefix("#").strip())
            continue
        match = re.match(r"( *)(\w+):\s*(.*)", line)
        if match and comment and not is_heading:
            key = f"{parent}.{match[2]}" if match[1] or section else match[2]
            if key in OPTIONS:
                yield key, " ".join(comment)
        if match and not match[1] and not section:
            parent = match[2]
        is_heading = is_heading and not (line.strip() or comment)
        comment = []


def test_every_option_says_what_it_means() -> None:
    assert len(OPTIONS) > 80
    for option in OPTIONS.values():
        assert option.meaning.endswith("."), option
        assert option.meaning.count("`") % 2 == 0, option


def test_yaml_comments_begin_with_the_options_own_text() -> None:
    files = [(ROOT / "conf" / "config.yaml", "")]
    files += [(path, group) for group in GROUPS for path in (ROOT / "conf" / group).glob("*.yaml")]
    seen = 0
    for path, section in files:
        for key, comment in read_comments(path.read_text(encoding="utf-8"), section):
            seen += 1
            meaning = OPTIONS[key].meaning
            assert f"{comment} ".startswith(f"{meaning} "), f"{path}: {key}: expected {meaning}"
    assert seen > 120


def test_a_comment_that_drifts_is_found() -> None:
    text = "# A recipe.\n\n# Seed.\nseed: 0\nevaluation:\n  # Rows.\n  batch_size: 1\n"
    assert list(read_comments(text, "")) == [("seed", "Seed."), ("evaluation.batch_size", "Rows.")]
    text = "# The file\nepochs: 1\n# Steps\n# at most.\nmax_steps: 3\n"
    assert list(read_comments(text, "train")) == [("train.max_steps", "Steps at most.")]


def test_the_page_is_up_to_date() -> None:
    """Else: python -m harness.cli.options > docs/options.md"""
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert page == format_page()
    for option in OPTIONS.values():
        assert (f"| `{option.key}` |" in page) != option.meaning.startswith(FILLED_IN)


def test_an_option_without_a_text_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    import inspect

    source = "class Config:\n    a: Part\n    b: int = 1\nclass Part:\n    c: int\n    '''Sea.'''\n"
    monkeypatch.setattr(inspect, "getsource", lambda module: source)
    assert list_options() == [Option("", "b", ""), Option("a", "c", "Sea.")]
