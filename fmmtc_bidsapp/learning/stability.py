"""Whether models of different folds point at the same parcels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.stats import spearmanr

from fmmtc_bidsapp.records import Floats

__all__ = ["rank_correlation", "stability"]

_TOP = 0.1
_LEAST = 3
"""Parcels without which there is no correlation."""


def rank_correlation(first: Floats, second: Floats) -> float:
    """Spearman's correlation over the parcels of both; NaN where there is none."""
    both = ~np.isnan(first) & ~np.isnan(second)
    if both.sum() < _LEAST or not (np.ptp(first[both]) and np.ptp(second[both])):
        return float("nan")
    return float(spearmanr(first[both], second[both]).statistic)


def stability(maps: Sequence[Floats]) -> tuple[float, float]:
    """Compare the maps of folds, pair by pair.

    Parameters
    ----------
    maps : sequence of array
        (parcel,) |attribution|, one a fold.

    Returns
    -------
    spearman, jaccard : float
        Means over pairs of the rank correlation, and of what the largest tenth of the parcels
        share over what they hold together; NaN with fewer than two folds.
    """
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
