"""Confidence intervals for small cohorts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t

from fmmtc_bidsapp.records import Floats, Ints
from fmmtc_bidsapp.stats import bootstrap_weights

__all__ = [
    "Draws",
    "auroc_bound",
    "auroc_half_width",
    "bootstrap_interval",
    "corrected_interval",
    "corrected_test",
    "draw_people",
]

_ENOUGH_DRAWS = 0.95
"""Share of bootstrap draws that must have a value for their quantiles to be an interval."""


def corrected_interval(
    values: Floats, n_train: float, n_test: float, n_repeats: int = 1
) -> tuple[float, float]:
    """95 % interval of the mean of (fold,) values, corrected for shared training rows.

    Nadeau & Bengio (2003), doi:10.1023/A:1024068626366: the variance of the mean is ``var * (1
    / k + n_test / n_train)``. Student's t has the degrees of freedom of one repeat, since
    another repeat splits the same people again. NaN with fewer than two values a repeat, or
    where all are equal.
    """
    mean, error, freedom = _corrected(values, n_train, n_test, n_repeats)
    half = float(t.ppf(0.975, freedom)) * error
    return mean - half, mean + half


def corrected_test(values: Floats, n_train: float, n_test: float, n_repeats: int = 1) -> float:
    """Two-sided p of the corrected resampled t-test; NaN where `corrected_interval` is NaN."""
    mean, error, freedom = _corrected(values, n_train, n_test, n_repeats)
    return float(2 * t.sf(abs(mean) / error, freedom))


def _corrected(
    values: Floats, n_train: float, n_test: float, n_repeats: int
) -> tuple[float, float, float]:
    """Return mean, standard error and degrees of freedom of (fold,) values; NaN without spread."""
    known = values[~np.isnan(values)]
    k, freedom = len(known), len(known) / n_repeats - 1
    # Folds that are all equal show no spread, which is not that there is none.
    if freedom <= 0 or np.ptp(known) == 0:
        return float("nan"), float("nan"), float("nan")
    error = np.sqrt(known.var(ddof=1) * (1 / k + n_test / n_train))
    return float(known.mean()), float(error), freedom


def auroc_half_width(n_positive: int, n_negative: int, auroc: float = 0.5) -> float:
    """Half width of an AUROC's 95 % interval (Hanley & McNeil 1982).

    doi:10.1148/radiology.143.1.7063747
    """
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = (
        auroc * (1 - auroc)
        + (n_positive - 1) * (q1 - auroc**2)
        + (n_negative - 1) * (q2 - auroc**2)
    ) / (n_positive * n_negative)
    return float(1.959964 * np.sqrt(variance))


def auroc_bound(auroc: float, classes: Sequence[tuple[int, int]]) -> float:
    """Return the lowest true AUROC compatible with an equal `auroc` in every fold.

    `classes` are people with and without the outcome in each fold of one repeat. For an AUROC
    of 1: the value at which every fold is ranked without error in 2.5 % of cohorts, with
    exponential scores of either outcome; for others the lower end of Hanley and McNeil's
    interval.
    """
    if auroc < 1:
        n_positive, n_negative = (sum(own) for own in zip(*classes, strict=True))
        return max(0.0, auroc - auroc_half_width(n_positive, n_negative, auroc))
    turned = [(b, a) for a, b in classes]
    return min(_perfect_down_to(each) for each in (classes, turned))


def _perfect_down_to(classes: Sequence[tuple[int, int]]) -> float:
    """AUROC of exponential scores at which all folds are perfect in 2.5 % of cohorts."""
    ranks = [np.arange(1, below + 1) for _, below in classes]

    def excess(rate: float) -> float:
        # Of exponential scores each lowest one is of the lower outcome with this probability.
        own = [np.log(i / (i + rate * above)) for i, (above, _) in zip(ranks, classes, strict=True)]
        return float(np.concatenate(own).sum() - np.log(0.025))

    return float(1 / (1 + brentq(excess, 0, 1e6)))


def bootstrap_interval(draws: Floats) -> tuple[float, float]:
    """2.5 and 97.5 % quantiles over (draw,) values; NaN where too many draws have none."""
    drawn = draws[~np.isnan(draws)]
    if len(drawn) < max(1, _ENOUGH_DRAWS * len(draws)):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True, eq=False)
class Draws:
    """Bootstrap samples of a cohort, drawn in two ways; (draw, person) how often each is drawn."""

    within_outcome: Floats
    """Every outcome keeps its number of people."""
    people: Floats
    """Whoever they are, so the share of positives varies as it does between cohorts."""
    uniform: Floats
    """From 0 to 1, to draw outcomes from probabilities."""


def draw_people(y: Ints, draws: int, rng: np.random.Generator, arm: Ints | None = None) -> Draws:
    """Draw bootstrap samples of people, whose `arm` (a trial sets their sizes) is kept if given."""
    own = np.zeros_like(y) if arm is None else arm
    return Draws(
        within_outcome=bootstrap_weights(2 * own + y, draws, rng),
        people=bootstrap_weights(own, draws, rng),
        uniform=rng.random((draws, len(y))),
    )
