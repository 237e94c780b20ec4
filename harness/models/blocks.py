"""A model's transformer blocks, and the projections inside them, by path."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.errors import UserError

OTHER_TOWERS = ("vision", "visual", "image", "audio", "speech", "video")


@dataclass(frozen=True)
class Block:
    path: str
    """Full path in the model."""
    number: int
    module: nn.Module


@dataclass(frozen=True)
class Weight:
    """A linear module or a stack of experts."""

    path: str
    """Relative to the module that was searched."""
    in_features: int
    out_features: int
    experts: int
    """Number of experts stacked in a 3-D parameter; 0 for a module."""
    parents: tuple[nn.Module, ...]
    """The modules that it stands in, from the outside in, the searched one first."""
    is_bypassed: bool
    """Whether its module's code reads the weight itself, past whatever wraps the projection."""


def find_blocks(model: nn.Module, config: Any) -> tuple[Block, ...]:
    """Return the text model's transformer blocks in order.

    Lists of as many modules as there are blocks are parts of the same blocks (XLM); other lists
    follow each other. Raises UserError where there are none.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    expected = getattr(text, "num_hidden_layers", None)
    body: nn.Module = getattr(model, "get_decoder", lambda: model)()  # type: ignore[operator]
    prefix = next((path for path, module in model.named_modules() if module is body), "")
    # Some models call their head a decoder.
    outermost = _list_outermost(body, prefix) or _list_outermost(model, "")
    exact = {path: blocks for path, blocks in outermost.items() if len(blocks) == expected}
    if not outermost:
        raise UserError(
            f"model: the transformer blocks of {type(model).__name__} were not found: expected a "
            f"list of {expected} blocks that hold linear modules, found none; use a decoder that "
            "has one"
        )
    if exact:
        return tuple(
            Block(f"{path}.{number}", number, module)
            for path, blocks in exact.items()
            for number, module in enumerate(blocks)
        )
    flat = (
        (f"{path}.{place}", each)
        for path, blocks in outermost.items()
        for place, each in enumerate(blocks)
    )
    return tuple(Block(path, number, module) for number, (path, module) in enumerate(flat))


def _list_outermost(body: nn.Module, prefix: str) -> dict[str, nn.ModuleList]:
    outermost: dict[str, nn.ModuleList] = {}
    for path, module in body.named_modules(prefix=prefix):
        if not isinstance(module, nn.ModuleList) or len(module) == 0:
            continue
        if any(word in path.removeprefix(prefix) for word in OTHER_TOWERS):
            continue
        if any(path.startswith(f"{outer}.") for outer in outermost):
            continue
        if all(next(list_weights(block), None) is not None for block in module):
            outermost[path] = module
    return outermost


def list_weights(root: nn.Module) -> Iterator[Weight]:
    """Yield the linear modules and stacks of experts inside a module, each once."""
    modules = dict(root.named_modules())
    for path, module in modules.items():
        parts = path.split(".") if path else []
        parents = tuple(modules[".".join(parts[:depth])] for depth in range(len(parts)))
        shape = _shape_of(module)
        if shape:
            is_bypassed = bool(parts) and parts[-1] in _read_directly(type(parents[-1]))  # type: ignore[arg-type]
            yield Weight(path, *shape, 0, parents, is_bypassed)
        elif "expert" in path or "expert" in type(module).__name__.lower():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.dim() == 3:
                    experts, first, second = parameter.shape
                    sizes = (first, second) if _is_transposed(module) else (second, first)
                    full = f"{path}.{name}" if path else name
                    yield Weight(full, *sizes, experts, (*parents, module), False)


def _shape_of(module: nn.Module) -> tuple[int, int] | None:
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    return (module.nx, module.nf) if isinstance(module, Conv1D) else None


def _is_transposed(experts: nn.Module) -> bool:
    """Whether experts are stacked [experts, in, out], not [experts, out, in]."""
    named = getattr(experts, "is_transposed", None)
    # Llama 4 multiplies from the right and does not say so.
    return bool(named) if named is not None else "Llama4" in type(experts).__name__


@cache
def _read_directly(kind: Any) -> frozenset[str]:
    """Names of projections whose weight the code of a class reads itself.

    A fused kernel that is given the weight never runs the module, so that an adapter around it
    would be skipped without a word (Mamba's `out_proj`).
    """
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        return frozenset()
    uses = re.findall(
        r"(?<!isinstance\()self\.(\w+)\.weight\b(?!\[|\.(?:dtype|device|shape))", source
    )
    return frozenset(uses)


def generalize(path: str) -> str:
    """Replace every index in a path by `*`."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path)
