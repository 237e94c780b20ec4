"""A method's settings as PEFT's own configuration."""

from collections.abc import Callable, Sequence
from typing import Any

from peft import (
    AdaLoraConfig,
    EvaConfig,
    IA3Config,
    LoftQConfig,
    LoraConfig,
    LoraGAConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    PromptTuningInit,
    VeraConfig,
)
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.config.schema import AdapterConfig
from harness.errors import UserError
from harness.models.projections import Projection, list_targets

CAUSAL = "CAUSAL_LM"


def make_peft_config(
    base: nn.Module, projections: Sequence[Projection], adapter: AdapterConfig, steps: int
) -> PeftConfig:
    """Build the configuration of a method that PEFT implements.

    `steps` is the number of optimizer steps that will be taken. Raises UserError for settings that
    do not work together, or not on these projections.
    """
    return MAKERS[adapter.method](base, projections, adapter, steps)


def _target(base: nn.Module, projections: Sequence[Projection]) -> dict[str, Any]:
    """What every configuration says of the modules that it targets."""
    modules, _ = list_targets(projections)
    return {
        "target_modules": modules,
        "fan_in_fan_out": any(isinstance(base.get_submodule(path), Conv1D) for path in modules),
        "task_type": CAUSAL,
    }


def _lora(**extra: Any) -> Callable[..., PeftConfig]:
    """LoRA with what makes a method of it."""

    def make(
        base: nn.Module, projections: Sequence[Projection], adapter: AdapterConfig, steps: int
    ) -> LoraConfig:
        _, parameters = list_targets(projections)
        if parameters and adapter.dropout:
            raise UserError(
                f"adapter.dropout is {adapter.dropout}: PEFT does not support dropout on what it "
                f"adapts as a parameter, such as stacked experts ({parameters[0]}); use "
                "adapter.dropout=0"
            )
        return LoraConfig(
            r=adapter.rank,
            lora_alpha=adapter.alpha,  # type: ignore[arg-type]  # PEFT computes alpha / r in floats
            lora_dropout=adapter.dropout,
            target_parameters=parameters or None,
            **_target(base, projections),
            **extra,
        )

    return make


def _eva(
    base: nn.Module, projections: Sequence[Projection], adapter: AdapterConfig, steps: int
) -> PeftConfig:
    assert adapter.rho is not None
    make = _lora(init_lora_weights="eva", eva_config=EvaConfig(rho=adapter.rho))
    return make(base, projections, adapter, steps)


def find_allocation(adapter: AdapterConfig, steps: int) -> tuple[int, int]:
    """Steps after which ranks begin to move, and after which they stay.

    Raises UserError where there are too few steps between them.
    """
    assert adapter.allocate_from is not None
    assert adapter.allocate_until is not None
    first, last = round(adapter.allocate_from * steps), round(adapter.allocate_until * steps)
    if last - first < 2 or last >= steps:
        raise UserError(
            f"adapter: {steps} training steps are too few for {adapter.method} to move ranks "
            f"between {adapter.allocate_from:g} and {adapter.allocate_until:g} of the steps; train "
            "at least 10 steps, or set adapter.allocate_from and adapter.allocate_until"
        )
    return first, last


def _adalora(
    base: nn.Module, projections: Sequence[Projection], adapter: AdapterConfig, steps: int
) -> PeftConfig:
    first, last = find_allocation(adapter, steps)
    return AdaLoraConfig(
        init_r=adapter.initial_rank,
        target_r=adapter.rank,
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]
        lora_dropout=adapter.dropout,
        tinit=first,
        tfinal=steps - last,
        # A hundred looks at most, as the authors take them.
        deltaT=max(1, (last - first) // 100),
        orth_reg_weight=adapter.orthogonality,
        total_step=steps,
        **_target(base, projections),
    )


def _vera(
    base: nn.Module, projections: Sequence[Projection], adapter: AdapterConfig, steps: int
) -> PeftConfig:
    return VeraConfig(r=adapter.rank, vera_dropout=adapter.dropout, **_target(base, projections))


def _ia3(
    base: nn.Module, projections: Sequence[Projection], adapter: AdapterConfig, steps: int
) -> PeftConfig:
    target = _target(base, projections)
    return IA3Config(
        feedforward_modules=[p.path for p in projections if "fc2" in p.roles], **target
    )


def _prefix(
    base: nn.Module, projections: Sequence[Projection], adapter: AdapterConfig, steps: int
) -> PeftConfig:
    return PrefixTuningConfig(
        task_type=CAUSAL,
        num_virtual_tokens=adapter.virtual_tokens,
        prefix_projection=True,
        encoder_hidden_size=adapter.encoder_width,
    )


def _prompt(
    base: nn.Module, projections: Sequence[Projection], adapter: AdapterConfig, steps: int
) -> PeftConfig:
    return PromptTuningConfig(
        task_type=CAUSAL,
        num_virtual_tokens=adapter.virtual_tokens,
        prompt_tuning_init=PromptTuningInit.SAMPLE_VOCAB,
    )


MAKERS: dict[str, Callable[..., PeftConfig]] = {
    "lora": _lora(),
    "rslora": _lora(use_rslora=True),
    "lora_plus": _lora(),
    "lora_fa": _lora(),
    "dora": _lora(use_dora=True),
    "pissa": _lora(init_lora_weights="pissa"),
    "olora": _lora(init_lora_weights="olora"),
    "lora_ga": _lora(init_lora_weights="lora_ga", lora_ga_config=LoraGAConfig()),
    "eva": _eva,
    "loftq": _lora(init_lora_weights="loftq", loftq_config=LoftQConfig(loftq_bits=4)),
    "qlora": _lora(),
    "adalora": _adalora,
    "vera": _vera,
    "ia3": _ia3,
    "prefix": _prefix,
    "prompt": _prompt,
}
