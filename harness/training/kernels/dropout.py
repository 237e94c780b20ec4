"""Dropout whose mask depends on what it is for, not on what else is in the batch.

Each value's fate is a hash of its place: seed of the variant, projection, step, row and position in
the row. So a variant drops the same values however its rows are packed, padded or cut into passes,
on any device, and again when checkpointing computes them a second time.

The hash is two rounds of the 32-bit mixer `lowbias32` (Wellons, "Prospecting for hash functions",
2018), with half of a row's 64-bit key in each; after Salmon et al., "Parallel random numbers: as
easy as 1, 2, 3" (SC 2011), who call such generators counter-based.
"""

import hashlib
from dataclasses import dataclass

import torch

WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class MaskKey:
    seed: int
    """Of the variant."""
    path: str
    """Of the projection."""

    def at(self, step: int, row: int) -> tuple[int, int]:
        """Two 32-bit words for one row of one step."""
        text = f"{self.seed}/{self.path}/{step}/{row}"
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big")


def drop(x: torch.Tensor, share: float, key: MaskKey, step: int, first_row: int) -> torch.Tensor:
    """Zero each value of [rows, length, in] with probability `share`, and scale up the others.

    `first_row` is the place of the first row among the step's rows.
    """
    if not share:
        return x
    rows = [key.at(step, first_row + row) for row in range(x.shape[0])]
    words = torch.tensor(rows, device=x.device).T[:, :, None]
    # Counted from the start of a row: padding at its end does not move what comes before.
    places = torch.arange(x[0].numel(), device=x.device)
    bits = _mix(_mix(places ^ words[0]) ^ words[1]).view(x.shape)
    # Not a product: 0 * inf is NaN.
    return torch.where(bits >= round(share * (WORD + 1)), x / max(1 - share, 1e-30), 0)


def _mix(bits: torch.Tensor) -> torch.Tensor:
    """32-bit words, as int64, -> 32-bit words."""
    bits = (bits ^ (bits >> 16)) * 0x7FEB352D & WORD
    bits = (bits ^ (bits >> 15)) * 0x846CA68B & WORD
    return bits ^ (bits >> 16)
