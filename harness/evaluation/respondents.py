"""Variants of a pack, and its base, that answer the same prompts side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import Cache, PreTrainedTokenizerBase

from harness.models.forward import run_body
from harness.training.packed_model import Pack


@dataclass(frozen=True)
class Respondents:
    pack: Pack
    owners: Sequence[int]
    """Members' numbers, or BASE_ROW."""
    tokenizer: PreTrainedTokenizerBase

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def pad_token(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    def run(
        self, input_ids: torch.Tensor, picked: torch.Tensor, cache: Cache | None
    ) -> torch.Tensor:
        """Run the same rows with each; see `run_body`, whose hidden states come owner by owner."""
        device = self.pack.model.device
        self.pack.rows.assign([owner for owner in self.owners for _ in input_ids])
        shifts = torch.arange(len(self))[:, None] * input_ids.numel()
        return run_body(
            self.pack.model,
            input_ids.repeat(len(self), 1).to(device),
            (picked[None] + shifts).flatten().to(device),
            cache,
        )
