"""Choices read from answers in the manner of chat models; each expectation was set by hand."""

import random
import string

import pytest
from growth import assert_linear

from tasks.metrics.choice_text import find_choice
from tasks.metrics.choices import score_choice

LETTERS = ("A", "B", "C", "D")
CHOSEN = [
    ("B", "B"),
    ("  b. ", "B"),
    ("(B)", "B"),
    ("[C]", "C"),
    ("**D**", "D"),
    ("A", "A"),
    ("A.", "A"),
    ("'C'", "C"),
    ("B. Paracetamol", "B"),
    ("B) Paracetamol", "B"),
    ("(B) Paracetamol", "B"),
    ("B: Paracetamol", "B"),
    ("B - Paracetamol", "B"),
    ("**B. Paracetamol**", "B"),
    ("**C**. Streptococcus, since the stain is Gram positive.", "C"),
    ("B\n\nExplanation: the drug crosses the placenta.", "B"),
    ("C\nQuestion: What is the dose?\nChoices:\nA. one\nAnswer: A", "C"),
    ("B because it inhibits COX-2.", "B"),
    ("A, because a patient with renal failure cannot excrete it.", "A"),
    ("Option D", "D"),
    ("Option D: all of the above", "D"),
    ("A. A patient with sickle cell trait", "A"),
    ("Answer: B", "B"),
    ("answer: b", "B"),
    ("Answer: (C)", "C"),
    ("Answer: A", "A"),
    ("Answer: A because the others are antagonists", "A"),
    ("Answer:\n\nB. Aspirin", "B"),
    ("**Answer:** D", "D"),
    ("**Answer: D. Ranitidine**", "D"),
    ("### Final answer\nFinal answer: **(A)**", "A"),
    ("Answer - C", "C"),
    ("Ans. B", "B"),
    ("## Answer\nB. Aspirin\n\n## Why\nA. is older.", "B"),
    ("Ans: c", "C"),
    ("Ans. is 'b' i.e., Ureteric bud", "B"),
    ("Answer is a i.e., Ureteric bud", "A"),
    ("The correct answer is (A) and not (B).", "A"),
    ("Answer: B. C is wrong as it needs renal dosing.", "B"),
    ("Answer: B, not C.", "B"),
    ("The answer is (B).", "B"),
    ("The answer is B) Paracetamol", "B"),
    ("The correct answer is: **C. Vitamin B12**", "C"),
    ("the correct answer is option a.", "A"),
    ("The correct option is D.", "D"),
    ("The correct choice would be C.", "C"),
    ("The answer to this question is B.", "B"),
    ("The best answer is most likely A.", "A"),
    ("The answer, therefore, is D.", "D"),
    ("My answer is C!", "C"),
    ("So the answer must be the letter B.", "B"),
    ("I would choose B.", "B"),
    ("I'd go with option C.", "C"),
    ("I think the drug acts on the loop, so I pick A.", "A"),
    ("Therefore $\\boxed{C}$", "C"),
    ("\\boxed{\\text{B}}", "B"),
    ("The answer is A. Wait, that is for adults. The answer is C.", "C"),
    ("A. is the loop diuretic. B. is a thiazide.\nAnswer: B", "B"),
    ("Let us check: A is false, C is false, D is false.\nAnswer: B", "B"),
    ("Option B is correct.", "B"),
    ("B is the correct answer.", "B"),
    ("B. Paracetamol is the best answer.", "B"),
    ("Option A is incorrect. Option B is correct because it spares the kidney.", "B"),
    ("Hence (D) is the most appropriate option.", "D"),
    ("Answer: C\n\nOption A is incorrect as it is teratogenic.", "C"),
    ("Answer: C\nThe answer A is wrong.", "C"),
    ("The pain points to the appendix.\n\nD", "D"),
    ("The drug of choice here is **B. Doxycycline**, given orally.", "B"),
    ("The drug of choice is doxycycline (B).", "B"),
    ("This is not easy, but the answer is B.", "B"),
    ("Answer: D\nQuestion: Which is true?\nAnswer: A", "D"),
    ("The answer is Option C: Vitamin A deficiency", "C"),
]
NOT_CHOSEN = [
    "",
    "   \n",
    "?",
    "E",
    "AB",
    "A patient with fever needs antibiotics.",
    "A 45-year-old man presents with chest pain.",
    "Answer: A patient with fever",
    "The answer is a patient with sickle cell trait.",
    "Answer: A 45-year-old man",
    "B-cell lymphoma",
    "Answer: B-cell lymphoma",
    "The answer is D dimer.",
    "Answer: C reactive protein",
    "The answer is vitamin D.",
    "Answer: Hepatitis B",
    "Answer: Because it is safe",
    "Answer: Dopamine",
    "Because the dose is high",
    "Dopamine acts on the kidney.",
    "A or B",
    "A and C are both right",
    "A and C are both correct answers.",
    "either B or D",
    "The answer is either B or D.",
    "Answer: A or B",
    "Answer: A and C",
    "Answer: A, C",
    "Answer: A/B",
    "Answer: B, C is wrong as it needs renal dosing.",  # reads as two options
    "Answer: B & D",
    "(A) or (B)",
    "**A** and **C**",
    "Answer: **A** or **D**",
    "B or D",
    "The answer is not A.",
    "The answer isn't B.",
    "I do not think the answer is C.",
    "If the answer is B then the dose is wrong.",
    "Is the answer C?",
    "Neither A nor B is correct.",
    "Option C is not correct.",
    "Option C is incorrect.",
    "None of the options are correct.",
    "I cannot answer this question.",
    "A. Aspirin\nB. Ibuprofen\nC. Codeine\nD. Morphine",
    "A. Aspirin is safe.\nB. Ibuprofen is not.",
    "A\nB",
    "Choose the right answer\nA. Aspirin\nB. Ibuprofen",
    "It depends on vitamin C intake.",
    "Don't choose A. Don't choose B.",
    "The patient's blood group is important.",
    "Type A's are rarer, type B's too.",
    "Answer: none of these",
]


@pytest.mark.parametrize(("text", "letter"), CHOSEN)
def test_letter_of_a_text(text: str, letter: str) -> None:
    assert find_choice(text, LETTERS) == letter


@pytest.mark.parametrize("text", NOT_CHOSEN)
def test_no_letter_is_made_up(text: str) -> None:
    assert find_choice(text, LETTERS) is None


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("yes", "yes"),
        ("Yes.", "yes"),
        ("No, it fell.", "no"),
        ("NO", "no"),
        ("no evidence", "no evidence"),
        ("No  Evidence was found", "no evidence"),
        ("Answer: no evidence.", "no evidence"),
        ("The answer is yes, as sales rose.", "yes"),
        ("**Answer:** Maybe", "maybe"),
        ("It rose in two of three years.\nMaybe", "maybe"),
        ("Yes? The answer is no.", "no"),
        ("Nothing is known", None),
        ("none", None),
        ("Not sure", None),
        ("yes-man", None),
        ("Yes or no", None),
        ("Answer: yes/no", None),
        ("The answer is not yes", None),
        ("I know the answer", None),
        ("It says yes somewhere", None),
    ],
)
def test_worded_options(text: str, choice: str | None) -> None:
    assert find_choice(text, ("yes", "no", "maybe", "no evidence")) == choice


KINDS, SIGNS = ("billing", "bug", "feature"), ("-1", "0", "1")
TONES, STARS = ("positive", "negative", "neutral"), ("1", "2", "3", "4", "5")


@pytest.mark.parametrize(
    ("text", "options", "choice"),
    [
        ("**Label:** bug", KINDS, "bug"),
        ("Label : bug.", KINDS, "bug"),
        ("It could be a bug. Label: feature", KINDS, "feature"),
        ("Reasoning: it crashes.\nLabel: bug", KINDS, "bug"),
        ("Category: billing\nCategory: bug", KINDS, None),
        ("I would classify this as billing.", KINDS, "billing"),
        ("This is a bug report about billing", KINDS, None),
        ('{"label": "bug", "confidence": 0.9}', KINDS, "bug"),
        ('```json\n{"category": "bug"}\n```', KINDS, "bug"),
        ('{"answer": "B"}', ("A", "B"), "B"),
        ('{"answer": ["A", "B"]}', ("A", "B"), None),
        ("The sentiment is positive.", TONES, "positive"),
        ("The sentiment is not positive.", TONES, None),
        ("It is neutral, not positive.", TONES, None),
        ("The review is positive. The tone is negative.", TONES, None),
        ("Sentiment: **negative**", TONES, "negative"),
        ("Rating: 5", STARS, "5"),
        ("Final rating: 4/5", STARS, None),
        ("Answer: -1", SIGNS, "-1"),
        ("Answer: 1", SIGNS, "1"),
        ("The answer is -1.", SIGNS, "-1"),
        ("Answer: 0.1", SIGNS, None),
    ],
)
def test_the_ways_in_which_worded_options_are_given(
    text: str, options: tuple[str, ...], choice: str | None
) -> None:
    assert find_choice(text, options) == choice


def test_numbers_and_single_digits_as_options() -> None:
    assert find_choice("Answer: 2", ("1", "2", "3")) == "2"
    assert find_choice("2.5", ("1", "2", "3")) is None
    assert find_choice("Answer: 2 tablets", ("1", "2", "3")) is None
    assert find_choice("10 mg", ("1 mg", "10 mg")) == "10 mg"
    assert find_choice("Answer: 1.5", ("1", "15")) is None


def test_signs_of_regular_expressions_in_options_are_text() -> None:
    options = ("C++ (new)", "a|b", "x.y", "[z]")
    for option in options:
        assert find_choice(option, options) == option
        assert find_choice(f"Answer: {option}", options) == option
    assert find_choice("Answer: xzy", options) is None


def test_letters_that_only_fold_alike_are_no_crash() -> None:
    assert find_choice("Answer: ye\u017f", ("yes", "no")) is None
    assert find_choice("x", ("", " ")) is None
    assert find_choice("AB", "ABCD") is None


def test_each_option_is_its_own_prediction() -> None:
    for options in (LETTERS, ("a", "A"), ("+", "-"), ("The A", "A"), ("", "x")):
        for option in options:
            assert find_choice(option, options) == option


def test_scores() -> None:
    assert score_choice("B", "B", LETTERS) == {"accuracy": 1.0, "has_answer": 1.0}
    assert score_choice("Answer: C", "B", LETTERS) == {"accuracy": 0.0, "has_answer": 1.0}
    assert score_choice("A or B", "B", LETTERS) == {"accuracy": 0.0, "has_answer": 0.0}
    assert score_choice("", "", ("", "x")) == {"accuracy": 1.0, "has_answer": 1.0}


def test_every_phrase_with_every_letter_and_option_text() -> None:
    """The letter is found whatever the option's text; the text has labels of its own in it."""
    rng = random.Random(0)
    phrases = ["Answer: {}", "The answer is {}", "**{}**", "{}", "I think so.\nFinal answer: {}"]
    words = ["Vitamin A", "A drug", "B-cell lymphoma", "Hepatitis B or C", "a pill", "the answer"]
    for _ in range(2000):
        letter = rng.choice(LETTERS)
        option = rng.choice(["{}.", "({})", "{})", "{}:"]).format(letter) + " " + rng.choice(words)
        assert find_choice(rng.choice(phrases).format(option), LETTERS) == letter


def test_noise_without_a_label_chooses_nothing() -> None:
    rng = random.Random(1)
    words = [
        "patient",
        "answer",
        "is",
        "the",
        "Blood",
        "Drug",
        "Cell",
        "correct",
        "-",
        "not",
        "no.",
    ]
    for _ in range(2000):
        assert find_choice(" ".join(rng.choices(words, k=rng.randint(1, 12))), LETTERS) is None


@pytest.mark.parametrize(
    "piece", ["answer ", "answer: ", "A ", "A, ", "**", "( ", "is ", ": ", "\n"]
)
def test_long_repetitions_take_time_in_proportion(piece: str) -> None:
    assert_linear(lambda n: find_choice(piece * n, LETTERS), 1250)
    assert_linear(lambda n: find_choice(piece * n, tuple(string.ascii_lowercase + "x y")), 1250)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The most likely diagnosis is C. Sarcoidosis.", "C"),
        ("The drug of choice is B. Heparin.", "B"),
        ("The nerve involved is A) Ulnar nerve.", "A"),
        ("It is B.", "B"),
        ("I think it's B.", "B"),
        ("Hence, C.", "C"),
        ("I would say D.", "D"),
        ("C!", "C"),
        ("A: no. B: yes. So B.", "B"),
        ("It is not B.", None),
        ("It is B or C.", None),
        ("The patient is a 40-year-old man", None),
        ("The vitamin is D dependent", None),
        ("The cause is a virus.", None),
    ],
)
def test_statements_that_close_on_a_letter(text: str, expected: str | None) -> None:
    assert find_choice(text, "ABCD") == expected
