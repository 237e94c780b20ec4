"""What is said in generated hearings: turns of the chairman, members and witnesses.

Made of sentences with numbers, dates, panels and people that are not those of the hearing.
"""

import random
from collections.abc import Iterator
from datetime import timedelta

from tasks.embedded.congress.hearing_words import HOUSE_PANELS, INSTITUTES, PLACES, SENATE_PANELS
from tasks.embedded.congress.hearings import Hearing, Person, Speaker, format_day

OPENINGS = (
    "The {panel} will come to order. Without objection, the chair is authorized to declare a "
    "recess at any time. We are here today to discuss {topic}.",
    "Good morning. I call this hearing to order. I want to welcome our witnesses and thank them "
    "for their time. Our subject is {topic}, which touches every place that we represent here.",
    "The hearing will come to order. Before I begin, I ask unanimous consent that members have 5 "
    "legislative days to revise and extend their remarks on {topic}.",
)
REMARKS = (
    "On {day}, the {other} held a hearing on the same question, and it left more to be done.",
    "In {place} alone, {count} families told us that they had waited more than {few} months.",
    "The program was authorized in {year} and has been extended {few} times since then.",
    "The {institute} published a report on {day} that puts the cost at ${count} million a year.",
    "I have heard from constituents in {place} who cannot get a straight answer on {topic}.",
    "We spent ${count} million on {topic} last year, and the results are mixed at best.",
    "I would like to thank my colleague {person}, who could not be with us today.",
    "Let me be clear: nobody in this room wants to see {topic} fall behind again.",
    "The Government Accountability Office made {few} recommendations, and only one is closed.",
    "It is my hope that both sides can work together on this, as we did in {year}.",
    "A letter that I received on {day} from {person} describes what this means on the ground.",
    "The budget request for fiscal year {year} would cut this account by {few} percent.",
)
STATEMENTS = (
    "My organization has worked on {topic} for more than {few} years, in {place} and elsewhere.",
    "First, the current rules were written for a different time, and they add cost for no benefit.",
    "Second, the agencies do not share data with one another, so a form is filed {few} times.",
    "When {person} and I testified before the {other} on {day}, we raised the same concern.",
    "Our members report an average delay of {count} days, up from {few} days in {year}.",
    "In {place}, a pilot project reduced errors by {few} percent within a year.",
    "A study by the {institute} found that {count} sites had not been inspected since {year}.",
    "We recommend that Congress set a firm deadline and fund the work that it asks for.",
    "Small operators carry most of the burden, because they have no staff to handle the paperwork.",
    "I also want to recognize {person} of the {institute}, whose work informs my testimony.",
    "The evidence on {topic} is stronger than it was when the law was passed in {year}.",
    "If nothing changes, we expect to lose another {count} positions in the next {few} years.",
    "None of this is simple, but other countries have done it, and so have several States.",
    "Training is the weakest point: {few} out of ten new employees leave within {few} years.",
    "I would be glad to provide the full data to the {panel} for the record.",
    "The agreement that was signed on {day} was a good first step, and it needs to be enforced.",
    "In closing, the people of {place} do not ask for special treatment; they ask for certainty.",
)
QUESTIONS = (
    "Thank you, Mr. Chairman. {witness}, you said that the delays have grown. How much of that is "
    "due to staffing, and how much to the rules on {topic}?",
    "{witness}, I have in front of me a report of {day} by the {institute}. Do you agree with what "
    "it says about {place}?",
    "I want to follow up on what was said about costs. {witness}, can you tell the {panel} what a "
    "typical applicant pays?",
    "{witness}, my constituents in {place} ask me about this every week. What should I tell them?",
    "Let me turn to enforcement. {witness}, how many cases were opened since {year}, and how many "
    "were closed?",
    "{witness}, do you think that the {other} should look at this as well?",
)
ANSWERS = (
    "Thank you for the question. I would say that about {few} in ten are due to staffing.",
    "I have not seen that report. I would be happy to get back to you with a written answer.",
    "In our experience it is about ${count}, and that does not include the time that is lost.",
    "I would tell them that help is coming, but that it will take until next year at least.",
    "We opened {count} cases and closed {few}. The rest are pending, some of them since {year}.",
    "That is outside of my area, but I know that {person} of the {institute} has looked at it.",
    "Yes, sir. The difference between {place} and its neighbors is striking in that respect.",
    "I do. And I would add that the States have moved faster on {topic} than we have.",
)
FOLLOW_UPS = (
    "I appreciate that. I yield back.",
    "Thank you. My time has expired.",
    "So the answer is no. I yield back the balance of my time.",
    "I look forward to your answer in writing. Thank you, Mr. Chairman.",
)
Turn = tuple[str, str]
"""(who speaks, as it is printed; what is said)"""


class Speech:
    """Fills sentences with a hearing's own subject and with distractors."""

    def __init__(self, rng: random.Random, hearing: Hearing) -> None:
        self._rng = rng
        self._hearing = hearing
        people = [speaker.person for speaker in hearing.writers]
        people += [member.person for member in hearing.other_members]
        self._others: list[Person] = people
        self._panels = [
            panel.committee
            for panel in (*HOUSE_PANELS, *SENATE_PANELS)
            if panel.committee != hearing.panel.committee
        ]

    def fill(self, sentence: str, witness: str = "") -> str:
        rng, hearing = self._rng, self._hearing
        day = hearing.days[0] - timedelta(days=rng.randint(20, 1500))
        return sentence.format(
            topic=hearing.topic,
            panel="subcommittee" if hearing.subcommittee else "committee",
            other=rng.choice(self._panels),
            institute=rng.choice(INSTITUTES),
            place=rng.choice(PLACES),
            person=f"{(person := rng.choice(self._others)).first} {person.last}",
            day=format_day(day),
            year=day.year,
            count=rng.randint(11, 980),
            few=rng.randint(2, 9),
            witness=witness,
        )

    def write(self, sentences: tuple[str, ...], count: int) -> str:
        """A paragraph of different sentences, in the order of the list."""
        chosen = sorted(self._rng.sample(range(len(sentences)), min(count, len(sentences))))
        return " ".join(self.fill(sentences[index]) for index in chosen)

    def open_hearing(self) -> str:
        return self.fill(self._rng.choice(OPENINGS)) + " " + self.write(REMARKS, 3)

    def testify(self, witness: Speaker) -> str:
        """How a witness begins."""
        hearing = self._hearing
        where = "subcommittee" if hearing.subcommittee else "committee"
        chairman, ranking = hearing.chairman.person, hearing.ranking_member.person
        thanks = self._rng.choice(
            (
                f"Thank you, Mr. Chairman, and members of the {where}.",
                f"Good morning. I am grateful for the chance to appear before this {where}.",
                f"Chairman {chairman.last}, Ranking Member {ranking.last}, thank you.",
                f"My name is {witness.person.last}, and I appreciate the invitation.",
            )
        )
        return f"{thanks} {self.go_on()}"

    def go_on(self) -> str:
        """A paragraph of a statement."""
        return self.write(STATEMENTS, self._rng.randint(3, 6))

    def question(self) -> Iterator[Turn]:
        """A round of a member's questions, and a witness's answers."""
        rng, hearing = self._rng, self._hearing
        member = rng.choice(hearing.members[1:]).person
        witness = rng.choice(hearing.witnesses).person
        for _ in range(rng.randint(1, 3)):
            yield name_turn(member), self.fill(rng.choice(QUESTIONS), witness.address)
            answer = self.fill(rng.choice(ANSWERS))
            if rng.random() < 0.6:
                answer += " " + self.write(STATEMENTS[1:-1], rng.randint(1, 3))
            yield name_turn(witness), answer
        yield name_turn(member), rng.choice(FOLLOW_UPS)


def name_turn(person: Person) -> str:
    """`Mr. Larkspur.`, before what the person says."""
    return f"{person.address}."
