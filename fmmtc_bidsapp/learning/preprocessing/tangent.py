"""Connectomes in the tangent space of the training mean."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from nilearn.connectome import sym_matrix_to_vec
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, eigh

from fmmtc_bidsapp.modalities.preparation import fill_edges, fit_edge_means
from fmmtc_bidsapp.models.declared import Declared, flags, floats
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = ["REFERENCE", "fit_reference", "geometric_mean", "tangent_edges"]

REFERENCE: Mapping[str, Declared] = {
    "edge_mean": floats("parcel", "parcel"),
    "known": flags("parcel", "parcel"),
    "whitening": floats("parcel", "parcel"),
}
"""What `fit_reference` returns."""

_SHRINKAGE = 0.1
"""Towards the identity: correlations of fewer volumes than parcels have no logarithm as they are,
and merged or filled ones may not even be positive."""

_TOLERANCE = 1e-7
"""Norm of the gradient, relative to the number of its elements, at which the mean is found."""
_MOST_ROUNDS = 30
_ROUNDING = 1e-6
"""Of matrices in single precision."""
_DAMPING = 0.7
"""Length of a step along the gradient: the curvature is 1 or more, and rarely above 2."""
_REMEMBERED = 3
"""Rounds that a step is composed of."""


def fit_reference(examples: Examples, rows: Ints) -> dict[str, NDArray[Any]]:
    """Learn the geometric mean of the training connectomes (doi:10.1007/978-3-642-15705-9_25).

    Returns (parcel, parcel) arrays: ``edge_mean`` for missing edges, ``known`` edges of any
    training row, and ``whitening``, the inverse square root of the geometric mean.
    """
    edge_mean, known = fit_edge_means(examples.fc, rows)
    learnt: dict[str, NDArray[Any]] = {"edge_mean": edge_mean, "known": known}
    mean = geometric_mean([_positive(examples.fc[row], learnt) for row in rows])
    # In the layout it is read back in: the order of additions is part of the last digit.
    whitening = np.ascontiguousarray(_map(lambda values: values**-0.5, mean))
    return learnt | {"whitening": whitening}


def geometric_mean(matrices: Sequence[Floats]) -> Floats:
    """Return the (parcel, parcel) mean by the affine-invariant distance of positive matrices.

    The problem, gradient and tolerance are nilearn 0.14's (Fletcher & Joshi 2007,
    doi:10.1016/j.sigpro.2005.12.018, Algorithm 3), whose steps of length 1 overshoot: on
    connectomes of 424 parcels they take 17 rounds. These take 4, from the log-Euclidean mean on
    and with Anderson's acceleration (Walker & Ni 2011, doi:10.1137/10078356X). The mean is kept
    as a factor, in whose frame transport along the last step is the identity, so gradients of
    different rounds can be subtracted.
    """
    start = _mean_log(matrices)
    # The mean is the inverse of inverse_factor.T @ inverse_factor.
    inverse_factor = _map(lambda values: np.exp(-values / 2), start)
    steps: list[Floats] = []
    gradients: list[Floats] = []
    for _ in range(_MOST_ROUNDS):
        gradient = _mean_log(inverse_factor @ each @ inverse_factor.T for each in matrices)
        gradients = [*gradients, gradient][-_REMEMBERED - 1 :]
        step = _next_step(steps, gradients)
        steps = [*steps, step][-_REMEMBERED:]
        inverse_factor = _map(lambda values: np.exp(-values / 2), step) @ inverse_factor
        if np.linalg.norm(gradient) < _TOLERANCE * gradient.size:
            break
    else:
        warnings.warn(
            f"The geometric mean of {len(matrices)} connectomes did not converge in "
            f"{_MOST_ROUNDS} iterations; the tangent space is that of the last one.",
            stacklevel=2,
        )
    factor = np.linalg.inv(inverse_factor)
    mean: Floats = factor @ factor.T
    return mean


def _next_step(steps: Sequence[Floats], gradients: Sequence[Floats]) -> Floats:
    """Combine earlier steps to minimise the remaining gradient, and step along it."""
    own = gradients[-1]
    if not steps:
        return _DAMPING * own
    changes = [before - after for before, after in pairwise(gradients)]
    design = np.stack([each.ravel() for each in changes], axis=1)
    weights = np.linalg.lstsq(design, own.ravel(), rcond=None)[0]
    known = sum(weight * each for weight, each in zip(weights, steps, strict=True))
    left = own - sum(weight * each for weight, each in zip(weights, changes, strict=True))
    step: Floats = known + _DAMPING * left
    return step


def tangent_edges(people: Examples, learnt: Mapping[str, NDArray[Any]]) -> Floats:
    """Return the connectomes' displacements from the reference, (person, edge).

    With the diagonal; off-diagonal values carry the square root of 2, so that distances between
    vectors are those between matrices.
    """
    whitening = learnt["whitening"]
    displaced = [
        sym_matrix_to_vec(_map(np.log, whitening @ _positive(fc, learnt) @ whitening))
        for fc in people.fc
    ]
    return np.array(displaced)


def _positive(fc: NDArray[np.float32], learnt: Mapping[str, NDArray[Any]]) -> Floats:
    """Fill and shrink one (parcel, parcel) matrix; edges unknown in training take the mean."""
    filled = fill_edges(fc, learnt["edge_mean"], learnt["known"]).astype(np.float64)
    if not _has_negative(filled):
        return (1 - _SHRINKAGE) * filled + _SHRINKAGE * np.eye(len(filled))
    positive = _map(lambda values: (1 - _SHRINKAGE) * np.maximum(values, 0) + _SHRINKAGE, filled)
    return (positive + positive.T) / 2


def _has_negative(symmetric: Floats) -> bool:
    """Whether an eigenvalue is below 0 by more than rounding, in a tenth of the time of all."""
    try:
        cholesky(symmetric + _ROUNDING * np.eye(len(symmetric)), check_finite=False)
    except LinAlgError:
        return True
    return False


def _map(function: Callable[[Floats], Floats], symmetric: Floats) -> Floats:
    """Apply a function to the eigenvalues of a symmetric matrix."""
    values, vectors = eigh(symmetric, check_finite=False)
    mapped: Floats = (vectors * function(values)) @ vectors.T
    return mapped


def _mean_log(matrices: Iterable[Floats]) -> Floats:
    """Average the logarithms of positive matrices, one at a time."""
    logs = (_map(np.log, each) for each in matrices)
    total = next(logs)
    count = 1
    for each in logs:
        total += each
        count += 1
    return total / count
