"""Out-of-fold predictions as rows and as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.special import expit, logit

from fmmtc_bidsapp.learning.metrics.calibrate import apply_calibration, log_odds
from fmmtc_bidsapp.learning.metrics.scores import Metric, Scored
from fmmtc_bidsapp.records import Examples, Floats, Fold, FoldPredictions, Ints

__all__ = [
    "PredictionRow",
    "before_calibration",
    "fold_values",
    "pool",
    "prediction_rows",
    "refit_interval",
    "score_fold",
    "tested_on",
]


_QUANTILES = (0.025, 0.975)


@dataclass(frozen=True)
class PredictionRow:
    """One person as predicted by one model of one fold; a row of ``_predictions.tsv``."""

    key: str
    model: str
    y_true: int
    logit: float
    probability_raw: float
    probability: float
    y_pred: int
    threshold: float
    fold: int
    repeat: int
    probability_low: float = float("nan")
    probability_high: float = float("nan")
    """2.5 and 97.5 % quantiles of the probability over trainings; NaN with one."""


def prediction_rows(
    predictions: Sequence[FoldPredictions], examples: Examples
) -> list[PredictionRow]:
    """Return a row per prediction, in the order of `predictions` and of the rows of each fold."""
    return [row for each in predictions for row in _rows_of(each, examples)]


def _rows_of(predictions: FoldPredictions, examples: Examples) -> list[PredictionRow]:
    probability = apply_calibration(predictions.calibration, predictions.logit)
    raw = expit(before_calibration(predictions).logit)
    low, high = refit_interval(predictions.refits, len(raw))
    threshold = predictions.calibration.threshold
    return [
        PredictionRow(
            key=examples.keys[row],
            model=predictions.model,
            y_true=int(examples.y[row]),
            logit=float(predictions.logit[i]),
            probability_raw=float(raw[i]),
            probability=float(probability[i]),
            y_pred=int(probability[i] >= threshold),
            threshold=threshold,
            fold=predictions.fold.fold,
            repeat=predictions.fold.repeat,
            probability_low=float(low[i]),
            probability_high=float(high[i]),
        )
        for i, row in enumerate(predictions.fold.test)
    ]


def refit_interval(refits: Floats | None, n_people: int) -> tuple[Floats, Floats]:
    """2.5 and 97.5 % quantiles of (training, person) probabilities, (person,) each; NaN without."""
    if refits is None:
        return np.full(n_people, np.nan), np.full(n_people, np.nan)
    low, high = np.quantile(refits, _QUANTILES, axis=0)
    return low, high


def score_fold(predictions: FoldPredictions, y: Ints) -> Scored:
    """Predictions of one fold, ranked by the output before calibration.

    A calibration without slope, or of steps, would tie people whom the model tells apart; and
    one training is ranked as the mean of several is.
    """
    probability = apply_calibration(predictions.calibration, predictions.logit)
    return Scored(
        y=y[predictions.fold.test],
        score=predictions.output,
        lift=predictions.output,
        probability=probability,
        positive=probability >= predictions.calibration.threshold,
        prevalence=np.full(len(probability), predictions.prevalence),
        fold=np.zeros(len(probability), dtype=np.int64),
    )


def tested_on(predictions: FoldPredictions, fold: Fold) -> FoldPredictions:
    """Keep the test rows of `fold`, which has the same training rows."""
    place = {row: i for i, row in enumerate(predictions.fold.test.tolist())}
    kept = np.array([place[row] for row in fold.test.tolist()], dtype=np.int64)
    return replace(
        predictions,
        fold=fold,
        logit=predictions.logit[kept],
        refits=None if predictions.refits is None else predictions.refits[:, kept],
        raw=None if predictions.raw is None else predictions.raw[kept],
    )


def fold_values(metric: Metric, folds: Sequence[FoldPredictions], y: Ints) -> Floats:
    """Metric of each fold alone, (fold,); NaN where it has none."""
    if not metric.within_fold:
        return np.full(len(folds), np.nan)
    scored = [score_fold(each, y) for each in folds]
    return np.array([metric.compute(each, np.ones((1, len(each.y))))[0] for each in scored])


def pool(folds: Sequence[FoldPredictions], y: Ints) -> Scored:
    """Join folds; people of different folds are ranked by their lift beyond the prevalence.

    That is the calibrated log odds minus those of the fold's training prevalence, which differs
    between folds against the outcome of the people left out: ranked with it, an uninformative
    model would have an AUROC below 0.5. A fold whose outputs do not vary has no lift; a single
    fold keeps its ranks.
    """
    scored = [score_fold(each, y) for each in folds]
    if len(scored) == 1:
        return scored[0]
    ranked = [
        replace(each, lift=_lift(own, each), fold=np.full(len(each.y), i))
        for i, (own, each) in enumerate(zip(folds, scored, strict=True))
    ]
    return Scored(
        **{
            each.name: np.concatenate([getattr(own, each.name) for own in ranked])
            for each in fields(Scored)
        }
    )


def _lift(predictions: FoldPredictions, scored: Scored) -> Floats:
    if np.ptp(scored.score) == 0:
        return np.zeros(len(scored.y))
    odds = log_odds(predictions.calibration, predictions.logit)
    lift: Floats = odds - logit(predictions.prevalence)
    return lift


def before_calibration(predictions: FoldPredictions) -> FoldPredictions:
    """Predictions with the network's own probabilities, ``expit(logit)``."""
    own = replace(predictions.calibration, method="none", slope=1.0, intercept=0.0, knots=())
    return replace(predictions, logit=predictions.output, calibration=own)
