"""Score a model on a task, example by example: log-likelihood of choices, or greedy decoding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from harness.constrained import JsonConstraint
from harness.data import EncodedExample, cut_into_batches
from harness.models import compute_logits

if TYPE_CHECKING:
    from tasks.base import TaskSpec


@dataclass(frozen=True)
class ScoredExample:
    id: str
    prediction: str
    reference: str
    is_truncated: bool
    """Whether the prompt was cut to fit."""
    scores: dict[str, float]
    """Every score of the task."""
    log_likelihoods: tuple[float, ...] = ()
    """Summed log-probability of each choice; empty where the answer was written."""
    completion_tokens: int | None = None
    """Length of what was written, end token left out; None where a choice was made."""
    reasoning_tokens: int | None = None
    """Length of the part of it that only leads to the answer, for tasks that tell it apart."""


@dataclass(frozen=True)
class Answer:
    """What a model answered to one prompt: by choice, or in writing."""

    text: str
    normalised_text: str | None = None
    """The choice by log-likelihood a character (lm-evaluation-harness's acc_norm)."""
    log_likelihoods: tuple[float, ...] = ()
    completion_tokens: int | None = None


def score_examples(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[EncodedExample],
    spec: "TaskSpec",
    *,
    batch_size: int,
    max_tokens_per_batch: int,
    max_new_tokens: int,
    constraint: JsonConstraint | None = None,
    on_examples: Callable[[int], None] = lambda count: None,
) -> list[ScoredExample]:
    """Predict and score every example, in the order they came in.

    Examples with encoded choices are predicted by log-likelihood, the others by greedy decoding,
    which `constraint` may hold to a schema.
    """
    model.eval()
    answers: dict[str, Answer] = {}
    batches = cut_into_batches(
        examples,
        max_rows=batch_size,
        max_tokens=max_tokens_per_batch,
        new_tokens=max(map(len, examples[0].choice_ids), default=max_new_tokens),
    )
    for batch in batches:
        if batch[0].choice_ids:
            given = choose(model, tokenizer, batch)
        else:
            given = generate(model, tokenizer, batch, max_new_tokens, constraint)
        answers |= {item.example.id: answer for item, answer in zip(batch, given, strict=True)}
        on_examples(len(batch))
    return [_score(item, answers[item.example.id], spec, tokenizer) for item in examples]


def _score(
    item: EncodedExample, answer: Answer, spec: "TaskSpec", tokenizer: PreTrainedTokenizerBase
) -> ScoredExample:
    scores = spec.score(item.example, answer.text)
    if answer.normalised_text is not None:
        scores[f"{spec.metric}_norm"] = spec.score(item.example, answer.normalised_text)[
            spec.metric
        ]
    reasoning_tokens = None
    if spec.split_reasoning and answer.completion_tokens is not None:
        reasoning = spec.split_reasoning(answer.text)
        reasoning_tokens = len(tokenizer(reasoning, add_special_tokens=False).input_ids)
    return ScoredExample(
        id=item.example.id,
        prediction=answer.text,
        reference=item.example.reference,
        is_truncated=item.cut_tokens > 0,
        scores=scores,
        log_likelihoods=answer.log_likelihoods,
        completion_tokens=answer.completion_tokens,
        reasoning_tokens=reasoning_tokens,
    )


@torch.inference_mode()
def choose(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, batch: Sequence[EncodedExample]
) -> list[Answer]:
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
    answers = []
    for item, per_choice in zip(batch, wanted, strict=True):
        choices = item.example.choices
        totals = [sum(next(values) for _ in tokens) for tokens in per_choice]
        by_length = [total / len(choice) for total, choice in zip(totals, choices, strict=True)]
        answers.append(
            Answer(
                text=choices[totals.index(max(totals))],
                normalised_text=choices[by_length.index(max(by_length))],
                log_likelihoods=tuple(totals),
            )
        )
    return answers


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
    constraint: JsonConstraint | None = None,
) -> list[Answer]:
    """Decode greedily, in one batch padded on the left, up to the end-of-text token."""
    device = next(model.parameters()).device
    pad = int(tokenizer.pad_token_id or 0)
    width = max(len(item.prompt_ids) for item in batch)
    input_ids = torch.full((len(batch), width), pad)
    attention_mask = torch.zeros_like(input_ids)
    for row, item in enumerate(batch):
        input_ids[row, width - len(item.prompt_ids) :] = torch.tensor(item.prompt_ids)
        attention_mask[row, width - len(item.prompt_ids) :] = 1
    end_tokens = find_end_tokens(model, tokenizer)
    output = model.generate(
        input_ids=input_ids.to(device),
        attention_mask=attention_mask.to(device),
        generation_config=GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=end_tokens,
        ),
        logits_processor=[constraint.start(len(batch))] if constraint else None,
    )
    written = output[:, width:]
    texts: list[str] = tokenizer.batch_decode(written, skip_special_tokens=True)
    return [
        Answer(text=text.strip(), completion_tokens=_count_until(row, end_tokens))
        for text, row in zip(texts, written.tolist(), strict=True)
    ]


def _count_until(tokens: Sequence[int], end_tokens: Sequence[int]) -> int:
    """Number of tokens before the first end token."""
    return next((i for i, token in enumerate(tokens) if token in end_tokens), len(tokens))


def find_end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Completions end in the tokenizer's end token; chat models may name others as well."""
    named = model.generation_config.eos_token_id
    extra = named if isinstance(named, list) else [named]
    return sorted({int(tokenizer.eos_token_id), *(int(token) for token in extra if token)})
