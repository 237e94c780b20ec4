"""Several variants in one pass over their shared frozen base.

The variants of a pack (its members) are rows of one batch, member by member. A projection that
some member targets computes the base's product once for all rows, and adds each member's low-rank
product to that member's rows alone. The adapters stay what PEFT made: the pack reads and trains
their own parameters, so a member is saved as any PEFT adapter is.

(alpha / r) x A^T B^T for member rows x: Hu et al., 2021, arXiv:2106.09685, section 4.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any, Literal

import torch
from peft import PeftModel, PeftType
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn import functional
from transformers import DynamicCache

from harness.adapters.attach import Adapted
from harness.adapters.virtual_tokens import VirtualTokens, has_virtual_tokens
from harness.errors import UserError
from harness.models.forward import find_boundary, make_cache
from harness.models.loading import clone_sharing_weights
from harness.training.kernels.attention import use_blocks
from harness.training.kernels.dropout import MaskKey, drop

BASE_ROW = -1
"""Member number of a row that the base alone computes."""


@dataclass(frozen=True)
class LowRank:
    """One member's adapter on one projection."""

    down: nn.Parameter
    """A, [rank, in]."""
    up: nn.Parameter
    """B, [out, rank]."""
    scaling: float
    """alpha / rank."""
    dropout: float
    key: MaskKey
    """Seeds the dropout of this member on this projection."""


class Rows:
    """Which member each row of the current batch belongs to; one object for a whole pack.

    `split(members)`: equal blocks of rows, a block a member, in that order (training).
    `share(members)`: every row belongs to all of them (the first step, where B = 0).
    `assign(owners)`: a member, or BASE_ROW, for each row (scoring; no gradient).
    """

    def __init__(self) -> None:
        self.mode: Literal["blocks", "shared", "owners"] = "shared"
        self.members: tuple[int, ...] = ()
        self.step = 0
        self.first_row = 0
        self.height = 1
        self.runs: list[tuple[int, slice]] = []
        """Owners of neighbouring rows, with the rows, in the mode `owners`."""
        self._owners = torch.empty(0, dtype=torch.long)
        self._foreign: dict[tuple[Any, ...], torch.Tensor] = {}

    def split(
        self, members: Sequence[int], *, height: int = 1, step: int = 0, first_row: int = 0
    ) -> None:
        """`height` rows a member.

        That, `step` and `first_row`, of the step's rows of each member, tell dropout where it is.
        """
        self.mode, self.members, self.height = "blocks", tuple(members), height
        self.step, self.first_row = step, first_row

    def share(self, members: Sequence[int]) -> None:
        self.mode, self.members = "shared", tuple(members)

    def assign(self, owners: Sequence[int]) -> None:
        self.mode, self.members = "owners", tuple(sorted(set(owners) - {BASE_ROW}))
        self._owners = torch.tensor(owners, dtype=torch.long)
        self._foreign = {}
        ends = [*accumulate(len(list(rows)) for _, rows in groupby(owners))]
        starts = [0, *ends[:-1]]
        self.runs = [(owners[a], slice(a, b)) for a, b in zip(starts, ends, strict=True)]

    @property
    def count(self) -> int:
        """Rows of the batch, in the mode `owners`."""
        return len(self._owners)

    def find_foreign(self, columns: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        """[rows, 1, columns]: whether a column, of the member named, is not the row's own."""
        key = (tuple(columns), like.device)
        if key not in self._foreign:
            foreign = self._owners[:, None] != torch.tensor(columns)[None]
            self._foreign[key] = foreign[:, None].to(like.device)
        return self._foreign[key]


class _AddProducts(torch.autograd.Function):
    """out[rows] += low @ up, block by block, in place: autograd would copy all of `out`."""

    @staticmethod
    def forward(
        ctx: Any, out: torch.Tensor, low: torch.Tensor, up: torch.Tensor, rows: slice
    ) -> torch.Tensor:
        ctx.mark_dirty(out)
        ctx.save_for_backward(low, up)
        ctx.rows = rows
        out[rows].view(len(low), -1, out.shape[-1]).baddbmm_(low, up)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        low, up = ctx.saved_tensors
        (gradient,) = gradients
        part = gradient[ctx.rows].reshape(len(low), -1, gradient.shape[-1])
        of_low = torch.bmm(part, up.transpose(1, 2))
        return gradient, of_low, torch.bmm(low.transpose(1, 2), part), None


class PackedProjection(nn.Module):
    """A frozen projection with the adapters of those members that target it."""

    def __init__(self, base: nn.Module, adapters: Mapping[int, LowRank], rows: Rows) -> None:
        super().__init__()
        self.base = base
        self._adapters = dict(adapters)
        self._rows = rows
        self._prepared: dict[
            tuple[tuple[int, ...], torch.dtype],
            tuple[tuple[int, ...], torch.Tensor, torch.Tensor],
        ] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, length, in], or [rows * length, in] -> the same with out."""
        out: torch.Tensor = self.base(x)
        targeted = [member for member in self._rows.members if member in self._adapters]
        if not targeted:
            return out
        if self._rows.mode == "blocks":
            return self._add_blocks(x, out)
        if self._rows.mode == "shared":
            return out + self._multiply_shared(x, targeted)
        return self._add_own(x, out)

    def _add_blocks(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        members = self._rows.members
        height = x.shape[0] // len(members)
        blocks = enumerate(members)
        # Neighbouring members that target this projection are one batched product.
        for is_targeted, run in groupby(blocks, key=lambda item: item[1] in self._adapters):
            if is_targeted:
                numbers, chosen = zip(*run, strict=True)
                rows = slice(numbers[0] * height, (numbers[-1] + 1) * height)
                low, up = self._multiply_blocks(x[rows], [self._adapters[m] for m in chosen])
                out = _AddProducts.apply(out, low, up, rows)  # type: ignore[no-untyped-call]
        return out

    def _multiply_blocks(
        self, x: torch.Tensor, adapters: Sequence[LowRank]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A's product and B: [k * height, ..., in] -> [k, rows, rank] and [k, rank, out].

        Block i is of adapter i; ranks are padded with 0.
        """
        x = self._drop_out(x, adapters)
        rank = max(adapter.down.shape[0] for adapter in adapters)
        down = torch.stack([_pad(a.down, (0, 0, 0, rank - a.down.shape[0])) for a in adapters])
        up = torch.stack([_pad(a.up * a.scaling, (0, rank - a.up.shape[1])) for a in adapters])
        blocks = x.reshape(len(adapters), -1, x.shape[-1])
        low = torch.bmm(blocks, down.to(x.dtype).transpose(1, 2))
        return low, up.to(x.dtype).transpose(1, 2)

    def _drop_out(self, x: torch.Tensor, adapters: Sequence[LowRank]) -> torch.Tensor:
        if not any(adapter.dropout for adapter in adapters) or not self.training:
            return x
        place = self._rows.step, self._rows.first_row
        # Some layers take the tokens of all rows as one list (OPT, shared experts).
        blocks = x.reshape(len(adapters), self._rows.height, -1, x.shape[-1])
        pairs = zip(blocks, adapters, strict=True)
        return torch.stack([drop(block, a.dropout, a.key, *place) for block, a in pairs])

    def _multiply_shared(self, x: torch.Tensor, members: Sequence[int]) -> torch.Tensor:
        """The sum of the members' products, each on every row."""
        adapters = [self._adapters[member] for member in members]
        down = torch.cat([a.down for a in adapters]).to(x.dtype)
        up = torch.cat([a.up * a.scaling for a in adapters], dim=1).to(x.dtype)
        return functional.linear(functional.linear(x, down), up)

    def _add_own(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Add each row's own member's product.

        Of rows of several tokens, a product a member, on its own rows. Of rows of one, which are
        few values, all ranks side by side, those of others set to 0: two products for all members.
        """
        if x.numel() > self._rows.count * x.shape[-1]:
            return self._add_by_runs(x, out)
        columns, down, up = self._put_side_by_side(x, self._rows.members)
        low = functional.linear(x, down)
        foreign = self._rows.find_foreign(columns, low)
        # Not a product: what another member's weights make of this row may be infinite.
        own = low.view(self._rows.count, -1, low.shape[-1]).masked_fill(foreign, 0)
        out.view(-1, out.shape[-1]).addmm_(own.view(-1, low.shape[-1]), up.t())
        return out

    def _add_by_runs(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Add the products of neighbouring rows of one owner at a time, in place."""
        # Some layers take the tokens of all rows as one list.
        inputs = x.reshape(self._rows.count, -1, x.shape[-1])
        outputs = out.view(self._rows.count, -1, out.shape[-1])
        for owner, rows in self._rows.runs:
            if owner not in self._adapters:
                continue
            _, down, up = self._put_side_by_side(x, (owner,))
            low = functional.linear(inputs[rows], down)
            outputs[rows].flatten(0, 1).addmm_(low.flatten(0, 1), up.t())
        return out

    def _put_side_by_side(
        self, x: torch.Tensor, members: tuple[int, ...]
    ) -> tuple[tuple[int, ...], torch.Tensor, torch.Tensor]:
        """(member of each column, A of all, [columns, in], scaled B of all, [out, columns])."""
        key = members, x.dtype
        if key not in self._prepared:
            chosen = [(m, self._adapters[m]) for m in members if m in self._adapters]
            columns = tuple(m for m, a in chosen for _ in range(a.down.shape[0]))
            down = torch.cat([a.down for _, a in chosen]).to(x.dtype)
            up = torch.cat([a.up * a.scaling for _, a in chosen], dim=1).to(x.dtype)
            if not (down.isfinite().all() and up.isfinite().all()):
                # 0 * inf is NaN, in every row.
                raise UserError(
                    f"an adapter's weights are not finite in {x.dtype}; lower train.learning_rate"
                )
            if len(self._prepared) > len(self._adapters):
                # Members leave one by one while texts are written.
                self._prepared.clear()
            self._prepared[key] = columns, down, up
        return self._prepared[key]

    @property
    def is_untouched(self) -> bool:
        """Whether no adapter changes anything: B = 0, and no dropout."""
        adapters = self._adapters.values()
        return not any(adapter.dropout or adapter.up.count_nonzero() for adapter in adapters)

    @property
    def drops_out(self) -> bool:
        return any(adapter.dropout for adapter in self._adapters.values())

    def forget(self) -> None:
        """Let go of what was made of the adapters' weights, which are about to change."""
        self._prepared.clear()


def _pad(weight: torch.Tensor, amount: tuple[int, ...]) -> torch.Tensor:
    return functional.pad(weight, amount) if any(amount) else weight


class Pack:
    """A clone of the base in which several adapted models run at once.

    `members` were attached to clones of the same `base` (`harness.adapters.attach.attach_adapter`);
    `seeds` are for their dropout. The base's own dropout is off: it is frozen, and its masks would
    differ with what else is in the batch. `attention` is the base's own or, by `auto`, the fastest
    that computes the same. Raises ValueError for several members that cannot be packed.
    """

    def __init__(
        self,
        base: nn.Module,
        members: Sequence[Adapted],
        seeds: Sequence[int] | None = None,
        attention: str = "auto",
    ) -> None:
        self.members = tuple(members)
        self.rows = Rows()
        self.is_packed = all(can_be_packed(member, base) for member in members)
        """Whether rows can belong to several members, or to the base. Else there is one member,
        and every row is its."""
        self._projections: list[PackedProjection] = []
        self._is_checkpointing = False
        if self.is_packed:
            self.model: Any = clone_sharing_weights(base)
            self._replace_projections(seeds or [0] * len(members))
        elif len(members) == 1:
            self.model = members[0].get_base_model()
        else:
            raise ValueError("an adapter that cannot be packed has to run alone")
        self._virtual: VirtualTokens | None = None
        if len(members) == 1 and has_virtual_tokens(members[0]):
            self._virtual = VirtualTokens(members[0])
        _turn_dropout_off(self.model)
        if attention == "auto":
            use_blocks(self.model)

    def _replace_projections(self, seeds: Sequence[int]) -> None:
        by_path: dict[str, dict[int, LowRank]] = {}
        for number, (member, seed) in enumerate(zip(self.members, seeds, strict=True)):
            for path, layer in lora_layers(member):
                key = MaskKey(seed, path)
                by_path.setdefault(path, {})[number] = _read_adapter(layer, key)
        for path, adapters in by_path.items():
            projection = PackedProjection(self.model.get_submodule(path), adapters, self.rows)
            self.model.set_submodule(path, projection)
            self._projections.append(projection)

    @property
    def is_untouched(self) -> bool:
        """Whether every member still computes exactly what the base does."""
        return self.is_packed and all(each.is_untouched for each in self._projections)

    @property
    def virtual_tokens(self) -> int:
        """Trained tokens that every row begins with, before its own."""
        return self._virtual.count if self._virtual else 0

    @property
    def boundary(self) -> float:
        """Tokens of a row beyond which it must not share a pass with shorter ones."""
        return find_boundary(self.model.config) - self.virtual_tokens

    @property
    def can_share_beginnings(self) -> bool:
        """Whether the same tokens at the beginning of two rows of a member are the same to it.

        They are not where each row drops values of its own, nor can they be where activations are
        computed twice or a cache holds more than keys and values.
        """
        return (
            self.is_packed
            and not any(each.drops_out for each in self._projections)
            and not self._is_checkpointing
            and make_cache(self.model) is not None
        )

    def start_cache(self, rows: int) -> DynamicCache | None:
        """What the attention of so many rows begins with; None where that is nothing."""
        return self._virtual.start(self.model, rows) if self._virtual else None

    def train(self, *, checkpointing: bool = False) -> None:
        """Put the pack into training mode; `checkpointing` recomputes activations when needed."""
        self._is_checkpointing = checkpointing
        if checkpointing:
            self.model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )
        self._forget()
        self.model.train()
        # The base is frozen. What it does in training alone (layers left out, jitter on a router's
        # input) would differ with what else is in the batch.
        for module in self.model.modules():
            is_base = type(module).__module__.startswith("transformers.")
            if is_base and not (checkpointing and hasattr(module, "gradient_checkpointing")):
                module.training = False

    def eval(self) -> None:
        """Put the pack, and its members, into evaluation mode."""
        self._forget()
        for module in (self.model, *self.members):
            module.eval()

    def _forget(self) -> None:
        for projection in self._projections:
            projection.forget()


def lora_layers(member: Adapted) -> list[tuple[str, LoraLayer]]:
    """(path in the base, layer) of every adapted projection."""
    modules = member.get_base_model().named_modules()
    return [(path, module) for path, module in modules if isinstance(module, LoraLayer)]


def can_be_packed(member: Adapted, base: nn.Module) -> bool:
    """Whether an adapter is low-rank products beside this very base's projections, nothing else."""
    if not isinstance(member, PeftModel) or member.active_peft_config.peft_type != PeftType.LORA:
        return False
    head = getattr(base, "get_output_embeddings", lambda: None)()
    return all(
        isinstance(layer, LoraLinear)
        # Only some positions reach the head, in no order of rows.
        and base.get_submodule(path) is not head
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
        and ".experts." not in path
        and layer.get_base_layer().weight is base.get_submodule(path).weight
        for path, layer in lora_layers(member)
    )


def _read_adapter(layer: LoraLayer, key: MaskKey) -> LowRank:
    (name,) = layer.active_adapters
    dropout = layer.lora_dropout[name]
    return LowRank(
        down=layer.lora_A[name].weight,
        up=layer.lora_B[name].weight,
        scaling=layer.scaling[name],
        dropout=dropout.p if isinstance(dropout, nn.Dropout) else 0.0,
        key=key,
    )


def _turn_dropout_off(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if "lora_" in path or "vera_" in path:
            continue
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        # Others take their share as a plain number, of their own or of the configuration.
        for holder in (module, getattr(module, "config", None)):
            for name, value in vars(holder).items() if holder else ():
                if "drop" in name and isinstance(value, float):
                    setattr(holder, name, 0.0)
