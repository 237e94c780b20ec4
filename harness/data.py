"""Examples -> token batches: chat template, truncation by rule, completion mask, buckets.

Everything here is arithmetic on token ids; nothing knows of adapters or devices.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedTokenizerBase

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
    """Token ids of every choice, for tasks scored by log-likelihood."""
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
class Batch:
    input_ids: torch.Tensor
    """[rows, length], padded on the right."""
    attention_mask: torch.Tensor
    """[rows, length], 1 on real tokens."""
    picked: torch.Tensor
    """Flat positions in [rows * length] whose next token is part of a completion."""
    labels: torch.Tensor
    """The token that follows each picked position."""


def encode_examples(
    examples: Iterable["Example"],
    tokenizer: PreTrainedTokenizerBase,
    *,
    truncation: "Truncation",
    max_prompt_tokens: int,
    max_completion_tokens: int,
    context_length: int,
) -> list[EncodedExample]:
    """Tokenize examples; prompts that do not fit lose part of their body by the stated rule.

    The prompt may take `max_prompt_tokens`, and never more than the context leaves beside
    `max_completion_tokens`. Raises UserError where not even the instruction fits.
    """
    limit = min(max_prompt_tokens, context_length - max_completion_tokens)
    if limit < 1:
        raise UserError(
            f"task.max_completion_tokens is {max_completion_tokens}: the model's context is "
            f"{context_length} tokens, which leaves none for a prompt; lower it"
        )
    return [
        _encode(example, tokenizer, truncation, limit, max_completion_tokens)
        for example in examples
    ]


def _encode(
    example: "Example",
    tokenizer: PreTrainedTokenizerBase,
    truncation: "Truncation",
    limit: int,
    max_completion_tokens: int,
) -> EncodedExample:
    def encode_prompt(body: str) -> list[int]:
        return encode_turn(tokenizer, example.prefix + body + example.suffix)

    prompt = encode_prompt(example.body)
    full_length = len(prompt)
    if full_length > limit:
        prompt = _cut_prompt(example, tokenizer, truncation, limit, full_length, encode_prompt)
    completion = encode_answer(tokenizer, example.completion) + [int(tokenizer.eos_token_id)]
    kept = completion[:max_completion_tokens] if example.choices == () else completion
    return EncodedExample(
        example=example,
        prompt_ids=tuple(prompt),
        completion_ids=tuple(kept),
        choice_ids=tuple(tuple(encode_answer(tokenizer, c)) for c in example.choices),
        cut_tokens=full_length - len(prompt),
        is_completion_cut=len(kept) < len(completion),
    )


def encode_turn(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Encode a user's turn in the chat template, or as plain text where there is none."""
    if tokenizer.chat_template is None:
        return list(tokenizer(prompt).input_ids)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def encode_answer(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Encode what follows the prompt; plain prompts end in a word, so a space goes between."""
    lead = "" if tokenizer.chat_template is not None else " "
    return list(tokenizer(lead + text, add_special_tokens=False).input_ids)


def _cut_prompt(
    example: "Example",
    tokenizer: PreTrainedTokenizerBase,
    truncation: "Truncation",
    limit: int,
    full_length: int,
    encode_prompt: Callable[[str], list[int]],
) -> list[int]:
    encoded = tokenizer(example.body, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    keep = len(offsets) - (full_length - limit)
    # Token boundaries may shift at the seams, so a cut can come out a token or two too long.
    while keep >= 0:
        prompt = encode_prompt(_keep_tokens(example.body, offsets, keep, truncation))
        if len(prompt) <= limit:
            return prompt
        keep -= max(1, len(prompt) - limit)
    raise UserError(
        f"example {example.id}: {limit} tokens are too few for the instruction alone, without any "
        "of the text it is about; raise task.max_prompt_tokens or use a model with a longer context"
    )


def _keep_tokens(
    body: str, offsets: Sequence[tuple[int, int]], keep: int, truncation: "Truncation"
) -> str:
    head = keep if truncation == "head" else (keep + 1) // 2
    tail = keep - head
    start = body[: offsets[head - 1][1]] if head > 0 else ""
    end = body[offsets[len(offsets) - tail][0] :] if tail > 0 else ""
    return f"{start}\n...\n{end}" if end else start


def plan_steps(
    lengths: Sequence[int], *, batch_size: int, epochs: float, max_steps: int | None, seed: int
) -> list[list[int]]:
    """Draw the order of training: for each optimizer step, the indices of its examples.

    Each epoch is shuffled under `seed`, cut into pools of eight steps, and sorted by length inside
    a pool, so that a step's examples are of similar length and little is padded.
    """
    generator = random.Random(seed)
    remaining = max(1, round(epochs * len(lengths)))
    steps: list[list[int]] = []
    while remaining > 0:
        order = list(range(len(lengths)))
        generator.shuffle(order)
        order = order[:remaining]
        remaining -= len(order)
        epoch = []
        for start in range(0, len(order), 8 * batch_size):
            pool = sorted(order[start : start + 8 * batch_size], key=lambda i: (lengths[i], i))
            epoch += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
        generator.shuffle(epoch)
        steps += epoch
    return steps[:max_steps]


def collate(examples: Sequence[EncodedExample], pad_token_id: int) -> Batch:
    """Pad prompts with their completions into one batch, with the completion's positions."""
    width = max(example.length for example in examples)
    input_ids = torch.full((len(examples), width), pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    picked: list[int] = []
    labels: list[int] = []
    for row, example in enumerate(examples):
        ids = example.prompt_ids + example.completion_ids
        input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask[row, : len(ids)] = 1
        first = row * width + len(example.prompt_ids) - 1
        picked += range(first, first + len(example.completion_ids))
        labels += example.completion_ids
    return Batch(input_ids, attention_mask, torch.tensor(picked), torch.tensor(labels))


def cut_into_batches(
    items: Sequence[EncodedExample], batch_size: int
) -> list[list[EncodedExample]]:
    """Cut examples into batches of similar prompt length, longest first.

    The longest comes first so that a batch which does not fit in memory fails at once.
    """
    ordered = sorted(items, key=lambda item: (-len(item.prompt_ids), item.example.id))
    return [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
