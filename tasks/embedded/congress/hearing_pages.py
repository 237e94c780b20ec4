"""Generated hearings as the Government Publishing Office prints them, in several layouts.

Front matter first: title page, members of the panel, contents with the witnesses. Then the hearing:
statements and questions, and letters for the record.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Literal

from tasks.embedded.congress.hearing_speech import Speech, Turn, name_turn
from tasks.embedded.congress.hearings import (
    WEEKDAYS,
    Hearing,
    Member,
    Speaker,
    format_day,
    invert,
)
from tasks.schemas.us_states import STATES

WIDTH = 72
WitnessList = Literal["inverted", "natural", "names"]
TENS = {
    105: "FIFTH", 106: "SIXTH", 107: "SEVENTH", 108: "EIGHTH", 109: "NINTH", 110: "TENTH",
    111: "ELEVENTH", 112: "TWELFTH", 113: "THIRTEENTH", 114: "FOURTEENTH", 115: "FIFTEENTH",
    116: "SIXTEENTH", 117: "SEVENTEENTH", 118: "EIGHTEENTH",
}  # fmt: skip
"""Congress -> the last word of its number."""


@dataclass(frozen=True)
class Block:
    lines: list[str]
    is_exact: bool = False
    """Whether noise stays away from it, for it may be the one place that says something."""


@dataclass(frozen=True)
class HearingLayout:
    has_markup: bool
    """Whether the page is wrapped in HTML, as GovInfo's are."""
    has_label: bool
    """Whether the first line gives chamber and Congress in figures."""
    prints_title_twice: bool
    """Once on the cover and once on a title page, of which the last is without noise."""
    has_columns: bool
    """Whether majority and minority stand side by side."""
    side_names: tuple[str, str]
    """Headings of the majority and the minority; may be empty."""
    lists_full_committee: bool
    """Whether the members of the full committee come before those of the subcommittee."""
    witness_list: WitnessList
    """By last name with role and organisation, by first name with both, or names alone: role and
    organisation are then above each statement."""
    centre: bool
    """Whether titles are centred."""


def draw_layout(rng: random.Random) -> HearingLayout:
    lists: list[WitnessList] = ["inverted", "natural", "names"]
    return HearingLayout(
        has_markup=rng.random() < 0.3,
        has_label=rng.random() < 0.7,
        prints_title_twice=rng.random() < 0.35,
        has_columns=rng.random() < 0.4,
        side_names=rng.choice((("", ""), ("Majority", "Minority"), ("MAJORITY", "MINORITY"))),
        lists_full_committee=rng.random() < 0.5,
        witness_list=rng.choices(lists, weights=(5, 3, 3))[0],
        centre=rng.random() < 0.4,
    )


def lay_out(
    rng: random.Random, hearing: Hearing, layout: HearingLayout, characters: int
) -> list[Block]:
    """The blocks of a transcript that is about as long as that, or as its front matter needs."""
    front = [
        *_write_cover(hearing, layout),
        *_write_rosters(hearing, layout),
        *_write_contents(rng, hearing, layout),
    ]
    rest = characters - sum(len(line) + 1 for block in front for line in block.lines)
    return [*front, *_write_proceedings(rng, hearing, layout, rest)]


def _write_cover(hearing: Hearing, layout: HearingLayout) -> Iterator[Block]:
    head = [f"<html>\n<title> - {hearing.title.upper()}</title>\n<body><pre>"]
    short = hearing.chamber.split(" ", maxsplit=1)[0]
    label = [
        f"[{short} Hearing, {hearing.congress} Congress]",
        "[From the U.S. Government Publishing Office]",
        "",
    ]
    yield Block([*(head if layout.has_markup else []), *(label if layout.has_label else [])], True)
    title_page = _write_title_page(hearing, layout)
    if layout.prints_title_twice:
        yield Block(title_page)
    yield Block(title_page, is_exact=True)
    yield Block(
        [
            f"Serial No. {hearing.congress}-{hearing.number}",
            "",
            f"Printed for the use of the {hearing.panel.committee}",
            "",
            "U.S. GOVERNMENT PUBLISHING OFFICE",
            f"{10_000 + hearing.number * 431} PDF    WASHINGTON : {hearing.days[0].year + 1}",
            "",
        ]
    )


def _write_title_page(hearing: Hearing, layout: HearingLayout) -> list[str]:
    panel = [hearing.panel.committee]
    if hearing.subcommittee:
        panel = [hearing.subcommittee, "of the", *panel]
    chamber = hearing.chamber if hearing.chamber != "Senate" else "United States Senate"
    lines = [
        *wrap(hearing.title.upper(), 56),
        "",
        "=" * 40,
        "HEARING" if len(hearing.days) == 1 else "HEARINGS",
        "before the",
        *panel,
        chamber,
        f"ONE HUNDRED {TENS[hearing.congress]} CONGRESS",
        "FIRST SESSION" if hearing.session == 1 else "SECOND SESSION",
        "__________",
        " and ".join(map(format_day, hearing.days)),
        "__________",
        "",
    ]
    return [
        line.upper().center(WIDTH).rstrip() if layout.centre else line.upper() for line in lines
    ]


def _write_rosters(hearing: Hearing, layout: HearingLayout) -> Iterator[Block]:
    if hearing.other_members and layout.lists_full_committee:
        lines = _list_members(hearing.other_members, layout)
        yield Block([hearing.panel.committee.upper(), "", *lines, *_list_staff(hearing)])
    name = hearing.subcommittee or hearing.panel.committee
    yield Block([name.upper(), "", *_list_members(hearing.members, layout), ""], is_exact=True)
    if not hearing.other_members or not layout.lists_full_committee:
        yield Block(_list_staff(hearing))


def _list_staff(hearing: Hearing) -> list[str]:
    return ["", *(f"    {person.name}, {role}" for person, role in hearing.staff), ""]


def _list_members(members: Sequence[Member], layout: HearingLayout) -> list[str]:
    sides = [[m for m in members if m.is_majority is side] for side in (True, False)]
    names = [
        [_print_member(member, rank, side) for rank, member in enumerate(of_side)]
        for side, of_side in zip(("Chairman", "Ranking Member"), sides, strict=True)
    ]
    heads = [[f"{name}:"] if name else [] for name in layout.side_names]
    columns = [head + side for head, side in zip(heads, names, strict=True)]
    if not layout.has_columns:
        return [*columns[0], *columns[1]]
    left, right = columns
    right += [""] * (len(left) - len(right))
    return [f"{a:<38}{b}".rstrip() for a, b in zip(left, right, strict=True)]


def _print_member(member: Member, rank: int, office: str) -> str:
    text = f"{member.person.name.upper()}, {STATES[member.state]}"
    return text if rank else f"{text}, {office}"


def _write_contents(rng: random.Random, hearing: Hearing, layout: HearingLayout) -> Iterator[Block]:
    page = rng.randint(1, 4)
    yield Block(["C O N T E N T S", "", "Opening statements:"])
    for member in (hearing.chairman, hearing.ranking_member):
        state = STATES[member.state]
        yield Block([_lead(f"Hon. {member.person.name}, a Member from {state}", page)])
        page += rng.randint(1, 4)
    lines = ["", rng.choice(("WITNESSES", "Witnesses", "STATEMENT OF WITNESSES"))]
    order = list(hearing.witnesses)
    if layout.witness_list == "inverted":
        order.sort(key=lambda speaker: speaker.person.last)
    for speaker in order:
        lines += _lead(_print_witness(speaker, layout.witness_list), page).split("\n")
        page += rng.randint(3, 12)
    yield Block([*lines, ""], is_exact=True)
    lines = ["ADDITIONAL MATERIAL SUBMITTED FOR THE RECORD"]
    for writer in hearing.writers:
        kind = rng.choice(("Letter from", "Prepared statement of", "Report submitted by"))
        lines += _lead(f"{kind} {_print_witness(writer, 'natural')}", page).split("\n")
        page += rng.randint(2, 6)
    yield Block([*lines, ""])


def _print_witness(speaker: Speaker, form: WitnessList) -> str:
    if form == "inverted":
        return invert(speaker)
    person = speaker.person
    name = person.name if person.title else f"{person.courtesy} {person.name}"
    return name if form == "names" else f"{name}, {speaker.role}, {speaker.organisation}"


def _lead(text: str, page: int) -> str:
    """A line of the contents, with leaders up to the page."""
    first, *others = wrap(text, WIDTH - 8)
    lines = [first, *(f"  {line}" for line in others)]
    return "\n".join(
        [*lines[:-1], f"{lines[-1]} {'.' * max(3, WIDTH - 8 - len(lines[-1]))} {page}"]
    )


def _write_proceedings(
    rng: random.Random, hearing: Hearing, layout: HearingLayout, characters: int
) -> Iterator[Block]:
    speech = Speech(rng, hearing)
    opening = [
        *_open(rng, hearing),
        *_print_turn(("The Chairman.", speech.open_hearing())),
        *_print_turn((name_turn(hearing.ranking_member.person), speech.fill(
            "Thank you, Mr. Chairman. I share your concern about {topic}, and I yield back."
        ))),
    ]  # fmt: skip
    yield Block(opening)
    written = sum(map(len, opening))
    for number, witness in enumerate(hearing.witnesses):
        heading = f"STATEMENT OF {_print_witness(witness, 'natural')}".upper()
        yield Block(["", *wrap(heading, WIDTH), ""], is_exact=True)
        label = name_turn(witness.person)
        turns = [(label, speech.testify(witness))]
        # The last statements are shorter where little room is left.
        if written < characters * (number + 1) / (2 * len(hearing.witnesses)):
            turns.append(("", speech.go_on()))
        lines = [line for turn in turns for line in _print_turn(turn)]
        written += sum(map(len, lines))
        yield Block(lines)
    closing = _close(rng, hearing, speech)
    written += sum(map(len, closing))
    while written < characters:
        lines = [line for turn in speech.question() for line in _print_turn(turn)]
        written += sum(map(len, lines))
        yield Block(lines)
    yield Block(closing)


def _open(rng: random.Random, hearing: Hearing) -> list[str]:
    place = "House of Representatives" if hearing.chamber != "Senate" else "U.S. Senate"
    panel = "subcommittee" if hearing.subcommittee else "committee"
    present = [member.person.last for member in hearing.members]
    shown = rng.sample(present, rng.randint(2, len(present)))
    text = (
        f"The {panel} met, pursuant to notice, at {rng.randint(9, 10)}:{rng.randint(0, 59):02d} "
        f"a.m., in room {rng.randint(1100, 2400)}, Hon. {hearing.chairman.person.name} [chairman "
        f"of the {panel}] presiding."
    )
    day = hearing.days[0]
    return [
        hearing.title.upper(),
        "----------",
        f"{WEEKDAYS[day.weekday()].upper()}, {format_day(day).upper()}",
        f"{place},",
        *([f"{hearing.subcommittee},"] if hearing.subcommittee else []),
        f"{hearing.panel.committee},",
        "Washington, DC.",
        "",
        *wrap(text, WIDTH),
        *wrap(f"Present: {', '.join(shown[:-1])}, and {shown[-1]}.", WIDTH),
        *wrap(
            f"Staff present: {'; '.join(f'{p.name}, {role}' for p, role in hearing.staff)}.", WIDTH
        ),
        "",
    ]


def _close(rng: random.Random, hearing: Hearing, speech: Speech) -> list[str]:
    panel = "subcommittee" if hearing.subcommittee else "committee"
    writer = rng.choice(hearing.writers)
    letter = speech.fill(
        "Dear Mr. Chairman: I write to submit the following for the record of your hearing on "
        "{topic}. Since {year} we have seen {count} cases of this kind in {place}, and I ask that "
        "the {panel} consider them. Dated {day}."
    )
    return [
        *_print_turn(
            (
                "The Chairman.",
                "I thank the witnesses for their testimony. Without objection, all written "
                f"statements are part of the record. The {panel} stands adjourned.",
            )
        ),
        f"    [Whereupon, at {rng.randint(11, 12)}:{rng.randint(0, 59):02d} p.m., the {panel} was "
        "adjourned.]",
        "",
        "MATERIAL SUBMITTED FOR THE RECORD",
        *wrap(letter, WIDTH),
        f"{writer.person.name}, {writer.role}, {writer.organisation}",
    ]


def _print_turn(turn: Turn) -> list[str]:
    speaker, words = turn
    return wrap(f"{speaker} {words}".strip(), WIDTH, initial_indent="    ")
