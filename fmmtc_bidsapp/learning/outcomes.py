"""Out-of-fold predictions as rows and as arrays to be judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from fmmtc_bidsapp.learning.calibrate import apply_calibration
from fmmtc_bidsapp.learning.metrics import Metric, Scored
from fmmtc_bidsapp.records import Examples, Floats, FoldPredictions, Ints

__all__ = [
    "PredictionRow",
    "before_calibration",
    "fold_values",
    "pool",
    "prediction_rows",
    "score_fold",
]


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


def prediction_rows(
    predictions: Sequence[FoldPredictions], examples: Examples
) -> list[PredictionRow]:
    """List every prediction, in the order of `predictions` and of the rows of each fold."""
    return [
        PredictionRow(
            key=examples.keys[row],
            model=each.model,
            y_true=int(examples.y[row]),
            logit=float(value),
            probability_raw=float(expit(value)),
            probability=float(probability),
            y_pred=int(probability >= each.calibration.threshold),
            threshold=each.calibration.threshold,
            fold=each.fold.fold,
            repeat=each.fold.repeat,
        )
        for each in predictions
        for row, value, probability in zip(
            each.fold.test, each.logit, apply_calibration(each.calibration, each.logit), strict=True
        )
    ]


def score_fold(predictions: FoldPredictions, y: Ints) -> Scored:
    """Predictions of one fold, ranked by logit: within a fold calibration changes no rank.

    Parameters
    ----------
    predictions : FoldPredictions
        Of one model and fold.
    y : array of int
        (person,) outcomes of the whole cohort.
    """
    probability = apply_calibration(predictions.calibration, predictions.logit)
    return Scored(
        y=y[predictions.fold.test],
        score=predictions.logit,
        probability=probability,
        positive=probability >= predictions.calibration.threshold,
        prevalence=np.full(len(probability), predictions.prevalence),
    )


def fold_values(metric: Metric, folds: Sequence[FoldPredictions], y: Ints) -> Floats:
    """Metric of each fold alone, (fold,); NaN where it has none."""
    if not metric.within_fold:
        return np.full(len(folds), np.nan)
    scored = [score_fold(each, y) for each in folds]
    return np.array([metric.compute(each, np.ones((1, len(each.y))))[0] for each in scored])


def pool(folds: Sequence[Scored]) -> Scored:
    """Join folds, ranked by probability: logits of different networks have no common scale.

    A model that tells nobody apart within any fold ranks nobody; its probabilities still differ
    between folds, against the outcome of the people left out, which would pass for an AUROC
    below 0.5.
    """
    together = {
        name: np.concatenate([getattr(each, name) for each in folds])
        for name in ("y", "probability", "positive", "prevalence")
    }
    ranks = any(np.ptp(each.score) > 0 for each in folds)
    score = together["probability"] if ranks else np.zeros(len(together["y"]))
    return Scored(score=score, **together)


def before_calibration(predictions: FoldPredictions) -> FoldPredictions:
    """Predictions with the network's own probabilities, ``expit(logit)``."""
    own = replace(predictions.calibration, method="none", slope=1.0, intercept=0.0, knots=())
    return replace(predictions, calibration=own)
