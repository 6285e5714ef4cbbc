"""Calibrate outputs to probabilities, and choose the threshold, on inner out-of-fold outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import balanced_accuracy_score

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Calibration, Floats, Ints

__all__ = ["apply_calibration", "check_calibration", "fit_calibration", "log_odds"]

_LEAST_FOR_ISOTONIC = 200

_Map = tuple[float, float, tuple[tuple[float, float], ...]]
"""Slope, intercept and knots, as in `Calibration`."""


def check_calibration(method: str, n_people: int) -> None:
    """InputError for ``isotonic`` with fewer than 200 training people: steps would fit noise."""
    if method == "isotonic" and n_people < _LEAST_FOR_ISOTONIC:
        raise InputError(
            f"--calibration isotonic needs {_LEAST_FOR_ISOTONIC} training participants, found "
            f"{n_people}; use sigmoid."
        )


def fit_calibration(
    logits: Floats, y: Ints, method: str, threshold: str, prevalence: float
) -> Calibration:
    """Fit the map from (person,) out-of-fold logits to probabilities, and the decision threshold.

    ``sigmoid`` is Platt's with his smoothed targets (1999, Advances in Large Margin
    Classifiers, 61-74), ``temperature`` fits the slope alone (Guo et al. 2017,
    arXiv:1706.04599), ``isotonic`` fits steps within Platt's targets. Without a positive slope
    everyone gets the training prevalence. Threshold ``tuned`` has the best balanced accuracy.
    InputError for logits that are not finite.
    """
    if not np.isfinite(logits).all():
        raise InputError(
            f"{int((~np.isfinite(logits)).sum())} of {len(logits)} outputs are not finite; "
            "training diverged. Use a smaller --learning-rate or --precision float32."
        )
    slope, intercept, knots = _FITS[method](logits, y)
    if slope <= 0:
        slope, intercept = 0.0, float(logit(prevalence))
    fitted = Calibration(method, slope, intercept, 0.5, knots)
    probability = apply_calibration(fitted, logits)
    return replace(fitted, threshold=_THRESHOLDS[threshold](probability, y))


def apply_calibration(calibration: Calibration, logits: Floats) -> Floats:
    """Turn logits into probabilities, (person,) -> (person,)."""
    if calibration.knots:
        at, value = np.array(calibration.knots).T
        joined: Floats = np.interp(logits, at, value)
        return joined
    probability: Floats = expit(calibration.slope * logits + calibration.intercept)
    return probability


def log_odds(calibration: Calibration, logits: Floats) -> Floats:
    """Return calibrated log odds, (person,); from the line itself where there is one."""
    if calibration.knots:
        odds: Floats = logit(apply_calibration(calibration, logits))
        return odds
    return calibration.slope * logits + calibration.intercept


def _targets(y: Ints) -> tuple[float, float]:
    """Return Platt's probabilities of a negative and a positive outcome, off 0 and 1."""
    positives, negatives = int(y.sum()), int((1 - y).sum())
    return 1 / (negatives + 2), (positives + 1) / (positives + 2)


def _sigmoid(logits: Floats, y: Ints) -> _Map:
    low, high = _targets(y)
    target = np.where(y == 1, high, low)
    centre, scale = float(logits.mean()), float(logits.std())
    if scale == 0:
        return 0.0, 0.0, ()
    slope, intercept = _fit_logistic(
        (logits - centre) / scale, target, (0.0, float(logit(target.mean())))
    )
    return slope / scale, intercept - slope * centre / scale, ()


def _temperature(logits: Floats, y: Ints) -> _Map:
    scale = float(np.abs(logits).max())
    if scale == 0:
        return 0.0, 0.0, ()
    slope, _ = _fit_logistic(logits / scale, y.astype(float), (1.0,))
    return slope / scale, 0.0, ()


def _isotonic(logits: Floats, y: Ints) -> _Map:
    low, high = _targets(y)
    steps = IsotonicRegression(y_min=low, y_max=high).fit(logits, y)
    return 1.0, 0.0, tuple(zip(steps.X_thresholds_, steps.y_thresholds_, strict=True))


def _fit_logistic(x: Floats, target: Floats, start: tuple[float, ...]) -> tuple[float, float]:
    """Fit slope >= 0 (and intercept, if `start` has one) by least cross-entropy."""

    def loss(parameters: Floats) -> tuple[float, Floats]:
        eta = x * parameters[0] + parameters[1:].sum()
        residual = expit(eta) - target
        gradient = np.array([x @ residual, residual.sum()])[: len(parameters)]
        return float((np.logaddexp(0, eta) - target * eta).sum()), gradient

    # Without an upper bound a temperature on separable outputs would grow for ever.
    bounds = [(0.0, 1e3), (None, None)][: len(start)]
    found = minimize(loss, np.array(start), jac=True, bounds=bounds, method="L-BFGS-B", tol=1e-12)
    return float(found.x[0]), float(found.x[1:].sum())


def _tuned(probability: Floats, y: Ints) -> float:
    """Return the midpoint with the best balanced accuracy; of equals the one nearest to 0.5."""
    levels = np.unique(probability)
    candidates = np.append((levels[1:] + levels[:-1]) / 2, 0.5)
    scores = [balanced_accuracy_score(y, probability >= each) for each in candidates]
    best = candidates[np.isclose(scores, max(scores))]
    return float(best[np.abs(best - 0.5).argmin()])


_FITS: Mapping[str, Callable[[Floats, Ints], _Map]] = {
    "sigmoid": _sigmoid,
    "temperature": _temperature,
    "isotonic": _isotonic,
    "none": lambda logits, y: (1.0, 0.0, ()),
}
_THRESHOLDS: Mapping[str, Callable[[Floats, Ints], float]] = {
    "0.5": lambda probability, y: 0.5,
    "tuned": _tuned,
}
