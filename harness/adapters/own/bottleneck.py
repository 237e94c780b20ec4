"""Bottleneck adapters: h + W_up f(W_down h + b_down) + b_up, on the output h of a projection.

On o_proj and fc2, the two that end a block's halves, they are the two adapters a block of Houlsby
et al., 2019, arXiv:1902.00751, section 2.1; on fc2 alone the one of Lin et al., 2020,
arXiv:2004.03829. Weights begin as the former's do: normal, deviation 0.01, cut at two deviations,
so that the adapter is nearly the identity.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from harness.adapters.own.own_model import OwnModel, read_weights, write_own
from harness.models.projections import Projection

DEVIATION = 0.01
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class BottleneckProjection(nn.Module):
    """A frozen projection with an adapter on its output."""

    def __init__(self, base: nn.Module, features: int, width: int, activation: str) -> None:
        super().__init__()
        self.base = base
        device = next(base.parameters()).device
        self.down = nn.Linear(features, width, device=device)
        self.up = nn.Linear(width, features, device=device)
        self._activation = ACTIVATIONS[activation]
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=DEVIATION, a=-2 * DEVIATION, b=2 * DEVIATION)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., in] -> [..., out]; the adapter's weights are cast to the base's dtype."""
        out: torch.Tensor = self.base(x)
        low = self._activation(_apply(self.down, out))
        return out + _apply(self.up, low)


def _apply(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


class BottleneckModel(OwnModel):
    def __init__(
        self, model: nn.Module, sizes: Mapping[str, int], width: int, activation: str
    ) -> None:
        """Put adapters into `model` itself; `sizes` are the outputs of projections, by path."""
        super().__init__(model)
        self.sizes, self.width, self.activation = dict(sizes), width, activation
        for path, features in sizes.items():
            base = self.model.get_submodule(path)
            projection = BottleneckProjection(base, features, width, activation)
            self.model.set_submodule(path, projection)

    def save(self, folder: Path, base_name: str) -> None:
        config = {
            "method": "bottleneck",
            "base_model_name_or_path": base_name,
            "rank": self.width,
            "activation": self.activation,
            "sizes": self.sizes,
        }
        write_own(folder, config, self._weights)

    @property
    def _weights(self) -> dict[str, torch.Tensor]:
        return {
            f"{path}.{name}": tensor
            for path in self.sizes
            for name, tensor in self.model.get_submodule(path).named_parameters()
            if not name.startswith("base.")
        }

    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        own = self._weights
        if own.keys() != weights.keys():
            raise ValueError(f"weights {sorted(own.keys() ^ weights.keys())[0]} do not fit")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(weights[name])


def attach(
    model: nn.Module, projections: Sequence[Projection], width: int, activation: str
) -> BottleneckModel:
    """Put new adapters into `model` itself, drawn from torch's generator."""
    sizes = {p.path: p.out_features for p in projections}
    return BottleneckModel(model, sizes, width, activation)


def open_saved(model: nn.Module, folder: Path, config: Mapping[str, Any]) -> BottleneckModel:
    """Put saved adapters into `model` itself."""
    adapted = BottleneckModel(model, config["sizes"], config["rank"], config["activation"])
    adapted.load(read_weights(folder))
    return adapted
