import itertools

import pytest

from harness.config.target_sets import ROLES, label_roles, order_roles, parse_target_set
from harness.errors import UserError


@pytest.mark.parametrize(
    ("spelling", "label"),
    [
        ("o_proj", "o_proj"),
        ("o", "o_proj"),
        ("v+q", "q+v"),
        ("v_proj+k+q", "qkv"),
        ("o_proj+qkv", "qkv+o_proj"),
        ("fc2+o", "o_proj+fc2"),
        ("qkv+o_proj+fc1+fc2", "all"),
        ("fc2+fc1+o+v+k+q+q", "all"),
    ],
)
def test_label_depends_on_roles_alone(spelling: str, label: str) -> None:
    assert label_roles(parse_target_set(spelling)) == label


def test_all_63_sets_have_distinct_labels_that_parse_back() -> None:
    subsets = [subset for size in range(1, 7) for subset in itertools.combinations(ROLES, size)]
    labels = {label_roles(subset): subset for subset in subsets}
    assert len(subsets) == len(labels) == 63
    for label, subset in labels.items():
        assert parse_target_set(label) == subset


@pytest.mark.parametrize("bad", ["", "+", "o_proj+", "qkvo", "down_proj", "Q"])
def test_unknown_part_is_named_with_what_is_possible(bad: str) -> None:
    with pytest.raises(UserError, match="o_proj"):
        parse_target_set(bad)


def test_empty_set_is_refused() -> None:
    with pytest.raises(UserError, match="empty"):
        order_roles([])
