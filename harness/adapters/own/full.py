"""Full fine-tuning: of the targeted projections, or of every weight of the model.

Small steps vanish in bf16's 8 bits, so what is trained is kept in fp32 and cast to the base's dtype
where it is used. It is saved in the base's dtype under the base's own names, so that
`model.load_state_dict(load_file(...), strict=False)` is all it takes to use it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from harness.adapters.own.own_model import OwnModel, read_weights, write_own
from harness.models.projections import Projection


class _Cast(nn.Module):
    """A weight as it is used, of the weight as it is trained."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.to(self._dtype)


class TunedModel(OwnModel):
    def __init__(self, model: nn.Module, trained: Mapping[str, nn.Parameter]) -> None:
        """`trained` are the fp32 weights by the names of the base's."""
        super().__init__(model)
        self._trained = dict(trained)
        self._dtypes: dict[str, torch.dtype] = {}

    @classmethod
    def attach(cls, model: nn.Module, paths: Sequence[str] | None) -> "TunedModel":
        """Make the weights of these modules trainable in `model` itself; None takes them all.

        Weights that modules share (a head tied to the embeddings) stay shared.
        """
        masters: dict[int, nn.Parameter] = {}
        trained: dict[str, nn.Parameter] = {}
        dtypes: dict[str, torch.dtype] = {}
        for path, module in list(model.named_modules()):
            for name, weight in list(module.named_parameters(recurse=False)):
                full_name = f"{path}.{name}" if path else name
                if not weight.is_floating_point() or not _is_chosen(full_name, paths):
                    continue
                if id(weight) not in masters:
                    master = nn.Parameter(weight.detach().to(torch.float32, copy=True))
                    masters[id(weight)] = trained[full_name] = master
                    dtypes[full_name] = weight.dtype
                setattr(module, name, masters[id(weight)])
                if weight.dtype != torch.float32:
                    # unsafe: the dtype of what is used differs from that of what is kept.
                    parametrize.register_parametrization(
                        module, name, _Cast(weight.dtype), unsafe=True
                    )
        adapted = cls(model, trained)
        adapted._dtypes = dtypes
        return adapted

    def save(self, folder: Path, base_name: str) -> None:
        config = {"method": "full", "base_model_name_or_path": base_name}
        weights = {name: w.to(self._dtypes[name]) for name, w in self._trained.items()}
        write_own(folder, config, weights)

    def merge_adapter(self) -> None:
        """There is nothing to fold: what was trained are the weights."""

    def unmerge_adapter(self) -> None:
        """There is nothing to take out again."""


def _is_chosen(name: str, paths: Sequence[str] | None) -> bool:
    return paths is None or any(name.startswith(f"{path}.") or name == path for path in paths)


def attach(model: nn.Module, projections: Sequence[Projection]) -> TunedModel:
    """Make projections, or without any the whole of `model` itself, trainable."""
    return TunedModel.attach(model, [p.path for p in projections] or None)


def open_saved(model: nn.Module, folder: Path, config: Mapping[str, Any]) -> TunedModel:
    """Put saved weights into `model` itself, which may share its own with others."""
    weights = read_weights(folder)
    replaced: dict[int, nn.Parameter] = {}
    names = dict(model.named_parameters())
    odd = sorted(set(weights) - set(names))
    if odd:
        raise ValueError(f"weights {odd[0]} are not in this model")
    for name, tensor in weights.items():
        old = names[name]
        replaced[id(old)] = nn.Parameter(tensor.to(old.device, old.dtype), requires_grad=False)
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if id(weight) in replaced:
                setattr(module, name, replaced[id(weight)])
    return TunedModel(model, {})
