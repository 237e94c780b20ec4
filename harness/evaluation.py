"""Score a model on a task, example by example: log-likelihood of choices, or greedy decoding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from harness.data import EncodedExample, cut_into_batches
from harness.models import compute_logits

if TYPE_CHECKING:
    from tasks.base import Example


@dataclass(frozen=True)
class ScoredExample:
    id: str
    prediction: str
    reference: str
    is_truncated: bool
    """Whether the prompt was cut to fit."""
    scores: dict[str, float]
    """Every score of the task."""


def score_examples(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[EncodedExample],
    score: Callable[["Example", str], dict[str, float]],
    *,
    batch_size: int,
    max_new_tokens: int,
    on_examples: Callable[[int], None] = lambda count: None,
) -> list[ScoredExample]:
    """Predict and score every example, in the order they came in.

    Examples with choices are predicted by log-likelihood, the others by greedy decoding.
    """
    model.eval()
    predictions: dict[str, str] = {}
    for batch in cut_into_batches(examples, batch_size):
        if batch[0].choice_ids:
            predicted = choose(model, tokenizer, batch)
        else:
            predicted = generate(model, tokenizer, batch, max_new_tokens)
        predictions |= {item.example.id: text for item, text in zip(batch, predicted, strict=True)}
        on_examples(len(batch))
    return [
        ScoredExample(
            id=item.example.id,
            prediction=predictions[item.example.id],
            reference=item.example.reference,
            is_truncated=item.cut_tokens > 0,
            scores=score(item.example, predictions[item.example.id]),
        )
        for item in examples
    ]


@torch.inference_mode()
def choose(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, batch: Sequence[EncodedExample]
) -> list[str]:
    """Return each example's choice of the highest summed log-likelihood (the first of equals)."""
    # Choices that differ in their last token alone (letters) share one forward pass.
    rows: dict[tuple[int, ...], int] = {}
    wanted: list[list[list[tuple[tuple[int, ...], int, int]]]] = []
    for item in batch:
        per_choice = []
        for choice in item.choice_ids:
            ids = item.prompt_ids + choice[:-1]
            rows.setdefault(ids, len(rows))
            start = len(item.prompt_ids)
            per_choice.append([(ids, start + i - 1, token) for i, token in enumerate(choice)])
        wanted.append(per_choice)
    flat = [entry for per_choice in wanted for tokens in per_choice for entry in tokens]
    values = iter(_log_likelihoods(model, tokenizer, list(rows), rows, flat))
    chosen = []
    for item, per_choice in zip(batch, wanted, strict=True):
        totals = [sum(next(values) for _ in tokens) for tokens in per_choice]
        chosen.append(item.example.choices[max(range(len(totals)), key=totals.__getitem__)])
    return chosen


def _log_likelihoods(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    sequences: list[tuple[int, ...]],
    rows: dict[tuple[int, ...], int],
    wanted: list[tuple[tuple[int, ...], int, int]],
) -> list[float]:
    """Log-probability of each wanted (sequence, position, next token)."""
    width = max(len(ids) for ids in sequences)
    device = next(model.parameters()).device
    input_ids = torch.full((len(sequences), width), int(tokenizer.pad_token_id or 0))
    attention_mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(sequences):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask[row, : len(ids)] = 1
    positions = [rows[ids] * width + position for ids, position, _ in wanted]
    distinct = sorted(set(positions))
    logits = compute_logits(
        model,
        input_ids.to(device),
        attention_mask.to(device),
        torch.tensor(distinct, device=device),
    )
    log_probabilities = torch.log_softmax(logits.float(), dim=-1).cpu()
    place = {position: index for index, position in enumerate(distinct)}
    return [
        log_probabilities[place[position], token].item()
        for position, (_, _, token) in zip(positions, wanted, strict=True)
    ]


@torch.inference_mode()
def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    batch: Sequence[EncodedExample],
    max_new_tokens: int,
) -> list[str]:
    """Decode greedily, in one batch padded on the left, up to the end-of-text token."""
    device = next(model.parameters()).device
    pad = int(tokenizer.pad_token_id or 0)
    width = max(len(item.prompt_ids) for item in batch)
    input_ids = torch.full((len(batch), width), pad)
    attention_mask = torch.zeros_like(input_ids)
    for row, item in enumerate(batch):
        input_ids[row, width - len(item.prompt_ids) :] = torch.tensor(item.prompt_ids)
        attention_mask[row, width - len(item.prompt_ids) :] = 1
    output = model.generate(
        input_ids=input_ids.to(device),
        attention_mask=attention_mask.to(device),
        generation_config=GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=_end_tokens(model, tokenizer),
        ),
    )
    texts: list[str] = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
    return [text.strip() for text in texts]


def _end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Completions end in the tokenizer's end token; chat models may name others as well."""
    named = model.generation_config.eos_token_id
    extra = named if isinstance(named, list) else [named]
    return sorted({int(tokenizer.eos_token_id), *(int(token) for token in extra if token)})
