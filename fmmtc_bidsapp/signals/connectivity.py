"""Functional connectivity: how parcel series go together."""

from __future__ import annotations

import numpy as np
from nilearn.connectome import ConnectivityMeasure
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance

from fmmtc_bidsapp.errors import InputError

__all__ = ["correlate"]

Floats = NDArray[np.float64]

MIN_VOLUMES = 3

# A series whose SD is below this share of its level is constant but for rounding.
SMALLEST_RELATIVE_SD = 1e-12


def correlate(signal: Floats) -> Floats:
    """Correlate every parcel series with every other one (Pearson).

    Parameters
    ----------
    signal
        (time, parcel); a parcel that has a NaN or never varies takes no part.

    Returns
    -------
    numpy.ndarray
        (parcel, parcel) symmetric, diagonal 1; rows and columns of parcels that take no part are
        NaN.

    Raises
    ------
    InputError
        Fewer than three volumes, where every correlation is 1 or -1.
    """
    if len(signal) < MIN_VOLUMES:
        raise InputError(
            f"A series of {len(signal)} volumes cannot be correlated; {MIN_VOLUMES} or more are "
            f"needed. Leave this run out."
        )
    n_parcels = signal.shape[1]
    matrix = np.full((n_parcels, n_parcels), np.nan)
    (valid,) = np.nonzero(_varies(signal))
    if len(valid):
        matrix[np.ix_(valid, valid)] = _correlation(signal[:, valid])
    return matrix


def _varies(signal: Floats) -> NDArray[np.bool_]:
    sd, level = signal.std(axis=0), np.abs(signal).max(axis=0)
    # NaN compares False, so parcels without data are left out here as well.
    return np.asarray(sd > SMALLEST_RELATIVE_SD * level)


def _correlation(signal: Floats) -> Floats:
    measure = ConnectivityMeasure(
        cov_estimator=EmpiricalCovariance(store_precision=False), kind="correlation"
    )
    (found,) = measure.fit_transform([signal])
    # Rounding leaves the last bits uneven and a hair beyond 1.
    return np.asarray(np.clip((found + found.T) / 2, -1, 1), dtype=np.float64)
