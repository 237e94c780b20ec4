"""Random hearings of Congress: who held them, when and on what, and who spoke."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from tasks.embedded.congress.hearing_words import (
    HOUSE_PANELS,
    INSTITUTES,
    LAST_NAMES,
    MENS_NAMES,
    MIDDLE_INITIALS,
    ORGANISATION_ENDS,
    PLACES,
    ROLES,
    SENATE_PANELS,
    STAFF_ROLES,
    TITLES,
    WOMENS_NAMES,
    Panel,
)
from tasks.schemas.us_states import STATES

CONGRESSES = range(105, 119)
"""Those of CoCoHD."""
SMALL_WORDS = {"in", "of", "for", "the", "and", "on", "to"}


@dataclass(frozen=True)
class Person:
    first: str
    """With the middle initial."""
    last: str
    title: str = ""
    """`Hon.` or `Dr.`, which is a part of the name; may be empty."""
    courtesy: str = "Mr."
    """What the person is addressed by."""

    @property
    def name(self) -> str:
        return f"{self.title} {self.first} {self.last}".strip()

    @property
    def address(self) -> str:
        return f"{self.courtesy} {self.last}"


@dataclass(frozen=True)
class Member:
    person: Person
    state: str
    """Two letters."""
    is_majority: bool


@dataclass(frozen=True)
class Speaker:
    """A witness, or another who only wrote to the panel."""

    person: Person
    role: str
    organisation: str
    """With its town and state, where the hearing prints them."""


@dataclass(frozen=True)
class Hearing:
    congress: int
    chamber: str
    panel: Panel
    subcommittee: str
    """Empty where the full committee held the hearing."""
    topic: str
    title: str
    days: tuple[date, ...]
    members: tuple[Member, ...]
    """Of the panel that held the hearing: the chairman first, each side in order of seniority."""
    other_members: tuple[Member, ...]
    """Of the full committee, and not of the subcommittee."""
    witnesses: tuple[Speaker, ...]
    writers: tuple[Speaker, ...]
    """Who sent a letter or a statement for the record and did not appear."""
    staff: tuple[tuple[Person, str], ...]
    number: int
    """Serial number in print."""

    @property
    def session(self) -> int:
        return 1 if self.days[0].year % 2 else 2

    @property
    def chairman(self) -> Member:
        return self.members[0]

    @property
    def ranking_member(self) -> Member:
        return next(member for member in self.members if not member.is_majority)


def make_hearing(rng: random.Random) -> Hearing:
    is_house = rng.random() < 0.65
    panel = rng.choice(HOUSE_PANELS if is_house else SENATE_PANELS)
    has_subcommittee = bool(panel.subcommittees) and rng.random() < 0.65
    topic = rng.choice(panel.topics)
    congress = rng.choice(CONGRESSES)
    people = _draw_people(rng)
    has_places = rng.random() < 0.25
    title = rng.choice(TITLES).format(topic=topic, number=rng.randint(12, 7999))
    members = _make_members(rng, people, rng.randint(5, 11))
    return Hearing(
        congress=congress,
        chamber="House of Representatives" if is_house else "Senate",
        panel=panel,
        subcommittee=rng.choice(panel.subcommittees) if has_subcommittee else "",
        topic=topic,
        title=capitalise(title if is_house else title.replace("H.R.", "S.")),
        days=_draw_days(rng, congress),
        members=members,
        other_members=_make_members(rng, people, rng.randint(4, 8)) if has_subcommittee else (),
        witnesses=tuple(_make_speaker(rng, people, has_places) for _ in range(rng.randint(1, 5))),
        writers=tuple(_make_speaker(rng, people, has_places) for _ in range(rng.randint(1, 3))),
        staff=tuple((next(people), role) for role in rng.sample(STAFF_ROLES, rng.randint(2, 5))),
        number=rng.randint(1, 180),
    )


def _draw_people(rng: random.Random) -> Iterator[Person]:
    """Nobody shares a last name, for speakers are called by it."""
    for last in rng.sample(LAST_NAMES, len(LAST_NAMES)):
        is_woman = rng.random() < 0.5
        first = rng.choice(WOMENS_NAMES if is_woman else MENS_NAMES)
        if rng.random() < 0.35:
            first += f" {rng.choice(MIDDLE_INITIALS)}."
        yield Person(first, last, courtesy="Ms." if is_woman else "Mr.")


def _make_members(rng: random.Random, people: Iterator[Person], count: int) -> tuple[Member, ...]:
    majority = count // 2 + 1
    return tuple(
        Member(next(people), rng.choice(list(STATES)[:50]), index < majority)
        for index in range(count)
    )


def _make_speaker(rng: random.Random, people: Iterator[Person], has_places: bool) -> Speaker:
    person = next(people)
    draw = rng.random()
    if draw < 0.35:
        title = "Hon." if draw < 0.15 else "Dr."
        courtesy = person.courtesy if title == "Hon." else "Dr."
        person = Person(person.first, person.last, title, courtesy)
    organisation = (
        rng.choice(INSTITUTES)
        if rng.random() < 0.4
        else f"{rng.choice(PLACES)} {rng.choice(ORGANISATION_ENDS)}"
    )
    if has_places:
        organisation += f", {rng.choice(PLACES)}, {rng.choice(list(STATES.values())[:50])}"
    return Speaker(person, rng.choice(ROLES), organisation)


def _draw_days(rng: random.Random, congress: int) -> tuple[date, ...]:
    """One day, or two in a row, of the two years of a Congress."""
    year = 1997 + 2 * (congress - 105) + rng.randrange(2)
    day = date(year, 1, 20) + timedelta(days=rng.randrange(320))
    while day.weekday() > 3:
        day += timedelta(days=1)
    return (day, day + timedelta(days=1)) if rng.random() < 0.06 else (day,)


def capitalise(title: str) -> str:
    """Every word of a title but the small ones."""
    words = title.split(" ")
    return " ".join(
        word if index and word in SMALL_WORDS else word[:1].upper() + word[1:]
        for index, word in enumerate(words)
    )


def format_day(day: date) -> str:
    return f"{MONTHS[day.month - 1]} {day.day}, {day.year}"


MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def to_columns(hearing: Hearing) -> dict[str, str]:
    """The details as CoCoHD writes them, in the columns of its cleaned set."""
    short = "House" if hearing.chamber.startswith("House") else "Senate"
    panel = [hearing.panel.committee, *([hearing.subcommittee] if hearing.subcommittee else [])]
    return {
        "title": f"{short} Hearing, {hearing.congress}th Congress - {hearing.title}",
        "congress_session": str(hearing.congress),
        "chamber": hearing.chamber,
        "committee": ", ".join(panel),
        "held_date": "\n".join(map(format_day, hearing.days)),
        "witnesses": "; ".join(map(invert, hearing.witnesses)),
        "members": "; ".join(
            f"{member.person.name} ({member.state})" for member in hearing.members
        ),
    }


def invert(speaker: Speaker) -> str:
    """A witness as lists of them have it, by the last name."""
    person = speaker.person
    first = f"{person.title} {person.first}".strip()
    return f"{person.last}, {first}, {speaker.role}, {speaker.organisation}"
