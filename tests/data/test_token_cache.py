import dataclasses
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from harness.config.schema import ModelConfig
from harness.data.encoding import EncodedExample, EncodingRules, encode_examples
from harness.data.token_cache import recall_or_encode
from harness.models.loading import load_tokenizer
from tasks.base import Example

RULES = EncodingRules("head", 60, 8, context_length=200)
EXAMPLES = [
    Example(str(i), "Say ", f"nümber {i} " * (i * 9 + 1), ":", f"word {i}", "w", choices)
    for i, choices in enumerate([(), ("A", "B"), ("yes please", "no"), ()])
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig())


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *arguments: Any) -> list[EncodedExample]:
        self.calls += 1
        return encode_examples(*arguments)


def test_what_comes_back_is_what_was_encoded(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    expected = encode_examples(EXAMPLES, tokenizer, RULES)
    assert any(item.is_cut for item in expected)
    encode = Counter()
    for _ in range(3):
        given = recall_or_encode(tmp_path / "new", EXAMPLES, tokenizer, RULES, encode)
        assert given == expected
        assert all(type(token) is int for item in given for token in item.prompt_ids)
    assert encode.calls == 1


def test_anything_that_matters_makes_another_entry(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    encode = Counter()

    def ask(examples: list[Example] = EXAMPLES, **changes: Any) -> None:
        rules = dataclasses.replace(RULES, **changes)
        given = recall_or_encode(tmp_path, examples, tokenizer, rules, encode)
        assert given == encode_examples(examples, tokenizer, rules)

    ask()
    ask(max_prompt_tokens=50)
    ask(use_chat_template=False)
    ask([dataclasses.replace(EXAMPLES[0], body="other"), *EXAMPLES[1:]])
    ask([*EXAMPLES[:1], dataclasses.replace(EXAMPLES[1], choice_lead="So: "), *EXAMPLES[2:]])
    ask(EXAMPLES[::-1])
    template, tokenizer.chat_template = tokenizer.chat_template, None
    ask()
    tokenizer.chat_template = template
    assert encode.calls == 7
    ask()
    assert encode.calls == 7


def test_a_torn_or_refused_cache_is_done_without(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    expected = encode_examples(EXAMPLES, tokenizer, RULES)
    recall_or_encode(tmp_path, EXAMPLES, tokenizer, RULES, encode_examples)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    assert recall_or_encode(tmp_path, EXAMPLES, tokenizer, RULES, encode_examples) == expected
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert recall_or_encode(blocked, EXAMPLES, tokenizer, RULES, encode_examples) == expected
