"""Boosted trees as plain arrays, checked when read and evaluated in numpy.

xgboost reads its own file format without checks: a crafted one writes outside its memory. Its
library therefore only grows the trees.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray
from scipy.special import logit

from fmmtc_bidsapp.errors import ModelFileError
from fmmtc_bidsapp.models.declared import Declared, floats, wholes
from fmmtc_bidsapp.records import Floats

__all__ = ["DECLARED_TREES", "Trees", "restore_trees", "trees_of_xgboost"]

_LEAF = -1

DECLARED_TREES: Mapping[str, Declared] = {
    "start": wholes("tree"),
    **{name: wholes("node") for name in ("feature", "left", "right")},
    "value": floats("node"),
    "base": floats(1),
}
"""What `Trees.arrays` holds."""


@dataclass(frozen=True, eq=False)
class Trees:
    """Trees whose leaves add up to log odds; a node's children stand behind it."""

    start: NDArray[np.int64]
    """(tree,) the first node of each, its root"""
    feature: NDArray[np.int64]
    """(node,) column that a node looks at; -1 of a leaf"""
    left: NDArray[np.int64]
    """(node,) where people go whose value lies below the node's; -1 of a leaf"""
    right: NDArray[np.int64]
    """(node,) where the others go"""
    value: NDArray[np.float32]
    """(node,) threshold, or what a leaf adds"""
    base: NDArray[np.float32]
    """(1,) log odds before the first tree"""

    def logits(self, columns: Floats) -> Floats:
        """Sum the leaves of each person, (person, column) without NaN -> (person,).

        In single precision, as xgboost does.
        """
        seen = columns.astype(np.float32)
        person = np.arange(len(seen))
        total = np.full(len(seen), self.base[0], dtype=np.float32)
        for root in self.start:
            node = np.full(len(seen), root)
            while (inner := self.feature[node] != _LEAF).any():
                below = seen[person, self.feature[node]] < self.value[node]
                node = np.where(inner, np.where(below, self.left[node], self.right[node]), node)
            total += self.value[node]
        return total.astype(np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def trees_of_xgboost(booster: xgboost.Booster) -> Trees:
    """Convert a booster of ``binary:logistic``, without categories and missing values."""
    stored = json.loads(bytes(booster.save_raw("json")))["learner"]
    nodes = [_nodes(each) for each in stored["gradient_booster"]["model"]["trees"]]
    start = np.cumsum([0, *map(len, nodes)])[:-1]
    moved = [
        (feature, *(child + begin if child != _LEAF else _LEAF for child in (left, right)), value)
        for begin, own in zip(start, nodes, strict=True)
        for feature, left, right, value in own
    ]
    feature, left, right, value = zip(*moved, strict=True)
    # A list of one probability since xgboost 3, a number before.
    probability = np.ravel(json.loads(stored["learner_model_param"]["base_score"]))[0]
    return Trees(
        start.astype(np.int64),
        np.array(feature, dtype=np.int64),
        np.array(left, dtype=np.int64),
        np.array(right, dtype=np.int64),
        value=np.array(value, dtype=np.float32),
        base=np.array([logit(probability)], dtype=np.float32),
    )


_Node = tuple[int, int, int, float]


def _nodes(tree: Mapping[str, Any]) -> list[_Node]:
    """Return the reachable nodes of one tree, each before its children."""
    left, right = tree["left_children"], tree["right_children"]
    reached = [0]
    for node in reached:
        if left[node] != _LEAF:
            reached += [left[node], right[node]]
    place = {node: i for i, node in enumerate(reached)}
    return [
        (
            tree["split_indices"][node] if left[node] != _LEAF else _LEAF,
            place.get(left[node], _LEAF),
            place.get(right[node], _LEAF),
            tree["split_conditions"][node],
        )
        for node in reached
    ]


def restore_trees(arrays: Mapping[str, NDArray[Any]], n_columns: int) -> Trees:
    """Rebuild trees on `n_columns` columns from `Trees.arrays`, checking all of it.

    ModelFileError if a walk would not end at a leaf, or leave the columns.
    """
    trees = Trees(**{each.name: arrays[each.name] for each in fields(Trees)})
    problem = _problem(trees, n_columns)
    if problem:
        raise ModelFileError(f"The trees of the model are damaged: {problem}. Train it again.")
    return trees


def _problem(trees: Trees, n_columns: int) -> str:
    n_nodes = len(trees.feature)
    start = trees.start
    if not len(start) or start[0] != 0 or (np.diff(start) < 1).any() or start[-1] >= n_nodes:
        return f"start does not divide {n_nodes} nodes into trees"
    end = np.append(start[1:], n_nodes)[np.searchsorted(start, np.arange(n_nodes), "right") - 1]
    leaf = trees.feature == _LEAF
    if ((trees.feature < 0) & ~leaf).any() or (trees.feature >= n_columns).any():
        return f"a feature is not one of the {n_columns} kept columns"
    for name in ("left", "right"):
        child = getattr(trees, name)
        if (child[leaf] != _LEAF).any():
            return f"a leaf has a child ({name})"
        if (child[~leaf] <= np.flatnonzero(~leaf)).any() or (child[~leaf] >= end[~leaf]).any():
            return f"a child ({name}) does not follow its parent in the same tree"
    children = np.concatenate([trees.left[~leaf], trees.right[~leaf]])
    if not np.array_equal(np.sort(np.concatenate([start, children])), np.arange(n_nodes)):
        return f"start, left and right do not reach each of {n_nodes} nodes once"
    return ""
