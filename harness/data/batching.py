"""Token ids -> batches: the order of training, completion mask, buckets of similar length.

Everything here is arithmetic on token ids; nothing knows of adapters or devices.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch

from harness.data.encoding import EncodedExample

SHORTEST_BEGINNING = 8
"""Tokens that rows have to begin with alike for these to be worth a pass of their own."""


@dataclass(frozen=True)
class Batch:
    input_ids: torch.Tensor
    """[rows, length], padded on the right."""
    picked: torch.Tensor
    """Flat positions in [rows * length] whose next token is part of a completion."""
    labels: torch.Tensor
    """The token that follows each picked position."""
    rows: torch.Tensor
    """The row of each picked position."""


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


def collate(examples: Sequence[EncodedExample | None], pad_token_id: int) -> Batch:
    """Pad prompts with their completions into one batch, with the completion's positions.

    A row without an example is one pad token that carries no loss.
    """
    width = max(example.length for example in examples if example)
    input_ids = torch.full((len(examples), width), pad_token_id, dtype=torch.long)
    picked: list[int] = []
    labels: list[int] = []
    rows: list[int] = []
    for row, example in enumerate(examples):
        if example is None:
            continue
        ids = example.prompt_ids + example.completion_ids
        input_ids[row, : len(ids)] = torch.tensor(ids)
        first = row * width + len(example.prompt_ids) - 1
        picked += range(first, first + len(example.completion_ids))
        labels += example.completion_ids
        rows += [row] * len(example.completion_ids)
    return Batch(
        input_ids,
        torch.tensor(picked),
        torch.tensor(labels),
        torch.tensor(rows),
    )


def count_common_tokens(rows: Sequence[Sequence[int]]) -> int:
    """Tokens that all rows begin with."""
    places = zip(*rows, strict=False)
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, places))


def cut_into_batches(
    items: Sequence[EncodedExample], *, max_rows: int, max_tokens: int, new_tokens: int
) -> list[list[EncodedExample]]:
    """Cut examples into batches of similar prompt length, longest first.

    A batch has at most `max_rows` rows and, with `new_tokens` written to each and padding counted,
    `max_tokens` tokens; one example is a batch whatever its length. The longest comes first so
    that a batch which does not fit in memory fails at once.
    """
    ordered = sorted(items, key=lambda item: (-len(item.prompt_ids), item.example.id))
    batches = []
    while ordered:
        width = len(ordered[0].prompt_ids) + new_tokens
        rows = max(1, min(max_rows, max_tokens // width))
        batches.append(ordered[:rows])
        ordered = ordered[rows:]
    return batches


def cut_into_passes(
    lengths: Sequence[int], *, parts: int, max_tokens: int, boundary: float = math.inf
) -> list[range]:
    """Cut a step's examples, of `lengths`, into at least `parts` micro-batches, in order.

    None has more than `max_tokens` tokens, padding counted, unless it is one example; none has
    examples of both sides of the `boundary`.
    """
    size = -(-len(lengths) // parts)
    passes: list[range] = []
    for start in range(0, len(lengths), size):
        first = start
        for index in range(start, min(start + size, len(lengths))):
            width = max(lengths[first : index + 1])
            is_apart = (lengths[first] > boundary) != (lengths[index] > boundary)
            if index > first and (is_apart or width * (index + 1 - first) > max_tokens):
                passes.append(range(first, index))
                first = index
        passes.append(range(first, min(start + size, len(lengths))))
    return passes
