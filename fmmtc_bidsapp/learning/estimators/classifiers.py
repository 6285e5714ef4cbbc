"""Classifiers of feature vectors, each with its log odds.

Outputs are roughly on the scale of log odds; calibration then turns them into probabilities.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import xgboost
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import SVC

from fmmtc_bidsapp.errors import ModelFileError
from fmmtc_bidsapp.learning.estimators.trees import (
    DECLARED_TREES,
    Trees,
    restore_trees,
    trees_of_xgboost,
)
from fmmtc_bidsapp.models.declared import Declared, floats, wholes
from fmmtc_bidsapp.records import Floats, Ints

__all__ = ["HEADS", "FittedHead", "Head", "Weights"]

Arrays = Mapping[str, NDArray[Any]]

_NEIGHBOURS = 5
_TREES = {"max_depth": 3, "eta": 0.1, "objective": "binary:logistic", "nthread": 1}
_N_TREES = 50
_SCREENED = 256
"""Columns that trees are grown on: 90,000 would take 10 s a fit, and hours with shuffled outcomes.
The width of the encoder's output, so that it is screened only where it is wider."""
_SCREENED_AT_ONCE = 50
"""Rows of outcomes: of 90,000 columns 36 MB."""


class FittedHead(Protocol):
    """A trained classifier."""

    def logits(self, columns: Floats) -> Floats:
        """(person, column) -> (person,)."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learnt, by name."""


class Head(ABC):
    """A classifier that can be trained."""

    rotates: ClassVar[bool] = True
    """Whether it knows distances and inner products alone, so that a rotation changes nothing."""
    is_linear: ClassVar[bool] = False
    """Whether its output is a weighted sum of the columns."""
    declared: ClassVar[Mapping[str, Declared]]
    """What `FittedHead.arrays` holds."""

    @abstractmethod
    def fit(self, columns: Floats, y: Ints, seed: int) -> FittedHead:
        """Train on (person, column) and (person,) outcomes."""

    @abstractmethod
    def restore(self, arrays: Arrays) -> FittedHead:
        """Rebuild from `FittedHead.arrays`."""

    def many(self, columns: Floats, labels: Ints, others: Floats, seed: int) -> Floats:
        """Train once a row of (permutation, person) outcomes, -> (permutation, other person)."""
        return np.array([self.fit(columns, y, seed).logits(others) for y in labels])


@dataclass(frozen=True, eq=False)
class Weights:
    """A weighted sum of the columns."""

    weights: Floats
    """(column,)"""
    intercept: float

    def logits(self, columns: Floats) -> Floats:
        """(person, column) -> (person,)."""
        return columns @ self.weights + self.intercept

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights and intercept."""
        return {"weights": self.weights, "intercept": np.array([self.intercept])}


class _Linear(Head):
    is_linear: ClassVar[bool] = True
    declared: ClassVar = {"weights": floats("feature"), "intercept": floats(1)}

    def restore(self, arrays: Arrays) -> Weights:
        """Rebuild from arrays."""
        return Weights(arrays["weights"], float(arrays["intercept"][0]))


class LogisticHead(_Linear):
    """Logistic regression with an L2 penalty of C = 1."""

    def fit(self, columns: Floats, y: Ints, seed: int) -> Weights:
        """Train; the decision values are log odds."""
        model = LogisticRegression(C=1.0, max_iter=1000).fit(columns, y)
        return Weights(np.ascontiguousarray(model.coef_[0]), float(model.intercept_[0]))


class SvmHead(_Linear):
    """Linear support vector machine with C = 1."""

    def fit(self, columns: Floats, y: Ints, seed: int) -> Weights:
        """Train; the margin is used as log odds, as in Platt's calibration."""
        model = SVC(C=1.0, kernel="linear").fit(columns, y)
        return Weights(np.ascontiguousarray(model.coef_[0]), float(model.intercept_[0]))


class RidgeHead(_Linear):
    """Ridge regression of -1 and 1 with a penalty of 1."""

    def fit(self, columns: Floats, y: Ints, seed: int) -> Weights:
        """Train; the prediction is 2 p - 1, so twice of it is the log odds to first order."""
        model = Ridge(alpha=1.0).fit(columns, 2.0 * y - 1)
        return Weights(2 * model.coef_, 2 * float(model.intercept_))

    def many(self, columns: Floats, labels: Ints, others: Floats, seed: int) -> Floats:
        """Solve for all outcomes at once."""
        model = Ridge(alpha=1.0).fit(columns, 2.0 * labels.T - 1)
        logits: Floats = 2 * model.predict(others).T
        return logits.reshape(len(labels), -1)


@dataclass(frozen=True, eq=False)
class _Neighbours:
    """Training people with their outcomes."""

    columns: Floats
    y: Ints

    def logits(self, columns: Floats) -> Floats:
        """(person, column) -> (person,)."""
        return _log_odds(self.y[_nearest(self.columns, columns)])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Both."""
        return {"columns": self.columns, "y": self.y}


def _nearest(columns: Floats, others: Floats) -> Ints:
    """(other person, neighbour) rows of the nearest training people."""
    count = min(_NEIGHBOURS, len(columns))
    found: Ints = NearestNeighbors(n_neighbors=count).fit(columns).kneighbors(others)[1]
    return found


def _log_odds(outcomes: Ints) -> Floats:
    """(..., neighbour) -> (...,), one invented neighbour of either outcome keeping it finite."""
    odds: Floats = logit((outcomes.sum(axis=-1) + 1) / (outcomes.shape[-1] + 2))
    return odds


class NeighboursHead(Head):
    """The five nearest training people."""

    declared: ClassVar = {"columns": floats("person", "feature"), "y": wholes("person")}

    def fit(self, columns: Floats, y: Ints, seed: int) -> _Neighbours:
        """Remember everyone."""
        return _Neighbours(columns, y)

    def restore(self, arrays: Arrays) -> _Neighbours:
        """Rebuild from arrays."""
        if not len(arrays["y"]) or not np.isin(arrays["y"], (0, 1)).all():
            raise ModelFileError("The model's y holds outcomes other than 0 and 1. Train it again.")
        return _Neighbours(arrays["columns"], arrays["y"])

    def many(self, columns: Floats, labels: Ints, others: Floats, seed: int) -> Floats:
        """Look for the neighbours once."""
        return _log_odds(labels[:, _nearest(columns, others)])


@dataclass(frozen=True, eq=False)
class _ScreenedTrees:
    """Boosted trees on screened columns."""

    kept: Ints
    """(screened column,)"""
    trees: Trees

    def logits(self, columns: Floats) -> Floats:
        """(person, column) -> (person,)."""
        if self.kept[-1] >= columns.shape[1]:
            raise ModelFileError(
                f"The model needs column {self.kept[-1]} of {columns.shape[1]} columns. "
                "Train it again."
            )
        return self.trees.logits(columns[:, self.kept])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Screened columns, and the trees."""
        return {"kept": self.kept, **self.trees.arrays()}


class TreesHead(Head):
    """Fifty boosted trees of depth 3 on the 256 columns with the largest F among training rows."""

    rotates: ClassVar[bool] = False
    declared: ClassVar = {"kept": wholes("kept"), **DECLARED_TREES}

    def fit(self, columns: Floats, y: Ints, seed: int) -> _ScreenedTrees:
        """Screen and train; the trees add up log odds."""
        return self._grow(columns, y, _screen(columns, y[None])[0], seed)

    def many(self, columns: Floats, labels: Ints, others: Floats, seed: int) -> Floats:
        """Screen for a block of outcomes at once."""
        blocks = np.array_split(labels, max(1, -(-len(labels) // _SCREENED_AT_ONCE)))
        logits = [
            self._grow(columns, y, kept, seed).logits(others)
            for block in blocks
            for y, kept in zip(block, _screen(columns, block), strict=True)
        ]
        return np.array(logits).reshape(len(labels), len(others))

    def _grow(self, columns: Floats, y: Ints, kept: Ints, seed: int) -> _ScreenedTrees:
        seen = xgboost.DMatrix(columns[:, kept], label=y, nthread=1)
        options = _TREES | {"seed": seed % 2**31}
        booster = xgboost.train(options, seen, num_boost_round=_N_TREES)
        return _ScreenedTrees(kept, trees_of_xgboost(booster))

    def restore(self, arrays: Arrays) -> _ScreenedTrees:
        """Rebuild from arrays."""
        kept = arrays["kept"]
        if not len(kept) or kept[0] < 0 or (np.diff(kept) < 1).any():
            raise ModelFileError("The model's kept columns do not rise from 0. Train it again.")
        return _ScreenedTrees(kept, restore_trees(arrays, len(kept)))


def _screen(columns: Floats, labels: Ints) -> Ints:
    """Return the columns with the largest F for each row of outcomes, (permutation, kept).

    F grows with the share of a column's variance between the groups, a product of matrices for
    all outcomes together, where scikit-learn's ``f_classif`` passes over the columns for each.
    """
    n_kept = min(_SCREENED, columns.shape[1])
    if n_kept == columns.shape[1]:
        return np.tile(np.arange(n_kept), (len(labels), 1))
    centred = columns - columns.mean(axis=0)
    total = (centred**2).sum(axis=0)
    # A constant column has no F; it is chosen last.
    weight = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
    share = np.where(total > 0, (labels @ centred) ** 2 * weight, -1.0)
    return np.sort(np.argpartition(-share, n_kept - 1, axis=1)[:, :n_kept], axis=1)


HEADS: Mapping[str, Head] = {
    "svm": SvmHead(),
    "ridge": RidgeHead(),
    "knn": NeighboursHead(),
    "xgboost": TreesHead(),
    "logistic": LogisticHead(),
}
"""Classifiers by the name of their flag; the first four are those of the paper's Fig. 2a."""
