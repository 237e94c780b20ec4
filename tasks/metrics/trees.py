"""Donut's tree-edit accuracy of one JSON object, 1 - TED(found, expected) / TED({}, expected).

The measure of https://arxiv.org/abs/2111.15664 (`JSONParseEvaluator.cal_acc` of its code): the
same normalisation and the same costs, by the algorithm of Zhang & Shasha, "Simple fast algorithms
for the editing distance between trees and related problems", SIAM J. Comput. 18(6), 1989. Donut's
zss takes 3 s for two receipts of 60 items; here one row of the table is one step of numpy.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Tree:
    """Nodes in postorder: node i is `labels[i]`, the root comes last."""

    labels: list[str] = field(default_factory=list)
    is_leaf: list[bool] = field(default_factory=list)
    """Whether the node is a value; keys and list items are not, even where nothing is in them."""
    first: list[int] = field(default_factory=list)
    """The leftmost node below a node (or itself): where its subtree starts."""
    level: list[int] = field(default_factory=list)
    """How deep the subtrees nest that start elsewhere than the node's own."""

    @cached_property
    def weights(self) -> Floats:
        """Cost to insert or remove each node: the length of a value, else 1."""
        pairs = zip(self.labels, self.is_leaf, strict=True)
        return np.array([len(label) if leaf else 1 for label, leaf in pairs], dtype=float)

    @cached_property
    def keyroots(self) -> list[int]:
        """The highest node of each `first`: the roots of the forests to compare."""
        return sorted({start: node for node, start in enumerate(self.first)}.values())


@dataclass(frozen=True)
class Columns:
    """Forests of several keyroots side by side, each after a column for the empty forest."""

    nodes: Integers
    """Node of each column; 0, without a meaning, where the forest is empty."""
    before: Integers
    """Column of the forest that is left when the node's whole subtree is taken away."""
    is_empty: Booleans
    is_tree: Booleans
    """Whether the node's subtree is all of the forest."""
    inserted: Floats
    """Cost to insert the forest."""
    number: Floats
    """0 for the columns of the first keyroot, 1 for those of the second, and so on."""


def tree_edit_accuracy(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """Donut's accuracy in [0, 1]. Where nothing is expected (Donut divides by 0 there) it is 1 for
    an empty object and 0 for any other."""
    left, right = build_tree(found), build_tree(expected)
    # Every edit changes the weight by its cost at most, so the distance is at least the difference
    # of the weights; and the empty object is the root alone.
    found_weight, expected_weight = left.weights[:-1].sum(), right.weights[:-1].sum()
    if expected_weight == 0:
        return float(found_weight == 0)
    if found_weight >= 2 * expected_weight:
        return 0.0
    return max(0.0, 1.0 - measure_distance(left, right) / float(expected_weight))


def normalize(value: Any) -> Any:
    """Donut's `normalize_dict`: blank values left out, keys sorted by length and name, every value
    a list of texts or of objects; a list in a list, and an object beside texts, is left out."""
    if not value:
        return {}
    if isinstance(value, dict):
        items = ((key, normalize(value[key])) for key in sorted(value, key=lambda k: (len(k), k)))
        return {key: item if isinstance(item, list) else [item] for key, item in items if item}
    if not isinstance(value, list):
        return [str(value).strip()]
    if all(isinstance(item, dict) for item in value):
        return [item for item in map(normalize, value) if item]
    texts = (str(item).strip() for item in value if type(item) in (str, int, float))
    return [text for text in texts if text]


def build_tree(document: dict[str, Any]) -> Tree:
    """Donut's tree of a document: keys, list items and values are nodes under one root."""
    tree = Tree()
    _add_node(tree, "<root>", normalize(document))
    return tree


def _add_node(tree: Tree, label: str, value: Any) -> int:
    """Append the node after all below it; return its position."""
    children = [_add_child(tree, name, item) for name, item in _list_children(value)]
    position = len(tree.labels)
    tree.labels.append(label)
    tree.is_leaf.append(False)
    tree.first.append(tree.first[children[0]] if children else position)
    levels = [tree.level[child] + (number > 0) for number, child in enumerate(children)]
    tree.level.append(max(levels, default=0))
    return position


def _list_children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    else:
        yield from (("<subtree>", item) for item in value)


def _add_child(tree: Tree, label: str, value: Any) -> int:
    if not isinstance(value, str):
        return _add_node(tree, label, value)
    tree.labels.append(value)
    tree.is_leaf.append(True)
    tree.first.append(len(tree.first))
    tree.level.append(0)
    return len(tree.first) - 1


def measure_distance(left: Tree, right: Tree) -> float:
    """Zhang-Shasha's edit distance of two trees. The costs are symmetric, so the smaller tree gives
    the rows: one row is one step, however long."""
    if len(left.labels) > len(right.labels):
        left, right = right, left
    changes = list_change_costs(left, right)
    distances = np.zeros_like(changes)
    # A forest needs the distances of all that nest in it: levels from the lowest, roots in order.
    groups = [_lay_out(right, level) for level in range(right.level[-1] + 1)]
    for root in left.keyroots:
        for columns in groups:
            _compare_forests(left, root, columns, changes, distances)
    return float(distances[-1, -1])


def list_change_costs(left: Tree, right: Tree) -> Floats:
    """Cost to change each node into each: two values, their Levenshtein distance; a value and a
    key, 1 + the value's length; two keys, 0 or 1."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    rows, row_of = np.unique(np.array(left.labels, dtype=object), return_inverse=True)
    names, column_of = np.unique(np.array(right.labels, dtype=object), return_inverse=True)
    edits = cdist(rows.tolist(), names.tolist(), scorer=Levenshtein.distance, dtype=np.int64)
    edits = edits[np.ix_(row_of, column_of)]
    left_leaf, right_leaf = np.array(left.is_leaf)[:, None], np.array(right.is_leaf)[None, :]
    mixed = 1 + np.where(left_leaf, left.weights[:, None], right.weights[None, :])
    same_kind = np.where(left_leaf, edits, edits != 0)
    return np.where(left_leaf == right_leaf, same_kind, mixed).astype(float)


def _lay_out(tree: Tree, level: int) -> Columns:
    """The forests of every keyroot of one level."""
    nodes: list[int] = []
    before: list[int] = []
    is_empty: list[bool] = []
    number: list[int] = []
    for count, root in enumerate(root for root in tree.keyroots if tree.level[root] == level):
        start, column = tree.first[root], len(nodes)
        inside = range(start, root + 1)
        nodes += [0, *inside]
        before += [column, *(column + tree.first[node] - start for node in inside)]
        is_empty += [True] + [False] * len(inside)
        number += [count] * (len(inside) + 1)
    empty = np.array(is_empty)
    running = np.cumsum(np.where(empty, 0.0, tree.weights[nodes]))
    empty_column = np.maximum.accumulate(np.where(empty, np.arange(len(nodes)), 0))
    return Columns(
        nodes=np.array(nodes),
        before=np.array(before),
        is_empty=empty,
        is_tree=~empty & (np.array(before) == empty_column),
        inserted=running - running[empty_column],
        number=np.array(number, dtype=float),
    )


def _compare_forests(
    left: Tree, root: int, columns: Columns, changes: Floats, distances: Floats
) -> None:
    """Fill in `distances` between the trees on the leftmost paths of `root` and of the columns'
    keyroots. Row x is the forest of the x first nodes below `root`, row 0 the empty one."""
    start = left.first[root]
    trees = columns.nodes[columns.is_tree]
    # A running minimum over all columns starts afresh in each forest where that lies far lower.
    drop = 2 * (left.weights.sum() + columns.inserted.max() + 1)
    lowered = columns.inserted + drop * columns.number
    table = np.empty((root - start + 2, len(columns.nodes)))
    table[0] = columns.inserted
    for row, node in enumerate(range(start, root + 1), start=1):
        above = table[row - 1]
        nested = table[left.first[node] - start][columns.before] + distances[node, columns.nodes]
        if left.first[node] == start:
            changed = np.roll(above, 1) + changes[node, columns.nodes]
            nested = np.where(columns.is_tree, changed, nested)
        best = np.minimum(above + left.weights[node], np.where(columns.is_empty, np.inf, nested))
        # An insertion comes from the column before: min over all earlier ones, at their price.
        table[row] = np.minimum.accumulate(best - lowered) + lowered
        if left.first[node] == start:
            distances[node, trees] = table[row, columns.is_tree]
