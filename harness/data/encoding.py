"""Examples -> token ids, with what did not fit cut by the task's rule and counted."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from harness.data.turns import TurnWriter
from harness.errors import UserError

if TYPE_CHECKING:
    from tasks.base import Example, Truncation


@dataclass(frozen=True)
class EncodedExample:
    example: "Example"
    prompt_ids: tuple[int, ...]
    """Prompt in the chat template, up to the point where the model begins to write."""
    completion_ids: tuple[int, ...]
    """Completion and end-of-text token; without the latter where the completion was cut."""
    choice_ids: tuple[tuple[int, ...], ...]
    """Token ids of every choice, with the example's lead before it; empty where the answer is
    written rather than chosen."""
    cut_tokens: int
    """Prompt tokens that were left out to fit."""
    is_completion_cut: bool
    """Whether the completion was longer than allowed."""

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)

    @property
    def is_cut(self) -> bool:
        return self.cut_tokens > 0 or self.is_completion_cut


@dataclass(frozen=True)
class EncodingRules:
    """How examples become tokens, and how many they may take."""

    truncation: "Truncation"
    """Which part of a prompt's body is kept where it does not fit."""
    max_prompt_tokens: int
    max_completion_tokens: int
    context_length: int
    """Tokens of a prompt and its completion together, at most."""
    choose_by_likelihood: bool = True
    """Whether the options of an example are encoded, to be chosen from; else it has none."""
    use_chat_template: bool = True
    template_settings: Mapping[str, Any] = field(default_factory=dict)
    """Variables that the chat template is given."""

    @property
    def prompt_room(self) -> int:
        """What a prompt may take: never more than the context leaves beside a completion."""
        room = min(self.max_prompt_tokens, self.context_length - self.max_completion_tokens)
        if room < 1:
            raise UserError(
                f"task.max_completion_tokens is {self.max_completion_tokens}, which leaves no room "
                f"for a prompt in the model's context of {self.context_length} tokens; lower it"
            )
        return room


def encode_examples(
    examples: Iterable["Example"], tokenizer: PreTrainedTokenizerBase, rules: EncodingRules
) -> list[EncodedExample]:
    """Tokenize examples; prompts that do not fit lose part of their body by the rule.

    Raises UserError where not even the instruction fits.
    """
    writer = TurnWriter.of(tokenizer, rules.use_chat_template, rules.template_settings)
    room = rules.prompt_room
    return [_encode(example, writer, rules, room) for example in examples]


def _encode(
    example: "Example", writer: TurnWriter, rules: EncodingRules, room: int
) -> EncodedExample:
    text = writer.write_turn(example.prompt, example.turns)
    prompt = writer.encode_turn(text)
    full_length = len(prompt)
    if full_length > room:
        text = _cut_turns(example, writer, rules.truncation, room)
        prompt = writer.encode_turn(text)
    completion = writer.encode_answer(text, prompt, example.completion)
    completion.append(int(writer.tokenizer.eos_token_id))
    choices = example.choices if rules.choose_by_likelihood else ()
    # Without its last token, the right one of several choices would be another text; after a
    # reasoning, it is in the ending.
    kept = (
        completion
        if choices and not example.ending
        else _cut_completion(completion, example, writer, limit=rules.max_completion_tokens)
    )
    return EncodedExample(
        example=example,
        prompt_ids=tuple(prompt),
        completion_ids=tuple(kept),
        choice_ids=tuple(
            tuple(writer.encode_answer(text, prompt, example.choice_lead + c)) for c in choices
        ),
        cut_tokens=full_length - len(prompt),
        is_completion_cut=len(kept) < len(completion),
    )


def _cut_completion(
    completion: list[int], example: "Example", writer: TurnWriter, *, limit: int
) -> list[int]:
    """At most `limit` tokens: the head and the whole ending; without room for both, the ending."""
    if len(completion) <= limit or not example.ending:
        return completion[:limit]
    ending = list(writer.tokenizer(example.ending, add_special_tokens=False).input_ids)
    ending.append(completion[-1])
    return completion[: max(0, limit - len(ending))] + ending[:limit]


def _cut_turns(example: "Example", writer: TurnWriter, truncation: "Truncation", limit: int) -> str:
    """Leave out the oldest turns, but for a system turn; then a part of the prompt itself."""
    kept = list(example.turns)
    first = 1 if kept and kept[0][0] == "system" else 0
    while True:
        text = writer.write_turn(example.prompt, kept)
        length = len(writer.encode_turn(text))
        if length <= limit:
            return text
        if len(kept) == first:
            rest = dataclasses.replace(example, turns=tuple(kept))
            return _cut_prompt(rest, writer, truncation, limit, length)
        # A question goes with its answer.
        del kept[first : first + 2]


def _cut_prompt(
    example: "Example", writer: TurnWriter, truncation: "Truncation", limit: int, full_length: int
) -> str:
    encoded = writer.tokenizer(example.body, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    keep = len(offsets) - (full_length - limit)
    # Token boundaries may shift at the seams, so a cut can come out a token or two too long.
    while keep >= 0:
        body = _keep_tokens(example.body, offsets, keep, truncation)
        text = writer.write_turn(example.prefix + body + example.suffix, example.turns)
        length = len(writer.encode_turn(text))
        if length <= limit:
            return text
        keep -= max(1, length - limit)
    raise UserError(
        f"example {example.id}: {limit} tokens are too few even for the instruction without its "
        "text; raise task.max_prompt_tokens or use a model with a longer context"
    )


def _keep_tokens(
    body: str, offsets: Sequence[tuple[int, int]], keep: int, truncation: "Truncation"
) -> str:
    head = keep if truncation == "head" else (keep + 1) // 2
    tail = keep - head
    start = body[: offsets[head - 1][1]] if head > 0 else ""
    end = body[offsets[len(offsets) - tail][0] :] if tail > 0 else ""
    return f"{start}\n...\n{end}" if end else start
