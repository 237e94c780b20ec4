"""Loss scaling: what a gradient in fp16 would lose below 6e-8 is kept by a factor.

Micikevicius et al., "Mixed precision training" (ICLR 2018), section 3.2. The factor is a power of
two, so that it changes no digit, and is halved where it makes a gradient overflow; the step is then
taken again.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

START = 2.0**16


class LossScale:
    def __init__(self, dtype: torch.dtype, start: float = START) -> None:
        """1 in any dtype but fp16."""
        self._start = start if dtype == torch.float16 else 1.0
        self.value = self._start

    def restart(self) -> None:
        """Begin again with the first factor, once a variant whose gradients overflow has left."""
        self.value = self._start

    def remove(self, parameters: Sequence[nn.Parameter]) -> None:
        """Divide gradients by the factor."""
        for gradient in _list_gradients(parameters) if self.value != 1 else ():
            gradient.div_(self.value)

    def was_too_large(self, parameters: Sequence[nn.Parameter]) -> bool:
        """Whether gradients have overflowed by the factor, which is then halved."""
        if self.value == 1:
            return False
        gradients = list(_list_gradients(parameters))
        is_finite = all(bool(gradient.isfinite().all()) for gradient in gradients)
        if is_finite:
            return False
        self.value /= 2
        for parameter in parameters:
            parameter.grad = None
        return True


def _list_gradients(parameters: Sequence[nn.Parameter]) -> Iterable[torch.Tensor]:
    return (each.grad for each in parameters if each.grad is not None)
