import pytest
import torch

from harness.training.kernels.dropout import MaskKey, drop

KEY = MaskKey(0, "model.layers.0.self_attn.q_proj")


def mask(rows: int = 4, length: int = 50, width: int = 100, **changes: object) -> torch.Tensor:
    place = {"share": 0.3, "key": KEY, "step": 0, "first_row": 0} | changes
    return drop(torch.ones(rows, length, width), **place) != 0  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_drops_the_share_asked_for_and_keeps_the_mean(share: float) -> None:
    values = drop(torch.ones(8, 50, 100), share, KEY, 0, 0)
    count = values.numel()
    error = 4 * (share * (1 - share) / count) ** 0.5
    assert abs((values == 0).double().mean().item() - share) < error
    assert values[values != 0].unique().tolist() == pytest.approx([1 / (1 - share)])


def test_everything_can_be_dropped_and_nothing() -> None:
    x = torch.ones(2, 3, 5)
    assert drop(x, 0.0, KEY, 0, 0) is x
    assert drop(x, 1.0, KEY, 0, 0).abs().sum() == 0


def test_a_row_depends_on_its_place_alone() -> None:
    whole = mask(rows=4, length=50)
    assert torch.equal(mask(rows=2, first_row=2), whole[2:])
    assert torch.equal(mask(rows=4, length=20), whole[:, :20])


@pytest.mark.parametrize(
    "changes",
    [{"key": MaskKey(1, KEY.path)}, {"key": MaskKey(0, "other")}, {"step": 1}, {"first_row": 4}],
)
def test_masks_of_other_places_are_independent(changes: dict[str, object]) -> None:
    first, second = mask().double(), mask(**changes).double()
    correlation = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
    assert abs(correlation.item()) < 4 / first.numel() ** 0.5


def test_rows_and_neighbouring_values_are_independent() -> None:
    values = mask(rows=8).double().flatten(1)
    errors = 4 / values.shape[1] ** 0.5
    across = torch.corrcoef(values) - torch.eye(8)
    assert across.abs().max().item() < 1.5 * errors
    for lag in (1, 2, 64, 100):
        pair = torch.stack([values[:, :-lag].flatten(), values[:, lag:].flatten()])
        assert abs(torch.corrcoef(pair)[0, 1].item()) < errors


def test_a_value_that_is_not_finite_is_dropped_too() -> None:
    assert not drop(torch.full((1, 2, 4), torch.nan), 1.0, KEY, 0, 0).isnan().any()
