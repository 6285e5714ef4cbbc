"""Connectomes in the tangent space of their mean over the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from nilearn.connectome import ConnectivityMeasure, sym_matrix_to_vec
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from fmmtc_bidsapp.learning.prepare import fill_edges, fit_edge_means
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = ["fit_reference", "tangent_edges"]

_SHRINKAGE = 0.1
"""Towards the identity: correlations of fewer volumes than parcels have no logarithm as they are,
and merged or filled ones may not even be positive."""


class _Given(BaseEstimator):  # type: ignore[misc]
    """Lets nilearn, which estimates covariances from series, take them as they are."""

    def fit(self, X: Floats, y: None = None) -> _Given:
        """Keep the matrix."""
        self.covariance_ = X
        return self


def fit_reference(examples: Examples, rows: Ints) -> dict[str, NDArray[Any]]:
    """Learn the mean of the training connectomes on the manifold of positive matrices.

    Parameters
    ----------
    examples : Examples
        The cohort.
    rows : array of int
        Training rows.

    Returns
    -------
    dict
        ``edge_mean`` (parcel, parcel) for missing edges, ``known`` (parcel, parcel) edges that any
        training row has, ``whitening`` (parcel, parcel) inverse square root of the geometric mean.

    References
    ----------
    Varoquaux et al. (2010), doi:10.1007/978-3-642-15705-9_25; the mean is nilearn's.
    """
    known = np.zeros(examples.fc.shape[1:], dtype=bool)
    for row in rows:
        known |= ~np.isnan(examples.fc[row])
    learnt = {"edge_mean": fit_edge_means(examples.fc, rows), "known": known}
    measure = ConnectivityMeasure(cov_estimator=_Given(), kind="tangent", standardize=False)
    measure.fit([_positive(examples.fc[row], learnt) for row in rows])
    # In the layout it is read back in: the order of additions is part of the last digit.
    return learnt | {"whitening": np.ascontiguousarray(measure.whitening_)}


def tangent_edges(people: Examples, learnt: Mapping[str, NDArray[Any]]) -> Floats:
    """Express connectomes as displacements from the reference, -> (person, edge).

    The diagonal is part of it; off-diagonal values carry the square root of 2, so that distances
    between vectors are those between matrices.
    """
    whitening = learnt["whitening"]
    displaced = []
    for fc in people.fc:
        values, vectors = np.linalg.eigh(whitening @ _positive(fc, learnt) @ whitening)
        displaced.append(sym_matrix_to_vec((vectors * np.log(values)) @ vectors.T))
    return np.array(displaced)


def _positive(fc: NDArray[np.float32], learnt: Mapping[str, NDArray[Any]]) -> Floats:
    """Fill and shrink one matrix; an edge that no training row has is nobody's."""
    seen = np.where(learnt["known"], fc, np.nan)
    filled = fill_edges(seen, learnt["edge_mean"]).astype(np.float64)
    values, vectors = np.linalg.eigh(filled)
    shrunk = (1 - _SHRINKAGE) * np.maximum(values, 0) + _SHRINKAGE
    positive: Floats = (vectors * shrunk) @ vectors.T
    return (positive + positive.T) / 2
