"""What some methods do before they train: a look at data, a base of their own, quantization."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, initialize_lora_eva_weights, preprocess_loraga
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.config.schema import AdapterConfig
from harness.data.encoding import EncodedExample
from harness.errors import UserError
from harness.models.loading import clone_sharing_weights
from harness.models.projections import Projection

if TYPE_CHECKING:
    from peft import PeftModel

REWRITING = ("pissa", "olora", "lora_ga", "loftq")
"""Methods that change the base weights that they are put on."""

SAMPLE_ROWS = 4
"""Examples of a batch of a preparation pass."""


def prepare_base(base: nn.Module, projections: Sequence[Projection], method: str) -> Any:
    """Clone a base for a method: its tensors are shared but for what the method will change."""
    if method == "qlora":
        return quantize(base)
    if method not in REWRITING:
        return clone_sharing_weights(base)
    paths = tuple(p.path for p in projections)
    clone = clone_sharing_weights(base, copied=paths)
    for path in paths:
        module = clone.get_submodule(path)
        if isinstance(module, Conv1D):
            # PEFT 0.21 decomposes a Conv1D's weight as if it were not transposed (OLoRA, LoRA-GA).
            clone.set_submodule(path, _to_linear(module))
    return clone


def _to_linear(module: Conv1D) -> nn.Linear:
    linear = nn.Linear(module.nx, module.nf, device="meta")
    linear.weight = nn.Parameter(module.weight.detach().T.contiguous(), requires_grad=False)
    linear.bias = nn.Parameter(module.bias.detach(), requires_grad=False)
    return linear.train(module.training)


def quantize(base: nn.Module) -> Any:
    """Clone a base with its blocks' linear modules in 4-bit NF4, constants quantized too.

    Dettmers et al., 2023, arXiv:2305.14314, through bitsandbytes. A base that was loaded in 4 bits
    is cloned as it is.
    """
    import bitsandbytes

    clone = clone_sharing_weights(base)
    if getattr(base, "is_loaded_in_4bit", False):
        for module in clone.modules():
            if isinstance(module, bitsandbytes.nn.Linear4bit):
                module.support_avx512bf16_for_cpu = False
        return clone
    head = clone.get_output_embeddings()
    for path, module in list(clone.named_modules()):
        if isinstance(module, Conv1D):
            module = _to_linear(module)
        if type(module) is not nn.Linear or module is head:
            continue
        packed = bitsandbytes.nn.Linear4bit(
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            compute_dtype=module.weight.dtype,
            compress_statistics=True,
            quant_type="nf4",
        )
        packed.weight = bitsandbytes.nn.Params4bit(
            module.weight.detach().clone(),
            requires_grad=False,
            compress_statistics=True,
            quant_type="nf4",
            module=packed,
        )
        packed.bias = module.bias
        # On some CPUs bitsandbytes repacks weights once they are only read: for widths of whole
        # blocks alone, with scales rounded, and never back for training.
        packed.support_avx512bf16_for_cpu = False
        clone.set_submodule(path, packed.to(module.weight.device))
    clone.is_loaded_in_4bit = True
    return clone


def cut_sample(
    examples: Sequence[EncodedExample], adapter: AdapterConfig, pad_token_id: int, device: Any
) -> list[dict[str, torch.Tensor]]:
    """Batches of training examples as transformers take them, the loss on completions alone."""
    chosen = examples[: adapter.sample_examples]
    return [
        _batch(chosen[start : start + SAMPLE_ROWS], pad_token_id, device)
        for start in range(0, len(chosen), SAMPLE_ROWS)
    ]


def _batch(rows: Sequence[EncodedExample], pad: int, device: Any) -> dict[str, torch.Tensor]:
    width = max(row.length for row in rows)
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for place, row in enumerate(rows):
        ids[place, : row.length] = torch.tensor(row.prompt_ids + row.completion_ids)
        mask[place, : row.length] = 1
        labels[place, len(row.prompt_ids) : row.length] = torch.tensor(row.completion_ids)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: tensor.to(device) for name, tensor in batch.items()}


def note_gradients(
    base: Any, config: LoraConfig, batches: Sequence[dict[str, torch.Tensor]]
) -> None:
    """LoRA-GA: leave the gradient of the sample's loss at every targeted weight of `base`."""

    def run() -> None:
        for batch in batches:
            base(**batch, use_cache=False).loss.backward()

    preprocess_loraga(base, config, run)


def explain_variance(
    model: "PeftModel", batches: Sequence[dict[str, torch.Tensor]], components: int
) -> None:
    """EVA: point every A along the principal directions of its inputs on the sample.

    `components` is the highest rank that a projection may get. Raises UserError where no batch has
    tokens for so many.
    """
    # Prompts are looked at too, as EVA's authors advise where completions are short.
    inputs = [
        {name: tensor for name, tensor in batch.items() if name != "labels"}
        for batch in batches
        if int(batch["attention_mask"].sum()) > components
    ]
    if not inputs:
        raise UserError(
            f"adapter.rank x adapter.rho is {components}, more than the number of tokens in "
            f"{SAMPLE_ROWS} training examples; lower one of them"
        )
    model.eval()
    initialize_lora_eva_weights(model, _Repeated(inputs), show_progress_bar=False)


class _Repeated:
    """Batches that can be gone through many times; PEFT wants their number too."""

    def __init__(self, batches: list[dict[str, torch.Tensor]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)
