"""Memory of a training pass: counted on a few blocks, against what a pass of the whole keeps."""

import pytest
import torch
from tiny_models import load_tiny, tiny_spec

from harness.adapters.attach import attach_adapter
from harness.config.schema import AdapterConfig
from harness.models.loading import load_shallow
from harness.models.projections import map_modules
from harness.sweep.activations import PASSING_SHARE, Activations, count_bytes, guess_activations
from harness.training.packed_model import Pack


def make_pack(model: object, sets: tuple[tuple[str, ...], ...], depth: int) -> Pack:
    mapped = map_modules(load_tiny().model, load_tiny().model.config)
    members = [
        attach_adapter(
            model,  # type: ignore[arg-type]
            [each for each in mapped.select(roles) if each.block < depth],
            AdapterConfig(rank=2),
            seed=0,
        )
        for roles in sets
    ]
    return Pack(model, members)  # type: ignore[arg-type]


def test_what_is_kept_grows_with_the_tokens_and_not_with_the_weights() -> None:
    model = load_tiny().model
    few, many = (count_bytes(make_pack(model, (("o",),), 2), tokens) for tokens in (64, 512))
    assert few == pytest.approx(many, rel=0.1)
    # Less than the weights of the smallest projection, and more than a hidden state a block.
    assert 2 * 64 * 4 < many / PASSING_SHARE < 2 * 64 * 4 * 40


def test_two_depths_foretell_the_third() -> None:
    found = {}
    for depth in (1, 2):
        model = load_shallow(tiny_spec(), depth, torch.device("cpu"))
        found[depth] = count_bytes(make_pack(model, (("o",),), depth), 256)
    assert 0 < found[2] - found[1] < found[1] * 1.5


def test_the_guess_is_not_below_what_is_counted() -> None:
    mapped = map_modules(load_tiny().model, load_tiny().model.config)
    guess = guess_activations(mapped.inside, mapped.block_count, itemsize=4)
    counted = count_bytes(make_pack(load_tiny().model, (("all",),), 2), 512)
    assert counted / 3 < guess.count(2, checkpointing=False, hidden_bytes=0) < counted * 3


def test_members_weights_have_no_gradients_left() -> None:
    pack = make_pack(load_tiny().model, (("o",), ("fc2",)), 2)
    count_bytes(pack, 64)
    assert all(weight.grad is None for member in pack.members for weight in member.parameters())
    assert not pack.model.training


def test_checkpointing_keeps_the_inputs_and_one_block() -> None:
    kept = Activations(block=1000.0, other=10.0)
    assert kept.count(32, checkpointing=True, hidden_bytes=8) == 1000 + 32 * 8 + 10
