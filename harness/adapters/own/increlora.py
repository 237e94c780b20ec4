"""IncreLoRA: ranks that grow where they matter (Zhang et al., 2023, arXiv:2308.12043).

A projection's update is alpha / r sum_i e_i b_i a_i^T over its r components. At intervals the
projections of the highest importance get a component more. Each keeps one in reserve whose e is
fixed at 1e-5, so that its a and b have learned something when it is taken into use. Importance is
the sum of |update x gradient| over the square root of the number of weights, smoothed, times its
smoothed deviation, as in the authors' code. a and b are held near orthogonal by a penalty, as
AdaLoRA's are; new components begin with a rate that rises over an interval.

What is saved is LoRA: e goes into b, and every projection has its own rank.
"""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional

from harness.adapters.own.own_model import OwnModel
from harness.models.loading import clone_sharing_weights
from harness.models.projections import Projection

RESERVE = 1e-5
"""e of the component in reserve."""
DEVIATION = 0.02
"""Of new a and b."""
SMOOTHING = 0.85
"""Of importance and of its deviation: the authors' beta1 and beta2."""
ROUNDS = 20
"""Times that ranks grow, where there are steps for so many."""


class GrowingProjection(nn.Module):
    """A frozen projection with an update of growing rank."""

    def __init__(
        self, base: nn.Module, projection: Projection, rank: int, alpha: float, seed: int
    ) -> None:
        super().__init__()
        self.base = base
        # Of its own: what it draws later must not depend on what else is drawn.
        self._generator = torch.Generator().manual_seed(seed)
        self.rank = rank
        self._shape = projection.in_features, projection.out_features
        self._alpha = alpha
        self.a, self.b, self.e = (nn.ParameterList() for _ in range(3))
        self._add(rank, 0.0, learns=True)
        self.has_reserve = False
        self.importance = self.smoothed = self.deviation = 0.0
        self._gradient: torch.Tensor | None = None
        """Of the update, summed over the passes of a step; None where nobody asks."""

    def _add(self, rank: int, value: float, *, learns: bool) -> list[nn.Parameter]:
        device = next(self.base.parameters()).device
        inputs, outputs = self._shape
        drawn = [
            torch.empty(shape).normal_(0, DEVIATION, generator=self._generator).to(device)
            for shape in ((rank, inputs), (outputs, rank))
        ]
        values = nn.Parameter(torch.full((rank, 1), value, device=device), requires_grad=learns)
        new = [*map(nn.Parameter, drawn), values]
        for group, parameter in zip((self.a, self.b, self.e), new, strict=True):
            group.append(parameter)
        return new

    def add_reserve(self) -> list[nn.Parameter]:
        """Put a component in reserve and return what of it learns already."""
        self.has_reserve = True
        return self._add(1, RESERVE, learns=False)[:2]

    def grow(self) -> nn.Parameter:
        """Take the component in reserve into use and return its e, which learns from now on."""
        self.has_reserve = False
        self.rank += 1
        latest: nn.Parameter = self.e[-1]
        latest.requires_grad_()
        return latest

    def drop_reserve(self) -> None:
        if self.has_reserve:
            self.a, self.b, self.e = (
                nn.ParameterList(list(group)[:-1]) for group in (self.a, self.b, self.e)
            )
            self.has_reserve = False

    @property
    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(A scaled by e and alpha / r, [components, in]; B, [out, components])."""
        scale = self._alpha / self.rank
        return torch.cat(list(self.a)) * torch.cat(list(self.e)) * scale, torch.cat(list(self.b), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., in] -> [..., out]."""
        out: torch.Tensor = self.base(x)
        down, up = self.factors
        if self._gradient is None or not torch.is_grad_enabled():
            return out + functional.linear(functional.linear(x, down.to(x.dtype)), up.to(x.dtype))
        update = up @ down
        update.register_hook(self._keep)  # type: ignore[no-untyped-call]
        return out + functional.linear(x, update.to(x.dtype))

    def _keep(self, gradient: torch.Tensor) -> None:
        if self._gradient is not None:
            self._gradient.add_(gradient)

    def watch(self) -> None:
        """Keep the update's gradient from now on."""
        inputs, outputs = self._shape
        device = next(self.base.parameters()).device
        self._gradient = torch.zeros(outputs, inputs, device=device)

    def forget(self) -> None:
        self._gradient = None

    @torch.no_grad()
    def judge(self) -> None:
        """Take a step's gradient into the importance, and forget it."""
        assert self._gradient is not None
        down, up = self.factors
        score = float((up @ down).mul_(self._gradient).abs_().sum())
        score /= math.sqrt(self._gradient.numel())
        self.smoothed += (1 - SMOOTHING) * (score - self.smoothed)
        self.deviation += (1 - SMOOTHING) * (abs(score - self.smoothed) - self.deviation)
        self.importance = self.smoothed * self.deviation
        self._gradient.zero_()


class IncreLoraModel(OwnModel):
    def __init__(
        self,
        model: nn.Module,
        projections: Sequence[Projection],
        rank: int,
        alpha: float,
        seed: int,
    ) -> None:
        """Put updates of `rank` components on projections of `model` itself."""
        super().__init__(model)
        self.alpha = alpha
        self.growing: dict[str, GrowingProjection] = {}
        draw = random.Random(seed)
        for projection in projections:
            base = self.model.get_submodule(projection.path)
            grown = GrowingProjection(base, projection, rank, alpha, draw.getrandbits(32))
            self.model.set_submodule(projection.path, grown)
            self.growing[projection.path] = grown

    @property
    def ranks(self) -> dict[str, int]:
        return {path: each.rank for path, each in self.growing.items()}

    def save(self, folder: Path, base_name: str) -> None:
        for each in self.growing.values():
            each.drop_reserve()
        clean: Any = clone_sharing_weights(self.model)
        for path in self.growing:
            clean.set_submodule(path, clean.get_submodule(path).base)
        ranks = self.ranks
        config = LoraConfig(
            r=round(sum(ranks.values()) / len(ranks)),
            rank_pattern=ranks,
            lora_alpha=self.alpha,  # type: ignore[arg-type]
            target_modules=list(ranks),
            task_type="CAUSAL_LM",
        )
        saved = get_peft_model(clean, config)
        with torch.no_grad():
            for path, each in self.growing.items():
                down, up = each.factors
                layer = saved.get_base_model().get_submodule(path)
                # PEFT scales by alpha / r, which `factors` has done already.
                layer.lora_A["default"].weight.copy_(down * (each.rank / self.alpha))
                layer.lora_B["default"].weight.copy_(up)
        config.base_model_name_or_path = base_name
        saved.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)


class Growth:
    """Adds ranks while a model trains: from one step to another, up to a mean rank."""

    def __init__(self, member: IncreLoraModel, *, target: int, first: int, last: int) -> None:
        self._growing = list(member.growing.values())
        missing = target * len(self._growing) - sum(each.rank for each in self._growing)
        self.interval = max(1, -(-(last - first) // ROUNDS))
        self._steps = range(first, last, self.interval)
        self._missing = missing

    def begin(self) -> list[nn.Parameter]:
        """Put the first reserve beside every projection; return what is to be trained."""
        if not self._missing:
            return []
        for each in self._growing:
            each.watch()
        return [parameter for each in self._growing for parameter in each.add_reserve()]

    def judge(self) -> None:
        """Take a step's gradients into every projection's importance."""
        for each in self._growing if self._missing else ():
            each.judge()

    def grow(self, step: int) -> list[nn.Parameter]:
        """Grow where it is time; return what is new to be trained."""
        if not self._missing or step not in self._steps:
            return []
        rounds_left = len(range(step, self._steps.stop, self.interval))
        count = -(-self._missing // rounds_left)
        self._missing -= count
        by_importance = sorted(self._growing, key=lambda each: -each.importance)
        new = []
        for number in range(count):
            each = by_importance[number % len(by_importance)]
            new += [each.grow(), *each.add_reserve()]
        if not self._missing:
            for each in self._growing:
                each.drop_reserve()
                each.forget()
        return new
