"""Score the variants of a pack, and the base with them, example by example."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import Cache, PreTrainedTokenizerBase

import harness.config.task_package  # noqa: F401  (before tasks)
from harness.config.schema import EvaluationConfig
from harness.data.batching import (
    SHORTEST_BEGINNING,
    collate,
    count_common_tokens,
    cut_into_batches,
)
from harness.data.encoding import EncodedExample
from harness.evaluation.generation import WritingRules, decode
from harness.evaluation.respondents import Respondents
from harness.models.forward import Head, find_log_probabilities, make_cache
from harness.models.memory import find_pass_tokens
from tasks.base import TaskSpec
from tasks.evaluate_metrics import score_examples

VALIDATION_METRIC = "token_probability"
"""Headline of rows held back from training: geometric mean probability of a completion's tokens."""


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
    cluster: str = ""
    """What it shares with examples that are alike; empty where nothing is known of that."""


@dataclass(frozen=True)
class Answer:
    """What a model answered to one prompt: by choice, or in writing."""

    text: str
    normalised_text: str | None = None
    """The choice by log-likelihood a character (lm-evaluation-harness's acc_norm)."""
    log_likelihoods: tuple[float, ...] = ()
    completion_tokens: int | None = None


def score_pack(
    respondents: Respondents,
    examples: Sequence[EncodedExample],
    spec: TaskSpec,
    *,
    limits: EvaluationConfig,
    writing: WritingRules,
    on_examples: Callable[[int], None] = lambda count: None,
) -> list[list[ScoredExample]]:
    """Predict and score every example with each respondent.

    Returns a list an owner, in the order of `examples`. Examples with encoded choices are predicted
    by log-likelihood, the others by greedy decoding. The limit on tokens is over all owners' rows.
    `on_examples` gets the number of examples that all owners are done with.
    """
    pack = respondents.pack
    pack.eval()
    max_tokens = limits.max_tokens_per_batch
    if examples[0].choice_ids:
        max_tokens = min(max_tokens, find_pass_tokens(pack.model.device))
    answers: list[dict[str, Answer]] = [{} for _ in respondents.owners]
    batches = cut_into_batches(
        examples,
        max_rows=limits.batch_size,
        max_tokens=max_tokens // len(respondents),
        new_tokens=max(map(len, examples[0].choice_ids), default=writing.max_new_tokens),
    )
    beginning = _read_beginning(respondents, examples) if examples[0].choice_ids else None
    for batch in batches:
        if batch[0].choice_ids:
            given = choose(respondents, batch, beginning)
        else:
            given = generate(respondents, batch, writing)
        for of_owner, its in zip(answers, given, strict=True):
            of_owner |= {item.example.id: a for item, a in zip(batch, its, strict=True)}
        on_examples(len(batch))
    return [
        _score(
            examples,
            [of_owner[item.example.id] for item in examples],
            spec,
            respondents.tokenizer,
        )
        for of_owner in answers
    ]


def measure_losses(
    respondents: Respondents,
    examples: Sequence[EncodedExample],
    *,
    limits: EvaluationConfig,
    on_examples: Callable[[int], None] = lambda count: None,
) -> list[list[ScoredExample]]:
    """How well each respondent foretells the completions: loss and probability a token.

    Returns a list an owner, in the order of `examples`; see `score_pack` for the batches. The loss
    is the mean over an example's completion tokens, in nats; the probability, its negative
    exponential, is their geometric mean.
    """
    pack = respondents.pack
    pack.eval()
    most = min(limits.max_tokens_per_batch, find_pass_tokens(pack.model.device))
    batches = [
        batch
        for is_long in (True, False)
        if (alike := [i for i in examples if (i.length > pack.boundary) == is_long])
        for batch in cut_into_batches(
            alike,
            max_rows=limits.batch_size,
            max_tokens=most // len(respondents),
            new_tokens=max(len(item.completion_ids) for item in alike),
        )
    ]
    losses: list[dict[str, float]] = [{} for _ in respondents.owners]
    for batch in batches:
        for of_owner, values in zip(losses, _find_losses(respondents, batch), strict=True):
            of_owner |= {item.example.id: v for item, v in zip(batch, values, strict=True)}
        on_examples(len(batch))
    return [
        [_score_loss(item, of_owner[item.example.id]) for item in examples] for of_owner in losses
    ]


@torch.inference_mode()
def _find_losses(respondents: Respondents, batch: Sequence[EncodedExample]) -> list[list[float]]:
    """Each owner's mean loss on each example."""
    pack, rows = respondents.pack, collate(batch, respondents.pad_token)
    cache = pack.start_cache(len(respondents) * len(batch))
    hidden = respondents.run(rows.input_ids, rows.picked, cache)
    labels = rows.labels.tolist() * len(respondents)
    values = find_log_probabilities(Head(pack.model), hidden, list(enumerate(labels)))
    found = []
    for number in range(len(respondents)):
        own = iter(values[number * len(rows.labels) : (number + 1) * len(rows.labels)])
        sums = [sum(next(own) for _ in item.completion_ids) for item in batch]
        found.append([-s / len(i.completion_ids) for s, i in zip(sums, batch, strict=True)])
    return found


def _score_loss(item: EncodedExample, loss: float) -> ScoredExample:
    return ScoredExample(
        id=item.example.id,
        prediction="",
        reference=item.example.reference,
        is_truncated=item.cut_tokens > 0,
        scores={VALIDATION_METRIC: math.exp(-loss), "loss": loss},
        cluster=item.example.cluster,
    )


def _score(
    items: Sequence[EncodedExample],
    answers: Sequence[Answer],
    spec: TaskSpec,
    tokenizer: PreTrainedTokenizerBase,
) -> list[ScoredExample]:
    pairs = list(zip((item.example for item in items), answers, strict=True))
    scores = score_examples(spec, [(example, answer.text) for example, answer in pairs])
    normalised = [
        (example, answer.normalised_text)
        for example, answer in pairs
        if answer.normalised_text is not None
    ]
    if normalised:
        # All examples of a set are answered alike: by choice, or in writing.
        for own, found in zip(scores, score_examples(spec, normalised), strict=True):
            own[f"{spec.metric}_norm"] = found[spec.metric]
    return [
        ScoredExample(
            id=item.example.id,
            prediction=answer.text,
            reference=item.example.reference,
            is_truncated=item.cut_tokens > 0,
            scores=own,
            log_likelihoods=answer.log_likelihoods,
            completion_tokens=answer.completion_tokens,
            reasoning_tokens=_count_reasoning(answer, spec, tokenizer),
            cluster=item.example.cluster,
        )
        for item, answer, own in zip(items, answers, scores, strict=True)
    ]


def _count_reasoning(
    answer: Answer, spec: TaskSpec, tokenizer: PreTrainedTokenizerBase
) -> int | None:
    if not spec.split_reasoning or answer.completion_tokens is None:
        return None
    reasoning = spec.split_reasoning(answer.text)
    return len(tokenizer(reasoning, add_special_tokens=False).input_ids)


@torch.inference_mode()
def choose(
    respondents: Respondents,
    batch: Sequence[EncodedExample],
    beginning: "Beginning | None" = None,
) -> list[list[Answer]]:
    """Each owner's choice for each example: that of the highest summed log-likelihood.

    Of equals it is the first. `beginning` is what these and other examples begin with, where it has
    been read before.
    """
    # Choices that differ in their last token alone (letters) share one row.
    rows: dict[tuple[int, ...], int] = {}
    wanted: list[tuple[tuple[int, ...], int, int]] = []
    for item in batch:
        for choice in item.choice_ids:
            ids = item.prompt_ids + choice[:-1]
            rows.setdefault(ids, len(rows))
            start = len(item.prompt_ids)
            wanted += [(ids, start + i - 1, token) for i, token in enumerate(choice)]
    values = _find_log_likelihoods(respondents, rows, wanted, beginning)
    return [_pick_choices(batch, of_owner) for of_owner in values]


def _pick_choices(batch: Sequence[EncodedExample], values: Sequence[float]) -> list[Answer]:
    """Answers from the log-probabilities of all tokens of all choices, in their order."""
    left = iter(values)
    answers = []
    for item in batch:
        choices = item.example.choices
        totals = [sum(next(left) for _ in tokens) for tokens in item.choice_ids]
        by_length = [total / len(choice) for total, choice in zip(totals, choices, strict=True)]
        answers.append(
            Answer(
                text=choices[totals.index(max(totals))],
                normalised_text=choices[by_length.index(max(by_length))],
                log_likelihoods=tuple(totals),
            )
        )
    return answers


def _find_log_likelihoods(
    respondents: Respondents,
    rows: dict[tuple[int, ...], int],
    wanted: Sequence[tuple[tuple[int, ...], int, int]],
    known: "Beginning | None",
) -> list[list[float]]:
    """For each owner, the log-probability of each wanted (sequence, position, next token)."""
    boundary = respondents.pack.boundary
    is_long = [len(ids) > boundary for ids in rows]
    if any(is_long) and not all(is_long):
        return _find_on_both_sides(respondents, rows, wanted, known)
    first = min(place for _, place, _ in wanted)
    # What long rows begin with was not read as a part of them.
    beginnings = [ids[:0] if any(is_long) else ids[:first] for ids in rows]
    cache, start = _start_rows(respondents, beginnings, None if any(is_long) else known)
    width = max(len(ids) for ids in rows) - start
    input_ids = torch.full((len(rows), width), respondents.pad_token)
    for ids, row in rows.items():
        input_ids[row, : len(ids) - start] = torch.tensor(ids[start:])
    positions = [rows[ids] * width + position - start for ids, position, _ in wanted]
    distinct = sorted(set(positions))
    place = {position: index for index, position in enumerate(distinct)}
    hidden = respondents.run(input_ids, torch.tensor(distinct), cache)
    tokens = [
        (number * len(distinct) + place[position], token)
        for number in range(len(respondents))
        for position, (_, _, token) in zip(positions, wanted, strict=True)
    ]
    values = find_log_probabilities(Head(respondents.pack.model), hidden, tokens)
    return [values[i * len(wanted) : (i + 1) * len(wanted)] for i in range(len(respondents))]


def _find_on_both_sides(
    respondents: Respondents,
    rows: dict[tuple[int, ...], int],
    wanted: Sequence[tuple[tuple[int, ...], int, int]],
    known: "Beginning | None",
) -> list[list[float]]:
    """The same for rows of which some are longer than the boundary, in passes of their own."""
    boundary = respondents.pack.boundary
    found = [[math.nan] * len(wanted) for _ in range(len(respondents))]
    for side in (True, False):
        alike = [ids for ids in rows if (len(ids) > boundary) == side]
        places = [i for i, (ids, _, _) in enumerate(wanted) if (len(ids) > boundary) == side]
        numbers = {ids: row for row, ids in enumerate(alike)}
        values = _find_log_likelihoods(respondents, numbers, [wanted[i] for i in places], known)
        for own, given in zip(found, values, strict=True):
            for place, value in zip(places, given, strict=True):
                own[place] = value
    return found


@dataclass(frozen=True)
class Beginning:
    """Keys and values of what rows begin with, a row an owner."""

    cache: Cache
    tokens: int


@torch.inference_mode()
def _read_beginning(
    respondents: Respondents, examples: Sequence[EncodedExample]
) -> Beginning | None:
    """Read what the prompts of all examples begin with, once for all of their batches."""
    # The last token's hidden state is wanted, in every example's own row.
    return _extend(respondents, [item.prompt_ids[:-1] for item in examples], None)


def _start_rows(
    respondents: Respondents, rows: Sequence[Sequence[int]], known: Beginning | None
) -> tuple[Cache | None, int]:
    """The cache that every owner's rows begin with, and how many of their tokens are in it."""
    beginning = _extend(respondents, rows, known)
    if beginning is None:
        return respondents.pack.start_cache(len(respondents) * len(rows)), 0
    cache = copy.deepcopy(beginning.cache)
    cache.batch_repeat_interleave(len(rows))
    return cache, beginning.tokens


def _extend(
    respondents: Respondents, rows: Sequence[Sequence[int]], known: Beginning | None
) -> Beginning | None:
    """Read what all rows begin with beyond what is known, where it is worth a pass.

    Virtual tokens, which no row has among its own, come before it and are not counted.
    """
    pack, start = respondents.pack, known.tokens if known else 0
    common = count_common_tokens(rows)
    if common - start < SHORTEST_BEGINNING or len(rows) == 1 or make_cache(pack.model) is None:
        return known
    cache = copy.deepcopy(known.cache) if known else pack.start_cache(len(respondents))
    cache = cache or make_cache(pack.model)
    assert cache is not None
    respondents.run(torch.tensor([rows[0][start:common]]), torch.tensor([0]), cache)
    return Beginning(cache, common)


@torch.inference_mode()
def generate(
    respondents: Respondents, batch: Sequence[EncodedExample], writing: WritingRules
) -> list[list[Answer]]:
    """What each owner writes to each example, greedily, up to an end token."""
    written = decode(
        respondents.pack,
        [owner for owner in respondents.owners for _ in batch],
        [item.prompt_ids for _ in respondents.owners for item in batch],
        writing,
    )
    texts: list[str] = respondents.tokenizer.batch_decode(written, skip_special_tokens=True)
    answers = [
        Answer(text=text.strip(), completion_tokens=len(tokens))
        for text, tokens in zip(texts, written, strict=True)
    ]
    return [answers[i * len(batch) : (i + 1) * len(batch)] for i in range(len(respondents))]
