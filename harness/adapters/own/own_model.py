"""What a method that PEFT does not have must offer, so that it goes through the same pipeline."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from harness.errors import UserError
from harness.records.files import write_atomically, write_json

WEIGHTS = "adapter_model.safetensors"
"""The file names are PEFT's."""
CONFIG = "adapter_config.json"


class OwnModel(nn.Module):
    """An adapted model: a clone of the base, changed in place."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)

    def get_base_model(self) -> Any:
        """The model that runs, adapters included, as PeftModel calls it."""
        return self.model

    @abstractmethod
    def save(self, folder: Path, base_name: str) -> None:
        """Write what was trained as safetensors, with what it takes to load it."""

    def merge_adapter(self) -> None:
        """Fold the adapters into the base weights, where the method can."""
        raise UserError(f"{type(self).__name__} cannot be merged into the base weights")

    def unmerge_adapter(self) -> None:
        raise UserError(f"{type(self).__name__} cannot be merged into the base weights")

    def merge_and_unload(self, safe_merge: bool = False) -> Any:
        self.merge_adapter()
        return self.model


def write_own(folder: Path, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> None:
    """Write an adapter's weights and, last, its configuration."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_atomically(folder / WEIGHTS, lambda path: save_file(tensors, str(path)))
    write_json(folder / CONFIG, dict(config))


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(str(folder / WEIGHTS))
