"""The uncertainty band of a curve, from resampled participants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp.stats import bootstrap_weights

__all__ = ["BAND_DRAWS", "Band", "curve_bands"]

BAND_DRAWS = 500
_SEED = 20250302
_QUANTILES = (0.025, 0.975)
_GRID = np.linspace(0, 1, 101)
_PERSON = ["participant_id", "session_id"]
_FEWEST = 2
"""People of an outcome: one alone cannot be resampled."""
_ROUNDING = 1e-9

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Band:
    """A band around a curve, pointwise."""

    x: Floats
    """(point,)"""
    low: Floats
    high: Floats
    """(point,) 2.5 % and 97.5 % quantiles."""


def curve_bands(predictions: pd.DataFrame, draws: int = BAND_DRAWS) -> dict[str, Band]:
    """Return the bands of one model's ``roc`` and ``pr`` curves over resampled participants.

    A participant keeps the predictions of all repeats. ROC is resampled within outcome, precision
    is not, since it depends on prevalence. Empty with fewer than two participants of an outcome.
    """
    known = predictions[predictions["y_true"].notna()].reset_index(drop=True)
    score = known["logit"].to_numpy(dtype=np.float64)
    person = known.groupby(_PERSON, sort=False, dropna=False).ngroup().to_numpy()
    positive = known["y_true"].eq("1").to_numpy()
    outcome = np.zeros(person.max(initial=-1) + 1, dtype=bool)
    outcome[person] = positive
    if min(outcome.sum(), (~outcome).sum()) < _FEWEST:
        return {}
    within, whoever = (
        bootstrap_weights(kind, draws, np.random.default_rng(_SEED))
        # Whoever has the outcome first: the order in which they are drawn decides the figure.
        for kind in (1 - outcome.astype(np.int64), np.zeros(len(outcome), dtype=np.int64))
    )
    both = whoever[:, outcome].any(axis=1) & whoever[:, ~outcome].any(axis=1)
    order = np.argsort(-score, kind="stable")
    # People of one score enter together: a threshold cannot tell them apart.
    ends = np.append(np.flatnonzero(np.diff(score[order]) != 0), len(score) - 1)
    roc, pr = (
        [
            np.cumsum((weights[:, person] * members)[:, order], axis=1)[:, ends]
            for members in (positive, ~positive)
        ]
        for weights in (within, whoever[both])
    )
    return {"roc": _roc(*roc), "pr": _precision_recall(*pr)}


def _roc(hits: Floats, alarms: Floats) -> Band:
    """From the counts above each threshold, (draw, threshold)."""
    true_rate, false_rate = (_from_zero(each / each[:, -1:]) for each in (hits, alarms))
    curves = [np.interp(_GRID, x, y) for x, y in zip(false_rate, true_rate, strict=True)]
    return _band(_GRID, np.array(curves))


def _precision_recall(hits: Floats, alarms: Floats) -> Band:
    recall_grid = _GRID[1:]  # nobody called positive has no precision
    recall = hits / hits[:, -1:]
    with np.errstate(invalid="ignore"):
        precision = hits / (hits + alarms)
    reached = [np.searchsorted(each, recall_grid - _ROUNDING) for each in recall]
    curves = [row[at] for row, at in zip(precision, reached, strict=True)]
    return _band(recall_grid, np.array(curves))


def _from_zero(rates: Floats) -> Floats:
    return np.hstack([np.zeros((len(rates), 1)), rates])


def _band(x: Floats, curves: Floats) -> Band:
    low, high = np.quantile(curves, _QUANTILES, axis=0)
    return Band(x, low, high)
