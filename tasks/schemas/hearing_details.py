"""A hearing's details as CoCoHD publishes them -> the nested fields of the task.

The columns of CoCoHD_hearing_details_cleaned are those of its card, all of them text. How their
values are written is known from the notebook that made them
(https://github.com/gtfintechlab/CoCoHD, data_cleaning/clean_hearing_details.ipynb):

- `title`: "Serial No. 117-10 (House Hearing) - A Hearing to Review ...", a label of GovInfo before
  the title itself;
- `congress_session`: "117"; `held_date`: "May 5, 2022", several on lines of their own;
- `members`: "Name (ST); Name (ST)";
- `witnesses`: "Last, First, Role, Organisation; Last, First, ...", some with a place at the end.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from tasks.base import DataError, Row
from tasks.rows import check_characters, read_object, show_names, show_value
from tasks.schemas.us_states import STATES

COLUMNS = (
    "title", "congress_session", "chamber", "committee", "held_date", "witnesses", "members",
)  # fmt: skip
"""Columns of the cleaned set that fields are made of."""
KEYS = (
    "title", "congress", "chamber", "committee", "subcommittee", "date", "witnesses", "members",
)  # fmt: skip
"""Keys of the fields, in their order."""
SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "title": ("title", "Title"),
    "congress": ("congress", "congress_session", "Congress"),
    "chamber": ("chamber", "Congress Chamber"),
    "committee": ("committee", "Committee and Subcommittee"),
    "subcommittee": ("subcommittee",),
    "date": ("date", "held_date", "Held Date"),
    "witnesses": ("witnesses", "Witnesses"),
    "members": ("members", "Members"),
}
"""Key -> what it is called in local rows, in the cleaned set, and in CoCoHD_hearing_details."""
OTHER_SPELLINGS = {"organization": "organisation"}
LABEL = re.compile(
    r"(?:(?:House|Senate|Joint) Hearing\b|Serial No\.|S\. ?Hrg\.).*?\s-\s+", re.DOTALL
)
SUBCOMMITTEE = re.compile(r"[,;\s]*\b(?=Subcommittee (?:on|of|for)\b)")
MEMBER = re.compile(r"(.+?)\s*\(([A-Z]{2})\)", re.DOTALL)
NAME_SUFFIX = re.compile(r"(?:Jr|Sr|Esq|II|III|IV|M\.?D|Ph\.?D|J\.?D)\.?")


def read_hearing(row: Row) -> dict[str, Any]:
    """The fields: `details`, an object, or else the columns of the cleaned set.

    A key without a value is left out. Raises DataError for a value that cannot be read, and where
    there is no title.
    """
    has_columns = "details" not in row and any(name in row for name in SPELLINGS["title"])
    values = row if has_columns else read_object(row, "details")
    if not has_columns:
        _refuse_misspelled(values)
    fields = {key: _read_field(values, key, has_columns) for key in KEYS}
    if fields["subcommittee"] is None and isinstance(fields["committee"], str):
        fields["committee"], fields["subcommittee"] = split_committee(fields["committee"])
    if not fields["title"]:
        name = "column 'title'" if has_columns else "column 'details': 'title'"
        raise DataError(
            f"{name} is missing or empty (there is {show_names(values)}), expected text"
        )
    return {key: value for key, value in fields.items() if value not in (None, "", [])}


def _refuse_misspelled(values: Mapping[str, Any]) -> None:
    """Raise DataError for a key that is nearly one of ours; others are of no use and left out."""
    known = {name for names in SPELLINGS.values() for name in names}
    for key in values:
        close = difflib.get_close_matches(str(key), KEYS, n=1, cutoff=0.8)
        if key not in known and close:
            raise DataError(f"column 'details' has the key {key!r}, expected {close[0]!r}")


def _read_field(values: Mapping[str, Any], key: str, has_columns: bool) -> Any:
    spelling = next((name for name in SPELLINGS[key] if values.get(name) is not None), None)
    if spelling is None:
        return None
    place = f"column {spelling!r}" if has_columns else f"column 'details': {spelling!r}"
    return READERS[key](values[spelling], place)


def read_title(value: object, place: str) -> str:
    """The title without GovInfo's label of the print."""
    text = _read_text(value, place)
    return LABEL.sub("", text, count=1) if LABEL.match(text) else text


def read_congress(value: object, place: str) -> int | None:
    """The number of 117, "117" or "117th"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _read_text(value, place)
    match = re.fullmatch(r"(\d{1,3})(?:st|nd|rd|th)?", text)
    if text and not match:
        raise DataError(f"{place} is {show_value(value)}, expected the number of a Congress")
    return int(match[1]) if match else None


def split_committee(text: str) -> tuple[str, str | None]:
    """ "Committee on Agriculture, Subcommittee on Nutrition" -> both."""
    match = SUBCOMMITTEE.search(text)
    if match is None or match.start() == 0:
        return text, None
    return text[: match.start()], text[match.end() :]


def read_dates(value: object, place: str) -> str | list[str]:
    """The date as it is written; several as a list."""
    if isinstance(value, list):
        dates = [_read_text(item, place) for item in value]
    else:
        dates = _split(_read_lines(value, place), "\n")
    return dates[0] if len(dates) == 1 else dates


def read_members(value: object, place: str) -> list[dict[str, str]]:
    """Names and states: of "Name (ST); Name (ST)", or of a list of objects."""
    if isinstance(value, list):
        return _read_people(value, place, ("name", "state"))
    members = []
    for text in _split(_read_lines(value, place), ";|\n"):
        match = MEMBER.fullmatch(text)
        members.append({"name": match[1], "state": match[2]} if match else {"name": text})
    return members


def read_witnesses(value: object, place: str) -> list[dict[str, str]]:
    """Names, roles and organisations: of "Last, First, Role, Organisation; ...", or of objects."""
    if isinstance(value, list):
        return _read_people(value, place, ("name", "role", "organisation"))
    return [parse_witness(text) for text in _split(_read_lines(value, place), ";|\n")]


def parse_witness(text: str) -> dict[str, str]:
    """One witness: the first part after the name is the role, what follows is the organisation."""
    parts = _split(text, ",")
    name, rest = " ".join(parts[1::-1]), parts[2:]
    if rest and NAME_SUFFIX.fullmatch(rest[0]):
        name, rest = f"{name}, {rest[0]}", rest[1:]
    if len(rest) == 2 and rest[1] in STATES.values():
        # A private citizen has a town and a state there.
        rest = []
    witness = {"name": name, "role": rest[0] if rest else "", "organisation": ", ".join(rest[1:])}
    return {key: value for key, value in witness.items() if value}


def _read_people(items: list[Any], place: str, keys: tuple[str, ...]) -> list[dict[str, str]]:
    people = []
    for item in items:
        if not isinstance(item, Mapping):
            raise DataError(
                f"{place} has {show_value(item)}, expected objects with {', '.join(keys)}"
            )
        item = {OTHER_SPELLINGS.get(key, key): value for key, value in item.items()}
        if unknown := [key for key in item if key not in keys]:
            raise DataError(
                f"{place} has the key {unknown[0]!r}, expected {', '.join(keys)} and no other"
            )
        found = {
            key: _read_text(item[key], f"{place}: {key!r}")
            for key in keys
            if item.get(key) is not None
        }
        people.append({key: value for key, value in found.items() if value})
    return [person for person in people if person]


def _read_text(value: object, place: str) -> str:
    """Text on one line; DataError where it is none."""
    return " ".join(_read_lines(value, place).split())


def _read_lines(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{place} is {show_value(value)}, expected text")
    check_characters(value, place)
    return value


def _split(text: str, mark: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(mark, text) if part.strip()]


READERS: Mapping[str, Callable[[object, str], Any]] = {
    "title": read_title,
    "congress": read_congress,
    "chamber": _read_text,
    "committee": _read_text,
    "subcommittee": _read_text,
    "date": read_dates,
    "witnesses": read_witnesses,
    "members": read_members,
}
