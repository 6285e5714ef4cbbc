"""Means over what is there, of maps in which people lack parcels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.records import Floats

__all__ = ["mean_there", "strengths"]


def mean_there(values: NDArray[Any], axis: int = 0, weights: Floats | None = None) -> Floats:
    """Average what is not NaN; NaN where nothing is.

    Parameters
    ----------
    values : array
        Any shape, NaN where missing.
    axis : int
        To average over; it is lost.
    weights : array, optional
        (draw, length of that axis) how often each counts, for an average a draw; `values` are then
        (person, place) and `axis` is 0.

    Returns
    -------
    array
        Or (draw, place) with weights.
    """
    there = ~np.isnan(values)
    filled = np.where(there, values, 0)
    if weights is None:
        total, count = filled.sum(axis=axis, dtype=np.float64), there.sum(axis=axis) * 1.0
    else:
        total, count = weights @ filled, weights @ there.astype(np.float64)
    mean: Floats = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return mean


def strengths(edges: NDArray[Any]) -> Floats:
    """Half the sum of a parcel's edges, ([map,] parcel, parcel) -> ([map,] parcel).

    NaN where a parcel has no edge; of one that lacks some, the sum of the others.
    """
    there = ~np.isnan(edges)
    sums = np.where(there, edges, 0).sum(axis=-1, dtype=np.float64) / 2
    return np.where(there.any(axis=-1), sums, np.nan)
