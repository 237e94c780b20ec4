"""Decoding held to a JSON schema: tokens that would leave the schema are never chosen.

llguidance (https://github.com/guidance-ai/llguidance) computes which tokens may follow; it is an
optional dependency, for the constraint costs time at every token and is off by default.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from harness.errors import UserError

COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
"""JSON as the tasks write it: no spaces, so that the model may write as it was trained to."""


class JsonConstraint:
    """A schema, compiled for a tokenizer; one object serves any number of batches."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        schema: Mapping[str, Any],
        *,
        lead: str,
        end_tokens: list[int],
    ) -> None:
        """`lead` is what goes before the JSON. Raises UserError where llguidance is missing."""
        try:
            import llguidance
            import llguidance.hf
        except ImportError as error:
            raise UserError(
                "task.constrained_decoding needs the package llguidance; install it with: "
                "pip install 'target-module-harness[constrained]', or turn the setting off"
            ) from error
        opening = json.dumps(lead) if lead else ""
        body = json.dumps({**schema, "x-guidance": COMPACT})
        self._grammar = llguidance.grammar_from(
            "lark", f"start: {opening} json\njson: %json {body}\n"
        )
        # A model's own settings may name end tokens that this tokenizer does not have.
        self._end_tokens = [token for token in end_tokens if token < len(tokenizer)]
        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, eos_token=self._end_tokens)
        if problem := llguidance.LLMatcher.validate_grammar(self._grammar, self._tokenizer):
            raise UserError(
                f"the schema of the training examples cannot be compiled ({problem.splitlines()[0]}"
                "); turn task.constrained_decoding off"
            )

    def start(self, rows: int) -> "SchemaProcessor":
        """Begin a batch."""
        import llguidance

        matchers = [llguidance.LLMatcher(self._tokenizer, self._grammar) for _ in range(rows)]
        return SchemaProcessor(matchers, self._end_tokens)


class SchemaProcessor(LogitsProcessor):  # type: ignore[misc]
    """Logits processor of one batch: follows each row through its grammar."""

    def __init__(self, matchers: list[Any], end_tokens: list[int]) -> None:
        self._matchers = matchers
        self._end_tokens = end_tokens
        self._has_started = False

    def keep(self, rows: list[int]) -> None:
        """Go on with some of the rows, by their places."""
        self._matchers = [self._matchers[row] for row in rows]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """[rows, length] ids and [rows, vocabulary] logits -> logits, -inf where not allowed."""
        if self._has_started:
            for matcher, token in zip(self._matchers, input_ids[:, -1].tolist(), strict=True):
                if not matcher.is_stopped():
                    matcher.consume_token(token)
        self._has_started = True
        allowed = np.zeros(tuple(scores.shape), dtype=bool)
        for row, matcher in enumerate(self._matchers):
            if matcher.is_stopped():
                allowed[row, self._end_tokens] = True
                continue
            bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
            known = np.unpackbits(bits, bitorder="little")[: scores.shape[1]].astype(bool)
            allowed[row, : len(known)] = known
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), float("-inf"))
