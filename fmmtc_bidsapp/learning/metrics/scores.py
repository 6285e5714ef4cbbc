"""Scores of predictions, for many weightings of the participants at once.

A bootstrap draw is a weighting: how often each person was drawn. Computing all draws together is
what makes 2,000 draws of a dozen metrics and several models a matter of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, xlogy
from scipy.stats import rankdata

from fmmtc_bidsapp.learning.metrics.intervals import Draws
from fmmtc_bidsapp.records import Floats, Ints

__all__ = [
    "DECISION_METRICS",
    "EXTERNAL_METRICS",
    "METRICS",
    "Metric",
    "Scored",
    "calibration_errors_if_calibrated",
    "probability_bins",
    "shuffled_aurocs",
]


@dataclass(frozen=True, eq=False)
class Scored:
    """Predictions for people whose outcome is known; every array is (person,)."""

    y: Ints
    score: Floats
    """Ranks people of one fold."""
    lift: Floats
    """Ranks people of all folds."""
    probability: Floats
    positive: NDArray[np.bool_]
    """The decision."""
    prevalence: Floats
    """Share of positives among the training rows of the fold that predicted the person."""
    fold: Ints
    """The fold that predicted the person; scores of different folds have no common scale."""

    def take(self, rows: NDArray[Any]) -> Scored:
        """Return the people of some rows, or where a mask is true."""
        return Scored(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})


Compute = Callable[[Scored, Floats], Floats]
"""(scored, weights (draw, person)) -> (draw,), NaN where the metric is undefined."""


@dataclass(frozen=True)
class Metric:
    """A metric, the values it can take, and when it and its interval are defined."""

    compute: Compute
    low: float = 0.0
    high: float = 1.0
    within_fold: bool = True
    """Whether one fold is enough to compute it."""
    of_each_outcome: bool = False
    """Whether it is the same for any share of positives. The interval of any other must let that
    share vary: with a fixed one, that of the calibration intercept covered the truth in half of
    the cases."""
    has_interval: bool = True
    """False where the bootstrap's distribution lies off the value itself."""

    def drawn(self, draws: Draws) -> Floats:
        """(draw, person) of the bootstrap that this metric needs."""
        return draws.within_outcome if self.of_each_outcome else draws.people


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    undefined = np.full(np.shape(denominator), np.nan)
    ratio: Floats = np.divide(numerator, denominator, out=undefined, where=denominator > 0)
    return ratio


def _auroc(scored: Scored, weights: Floats) -> Floats:
    """Share of pairs of one fold in which the positive person is ranked above the other."""
    positive, negative = scored.y == 1, scored.y == 0
    difference = scored.score[positive][:, None] - scored.score[negative][None, :]
    pairs = scored.fold[positive][:, None] == scored.fold[negative][None, :]
    wins = pairs * ((difference > 0) + 0.5 * (difference == 0))
    w_positive, w_negative = weights[:, positive], weights[:, negative]
    won, possible = (((w_positive @ each) * w_negative).sum(axis=1) for each in (wins, pairs))
    return _ratio(won, possible)


def _average_precision(scored: Scored, weights: Floats) -> Floats:
    order = np.argsort(-scored.lift, kind="stable")
    ranked = scored.lift[order]
    last_of_ties = np.append(ranked[1:] != ranked[:-1], True)
    drawn = weights[:, order].cumsum(axis=1)[:, last_of_ties]
    true = (weights * scored.y)[:, order].cumsum(axis=1)[:, last_of_ties]
    precision = np.nan_to_num(_ratio(true, drawn))  # without draws the step is 0 as well
    gained = np.diff(true, axis=1, prepend=0)
    both = (true[:, -1] > 0) & (true[:, -1] < drawn[:, -1])
    return np.where(both, _ratio((precision * gained).sum(axis=1), true[:, -1]), np.nan)


def _confusion(scored: Scored, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Count true and false positives, false and true negatives, each (draw,)."""
    cells = (
        (scored.y == 1) & scored.positive,
        (scored.y == 0) & scored.positive,
        (scored.y == 1) & ~scored.positive,
        (scored.y == 0) & ~scored.positive,
    )
    tp, fp, fn, tn = (weights @ cell for cell in cells)
    return tp, fp, fn, tn


def _sensitivity(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    return _ratio(tp, tp + fn)


def _specificity(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    return _ratio(tn, tn + fp)


def _balanced_accuracy(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    return (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)) / 2


def _f1_macro(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    both_classes = (tp + fn > 0) & (tn + fp > 0)
    f1 = (_ratio(2 * tp, 2 * tp + fp + fn) + _ratio(2 * tn, 2 * tn + fp + fn)) / 2
    return np.where(both_classes, f1, np.nan)


def _mcc(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    classes, decisions = (tp + fn) * (tn + fp), (tp + fp) * (tn + fn)
    # All decisions alike: 0, as scikit-learn has it. One class only: undefined.
    safe = np.where(decisions > 0, decisions, 1.0)
    return np.where(
        classes > 0, (tp * tn - fp * fn) / np.sqrt(np.maximum(classes, 1) * safe), np.nan
    )


DECISION_METRICS: dict[str, Callable[[Floats, Floats, Floats, Floats], Floats]] = {
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "mcc": _mcc,
    "sensitivity": _sensitivity,
    "specificity": _specificity,
}
"""Metrics of true and false positives, false and true negatives, each (draw,) -> (draw,)."""


def _decided(name: str) -> Compute:
    return lambda scored, weights: DECISION_METRICS[name](*_confusion(scored, weights))


def shuffled_aurocs(logits: Floats, labels: Ints) -> Floats:
    """AUROC of each row of (permutation, person) logits and outcomes; NaN for one outcome."""
    ranks = rankdata(logits, axis=1)
    positive = labels.sum(axis=1).astype(float)
    negative = labels.shape[1] - positive
    won = (ranks * labels).sum(axis=1) - positive * (positive + 1) / 2
    return _ratio(won, positive * negative)


def _mean(losses: Floats, weights: Floats) -> Floats:
    return _ratio(weights @ losses, weights.sum(axis=1))


def _squared(scored: Scored, probability: Floats) -> Floats:
    error: Floats = probability - scored.y
    return error**2


def _logarithmic(scored: Scored, probability: Floats) -> Floats:
    p = _inside(probability)
    loss: Floats = -(xlogy(scored.y, p) + xlogy(1 - scored.y, 1 - p))
    return loss


def _loss(per_person: Callable[[Scored, Floats], Floats]) -> Compute:
    return lambda scored, weights: _mean(per_person(scored, scored.probability), weights)


def _skill(per_person: Callable[[Scored, Floats], Floats]) -> Compute:
    """One minus the loss relative to predicting the training prevalence for everyone."""

    def compute(scored: Scored, weights: Floats) -> Floats:
        loss = _mean(per_person(scored, scored.probability), weights)
        reference = _mean(per_person(scored, scored.prevalence), weights)
        return 1 - _ratio(loss, reference)

    return compute


def _skill_beyond_own_share(
    per_person: Callable[[Scored, Floats], Floats], of_share: Callable[[Floats], Floats]
) -> Compute:
    """One minus the loss relative to the share of positives among these people."""

    def compute(scored: Scored, weights: Floats) -> Floats:
        loss = _mean(per_person(scored, scored.probability), weights)
        return 1 - _ratio(loss, of_share(_mean(scored.y.astype(float), weights)))

    return compute


def _squared_of_share(share: Floats) -> Floats:
    loss: Floats = share * (1 - share)
    return loss


def _logarithmic_of_share(share: Floats) -> Floats:
    loss: Floats = -(xlogy(share, share) + xlogy(1 - share, 1 - share))
    return loss


def _inside(probability: Floats) -> Floats:
    """Keep probabilities off 0 and 1, where a single miss would have an infinite loss."""
    epsilon = np.finfo(float).eps
    return np.clip(probability, epsilon, 1 - epsilon)


def _calibration_slope(scored: Scored, weights: Floats) -> Floats:
    """Slope of the logistic regression of y on the log odds beyond the share of positives.

    1 is calibrated. The log odds of that share among the fold's training rows are an offset: they
    differ between folds, against the outcomes of the people left out, and would turn the slope of
    a model that knows nothing negative. Undefined when the log odds separate the classes, or when
    most folds gave everyone one probability.
    """
    probability, offset = _inside(scored.probability), logit(_inside(scored.prevalence))
    own = [np.ptp(scored.probability[scored.fold == fold]) for fold in np.unique(scored.fold)]
    if np.mean(np.array(own) < _SAME_PROBABILITY) > 0.5:
        return np.full(len(weights), np.nan)
    beyond = logit(probability) - offset
    together = replace(scored, score=beyond, fold=np.zeros_like(scored.fold))
    separation = _auroc(together, weights)
    design = np.stack([np.ones_like(beyond), beyond])
    slope = _logistic(design, offset, scored.y, weights)[:, 1]
    return np.where((separation > 0) & (separation < 1), slope, np.nan)


def _calibration_intercept(scored: Scored, weights: Floats) -> Floats:
    """Calibration in the large: the shift of the log odds that fits the observed share."""
    log_odds = logit(_inside(scored.probability))
    shift = _logistic(np.ones((1, len(log_odds))), log_odds, scored.y, weights)[:, 0]
    share = _mean(scored.y.astype(float), weights)
    return np.where((share > 0) & (share < 1), shift, np.nan)


def _calibration_error(scored: Scored, weights: Floats) -> Floats:
    """Average the gap between probability and outcome over bins of equal mass.

    Naeini et al. 2015, PMC4410090, with bins of equal mass in place of equal width.
    """
    errors = np.zeros(len(weights))
    for rows in probability_bins(scored.probability):
        gap = weights[:, rows] @ (scored.probability[rows] - scored.y[rows])
        errors += np.abs(gap)
    return _ratio(errors, weights.sum(axis=1))


def calibration_errors_if_calibrated(scored: Scored, uniform: Floats) -> Floats:
    """Calibration errors (draw,) of outcomes drawn from the probabilities.

    A few dozen people miss their probabilities by chance alone, so the error of a calibrated
    model is not 0. An outcome is positive where `uniform` (draw, person) is below the
    probability.
    """
    errors = np.zeros(len(uniform))
    for rows in probability_bins(scored.probability):
        probability = scored.probability[rows]
        errors += np.abs((probability - (uniform[:, rows] < probability)).sum(axis=1))
    return errors / len(scored.y)


def probability_bins(probability: Floats) -> list[Ints]:
    """Sort people into five bins of equal mass, the lowest (person,) probabilities first.

    People of one probability share a bin, so fewer values have fewer bins.
    """
    order = np.argsort(probability, kind="stable")
    possible = np.flatnonzero(np.diff(probability[order])) + 1
    fifths = np.array_split(order, min(_CALIBRATION_BINS, len(order)))
    wanted = np.cumsum([len(each) for each in fifths])[:-1]
    if not len(possible) or not len(wanted):
        return [order]
    nearest = np.abs(possible[:, None] - wanted).argmin(axis=0)
    return np.split(order, np.unique(possible[nearest]))


def _logistic(design: Floats, offset: Floats, y: Ints, weights: Floats) -> Floats:
    """Fit all draws by Newton's method, (parameter, person) -> (draw, parameter); NaN if failed."""
    beta = np.zeros((len(weights), len(design)))
    step = np.full_like(beta, np.inf)
    for _ in range(50):
        p = expit(beta @ design + offset)
        gradient = (weights * (y - p)) @ design.T
        hessian = np.einsum("dn,in,jn->dij", weights * p * (1 - p), design, design, optimize=True)
        step = (np.linalg.pinv(hessian, hermitian=True) @ gradient[:, :, None])[:, :, 0]
        beta = beta + np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-10:
            break
    return np.where(np.abs(step).max(axis=1, keepdims=True) < 1e-6, beta, np.nan)


_CALIBRATION_BINS = 5
_SAME_PROBABILITY = 1e-9
"""Spread below which a fold's probabilities are one: its calibration found no slope."""

METRICS: dict[str, Metric] = {
    "auroc": Metric(_auroc, of_each_outcome=True),
    "average_precision": Metric(_average_precision),
    "balanced_accuracy": Metric(_decided("balanced_accuracy"), of_each_outcome=True),
    "f1_macro": Metric(_decided("f1_macro")),
    "mcc": Metric(_decided("mcc"), low=-1.0),
    "sensitivity": Metric(_decided("sensitivity"), of_each_outcome=True),
    "specificity": Metric(_decided("specificity"), of_each_outcome=True),
    "brier": Metric(_loss(_squared)),
    "brier_skill": Metric(_skill(_squared), low=-np.inf),
    "log_loss": Metric(_loss(_logarithmic), high=np.inf),
    "log_loss_skill": Metric(_skill(_logarithmic), low=-np.inf),
    # A dozen people are too few for a slope: only from all folds together.
    "calibration_slope": Metric(_calibration_slope, low=-np.inf, high=np.inf, within_fold=False),
    "calibration_intercept": Metric(
        _calibration_intercept, low=-np.inf, high=np.inf, within_fold=False
    ),
    "calibration_error": Metric(_calibration_error, within_fold=False, has_interval=False),
}
"""Metric by the name it has in ``_metrics.tsv``."""

EXTERNAL_METRICS: dict[str, Metric] = METRICS | {
    "brier_skill_own_share": Metric(
        _skill_beyond_own_share(_squared, _squared_of_share), low=-np.inf
    ),
    "log_loss_skill_own_share": Metric(
        _skill_beyond_own_share(_logarithmic, _logarithmic_of_share), low=-np.inf
    ),
}
"""Of a finished model on new people, whose share of positives can differ from the training's: a
skill against the training share alone could be gained from that difference."""
