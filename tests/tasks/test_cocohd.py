"""Hearings: the published details read into fields, against fields written by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks import TASKS, DataError, Source, load_examples
from tasks.cocohd import find_transcript
from tasks.schemas.hearing_details import KEYS, parse_witness, read_hearing, split_committee

COCOHD = TASKS["cocohd"]
ROW: Mapping[str, Any] = {
    "id": "CHRG-117hhrg48842",
    "transcript": "[House Hearing, 117 Congress]\nA HEARING TO REVIEW SOIL\n",
    "title": "Serial No. 117-10 (House Hearing) - A Hearing to Review Soil - Part One",
    "congress_session": "117",
    "chamber": "House of Representatives",
    "committee": "Committee on Science, Space, and Technology, Subcommittee on Energy, and Space",
    "held_date": "June 23, 2021\nJune 24, 2021",
    "witnesses": "Larkspur, Jeff, Owner, Larkspur Farms, New Tolland, Ohio; "
    "Okonjari, Hon. Ada B., Professor of Law",
    "members": "Bo L. Redmarsh (IL); Ida Wainscott (MA)",
}
FIELDS: Mapping[str, Any] = {
    "title": "A Hearing to Review Soil - Part One",
    "congress": 117,
    "chamber": "House of Representatives",
    "committee": "Committee on Science, Space, and Technology",
    "subcommittee": "Subcommittee on Energy, and Space",
    "date": ["June 23, 2021", "June 24, 2021"],
    "witnesses": [
        {
            "name": "Jeff Larkspur",
            "role": "Owner",
            "organisation": "Larkspur Farms, New Tolland, Ohio",
        },
        {"name": "Hon. Ada B. Okonjari", "role": "Professor of Law"},
    ],
    "members": [
        {"name": "Bo L. Redmarsh", "state": "IL"},
        {"name": "Ida Wainscott", "state": "MA"},
    ],
}


def test_the_cleaned_sets_columns_become_the_fields() -> None:
    example = COCOHD.to_example(ROW)
    assert json.loads(example.completion) == FIELDS
    assert list(json.loads(example.completion)) == list(KEYS)
    assert example.id == "CHRG-117hhrg48842"
    assert example.body == ROW["transcript"].strip()


@pytest.mark.parametrize("as_text", [True, False])
def test_details_are_an_object_or_its_json(as_text: bool) -> None:
    details = json.dumps(FIELDS) if as_text else FIELDS
    assert read_hearing({"transcript": "x", "details": details}) == FIELDS


def test_details_may_be_those_of_the_set_before_it_was_cleaned() -> None:
    details = {
        "govinfo_id": "CHRG-117hhrg48842",
        "Title": ROW["title"],
        "Congress": "117th",
        "Congress Chamber": ROW["chamber"],
        "Held Date": ROW["held_date"],
        "Committee and Subcommittee": ROW["committee"].replace(", Sub", "\nSub"),
        "Members": ROW["members"],
        "Witnesses": ROW["witnesses"],
        "Bill Numbers": "H.R. 2",
    }
    assert read_hearing({"details": details}) == FIELDS


def test_what_is_null_or_blank_is_left_out() -> None:
    row = {**ROW, "members": None, "witnesses": " ", "held_date": "", "committee": None}
    assert read_hearing(row) == {key: FIELDS[key] for key in ("title", "congress", "chamber")}


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("House Hearing, 117th Congress - Soil: Now - and Then", "Soil: Now - and Then"),
        ("Serial No. 117-27 (House Hearing) , Part 2 - Soil", "Soil"),
        ("S. Hrg. 112-4 - Soil", "Soil"),
        ("Soil - Now", "Soil - Now"),
        ("House Hearing", "House Hearing"),
    ],
)
def test_the_label_of_a_title_is_left_out(title: str, expected: str) -> None:
    assert read_hearing({**ROW, "title": title})["title"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Larkspur, Jeff", {"name": "Jeff Larkspur"}),
        ("Larkspur, Jeff, Jr., Owner", {"name": "Jeff Larkspur, Jr.", "role": "Owner"}),
        ("Larkspur, Jeff, New Tolland, Ohio", {"name": "Jeff Larkspur"}),
        (
            "Larkspur, Jeff, Owner, Ohio Farms",
            {"name": "Jeff Larkspur", "role": "Owner", "organisation": "Ohio Farms"},
        ),
        ("Larkspur", {"name": "Larkspur"}),
    ],
)
def test_a_witness_is_read_part_by_part(text: str, expected: dict[str, str]) -> None:
    assert parse_witness(text) == expected


def test_a_committee_alone_has_no_subcommittee() -> None:
    assert split_committee("Committee on Finance") == ("Committee on Finance", None)
    assert split_committee("Committee on A; Subcommittee on B")[1] == "Subcommittee on B"
    assert split_committee("Subcommittee on B") == ("Subcommittee on B", None)


BAD = [
    ({"details": {"congress": 117}}, "column 'details': 'title' is missing or empty"),
    ({"details": "{'title': 1}"}, "column 'details' is not JSON"),
    ({"details": ["x"]}, "column 'details' is ['x'] (list), expected a JSON object"),
    ({"details": {"title": 5}}, "column 'details': 'title' is 5 (int), expected text"),
    ({"details": {**FIELDS, "witnesses": ["x"]}}, "'witnesses' has 'x' (str), expected objects"),
    ({"details": {**FIELDS, "members": [{"name": 1}]}}, "'members': 'name' is 1 (int), expected"),
    ({"details": {**FIELDS, "date": 5}}, "'date' is 5 (int), expected text"),
    ({"details": {**FIELDS, "title": "a\x00"}}, "'title' has the control character U+0000"),
    (
        {**ROW, "congress_session": "many"},
        "column 'congress_session' is 'many' (str), expected the",
    ),
    ({**ROW, "congress_session": True}, "column 'congress_session' is True (bool), expected text"),
    ({**ROW, "title": None}, "column 'title' is missing or empty"),
    ({**ROW, "held_date": 5}, "column 'held_date' is 5 (int), expected text"),
    ({**ROW, "transcript": " "}, "column 'transcript' is empty"),
    ({"details": FIELDS}, "column 'transcript' is missing"),
    ({"transcript": "x"}, "column 'details' is missing (the row has transcript), expected"),
]


@pytest.mark.parametrize(("row", "expected"), BAD)
def test_bad_rows_say_what_is_wrong(row: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError) as caught:
        COCOHD.to_example(row)
    assert expected in str(caught.value)


def test_the_file_of_a_transcript_is_found_by_the_id() -> None:
    expected = "data/CHRG-115/CHRG-115hhrg24668.txt"
    assert find_transcript("CHRG-115hhrg24668") == expected
    assert find_transcript("CHRG-117hhrg44535-add4").endswith("/CHRG-117hhrg44535-add4.txt")
    for wrong in ("", "../CHRG-115hhrg1", "CHRG-115hhrg1/../x", "24668"):
        with pytest.raises(DataError, match="expected GovInfo's id"):
            find_transcript(wrong)


def test_scores_take_witnesses_in_any_order_and_count_fields() -> None:
    example = COCOHD.to_example(ROW)
    turned = {
        **FIELDS,
        "witnesses": FIELDS["witnesses"][::-1],
        "title": "a hearing to  REVIEW soil",
    }
    scores = COCOHD.score(example, f"Here: {json.dumps(turned)}")
    # By hand: 16 fields, of which the title is another.
    assert scores["field_f1"] == pytest.approx(15 / 16)
    assert scores["parse_rate"] == 1
    assert COCOHD.score(example, example.completion)["field_f1"] == 1
    assert COCOHD.score(example, example.completion[:-1]) == dict.fromkeys(scores, 0.0)
    pooled = COCOHD.summarize([(example, example.completion)])  # type: ignore[misc]
    assert pooled["field_f1_micro"] == pooled["field_f1_macro"] == 1


def test_the_prompt_lists_the_keys_and_the_end_is_cut() -> None:
    prefix = COCOHD.to_example(ROW).prefix
    assert all(key in prefix for key in (*KEYS, "name", "role", "organisation", "state"))
    assert COCOHD.truncation == "head"


def test_parts_of_one_hearing_are_on_one_side() -> None:
    titles = [f"Serial No. 117-14 (House Hearing) , Addendum {n} - Soil" for n in (1, 2)]
    keys = {COCOHD.split_key({**ROW, "title": title}) for title in titles}
    assert len(keys) == 1
    assert COCOHD.split_key({**ROW, "held_date": "May 5, 2020"}) not in keys


def test_the_schema_takes_every_row() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    examples = load_examples(COCOHD, "validation", Source("embedded"), limit=60).examples
    schema = COCOHD.make_schema(examples)  # type: ignore[misc]
    for example in examples:
        jsonschema.validate(json.loads(example.completion), schema)


@pytest.mark.parametrize("form", ["details", "columns", "keys"])
def test_local_rows_of_each_form(tmp_path: Path, form: str) -> None:
    datasets = pytest.importorskip("datasets")
    others = {name: value for name, value in ROW.items() if name in ("id", "transcript")}
    own = {
        "details": {"details": json.dumps(FIELDS)},
        "columns": {name: value for name, value in ROW.items() if name not in others},
        "keys": {key: FIELDS[key] if key != "date" else ROW["held_date"] for key in KEYS},
    }[form]
    for split in ("train", "test"):
        datasets.Dataset.from_list([{**others, **own}]).to_parquet(tmp_path / f"{split}.parquet")
    (example,) = load_examples(COCOHD, "train", Source("local", str(tmp_path))).examples
    assert json.loads(example.completion) == FIELDS
    assert example.id == ROW["id"]
