"""What a timing study measures, in plain values that travel to a worker process as JSON."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.schema import ModelConfig

CONTROLS = ("base_again", "base_cloned")
"""The A/A control, and the control of memory layout."""


def name_planted(share: float) -> str:
    """Name of the variant that is slowed down by `share` of its time: `+5%`."""
    return f"{share:+.3g}" if abs(share) < 0.001 else f"{100 * share:+.3g}%"


@dataclass(frozen=True)
class TimedAdapter:
    variant: str
    """Name of the variant in tables: its target set's label, or its run id."""
    folder: str
    """A saved adapter."""
    is_merged_too: bool
    """Also time the adapter folded into the weights."""
    is_mixable: bool = True
    """Whether a row of a mixed batch can use it."""


@dataclass(frozen=True)
class Build:
    """What a process loads before it can time: the model as it is run, and the adapters on it."""

    model: ModelConfig
    adapters: tuple[TimedAdapter, ...]
    adapter_dtype: str = "auto"
    """`auto` (PEFT's own: fp32 adapters on a half-precision base) or `base` (the base's)."""
    cache: str = "dynamic"
    """`dynamic`, or `static` (allocated before the clock starts)."""
    compile: str = "off"
    """`off`, or torch.compile's mode for the decode step: `default`, or `reduce-overhead` (CUDA
    graphs on a GPU)."""
    is_mixed_too: bool = True
    """Also time one batch in which every row uses another adapter."""
    is_cloned_too: bool = True
    """Also time a base whose tensors lie elsewhere in memory."""
    planted: tuple[float, ...] = ()
    """Known slowdowns: for each, the base once more, slowed down by this share of its time."""
    seed: int = 0
    """Seed of the order within rounds."""

    @property
    def mixable(self) -> tuple[TimedAdapter, ...]:
        """The adapters that rows of a mixed batch can use."""
        return tuple(adapter for adapter in self.adapters if adapter.is_mixable)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Build":
        adapters = tuple(TimedAdapter(**adapter) for adapter in values["adapters"])
        typed = {"model": ModelConfig(**values["model"]), "adapters": adapters}
        return cls(**{**values, **typed, "planted": tuple(values["planted"])})


def list_mixed_sets(build: Build, batch_size: int) -> list[str] | None:
    """Variants of the rows of a batch in which each has another adapter; None where none is made.

    A batch of one row has nothing to mix; a compiled step does not see the rows' adapters.
    """
    names = [adapter.variant for adapter in build.mixable]
    if not build.is_mixed_too or len(names) < 2 or batch_size < 2 or build.compile != "off":
        return None
    return [names[row % len(names)] for row in range(batch_size)]


@dataclass(frozen=True)
class Point:
    """One combination of the axes that are measured by the same build: the work of a call."""

    number: int
    prompts: tuple[tuple[int, ...], ...]
    """Token ids, one row a prompt, all of one length."""
    output_tokens: int

    @property
    def batch_size(self) -> int:
        return len(self.prompts)

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompts[0])

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Point":
        prompts = tuple(tuple(row) for row in values["prompts"])
        return cls(**{**values, "prompts": prompts})
