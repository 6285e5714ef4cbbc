"""Sums, means and agreement of maps with missing parcels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.records import Floats
from fmmtc_bidsapp.stats import rank_correlation

__all__ = ["mean_there", "over_time", "stability", "strengths"]

_TOP = 0.1


def mean_there(values: NDArray[Any], axis: int = 0, weights: Floats | None = None) -> Floats:
    """Average the values that are not NaN over an axis; NaN where there are none.

    With `weights` (draw, person) an average per draw of (person, place), -> (draw, place).
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


def over_time(values: Floats) -> tuple[Floats, Floats]:
    """Sum over volumes, (parcel, time) -> (parcel,) of the values and of their sizes.

    NaN where a parcel has no volume; of one that lacks some, the sum of the others.
    """
    lacking = np.isnan(values).all(axis=1)
    signed, size = (
        np.where(lacking, np.nan, np.nansum(each, axis=1)) for each in (values, np.abs(values))
    )
    return signed, size


def stability(maps: Sequence[Floats]) -> tuple[float, float]:
    """Return the mean Spearman and top-decile Jaccard over pairs of (parcel,) maps; NaN for one."""
    pairs = list(combinations(maps, 2))
    if not pairs:
        return float("nan"), float("nan")
    tops = [_largest(each) for each in maps]
    shared = [len(a & b) / len(a | b) for a, b in combinations(tops, 2) if a | b]
    correlations = np.array([rank_correlation(a, b) for a, b in pairs])
    known = correlations[~np.isnan(correlations)]
    return (
        float(known.mean()) if len(known) else float("nan"),
        float(np.mean(shared)) if shared else float("nan"),
    )


def _largest(values: Floats) -> set[int]:
    there = np.flatnonzero(~np.isnan(values))
    count = int(np.ceil(_TOP * len(there)))
    return set(there[np.argsort(-values[there], kind="stable")[:count]].tolist())
