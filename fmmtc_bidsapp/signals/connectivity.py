"""Functional connectivity of parcel series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nilearn.connectome import ConnectivityMeasure
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from fmmtc_bidsapp import stats
from fmmtc_bidsapp.errors import InputError

__all__ = ["COEFFICIENTS", "combine", "connect", "fisher_z"]

Floats = NDArray[np.float64]

COEFFICIENTS = ("correlation", "partial-correlation")
"""Measures that lie within -1 and 1, so that Fisher's z applies."""

MIN_VOLUMES = 3

# A series whose SD is below this share of its level is constant but for rounding.
SMALLEST_RELATIVE_SD = 1e-12

# The inverse of the plain covariance does not exist with fewer volumes than parcels, and is noise
# with a few more; what is not inverted needs no shrinking.
_ESTIMATORS: dict[str, Any] = {
    "correlation": EmpiricalCovariance(store_precision=False),
    "partial-correlation": LedoitWolf(store_precision=False),
    "covariance": EmpiricalCovariance(store_precision=False),
    "precision": LedoitWolf(store_precision=False),
}


def connect(signal: Floats, measure: str) -> Floats:
    """Relate every parcel series to every other one.

    Partial correlation and precision invert the Ledoit-Wolf shrunk covariance (nilearn's default)
    of the series at unit variance, at any number of volumes. The shrinkage therefore does not
    depend on the scale of the parcels: it draws correlations towards 0 and keeps variances.

    Parameters
    ----------
    signal
        (time, parcel) retained volumes; a parcel that has a NaN or never varies takes no part.
    measure
        ``correlation``, ``partial-correlation``, ``covariance`` (with the number of volumes in the
        denominator) or ``precision`` (in the units of the covariance's inverse).

    Returns
    -------
    numpy.ndarray
        (parcel, parcel) symmetric, the diagonal of coefficients 1; rows and columns of parcels
        that take no part are NaN.

    Raises
    ------
    InputError
        Fewer than three volumes, where every correlation is 1 or -1.

    References
    ----------
    Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4; Varoquaux & Craddock 2013,
    doi:10.1016/j.neuroimage.2013.04.007.
    """
    if len(signal) < MIN_VOLUMES:
        raise InputError(
            f"A series of {len(signal)} volumes cannot be correlated; {MIN_VOLUMES} or more are "
            "needed. Exclude this run."
        )
    n_parcels = signal.shape[1]
    matrix = np.full((n_parcels, n_parcels), np.nan)
    (valid,) = np.nonzero(_varies(signal))
    if len(valid):
        matrix[np.ix_(valid, valid)] = _relate(signal[:, valid], measure)
    return matrix


def _varies(signal: Floats) -> NDArray[np.bool_]:
    sd, level = signal.std(axis=0), np.abs(signal).max(axis=0)
    # NaN compares False, so parcels without data are left out here as well.
    return np.asarray(sd > SMALLEST_RELATIVE_SD * level)


def _relate(signal: Floats, measure: str) -> Floats:
    sd = signal.std(axis=0)
    kind = ConnectivityMeasure(
        cov_estimator=_ESTIMATORS[measure], kind=measure.replace("-", " "), standardize=False
    )
    (found,) = kind.fit_transform([(signal - signal.mean(axis=0)) / sd])
    # Rounding leaves the last bits uneven and a hair beyond 1.
    even = np.asarray((found + found.T) / 2, dtype=np.float64)
    if measure in COEFFICIENTS:
        return np.clip(even, -1, 1)
    return even * np.outer(sd, sd) if measure == "covariance" else even / np.outer(sd, sd)


def fisher_z(matrix: Floats) -> Floats:
    """Return Fisher's z of (parcel, parcel) coefficients, NaN on the diagonal."""
    z = stats.fisher_z(matrix)
    np.fill_diagonal(z, np.nan)
    return z


def combine(matrices: Sequence[Floats], weights: Sequence[float], measure: str) -> Floats:
    """Return the mean of (parcel, parcel) matrices, weighted by their retained volumes.

    Coefficients are averaged as Fisher's z, which ``matrices`` must not hold. An edge is averaged
    over the runs that have it, NaN without any. InputError for no or unequal matrices and weights
    of 0.
    """
    shapes = sorted({matrix.shape for matrix in matrices})
    if len(shapes) != 1:
        raise InputError(
            f"Matrices of shape {shapes} cannot be combined; one or more of the same shape are "
            "needed. Use one atlas for all runs."
        )
    if not all(weight > 0 for weight in weights):
        raise InputError(
            f"Weights of runs are {list(weights)}; all must be above 0. Exclude runs without "
            "retained volumes."
        )
    bounded = measure in COEFFICIENTS
    stack = np.stack([fisher_z(matrix) if bounded else matrix for matrix in matrices])
    present = ~np.isnan(stack)
    weight = np.tensordot(np.asarray(weights, dtype=np.float64), present, axes=1)
    total = np.tensordot(np.asarray(weights), np.where(present, stack, 0.0), axes=1)
    mean: Floats = np.divide(total, weight, out=np.full(shapes[0], np.nan), where=weight > 0)
    return _coefficients(mean, matrices) if bounded else mean


def _coefficients(z: Floats, matrices: Sequence[Floats]) -> Floats:
    """Return coefficients of Fisher's z, with a diagonal of 1 for parcels of any run."""
    merged: Floats = np.tanh(z)
    there = np.any([~np.isnan(np.diagonal(matrix)) for matrix in matrices], axis=0)
    np.fill_diagonal(merged, np.where(there, 1.0, np.nan))
    return merged
