"""A language model's body and head apart: logits only where they are wanted, some at a time.

A vocabulary is a hundred times as wide as a hidden state, so that the logits of a whole batch, in
fp32, would be its largest tensor by far; only a chunk of them exists at once.
"""

import copy
import inspect
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

CHUNK_VALUES = 2**22
"""Logits that exist at once: 16 MiB in fp32."""


def run_body(
    model: Any, input_ids: torch.Tensor, picked: torch.Tensor, cache: Cache | None = None
) -> torch.Tensor:
    """Hidden states at chosen positions, as the head takes them.

    `input_ids` are [rows, length], padded on the right: no token sees what comes after it, so no
    mask is needed. `picked` holds flat positions in [rows * length]. `cache` holds what comes
    before them, and takes them up. Returns [len(picked), hidden] in the model's dtype.
    """
    body = getattr(model, find_body(model))
    output = body(input_ids=input_ids, past_key_values=cache, use_cache=cache is not None)
    hidden: torch.Tensor = output.last_hidden_state
    return hidden.reshape(-1, hidden.shape[-1])[picked]


def find_body(model: Any) -> str:
    """Name of the module that a causal language model's head stands on.

    That is not always the name that the architecture gives as its base's (Llama 4).
    """
    names: list[str] = [model.base_model_prefix, *(name for name, _ in model.named_children())]
    found = [name for name in names if isinstance(getattr(model, name, None), nn.Module)]
    return found[0]


class Head:
    """What a causal language model does after its body: [n, hidden] -> logits, [n, vocabulary].

    It is the model's own forward with the body left out, so that what an architecture does to its
    logits (a scale, a soft cap) is done.
    """

    def __init__(self, model: Any) -> None:
        self._model = copy.copy(model)
        name = find_body(model)
        body = getattr(model, name)
        self._body = _Given(body)
        self._model.__dict__["_modules"] = {**model._modules, name: self._body}
        vocabulary = model.get_output_embeddings().weight.shape[0]
        own = [module for module in model.children() if module is not body]
        self.trained = [p for module in own for p in module.parameters() if p.requires_grad]
        """Weights of the head itself that learn; none where it is frozen."""
        self.chunk = max(1, CHUNK_VALUES // vocabulary)
        """Positions whose logits may exist at once."""

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        self._body.hidden = hidden[None]
        places = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
        logits: torch.Tensor = self._model(input_ids=places, use_cache=False).logits
        self._body.hidden = None
        return logits[0].to(torch.promote_types(logits.dtype, torch.float32))


class _Given(nn.Module):
    """Stands in for a body whose output is known; what else is asked of it, the body answers."""

    hidden: torch.Tensor | None = None

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        # Not as a module of this one.
        self.__dict__["_body"] = body

    def __getattr__(self, name: str) -> Any:
        """Falcon-H1 keeps a factor of its logits in its body."""
        return getattr(self.__dict__["_body"], name)

    def forward(self, *_: Any, **__: Any) -> "_Output":
        assert self.hidden is not None
        return _Output(self.hidden)

    @property
    def decoder(self) -> "_Given":
        """OPT's head looks one level deeper."""
        return self


class _Output:
    """A body's output of which the hidden states are all there is."""

    def __init__(self, hidden: torch.Tensor) -> None:
        self.last_hidden_state = hidden

    def __getitem__(self, index: int) -> torch.Tensor:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        return None


def differentiate_loss(
    head: Head, hidden: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy at each position, [n], and the gradient of its weighted sum, [n, hidden].

    `labels` and `weights` are [n]. Nothing of the graph below `hidden` is used: pass the gradient
    to `hidden.backward`. Where the head itself is trained, its gradients are added to.
    """
    losses, gradients = [], []
    for part in _cut(len(hidden), head.chunk):
        states = hidden[part].detach().requires_grad_()
        with torch.enable_grad():
            loss = functional.cross_entropy(head(states), labels[part], reduction="none")
            torch.autograd.backward((loss * weights[part]).sum(), inputs=[states, *head.trained])
        losses.append(loss.detach())
        assert states.grad is not None
        gradients.append(states.grad)
    return torch.cat(losses), torch.cat(gradients)


@torch.no_grad()
def find_log_probabilities(
    head: Head, hidden: torch.Tensor, wanted: Sequence[tuple[int, int]]
) -> list[float]:
    """Log-probability of each wanted (row of `hidden`, token)."""
    found: list[float] = [0.0] * len(wanted)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i][0])
    place = 0
    for part in _cut(len(hidden), head.chunk):
        values = head(hidden[part]).log_softmax(-1)
        mine = []
        while place < len(order) and wanted[order[place]][0] < part.stop:
            mine.append(order[place])
            place += 1
        rows = torch.tensor([wanted[i][0] - part.start for i in mine], device=hidden.device)
        tokens = torch.tensor([wanted[i][1] for i in mine], device=hidden.device)
        for index, value in zip(mine, values[rows.long(), tokens.long()].tolist(), strict=True):
            found[index] = value
    return found


def find_boundary(config: Any) -> float:
    """Length beyond which a model sets all positions of a batch apart; infinite for most.

    LongRoPE has two scales (Ding et al., 2024) and takes the one that the longest row needs, for
    all rows. Dynamic RoPE changes beyond its context only, where no row is let.
    """
    scales = getattr(config.get_text_config(decoder=True), "rope_parameters", None) or {}
    # One for all blocks, or one for each kind of block.
    each = [value for value in scales.values() if isinstance(value, dict)] or [scales]
    return min(
        (s["original_max_position_embeddings"] for s in each if s.get("rope_type") == "longrope"),
        default=math.inf,
    )


def _cut(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def make_cache(model: Any) -> DynamicCache | None:
    """An empty cache; None where an architecture has none, or one of more than keys and values."""
    if not takes_cache(model) or keeps_state(model):
        return None
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    plain = DynamicLayer, DynamicSlidingWindowLayer
    return cache if all(type(layer) in plain for layer in cache.layers) else None


def takes_cache(model: Any) -> bool:
    """Whether a model goes on from a cache of transformers' usual kind; Mamba has another."""
    return "past_key_values" in inspect.signature(model.forward).parameters


def keeps_state(model: Any) -> bool:
    """Whether what a model has read is kept in its modules, so that rows cannot be taken out."""
    return any("recurrent_states" in vars(module) for module in model.modules())
