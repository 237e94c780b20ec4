"""The fused norm, against the norms of transformers."""

import copy

import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.phi3.modeling_phi3 import Phi3RMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from harness.training.kernels.rms_norm import fuse_norms


def make(kind: type[nn.Module], dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    norm = kind(48, eps=1e-3).to(dtype)
    norm.weight.data.add_(torch.randn(48) / 4)
    return nn.Sequential(norm.requires_grad_(False))


@pytest.mark.parametrize("kind", [LlamaRMSNorm, MistralRMSNorm, Phi3RMSNorm, Qwen2RMSNorm])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2), (torch.float64, 1e-6)]
)
def test_output_and_gradient_are_those_of_the_norm(
    kind: type[nn.Module], dtype: torch.dtype, tolerance: float
) -> None:
    plain = make(kind, dtype)
    fused = copy.deepcopy(plain)
    fuse_norms(fused)
    assert type(fused[0]) is not kind
    x = (torch.randn(5, 7, 48) * 3).to(dtype).requires_grad_()
    upstream = torch.randn(5, 7, 48).to(dtype)
    wanted, found = plain(x), fused(x)
    assert found.dtype == wanted.dtype
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
    (theirs,) = torch.autograd.grad(wanted, x, upstream)
    (ours,) = torch.autograd.grad(found, x, upstream)
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_without_a_gradient_the_norm_itself_runs() -> None:
    plain = make(LlamaRMSNorm, torch.bfloat16)
    fused = copy.deepcopy(plain)
    fuse_norms(fused)
    x = torch.randn(5, 48).bfloat16()
    with torch.no_grad():
        assert torch.equal(fused(x), plain(x))


def test_norms_that_compute_something_else_or_are_trained_stay() -> None:
    other = make(Gemma2RMSNorm, torch.float32)
    trained = make(LlamaRMSNorm, torch.float32).requires_grad_(True)
    for model in (other, trained, nn.Sequential(nn.LayerNorm(4), nn.Linear(2, 2))):
        before = [type(module) for module in model]
        fuse_norms(model)
        assert [type(module) for module in model] == before
