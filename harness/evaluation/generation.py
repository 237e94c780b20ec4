"""Greedy decoding of a pack's rows, in transformers' own `generate`; rows that have ended leave."""

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import (
    Cache,
    DynamicCache,
    GenerationConfig,
    PreTrainedTokenizerBase,
    StoppingCriteria,
)

from harness.evaluation.constrained import JsonConstraint
from harness.models.decoding import changes_scores
from harness.models.forward import find_body, keeps_state, make_cache, takes_cache
from harness.models.memory import find_pass_tokens
from harness.training.packed_model import BASE_ROW, Pack

LEAVING_SHARE = 0.25
"""Rows leave once so many of them have ended: taking them out copies the cache of the others."""


@dataclass(frozen=True)
class WritingRules:
    """How far an answer is written, and in which tokens."""

    max_new_tokens: int
    end_tokens: Sequence[int]
    """Any of them ends an answer, and is no part of it."""
    pad_token: int
    constraint: JsonConstraint | None = None
    """The schema that an answer is held to."""

    @classmethod
    def of(
        cls,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        max_new_tokens: int,
        constraint: JsonConstraint | None = None,
    ) -> "WritingRules":
        """With the end tokens of a model and its tokenizer."""
        end_tokens, pad_token = find_end_tokens(model, tokenizer), tokenizer.pad_token_id
        return cls(max_new_tokens, end_tokens, int(pad_token or 0), constraint)


def find_end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Completions end in the tokenizer's end token; chat models may name others as well."""
    named = model.generation_config.eos_token_id
    extra = named if isinstance(named, list) else [named]
    further = (int(token) for token in extra if token is not None)
    return sorted({int(tokenizer.eos_token_id), *further})


class _EnoughHaveEnded(StoppingCriteria):  # type: ignore[misc]
    """Stops all rows once enough of them have written an end token."""

    def __init__(
        self, end_tokens: Sequence[int], rows: int, share: float, device: torch.device
    ) -> None:
        self._end_tokens = torch.tensor(end_tokens, device=device)
        self._ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self._enough = share * rows

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._ended |= torch.isin(input_ids[:, -1], self._end_tokens)
        enough = self._ended.sum() >= self._enough
        return enough.expand(len(self._ended))


def decode(
    pack: Pack,
    owners: Sequence[int],
    prompts: Sequence[Sequence[int]],
    rules: WritingRules,
) -> list[list[int]]:
    """What each row's owner writes to its prompt, up to and without an end token.

    `owners` are members' numbers, or BASE_ROW, a row each. Where padding changes what a model
    reads, or rows would cross the pack's boundary one after the other, prompts of one length are
    read together.
    """
    is_padded = len(set(map(len, prompts))) == 1 or (
        # A penalty would see the padding.
        not changes_scores(pack.model.generation_config) and ignores_padding(pack, rules.pad_token)
    )

    def find_group(length: int) -> float:
        if is_padded and length + rules.max_new_tokens <= pack.boundary:
            return 0
        return math.inf if is_padded and length > pack.boundary else length

    groups: dict[float, list[int]] = {}
    for row, prompt in enumerate(prompts):
        groups.setdefault(find_group(len(prompt)), []).append(row)
    written: list[list[int]] = [[] for _ in prompts]
    for rows in groups.values():
        own = _decode(pack, [owners[i] for i in rows], [prompts[i] for i in rows], rules)
        for row, tokens in zip(rows, own, strict=True):
            written[row] = tokens
    return written


PADDING_TOLERANCE = 0.02, 0.2
"""In fp32 and in lower precision: a relative change of the logits that may be rounding."""

_known: "WeakKeyDictionary[Pack, bool]" = WeakKeyDictionary()


def ignores_padding(pack: Pack, pad_token: int) -> bool:
    """Whether the base reads a prompt alike with padding on its left, tried once a pack.

    Bart counts padding as positions, and some recurrent layers take it up (RecurrentGemma).
    """
    if pack.virtual_tokens:
        return True
    if pack not in _known:
        is_exact = pack.model.dtype in (torch.float32, torch.float64)
        most = PADDING_TOLERANCE[0 if is_exact else 1]
        _known[pack] = measure_padding(pack, pad_token) < most
    return _known[pack]


@torch.no_grad()
def measure_padding(pack: Pack, pad_token: int) -> float:
    """Relative change of the logits after a few tokens with padding on their left."""
    prompt = torch.arange(3, 11, device=pack.model.device)
    logits = []
    for padding in (0, 5):
        ids = torch.nn.functional.pad(prompt, (padding, 0), value=pad_token)[None]
        mask = torch.ones_like(ids)
        mask[:, :padding] = 0
        pack.rows.assign([BASE_ROW])
        output = pack.model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=GenerationConfig(
                max_new_tokens=1,
                do_sample=False,
                pad_token_id=pad_token,
                return_dict_in_generate=True,
                output_logits=True,
            ),
        )
        last = output.logits[0][0].float()
        logits.append(last - last.mean())
    return float((logits[0] - logits[1]).norm() / logits[0].norm())


def _decode(
    pack: Pack, owners: Sequence[int], prompts: Sequence[Sequence[int]], rules: WritingRules
) -> list[list[int]]:
    """`decode` of rows that may be padded."""
    device = pack.model.device
    # What every row begins with is in the cache already, so any token can stand for it.
    lead = pack.virtual_tokens
    width = lead + max(map(len, prompts))
    ids = torch.full((len(prompts), width), rules.pad_token)
    mask = torch.zeros_like(ids)
    mask[:, :lead] = 1
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    is_cached = takes_cache(pack.model)
    # Least lengths are counted from where decoding begins, so it must not begin again.
    is_whole = keeps_state(pack.model) or changes_scores(pack.model.generation_config)
    share = 1.0 if is_whole else LEAVING_SHARE
    held = rules.constraint.start(len(prompts)) if rules.constraint else None
    written: list[list[int]] = [[] for _ in prompts]
    rows, cache = list(range(len(prompts))), _read_prompts(pack, owners, ids[:, :-1], mask[:, :-1])
    while rows and ids.shape[1] < width + rules.max_new_tokens:
        pack.rows.assign([owners[row] for row in rows])
        output = pack.model.generate(
            input_ids=ids,
            attention_mask=mask,
            **({} if cache is None else {"past_key_values": cache}),
            generation_config=GenerationConfig(
                max_new_tokens=width + rules.max_new_tokens - ids.shape[1],
                do_sample=False,
                pad_token_id=rules.pad_token,
                eos_token_id=list(rules.end_tokens),
                return_dict_in_generate=True,
                use_cache=True,
            ),
            logits_processor=[held] if held else None,
            stopping_criteria=[_EnoughHaveEnded(rules.end_tokens, len(rows), share, device)],
        )
        # Without a usual cache what is left is read again.
        ids, cache = output.sequences, output.past_key_values if is_cached else None
        mask = torch.nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)
        kept = []
        for place, row in enumerate(rows):
            tokens = ids[place, width:].tolist()
            end = next((i for i, token in enumerate(tokens) if token in rules.end_tokens), None)
            written[row] = tokens[:end]
            if end is None:
                kept.append(place)
        rows = [rows[place] for place in kept]
        if len(kept) < len(ids) and kept:
            index = torch.tensor(kept, device=device)
            ids, mask = ids[index], mask[index]
            _keep_rows(cache, index)
            if held:
                held.keep(kept)
    return written


def _keep_rows(cache: Cache | None, index: torch.Tensor) -> None:
    """Take the other rows out of a cache.

    Layers of hybrids cannot be asked to, but can be reordered; MiniMax's cache the other way.
    """
    if cache is None:
        return
    has_own = type(cache).batch_select_indices is not Cache.batch_select_indices
    (cache.batch_select_indices if has_own else cache.reorder_cache)(index)


def _read_prompts(
    pack: Pack, owners: Sequence[int], ids: torch.Tensor, mask: torch.Tensor
) -> DynamicCache | None:
    """The keys and values of all rows, [rows, length] of them, read some rows at a time.

    None where there is nothing to read, where an architecture's cache holds more than keys and
    values, or where the last token of the prompts may be beyond the boundary: `generate` then reads
    the prompts itself, all at once. Virtual tokens come first, in `ids` as anything.
    """
    model, lead = pack.model, pack.virtual_tokens
    size = max(1, find_pass_tokens(model.device) // max(1, ids.shape[1]))
    is_nothing = ids.shape[1] == lead or (size >= len(ids) and not lead)
    if is_nothing or ids.shape[1] - lead >= pack.boundary or make_cache(model) is None:
        return pack.start_cache(len(ids))
    positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 0)
    is_placed = "position_ids" in inspect.signature(model.forward).parameters
    caches = []
    for start in range(0, len(ids), size):
        group = slice(start, start + size)
        cache = pack.start_cache(len(ids[group])) or make_cache(model)
        assert cache is not None
        pack.rows.assign(owners[group])
        inputs = model.prepare_inputs_for_generation(
            ids[group, lead:],
            attention_mask=mask[group],
            past_key_values=cache,
            use_cache=True,
            is_first_iteration=True,
            **({"position_ids": positions[group, lead:]} if is_placed else {}),
        )
        getattr(model, find_body(model))(**inputs)
        caches.append(cache)
    whole = caches[0]
    for layer, *others in zip(*(cache.layers for cache in caches), strict=True):
        layer.keys = torch.cat([layer.keys, *(other.keys for other in others)])
        layer.values = torch.cat([layer.values, *(other.values for other in others)])
    return whole
