"""Rows in the formats of training tools: what becomes prompt, earlier turns and answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks import DataError, Source, load_examples
from tasks.base import Example
from tasks.custom.formats import FORMATS, RowFormat, read_dataset_info
from tasks.custom.task import CustomTask, make_custom_task


def read(form: RowFormat, row: dict[str, Any], metric: str = "exact") -> Example:
    return make_custom_task(CustomTask("own", None, None, metric, format=form)).to_example(row)


def say(*turns: str, keys: tuple[str, str] = ("role", "content")) -> list[dict[str, str]]:
    """Messages of `user: text` lines."""
    pairs = (turn.split(": ", 1) for turn in turns)
    return [dict(zip(keys, pair, strict=True)) for pair in pairs]


def test_an_empty_input_of_alpaca_is_left_out() -> None:
    row = {"instruction": "Name a river.", "input": "", "output": "Rhine"}
    assert read(FORMATS["alpaca"], row).prompt == "Name a river."
    assert read(FORMATS["alpaca"], row | {"input": None}).prompt == "Name a river."
    del row["input"]
    assert read(FORMATS["alpaca"], row).prompt == "Name a river."
    with_input = read(FORMATS["alpaca"], row | {"input": "In Europe"})
    assert with_input.prompt == "Name a river.\n\nIn Europe"
    assert with_input.completion == with_input.reference == "Rhine"


def test_all_rows_of_an_alpaca_file_are_read(tmp_path: Path) -> None:
    rows = [
        {"instruction": f"Add {n} and 1.", "input": "" if n % 2 else "Now.", "output": str(n + 1)}
        for n in range(40)
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    task = make_custom_task(CustomTask("own", None, None, "exact", format=FORMATS["alpaca"]))
    parts = [
        load_examples(task, split, Source("local", path=str(tmp_path / "a.json")))
        for split in ("train", "validation", "test")
    ]
    assert sum(len(part.examples) for part in parts) == 40


def test_system_and_history_of_alpaca_are_turns() -> None:
    row = {"instruction": "And now?", "output": "Three", "system": "Count.",
           "history": [["One?", "One"], ["Next?", "Two"]]}  # fmt: skip
    example = read(FORMATS["alpaca"], row)
    assert example.turns == (
        ("system", "Count."),
        *(("user", "One?"), ("assistant", "One"), ("user", "Next?"), ("assistant", "Two")),
    )
    assert example.conversation == "Count.\nOne?\nOne\nNext?\nTwo\nAnd now?"


@pytest.mark.parametrize(
    ("form", "messages"),
    [
        ("messages", say("system: Short.", "user: A?", "assistant: a", "user: B?", "assistant: b")),
        (
            "sharegpt",
            say(
                *("system: Short.", "human: A?", "gpt: a", "human: B?", "gpt: b"),
                keys=("from", "value"),
            ),
        ),
        (
            "messages",
            # What follows the last answer is nothing to learn.
            say(
                *("system: Short.", "user: A?", "assistant: a", "user: B?", "assistant: b"),
                "user: C?",
            ),
        ),
    ],
)
def test_the_last_answer_is_learned_and_the_rest_stays_in_turns(
    form: str, messages: list[dict[str, str]]
) -> None:
    column = "messages" if form == "messages" else "conversations"
    example = read(FORMATS[form], {column: messages})
    assert example.turns == (("system", "Short."), ("user", "A?"), ("assistant", "a"))
    assert (example.prompt, example.completion, example.reference) == ("B?", "b", "b")
    assert example.body == "B?"


def test_a_text_of_parts_is_one_text() -> None:
    parts = [{"type": "text", "text": "A"}, {"type": "text", "text": "B?"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "b"}]
    assert read(FORMATS["messages"], {"messages": messages}).prompt == "A\nB?"


def test_prompt_and_completion_are_texts_or_messages() -> None:
    plain = read(FORMATS["prompt_completion"], {"prompt": "A?", "completion": "a"})
    listed = read(
        FORMATS["prompt_completion"],
        {"prompt": say("system: S", "user: A?"), "completion": say("assistant: a")},
    )
    assert (plain.prompt, plain.reference, plain.turns) == ("A?", "a", ())
    assert (listed.prompt, listed.reference, listed.turns) == ("A?", "a", (("system", "S"),))


def test_what_an_answer_thinks_first_is_learned_and_not_judged() -> None:
    text = "<think>7 is odd</think>\n\nodd"
    example = read(FORMATS["messages"], {"messages": say("user: 7?", f"assistant: {text}")})
    assert (example.completion, example.reference) == (text, "odd")


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], "expected a list of messages"),
        ("user: hi", "expected a list of messages"),
        (say("user: A?"), "has no turn of the assistant"),
        (say("assistant: a", "user: B?", "assistant: b"), "turn 1 is the assistant's"),
        (say("user: A?", "user: B?", "assistant: b"), "turn 2 is the user's, expected the"),
        (say("system: S", "system: T", "user: A?", "assistant: a"), "turn 2 is the system's"),
        (say("user: A?", "tool: x", "assistant: b"), "tools are not supported"),
        (say("user: A?", "assistant:  "), "message 2 is ' ' (str), expected text"),
        ([{"role": "user", "text": "A?"}], "expected role and content or from and value"),
        (["A?"], "expected a role and a content"),
        (say("user: A?", "assistant: a\0"), "control character U+0000"),
    ],
)  # fmt: skip
def test_bad_conversations_say_what_is_wrong(messages: Any, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        read(FORMATS["messages"], {"messages": messages})
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_of_one_conversation_stay_on_one_side() -> None:
    task = make_custom_task(CustomTask("own", None, None, "exact", format=FORMATS["messages"]))
    first = say("user: A?", "assistant: a")
    longer = [*first, *say("user: B?", "assistant: b")]
    assert task.split_key({"messages": first}) == task.split_key({"messages": longer})


INFO = {
    "plain": {
        "file_name": "plain.json",
        "columns": {"prompt": "q", "query": "ctx", "response": "a"},
    },
    "chat": {
        "file_name": "chat.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "dialog", "system": "persona"},
        "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "U", "assistant_tag": "A"},
    },
    "pairs": {"file_name": "x.json", "ranking": True},
    "far": {"hf_hub_url": "org/set"},
}  # fmt: skip


@pytest.fixture
def info(tmp_path: Path) -> Path:
    path = tmp_path / "dataset_info.json"
    path.write_text(json.dumps(INFO))
    return path


def test_llama_factorys_columns_and_tags(info: Path) -> None:
    path, form = read_dataset_info(info, "plain")
    assert path == info.parent / "plain.json"
    assert read(form, {"q": "Q?", "ctx": "", "a": "yes"}).prompt == "Q?"
    # https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md: "instruction\ninput"
    assert read(form, {"q": "Q?", "ctx": "c", "a": "yes"}).prompt == "Q?\nc"
    path, form = read_dataset_info(info, "chat")
    row = {"dialog": [{"who": "U", "says": "Hi"}, {"who": "A", "says": "Ho"}], "persona": "Santa"}
    assert read(form, row).turns == (("system", "Santa"),)
    assert (read(form, row).prompt, read(form, row).completion) == ("Hi", "Ho")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, "task.subset is not set, expected one of its data sets: plain, chat, pairs, far"),
        ("none", "task.subset is 'none', expected one of"),
        ("pairs", "has preference pairs"),
        ("far", "is on the hub: set task.dataset and task.format"),
    ],
)
def test_what_a_list_of_data_sets_cannot_give(info: Path, name: str | None, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read_dataset_info(info, name)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"columns": ["a"]}, "has columns or tags that are no texts"),
        ({"columns": {"prompt": 5}}, "has columns or tags that are no texts"),
        ({"columns": {"images": "pics"}}, "has images, which are not supported"),
        ({"formatting": "openai"}, "has the formatting 'openai', expected alpaca or sharegpt"),
        ({"file_name": "dataset_info.json"}, "as its own file"),
    ],
)
def test_entries_that_cannot_be_followed(
    tmp_path: Path, entry: dict[str, Any], expected: str
) -> None:
    path = tmp_path / "dataset_info.json"
    path.write_text(json.dumps({"one": {"file_name": "a.json", **entry}}))
    with pytest.raises(DataError, match=expected):
        read_dataset_info(path, "one")


def test_a_history_that_is_none() -> None:
    row = {"instruction": "A?", "output": "a", "history": 5}
    with pytest.raises(DataError, match=r"column 'history' is 5 .*, expected a list of pairs"):
        read(FORMATS["alpaca"], row)


def test_a_list_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "dataset_info.json"
    for text in ("[]", "{", "{}"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"dataset_info\.json: "):
            read_dataset_info(path, None)
