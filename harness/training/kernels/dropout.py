"""Dropout whose mask depends on what it is for, not on what else is in the batch.

Each value's fate is a hash of its place: seed of the variant, projection, step, row and position in
the row. So a variant drops the same values however its rows are packed, padded or cut into passes,
on any device, and again when checkpointing computes them a second time.

The hash is the 32-bit mixer `lowbias32` (Wellons, "Prospecting for hash functions", 2018), over the
position and half of a row's 64-bit key, with the other half in between; after Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3" (SC 2011), who call such generators counter-based. It
runs in place in int32, whose products wrap around as those of unsigned words do.
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
    if share == 1:
        return torch.zeros_like(x)
    # Counted from the start of a row: padding at its end does not move what comes before.
    places = torch.arange(x[0].numel(), dtype=torch.int32, device=x.device)
    is_kept = torch.empty(x.shape[0], len(places), dtype=torch.bool, device=x.device)
    bits, shifted = torch.empty_like(places), torch.empty_like(places)
    least = _sign(round(share * WORD) ^ 0x80000000)
    # A row at a time: what is mixed stays in the cache.
    for row in range(len(x)):
        first, second = key.at(step, first_row + row)
        torch.bitwise_xor(places, _sign(first), out=bits)
        _mix(bits, shifted, between=_sign(second))
        # Words as numbers without a sign are in the order of signed ones with the first bit turned.
        torch.ge(bits.bitwise_xor_(_sign(0x80000000)), least, out=is_kept[row])
    # Not a product: 0 * inf is NaN.
    return torch.where(is_kept.view(x.shape), x / (1 - share), 0)


def _mix(bits: torch.Tensor, shifted: torch.Tensor, between: int) -> None:
    """Mix 32-bit words, held as int32, in place; `shifted` is room of the same shape."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, None)):
        torch.bitwise_right_shift(bits, shift, out=shifted)
        # A signed shift fills up with the first bit.
        bits.bitwise_xor_(shifted.bitwise_and_(WORD >> shift))
        if factor is not None:
            bits.mul_(_sign(factor))
        if shift == 15:
            bits.bitwise_xor_(between)


def _sign(word: int) -> int:
    """The int32 with the bits of an unsigned word."""
    return word - 2**32 if word >= 2**31 else word
