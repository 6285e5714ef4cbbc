"""Models without epochs, which every network is shown beside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from nilearn.connectome import sym_matrix_to_vec
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from fmmtc_bidsapp.learning.learner import (
    Fitted,
    Setup,
    ValidationPath,
    mean_cross_entropy,
)
from fmmtc_bidsapp.learning.prepare import fill_edges, fit_edge_means
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = ["DummyLearner", "FcLogisticLearner", "FittedDummy", "FittedFcLogistic"]

_LARGEST_R = 1 - 1e-6
"""Keeps Fisher's z finite (7.25) where two parcels have the same series."""

_Matrices = NDArray[np.float32]


class _WithoutEpochs(ABC):
    """A learner that is done after one step."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @abstractmethod
    def fit(self, examples: Examples, rows: Ints, epoch: int, seed: int) -> Fitted:
        """Train on the rows."""

    def path(self, examples: Examples, train: Ints, validation: Ints, seed: int) -> ValidationPath:
        """Train once and predict the validation rows."""
        fitted = self.fit(examples, train, 1, seed)
        logits = fitted.logits(examples.cls[validation], examples.fc[validation])
        loss = mean_cross_entropy(logits, examples.y[validation])
        return ValidationPath(logits=logits[None], loss=np.array([loss]))


@dataclass(frozen=True, eq=False)
class FittedDummy:
    """The training prevalence for everyone."""

    intercept: float
    train_loss: Floats

    def logits(self, cls: Floats, fc: _Matrices) -> Floats:
        """(person, hidden), (person, parcel, parcel) -> (person,)."""
        return np.full(len(cls), self.intercept)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Log odds of the training prevalence."""
        return {"intercept": torch.tensor([self.intercept], dtype=torch.float64)}

    def description(self) -> dict[str, Any]:
        """Loss of the training rows."""
        return {"train_loss": self.train_loss.tolist()}


class DummyLearner(_WithoutEpochs):
    """What can be said without looking at the brain."""

    def fit(self, examples: Examples, rows: Ints, epoch: int, seed: int) -> FittedDummy:
        """Count the positives among the rows."""
        intercept = float(logit(examples.y[rows].mean()))
        loss = mean_cross_entropy(np.full(len(rows), intercept), examples.y[rows])
        return FittedDummy(intercept, np.array([loss]))

    def restore(
        self, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]
    ) -> FittedDummy:
        """Rebuild from tensors."""
        return FittedDummy(float(tensors["intercept"]), np.array(description["train_loss"]))


@dataclass(frozen=True, eq=False)
class FittedFcLogistic:
    """A weight for the Fisher z of every edge."""

    weights: Floats
    """(edge,) in the order of `nilearn.connectome.sym_matrix_to_vec`"""
    intercept: float
    edge_mean: _Matrices
    """(parcel, parcel) what a missing edge is filled with"""
    train_loss: Floats

    def logits(self, cls: Floats, fc: _Matrices) -> Floats:
        """(person, hidden), (person, parcel, parcel) -> (person,)."""
        return _fisher_z(fc, self.edge_mean) @ self.weights + self.intercept

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights, intercept and mean edges."""
        return {
            "weights": torch.as_tensor(self.weights),
            "intercept": torch.tensor([self.intercept], dtype=torch.float64),
            "edge_mean": torch.as_tensor(self.edge_mean),
        }

    def description(self) -> dict[str, Any]:
        """Loss of the training rows."""
        return {"train_loss": self.train_loss.tolist()}


class FcLogisticLearner(_WithoutEpochs):
    """Logistic regression on all edges, each standardised, with an L2 penalty of C = 1.

    Edges are divided by the square root of their number, so that the penalty means the same for
    every atlas. The penalised solution lies in the span of the training rows, so it is found there
    (all principal components, at most one per person) and carried back to edges: exact, and fast
    for 90,000 edges.
    """

    def fit(self, examples: Examples, rows: Ints, epoch: int, seed: int) -> FittedFcLogistic:
        """Fit on the rows."""
        edge_mean = fit_edge_means(examples.fc, rows)
        z = _fisher_z(examples.fc[rows], edge_mean)
        mean = z.mean(axis=0)
        # The computed SD of equal values is not always 0: dividing by it would magnify nothing.
        scale = np.where(np.ptp(z, axis=0) > 0, z.std(axis=0), 1.0) * np.sqrt(z.shape[1])
        span = PCA(svd_solver="full").fit((z - mean) / scale)
        model = LogisticRegression(C=1.0, max_iter=1000)
        model.fit(span.transform((z - mean) / scale), examples.y[rows])
        weights = (model.coef_[0] @ span.components_) / scale
        intercept = float(model.intercept_[0] - mean @ weights)
        loss = mean_cross_entropy(z @ weights + intercept, examples.y[rows])
        return FittedFcLogistic(weights, intercept, edge_mean, np.array([loss]))

    def restore(
        self, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]
    ) -> FittedFcLogistic:
        """Rebuild from tensors."""
        return FittedFcLogistic(
            weights=tensors["weights"].numpy(),
            intercept=float(tensors["intercept"]),
            edge_mean=tensors["edge_mean"].numpy(),
            train_loss=np.array(description["train_loss"]),
        )


def _fisher_z(fc: _Matrices, edge_mean: _Matrices) -> Floats:
    """(person, parcel, parcel) -> (person, edge)."""
    edges = sym_matrix_to_vec(fill_edges(fc, edge_mean), discard_diagonal=True).astype(np.float64)
    z: Floats = np.arctanh(np.clip(edges, -_LARGEST_R, _LARGEST_R))
    return z
