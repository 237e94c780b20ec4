"""What a method does inside the training loop, beside its loss: penalties, rates, moving ranks."""

from collections.abc import Iterable
from typing import Any

import torch
from peft import AdaLoraModel
from peft.optimizers import create_lorafa_optimizer, create_loraplus_optimizer
from torch import nn

from harness.adapters.own.increlora import Growth, IncreLoraModel
from harness.adapters.peft_configs import find_allocation
from harness.config.schema import AdapterConfig


def make_optimizer(
    member: Any, adapter: AdapterConfig, *, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW on what is trained, or the method's own optimizer."""
    device = next(p for p in member.parameters() if p.requires_grad).device
    # One kernel for all tensors; hundreds of small ones cost more than the arithmetic.
    is_fused = device.type in ("cpu", "cuda")
    if adapter.method == "lora_fa":
        made: torch.optim.Optimizer = create_lorafa_optimizer(
            member,
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            lr=learning_rate,
            weight_decay=weight_decay,
        )
        return made
    if adapter.method == "lora_plus":
        made = create_loraplus_optimizer(
            member,
            torch.optim.AdamW,
            lr=learning_rate,
            loraplus_lr_ratio=adapter.learning_rate_ratio,
            loraplus_weight_decay=weight_decay,
            fused=is_fused,
        )
        return made
    trained = [p for p in member.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay, fused=is_fused)


class Hooks:
    """Called at every step of training; most methods have nothing to do there."""

    def begin(self, optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
        """Before the first step."""

    def add_to_gradients(self) -> None:
        """When the loss's gradients are there, not yet clipped."""

    def finish_step(self, step: int) -> None:
        """When step number `step`, from 0, is taken, and its gradients are still there."""


def find_hooks(member: Any, adapter: AdapterConfig, steps: int) -> Hooks:
    """The hooks of one variant, trained for so many steps."""
    if adapter.method == "adalora":
        return _AdaLoraHooks(member, adapter)
    if adapter.method == "increlora":
        return _IncreLoraHooks(member, adapter, steps)
    return Hooks()


class _AdaLoraHooks(Hooks):
    """PEFT's penalty and allocation, which its own forward pass and users' loops call."""

    def __init__(self, member: Any, adapter: AdapterConfig) -> None:
        tuner = member.base_model
        assert isinstance(tuner, AdaLoraModel)
        self._tuner = tuner
        self._weight = adapter.orthogonality or 0.0
        named = list(member.named_parameters())
        self._rows = [p for name, p in named if "lora_A" in name]
        self._columns = [p for name, p in named if "lora_B" in name]

    def add_to_gradients(self) -> None:
        _add_orthogonality(self._weight, self._rows, self._columns)

    def finish_step(self, step: int) -> None:
        self._tuner.update_and_allocate(step)  # type: ignore[no-untyped-call]


class _IncreLoraHooks(Hooks):
    def __init__(self, member: IncreLoraModel, adapter: AdapterConfig, steps: int) -> None:
        assert adapter.rank is not None
        first, last = find_allocation(adapter, steps)
        self._growth = Growth(member, target=adapter.rank, first=first, last=last)
        self._growing = list(member.growing.values())
        self._weight = adapter.orthogonality or 0.0

    def begin(self, optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
        self._optimizer, self._scheduler = optimizer, scheduler
        self._add_parameters(self._growth.begin(), step=-1)

    def add_to_gradients(self) -> None:
        self._growth.judge()
        rows = [torch.cat(list(each.a)) for each in self._growing]
        columns = [torch.cat(list(each.b), 1) for each in self._growing]
        _add_orthogonality(self._weight, rows, columns)

    def finish_step(self, step: int) -> None:
        self._add_parameters(self._growth.grow(step), step)

    def _add_parameters(self, parameters: list[nn.Parameter], step: int) -> None:
        """Train these too, at a rate that rises over an interval."""
        if not parameters:
            return
        schedule, interval = self._scheduler.lr_lambdas[0], self._growth.interval
        rate = self._scheduler.base_lrs[0]

        def warm(number: int) -> float:
            return float(schedule(number) * min(1.0, (number - step) / interval))

        self._optimizer.add_param_group(
            {"params": parameters, "initial_lr": rate, "lr": rate * warm(step + 1)}
        )
        self._scheduler.base_lrs.append(rate)
        self._scheduler.lr_lambdas.append(warm)


def _add_orthogonality(
    weight: float, rows: Iterable[torch.Tensor], columns: Iterable[torch.Tensor]
) -> None:
    """Add the gradient of weight x mean |M - 1|, M the products of rows, or of columns.

    Zhang et al., 2023, arXiv:2303.10512, equation 4; the mean over matrices is PEFT's.
    """
    products = [a @ a.T for a in rows] + [b.T @ b for b in columns]
    if not weight or not products:
        return
    distances = [
        torch.linalg.matrix_norm(p - torch.eye(len(p), dtype=p.dtype, device=p.device))
        for p in products
    ]
    (weight / len(distances) * torch.stack(distances).sum()).backward()  # type: ignore[no-untyped-call]
