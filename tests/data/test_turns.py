"""Prompts that arrive: whatever a checkpoint's chat template or tokenizer does to them."""

import copy
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase

from harness.config.schema import ModelConfig
from harness.data.encoding import EncodingRules, encode_examples
from harness.data.turns import TEMPLATE_DATE, TurnWriter
from harness.errors import UserError
from harness.models.loading import load_tokenizer
from tasks.base import Example, Turn

TURN = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)
ANSWER = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
PARTS = (
    "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'text' %}"
    "<|im_start|>{{ c['text'] }}<|im_end|>{% endif %}{% endfor %}{% endfor %}" + ANSWER
)


def make_tokenizer(template: Any = None, behind: str = "") -> PreTrainedTokenizerBase:
    """The embedded tokenizer with another template, and with special tokens around a plain text."""
    tokenizer = copy.deepcopy(load_tokenizer(ModelConfig()))
    tokenizer.chat_template = template
    if behind:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=behind,
            special_tokens=[
                (t, tokenizer.convert_tokens_to_ids(t)) for t in SPECIAL if t in behind
            ],
        )
    return tokenizer


SPECIAL = ("<|im_start|>", "<|im_end|>")


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str, **rules: Any) -> Any:
    example = Example("1", "", prompt, "", " yes", "yes")
    settings = EncodingRules("head", 100, 20, context_length=200, **rules)
    (encoded,) = encode_examples([example], tokenizer, settings)
    return encoded


def test_a_template_that_wants_parts_gets_them() -> None:
    """As a string, each character would be a part without a type, and every prompt empty."""
    encoded = encode(tokenizer := make_tokenizer(PARTS), "How many?")
    text = tokenizer.decode(encoded.prompt_ids)
    assert text == "<|im_start|>How many?<|im_end|><|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no system message') }}", "fails .*no system message"),
        ("{{ messages[0]['text'] + 1 }}", "fails"),
        ("<|im_start|>user<|im_end|>", "leaves the prompt out"),
        ({"rag": TURN, "tool_use": TURN}, r"fails \(.*default"),
    ],
)
def test_a_template_that_takes_no_prompt_is_refused(template: Any, reason: str) -> None:
    tokenizer = make_tokenizer(template)
    with pytest.raises(UserError, match=reason) as caught:
        TurnWriter.of(tokenizer)
    message = str(caught.value)
    assert "model.chat_template=off" in message
    assert "\n" not in message
    assert TurnWriter.of(tokenizer, use_chat_template=False).write_turn("a") == "a"


def test_a_template_with_a_default_among_several_is_used() -> None:
    writer = TurnWriter.of(make_tokenizer({"default": TURN + ANSWER, "rag": "x"}))
    assert writer.write_turn("a") == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"


def test_todays_date_is_a_fixed_one_and_said() -> None:
    template = (
        "{% set form = '%d %b %Y %-H:%M:%S' %}Today is {{ strftime_now(form) }}." + TURN + ANSWER
    )
    writer = TurnWriter.of(make_tokenizer(template))
    assert writer.write_turn("a").startswith(f"Today is {TEMPLATE_DATE:%d %b %Y 12:%M:%S}.<|im")
    (note,) = writer.notes
    assert "01 January 2026" in note


def test_thinking_is_turned_off_by_the_templates_variable() -> None:
    template = TURN + (
        "<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
        "<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}"
    )
    tokenizer = make_tokenizer(template)
    (note,) = TurnWriter.of(tokenizer).notes
    assert "opens <think>" in note
    off = TurnWriter.of(tokenizer, settings={"enable_thinking": False})
    assert off.write_turn("a").endswith("<think>\n\n</think>\n\n")
    assert not off.notes
    encoded = encode(tokenizer, "a", template_settings={"enable_thinking": False})
    assert tokenizer.decode(encoded.prompt_ids).endswith("</think>\n\n")


def test_a_setting_that_no_template_reads_is_refused() -> None:
    settings = {"enable_thinkin": False}
    with pytest.raises(UserError, match="enable_thinkin is set, but the chat template"):
        TurnWriter.of(make_tokenizer(TURN + "{{ thinking }}"), settings=settings)
    with pytest.raises(UserError, match=r"kwargs\.messages is set, but the harness gives"):
        TurnWriter.of(make_tokenizer(TURN), settings={"messages": 3})
    with pytest.raises(UserError, match="has no chat template to read it"):
        TurnWriter.of(make_tokenizer(), settings=settings)


@pytest.mark.parametrize("behind", ["$A <|im_end|>", "<|im_start|> $A <|im_end|>"])
def test_an_answer_does_not_follow_an_end_token(behind: str) -> None:
    """Of a tokenizer that ends every text; what it begins a text with stays."""
    tokenizer = make_tokenizer(behind=behind)
    encoded = encode(tokenizer, "How many?")
    begin = "<|im_start|>" if behind.startswith("<") else ""
    assert tokenizer.decode(encoded.prompt_ids) == begin + "How many?"
    assert tokenizer.decode(encoded.completion_ids) == "  yes<|im_end|>"
    assert encoded.completion_ids.count(tokenizer.eos_token_id) == 1


def test_an_empty_prompt_has_a_token_for_the_first_label_to_follow() -> None:
    tokenizer = make_tokenizer()
    encoded = encode(tokenizer, "")
    assert encoded.prompt_ids == (tokenizer.bos_token_id,)
    assert tokenizer.decode(encoded.completion_ids) == "  yes<|im_end|>"


SYSTEMLESS = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + TURN + ANSWER
)
SILENT = (
    "{% for m in messages %}{% if m['role'] != 'system' %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}" + ANSWER
)
TALK: tuple[Turn, ...] = (
    ("system", "Count."),
    *(("user", "One?"), ("assistant", "One"), ("user", "Next?"), ("assistant", "Two")),
)


def encode_talk(template: str | None, limit: int = 100, question: str = "And now?") -> Any:
    tokenizer = make_tokenizer(template)
    example = Example("1", "", question, "", "three", "three", turns=TALK)
    (encoded,) = encode_examples(
        [example], tokenizer, EncodingRules("head", limit, 20, context_length=200)
    )
    return encoded, tokenizer.decode(encoded.prompt_ids)


def test_earlier_turns_are_turns_of_the_template() -> None:
    encoded, text = encode_talk(TURN + ANSWER)
    turns = [*TALK, ("user", "And now?")]
    expected = "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in turns)
    assert text == f"{expected}<|im_start|>assistant\n"
    # Only the last answer carries loss.
    assert make_tokenizer().decode(encoded.completion_ids[:-1]) == "three"


@pytest.mark.parametrize("template", [SYSTEMLESS, SILENT])
def test_a_template_without_a_system_turn_has_it_before_the_first_question(template: str) -> None:
    _, text = encode_talk(template)
    assert text.startswith("<|im_start|>user\nCount.\n\nOne?<|im_end|>\n<|im_start|>assistant\nOne")
    writer = TurnWriter.of(make_tokenizer(template))
    alone = writer.write_turn("Q?", [("system", "Count.")])
    assert alone.startswith("<|im_start|>user\nCount.\n\nQ?<|im_end|>")


def test_plain_text_names_who_speaks() -> None:
    _, text = encode_talk(None)
    assert text == (
        "Count.\n\nUser: One?\n\nAssistant: One\n\nUser: Next?\n\nAssistant: Two\n\n"
        "User: And now?\n\nAssistant:"
    )


def test_the_oldest_turns_are_cut_first_and_a_question_goes_with_its_answer() -> None:
    whole, _ = encode_talk(TURN + ANSWER)
    full = len(whole.prompt_ids)
    encoded, text = encode_talk(TURN + ANSWER, limit=full - 1)
    assert "One" not in text
    assert "Count." in text
    assert "Next?" in text
    assert encoded.cut_tokens == full - len(encoded.prompt_ids) > 0
    # Where no earlier turn is left, the question itself loses its end.
    encoded, text = encode_talk(TURN + ANSWER, limit=40, question="word " * 60)
    assert "Next?" not in text
    assert "Count." in text
    assert 30 < len(encoded.prompt_ids) <= 40
