"""Statistics that more than one room needs: Fisher's z, rank correlations, bootstrap draws."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "LARGEST_DOUBLE",
    "LARGEST_SINGLE",
    "bootstrap_weights",
    "fisher_z",
    "rank_correlation",
    "rank_correlation_interval",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LARGEST_DOUBLE = 1 - 1e-12
"""Largest correlation in double precision short of 1, where z is infinite; its z is 14.2."""

LARGEST_SINGLE = 1 - 1e-6
"""The same of correlations that were once in single precision; its z is 7.25."""


def fisher_z(r: NDArray[Any], largest: float = LARGEST_DOUBLE) -> Floats:
    """Correlations of any shape to Fisher's z in double precision; NaN stays."""
    z: Floats = np.arctanh(np.clip(np.asarray(r, dtype=np.float64), -largest, largest))
    return z


def rank_correlation(x: Floats, y: Floats, fewest: int = 3) -> float:
    """Spearman's correlation of (n,) values over those that both have.

    NaN of fewer than `fewest`, or where x or y is the same in all.
    """
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    if len(x) < fewest or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(stats.spearmanr(x, y).statistic)


def rank_correlation_interval(
    x: Floats, y: Floats, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % percentile interval of Spearman's correlation of (n,) values without NaN.

    Of resampled pairs; draws in which x or y is the same in all are left out.
    """

    def statistic(x: Floats, y: Floats, axis: int) -> Floats:
        a, b = (stats.rankdata(each, axis=axis) for each in (x, y))
        a, b = (each - each.mean(axis=axis, keepdims=True) for each in (a, b))
        size = np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))
        with np.errstate(invalid="ignore"):
            found: Floats = (a * b).sum(axis=axis) / size
        return found

    drawn = stats.bootstrap(
        (x, y), statistic, paired=True, n_resamples=draws, method="percentile", rng=rng
    ).bootstrap_distribution
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def bootstrap_weights(kind: Ints, draws: int, rng: np.random.Generator) -> Floats:
    """How often each draw takes each of (n,) people, (draw, n); every kind keeps its number."""
    weights = np.zeros((draws, len(kind)))
    for each in np.unique(kind):
        rows = np.flatnonzero(kind == each)
        weights[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), draws)
    return weights
