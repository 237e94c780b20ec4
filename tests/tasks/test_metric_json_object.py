"""The JSON object in a model's text: where it stands, and what is no object."""

import json

import pytest
from growth import assert_linear

from tasks.metrics.json_object import MAX_DEPTH, extract_object

WANTED = {"vendor": "Acme {Ltd}", "items": [{"name": "Lamp ``` }", "qty": 2}], "n": None}
TEXT = json.dumps(WANTED)


@pytest.mark.parametrize(
    "text",
    [
        "@",
        "  \n@\n",
        "\ufeff@",
        "Here is the JSON: @",
        "@ I hope this helps!",
        "```json\n@\n```",
        "```\n@\n```",
        "```JSON\n@",
        "Here it is:\n```json\n@\n```\nDone {really}.",
        "The {fields} are: @",
        "use {x}: @",
        "a set { and then @",
        'Keys such as {"a": x} count.\n```json\n@\n```',
        '@ or {"b": 2}',
        '@\n```json\n{"b": 2}\n```',
        '```json\n@\n```\n```json\n{"b": 2}\n```',
        "[@]",
        "[ @ ]",
        "Items: [1] as follows @",
        "@}}}",
        "<s>@</s>",
    ],
)
def test_the_object_is_found(text: str) -> None:
    assert extract_object(text.replace("@", TEXT)) == WANTED
    pretty = json.dumps(WANTED, indent=2)
    assert extract_object(text.replace("@", pretty)) == WANTED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "{",
        "null",
        "[1, 2]",
        '"{}"'[1:2],
        TEXT[:-1],
        TEXT[:30],
        "```json\n" + TEXT[:-1] + "\n```",
        f"[{TEXT}, {TEXT}]",
        f"[{TEXT}, 1]",
        f"[{TEXT}",
        '{"a": 1,}',
        '{"a": [1, 2,]}',
        '{"a": 1,, "b": {"c": 1}}',
        "{'a': 'x', 'b': {\"c\": 1}}",
        '{\u201ca\u201d: {"b": 1}}',
        '{a: {"b": 1}}',
        '{"a": {"b": 1}',
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": -Infinity}',
        '{"a": 1 // one\n}',
        '{"a": True}',
        '{"a": "x" "b": {"c": 1}}',
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_no_object(text: str) -> None:
    assert extract_object(text) is None


def test_every_cut_of_an_object_is_none() -> None:
    """Above all: no inner object is taken for the whole."""
    for end in range(len(TEXT)):
        assert extract_object(TEXT[:end]) is None, TEXT[:end]


def test_the_last_of_two_equal_keys_counts() -> None:
    assert extract_object('{"a": 1, "a": 2}') == {"a": 2}


def test_line_breaks_inside_a_text_are_read() -> None:
    assert extract_object('{"a": "x\ny"}') == {"a": "x\ny"}


def test_an_empty_object_is_one() -> None:
    assert extract_object("{}") == {}
    assert extract_object('{ } {"a": 1}') == {}


def test_nesting_is_bounded() -> None:
    for levels in (MAX_DEPTH, MAX_DEPTH + 1, 900, 100_000):
        text = '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
        assert (extract_object(text) is None) == (levels > MAX_DEPTH)


@pytest.mark.parametrize("piece", ["{", "[", '{"a":', "```json\n", "[{", "{a", "{ ", "`"])
def test_long_repetitions_take_time_in_proportion(piece: str) -> None:
    assert extract_object(piece * 30_000) is None
    assert_linear(lambda n: extract_object(piece * n), 4000)
