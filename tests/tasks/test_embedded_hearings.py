"""Embedded hearings: every value stands in the noisy text, and so do values that are wrong."""

import json
import re
from collections import Counter
from random import Random
from typing import Any

import pytest

from tasks import TASKS
from tasks.embedded import cocohd
from tasks.embedded.cocohd import Transcript, make_rows, make_transcripts
from tasks.embedded.congress.hearing_pages import TENS, draw_layout
from tasks.embedded.congress.hearings import CONGRESSES, invert, make_hearing, to_columns
from tasks.schemas.hearing_details import read_hearing
from tasks.schemas.us_states import STATES

DATE = re.compile(
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december)"
    r" \d{1,2}, \d{4}"
)
PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def transcripts() -> list[Transcript]:
    return list(make_transcripts(3))[:250]


@pytest.fixture(scope="module")
def texts(transcripts: list[Transcript]) -> list[str]:
    return [transcript.read_with_noise() for transcript in transcripts]


def write_clean(transcript: Transcript) -> str:
    return "\n".join("\n".join(block.lines) for block in transcript.blocks)


def fold(text: str) -> str:
    return " ".join(text.casefold().split())


def read_fields(transcript: Transcript) -> dict[str, Any]:
    return read_hearing(to_columns(transcript.hearing))


def test_every_value_is_in_the_noisy_text(transcripts: list[Transcript], texts: list[str]) -> None:
    for transcript, text in zip(transcripts, texts, strict=True):
        fields, page = read_fields(transcript), fold(text)
        dates = fields["date"] if isinstance(fields["date"], list) else [fields["date"]]
        panel = [fields["committee"], fields.get("subcommittee", "")]
        for value in (fields["title"], *panel, *dates):
            assert fold(value) in page
        assert f"one hundred {TENS[fields['congress']]} congress".casefold() in page
        assert fields["chamber"].casefold() in page
        for member in fields["members"]:
            assert fold(f"{member['name']}, {STATES[member['state']]}") in page
        for witness in transcript.hearing.witnesses:
            whole = f"{witness.person.name}, {witness.role}, {witness.organisation}"
            assert fold(whole) in page or fold(invert(witness)) in page


def test_the_details_are_what_was_generated(transcripts: list[Transcript]) -> None:
    for transcript in transcripts:
        hearing, fields = transcript.hearing, read_fields(transcript)
        assert fields["title"] == hearing.title
        assert fields["congress"] == hearing.congress
        assert fields.get("subcommittee", "") == hearing.subcommittee
        assert fields["committee"] == hearing.panel.committee
        assert fields["witnesses"] == [
            {"name": w.person.name, "role": w.role, "organisation": w.organisation}
            for w in hearing.witnesses
        ]
        assert fields["members"] == [
            {"name": m.person.name, "state": m.state} for m in hearing.members
        ]


def test_days_are_those_of_their_congress(transcripts: list[Transcript]) -> None:
    for transcript in transcripts:
        hearing = transcript.hearing
        for day in hearing.days:
            # The 105th Congress began in January 1997, and each has two years.
            assert (day.year - 1997) // 2 + 105 == hearing.congress
            assert day.weekday() < 5
        assert hearing.session == (1 if hearing.days[0].year % 2 else 2)
    assert set(TENS) == set(CONGRESSES)


def test_pages_hold_what_is_not_to_be_taken(transcripts: list[Transcript]) -> None:
    counts = Counter[str]()
    for transcript in transcripts:
        hearing, page = transcript.hearing, fold(write_clean(transcript))
        speakers = [*hearing.witnesses, *hearing.writers]
        people = [member.person for member in (*hearing.members, *hearing.other_members)]
        people += [speaker.person for speaker in speakers]
        people += [person for person, _ in hearing.staff]
        assert len({person.last for person in people}) == len(people)
        assert all(fold(writer.person.name) in page for writer in hearing.writers)
        assert all(fold(person.name) in page for person, _ in hearing.staff)
        counts["dates"] += len(set(DATE.findall(page))) > len(hearing.days)
        counts["full committee"] += any(
            fold(f"{member.person.name}, {STATES[member.state]}") in page
            for member in hearing.other_members
        )
        panels = set(re.findall(r"committee on (?:agriculture|finance|armed services)", page))
        counts["panels"] += bool(panels - {hearing.panel.committee.casefold()})
    assert counts["dates"] > 0.9 * len(transcripts)
    assert counts["full committee"] > 0.2 * len(transcripts)
    assert counts["panels"] > 0.3 * len(transcripts)


def test_layouts_differ() -> None:
    layouts = [draw_layout(Random(number)) for number in range(300)]
    for name in layouts[0].__dataclass_fields__:
        kinds = Counter(getattr(layout, name) for layout in layouts)
        assert len(kinds) > 1
        assert min(kinds.values()) > 0.15 * len(layouts)
    hearings = [make_hearing(Random(number)) for number in range(600)]
    assert 0.3 < sum(bool(hearing.subcommittee) for hearing in hearings) / 600 < 0.7
    assert 0.02 < sum(len(hearing.days) == 2 for hearing in hearings) / 600 < 0.12
    assert {len(hearing.witnesses) for hearing in hearings} == {1, 2, 3, 4, 5}
    assert {len(hearing.members) for hearing in hearings} == set(range(5, 12))


def test_a_third_of_the_texts_is_without_noise(
    transcripts: list[Transcript], texts: list[str]
) -> None:
    clean = map(write_clean, transcripts)
    same = sum(a == b for a, b in zip(clean, texts, strict=True))
    assert 0.2 < same / len(texts) < 0.5


def test_front_matter_comes_first(transcripts: list[Transcript]) -> None:
    for transcript in transcripts:
        page = fold(write_clean(transcript))
        places = [
            page.index(fold(transcript.hearing.title)),
            page.index(fold(transcript.hearing.members[0].person.name)),
            page.index("witnesses"),
            page.index("pursuant to notice"),
            page.index("statement of", page.index("pursuant to notice")),
        ]
        assert places == sorted(places)


def test_rows_are_in_the_public_columns_and_in_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transcript, "read_with_noise", lambda _: pytest.fail("read too early"))
    parts = [make_rows(part, 4) for part in PARTS]  # type: ignore[arg-type]
    assert [len(part) for part in parts] == pytest.approx([840, 120, 240], rel=0.2)
    for key in (lambda row: row["id"], TASKS["cocohd"].split_key):
        values = [{key(row) for row in part} for part in parts]
        assert sum(map(len, values)) == len(set.union(*values)) == cocohd.POOL_ROWS
    columns = set(parts[0][0])
    assert columns == {"id", *TASKS["cocohd"].columns[1]}


def test_the_same_seed_makes_the_same_rows() -> None:
    first, second = (dict(make_rows("test", 7)[5]) for _ in range(2))
    assert first == second
    assert first != dict(make_rows("test", 8)[5])


def test_lengths_are_those_of_the_embedded_models_tokens(texts: list[str]) -> None:
    transformers = pytest.importorskip("transformers")
    embedded = pytest.importorskip("harness.models.embedded")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(embedded.embedded_folder())
    except Exception as error:
        pytest.skip(f"the embedded model is not here: {error}")
    task = TASKS["cocohd"]
    lengths = sorted(len(tokenizer(text)["input_ids"]) for text in texts)
    assert 1_500 <= lengths[0] < 2_000
    assert 5_000 < lengths[-1] < 6_000
    completions = [task.to_example(row).completion for row in make_rows("validation", 3)]
    assert max(len(tokenizer(text)["input_ids"]) for text in completions) < 512
    assert all(json.loads(text)["title"] for text in completions)
