import itertools

import pytest

from harness.config.target_sets import (
    EMBEDDINGS,
    ROLES,
    TargetSet,
    order_roles,
    parse_layers,
    parse_target_set,
    resolve_layers,
)
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
        ("attn+mlp", "qkv+o_proj+fc1+fc2"),
        ("fc2+fc1+o+v+k+q+q", "qkv+o_proj+fc1+fc2"),
        ("gate_proj", "fc1"),
        ("up_proj+DOWN_PROJ", "fc1+fc2"),
        ("out_proj", "o_proj"),
        ("All-Linear", "all"),
        ("all+o_proj", "all"),
        ("lm_head+all", "all+unembed"),
        ("mixer+q+k+v+o+fc1+fc2", "all"),
        ("kv", "k+v"),
        ("Q", "q"),
        ("o_proj@first:8", "o_proj@0-7"),
        ("down_proj@3", "fc2@3"),
        ("all@every:1", "all"),
    ],
)
def test_label_depends_on_roles_and_layers_alone(spelling: str, label: str) -> None:
    assert parse_target_set(spelling).label == label
    assert parse_target_set(label).label == label


def test_sets_have_distinct_labels_that_parse_back() -> None:
    roles = (*ROLES, *EMBEDDINGS)
    subsets = [each for size in range(1, 8) for each in itertools.combinations(roles, size)]
    targets = [TargetSet(each, layers) for each in subsets for layers in ("all", "0-3.9", "last4")]
    labels = {target.label: target for target in targets}
    assert len(labels) == len(targets)
    assert all(parse_target_set(label) == target for label, target in labels.items())


@pytest.mark.parametrize("bad", ["", "+", "o_proj+", "qkvo", "banana", "o_proj+down"])
def test_unknown_part_is_named_with_what_is_possible(bad: str) -> None:
    with pytest.raises(UserError, match="o_proj"):
        parse_target_set(bad)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("dwn_proj", "down_proj"), ("o_prj", "o_proj"), ("qvk", "qkv"), ("ALL-LINER", "all-linear")],
)
def test_a_typo_is_told_what_was_meant(typed: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"did you mean '{meant}'"):
        parse_target_set(typed)


@pytest.mark.parametrize(
    ("spelled", "one", "blocks"),
    [
        ("all", "all", range(12)),
        ("first:3", "0-2", [0, 1, 2]),
        ("0-2", "0-2", [0, 1, 2]),
        ("last:2", "last2", [10, 11]),
        ("Every:5", "every5", [0, 5, 10]),
        (7, "7", [7]),
        ("7,1-2,2-3", "1-3.7", [1, 2, 3, 7]),
        ("[0, 1, 2]", "0-2", [0, 1, 2]),
        ("first:12", "0-11", range(12)),
    ],
)
def test_layers_have_one_spelling(spelled: object, one: str, blocks: list[int]) -> None:
    assert parse_layers(spelled) == parse_layers(one) == one
    assert resolve_layers(one, 12) == set(blocks)


@pytest.mark.parametrize(
    "bad",
    ["", "first:0", "last", "every:0", "7-3", "-1", "0-", "half", "1-2-3", "last:2.4", "1x"]
    # Counted out, they would fill the memory.
    + ["0-99999999999", "first:99999999999", "99999999999", "last:99999999999"],
)
def test_bad_layers_are_one_line_with_the_value(bad: str) -> None:
    with pytest.raises(UserError, match=r"^layers is ") as caught:
        parse_layers(bad)
    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize("beyond", ["12", "first:13", "last:13", "3-12"])
def test_layers_that_a_model_has_not_are_refused(beyond: str) -> None:
    with pytest.raises(UserError, match="has 12 blocks, 0 to 11"):
        resolve_layers(parse_layers(beyond), 12)


def test_empty_set_is_refused() -> None:
    with pytest.raises(UserError, match="empty"):
        order_roles([])
