"""How much memory a training pass keeps for its backward pass: counted on a few blocks, or guessed.

What is kept depends on the architecture, its attention and the dtype, and hardly on anything else.
So a pass is run through the first blocks of the model. On a GPU its peak is the allocator's own; on
a CPU the tensors that autograd keeps are counted, for a process's memory says too little.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness.models.forward import run_body
from harness.models.memory import PeakMemory, read_memory_in_use
from harness.models.projections import Projection
from harness.training.packed_model import Pack

PASSING_SHARE = 1.3
"""The peak of a backward pass by what the forward pass kept: gradients that come and go. 1.22 in
bf16 and 1.09 to 1.3 in fp32 were measured on SmolLM2-135M, with 256 to 8,192 tokens."""


@dataclass(frozen=True)
class Activations:
    """Bytes that a training pass needs, a token of all its rows together."""

    block: float
    """Of a block."""
    other: float
    """Of everything else."""

    def count(self, blocks: int, checkpointing: bool, hidden_bytes: int) -> float:
        """Bytes a token of a model of so many blocks.

        With `checkpointing` each block keeps its input, `hidden_bytes`, and one block everything.
        """
        kept = self.block + blocks * hidden_bytes if checkpointing else self.block * blocks
        return kept + self.other


def guess_activations(projections: Sequence[Projection], blocks: int, itemsize: int) -> Activations:
    """What to expect of a model's projections: twice their inputs and outputs.

    Half as much was counted on SmolLM2-135M; what norms, attention and routers keep is not known.
    """
    features = sum(p.in_features + p.out_features for p in projections)
    return Activations(block=2 * itemsize * features / max(1, blocks), other=0.0)


def count_bytes(pack: Pack, tokens: int) -> float:
    """Bytes a token of a training pass of a pack, an equal share of `tokens` for each member."""
    device = pack.model.device
    members = len(pack.members)
    pack.train()
    pack.rows.split(range(members))
    ids = torch.ones(members, max(2, tokens // members), dtype=torch.long, device=device)
    before = read_memory_in_use(device) if device.type == "cuda" else 0
    own = {id(tensor): tensor for tensor in (*pack.model.parameters(), *pack.model.buffers())}
    known = {tensor.untyped_storage().data_ptr() for tensor in own.values()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in known:
            # Held, so that no other tensor takes its place.
            kept[place] = tensor
        return tensor

    with PeakMemory(device) as peak, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        hidden = run_body(pack.model, ids, torch.arange(ids.numel(), device=device))
        counted = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
        kept.clear()
        hidden.float().sum().backward()  # type: ignore[no-untyped-call]
    for member in pack.members:
        member.zero_grad(set_to_none=True)
    pack.eval()
    grown = peak.peak_bytes - before if device.type == "cuda" else PASSING_SHARE * counted
    return grown / ids.numel()
