"""Intervals for figures of a small cohort."""

from __future__ import annotations

import numpy as np
from scipy.stats import t

from fmmtc_bidsapp.records import Floats, Ints

__all__ = ["auroc_half_width", "bootstrap_interval", "bootstrap_weights", "corrected_interval"]

_ENOUGH_DRAWS = 0.95
"""Share of bootstrap draws that must have a value for their quantiles to be an interval."""


def corrected_interval(values: Floats, n_train: float, n_test: float) -> tuple[float, float]:
    """95 % interval of a mean over cross-validation folds, corrected for shared training rows.

    Parameters
    ----------
    values : array
        (fold,) over all repeats; NaN where a fold has no value.
    n_train, n_test : float
        Mean number of training and test people in a fold.

    Returns
    -------
    low, high : float
        NaN with fewer than two values, or where all are the same.

    References
    ----------
    Nadeau & Bengio (2003), doi:10.1023/A:1024068626366: the variance of the mean is
    ``var * (1 / k + n_test / n_train)``.
    """
    known = values[~np.isnan(values)]
    k = len(known)
    # Folds that are all equal show no spread, which is not that there is none.
    if k < 2 or np.ptp(known) == 0:
        return float("nan"), float("nan")
    variance = known.var(ddof=1) * (1 / k + n_test / n_train)
    half = float(t.ppf(0.975, k - 1) * np.sqrt(variance))
    mean = float(known.mean())
    return mean - half, mean + half


def auroc_half_width(n_positive: int, n_negative: int, auroc: float = 0.5) -> float:
    """Half width of the 95 % interval that an AUROC has at this sample size.

    Parameters
    ----------
    n_positive, n_negative : int
        People with and without the outcome.
    auroc : float
        The value around which the interval lies; at 0.5 it is widest.

    References
    ----------
    Hanley & McNeil (1982), doi:10.1148/radiology.143.1.7063747.
    """
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = (
        auroc * (1 - auroc)
        + (n_positive - 1) * (q1 - auroc**2)
        + (n_negative - 1) * (q2 - auroc**2)
    ) / (n_positive * n_negative)
    return float(1.959964 * np.sqrt(variance))


def bootstrap_interval(draws: Floats) -> tuple[float, float]:
    """2.5 and 97.5 % quantiles over (draw,) values; NaN where too many draws have none."""
    drawn = draws[~np.isnan(draws)]
    if len(drawn) < max(1, _ENOUGH_DRAWS * len(draws)):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def bootstrap_weights(y: Ints, draws: int, rng: np.random.Generator) -> Floats:
    """How often each person is drawn, with every class kept at its size.

    Parameters
    ----------
    y : array of int
        (person,) class: the outcome, or a number for each outcome of each arm.
    draws : int
        Number of bootstrap samples.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    array
        (draw, person)
    """
    weights = np.zeros((draws, len(y)))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        weights[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), draws)
    return weights
