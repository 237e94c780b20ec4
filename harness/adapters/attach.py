"""Puts a variant's adapter on a clone of the base: through PEFT where PEFT has the method."""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from peft import LoraConfig, PeftModel, VeraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from harness.adapters.initialization import (
    REWRITING,
    cut_sample,
    explain_variance,
    note_gradients,
    prepare_base,
)
from harness.adapters.own import bottleneck, full
from harness.adapters.own.increlora import IncreLoraModel
from harness.adapters.own.own_model import OwnModel
from harness.adapters.peft_configs import make_peft_config
from harness.config.schema import AdapterConfig
from harness.data.encoding import EncodedExample
from harness.errors import UserError
from harness.models.loading import clone_sharing_weights
from harness.models.projections import Projection

Adapted: TypeAlias = "PeftModel | OwnModel"
"""A clone of the base with an adapter: both have `get_base_model`, the model that runs."""

MARK = "method.json"
"""Beside a PEFT adapter whose base is not the plain one: what has to be done to that."""


def attach_adapter(
    base: nn.Module,
    projections: Sequence[Projection],
    adapter: AdapterConfig,
    *,
    seed: int,
    steps: int = 0,
    sample: Sequence[EncodedExample] = (),
) -> Adapted:
    """Put a new adapter on a clone of `base` that shares the weights that the method leaves alone.

    `projections` are none for methods that act on the model as a whole. `seed` draws the initial
    weights; they are fp32 whatever the base's dtype. `steps` is the number of optimizer steps to
    come, for methods that plan by it, and `sample` the training examples, for those that begin
    with a look at them. Raises UserError for what the method cannot do, and where PEFT did not wrap
    exactly the projections that were asked for.
    """
    with torch.random.fork_rng(), peft_warnings_ignored():
        torch.manual_seed(seed)
        if adapter.method in OWN:
            clone = clone_sharing_weights(base)
            return _attach_own(clone, projections, adapter, seed).train(base.training)
        return _attach_peft(base, projections, adapter, seed, steps, sample)


def _attach_own(
    clone: nn.Module, projections: Sequence[Projection], adapter: AdapterConfig, seed: int
) -> OwnModel:
    if adapter.method == "full":
        return full.attach(clone, projections)
    assert adapter.rank is not None
    if adapter.method == "bottleneck":
        return bottleneck.attach(clone, projections, adapter.rank, str(adapter.activation))
    assert adapter.initial_rank is not None
    assert adapter.alpha is not None
    return IncreLoraModel(clone, projections, adapter.initial_rank, adapter.alpha, seed)


OWN = ("full", "bottleneck", "increlora")
"""Methods that PEFT does not have."""


def _attach_peft(
    base: nn.Module,
    projections: Sequence[Projection],
    adapter: AdapterConfig,
    seed: int,
    steps: int,
    sample: Sequence[EncodedExample],
) -> PeftModel:
    clone = prepare_base(base, projections, adapter.method)
    config = make_peft_config(clone, projections, adapter, steps)
    if isinstance(config, VeraConfig):
        config.projection_prng_key = seed
    batches = cut_sample(sample, adapter, 0, clone.device) if adapter.sample_examples else []
    if adapter.method == "lora_ga":
        assert isinstance(config, LoraConfig)
        note_gradients(clone, config, batches)
    model = get_peft_model(clone, config)
    _check_attached(model, projections)
    if adapter.method == "eva":
        assert adapter.rank is not None
        assert adapter.rho is not None
        explain_variance(model, batches, round(adapter.rank * adapter.rho))
    if adapter.method in REWRITING and adapter.method != "loftq":
        _keep_initial(model)
    return model


def _keep_initial(model: PeftModel) -> None:
    """Keep the weights that a method began with: what it learned is the difference to them."""
    folder = tempfile.TemporaryDirectory(prefix="initial-adapter-")
    model.save_pretrained(folder.name, save_embedding_layers=False)
    # Lives as long as the model, and goes with it.
    model.initial_folder = folder


def name_target(path: str, layer: nn.Module) -> str:
    """What of the base a layer of PEFT adapts: a module's path, or a parameter's.

    Adapters of several parameters of one module stand inside each other.
    """
    name = getattr(layer, "parameter_name", None)
    module = path.replace(".base_layer", "")
    return f"{module}.{name}" if name else module


def _check_attached(model: PeftModel, projections: Sequence[Projection]) -> None:
    """PEFT shortens long lists of names to suffixes: make sure that it wrapped what was asked."""
    expected = {p.parameter or p.path for p in projections}
    attached = set()
    for path, module in model.get_base_model().named_modules():
        if isinstance(module, BaseTunerLayer):
            attached.add(name_target(path, module))
    if attached != expected:
        odd = sorted(attached ^ expected)
        raise UserError(
            f"adapter: PEFT adapted {len(attached)} projections, expected {len(expected)}; the "
            f"first that differs is {odd[0]}"
        )


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that training changes."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


NO_NEWS = (
    # The clone is the method's own, and what is saved fits the unchanged base.
    r"(PiSSA|OLoRA|LoRA-GA) changes the base weights",
    # AdaLoRA's pattern is of components, not of ranks.
    "The following rank_pattern keys",
    "fan_in_fan_out is set to",
    "Full backward hook is firing",
    "Unmerge result can be inaccurate",
)
"""Warnings of PEFT about what the harness takes care of."""


@contextmanager
def peft_warnings_ignored() -> Iterator[None]:
    """PEFT also asks transformers by a name that is about to go; users can do nothing about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for text in NO_NEWS:
            warnings.filterwarnings("ignore", text)
        yield
