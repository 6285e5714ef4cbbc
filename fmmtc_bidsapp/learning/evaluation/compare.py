"""Differences between models on the same folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fmmtc_bidsapp.learning.metrics.intervals import corrected_interval, corrected_test
from fmmtc_bidsapp.learning.metrics.predictions import fold_values
from fmmtc_bidsapp.learning.metrics.scores import METRICS, Metric
from fmmtc_bidsapp.records import Difference, Floats, FoldPredictions, Ints

__all__ = ["COMPARED", "compare", "holm"]

COMPARED = ("f1_macro", "balanced_accuracy", "auroc", "mcc", "brier")
"""The metrics of the paper, in its order, and one of the probabilities."""


def compare(predictions: Sequence[FoldPredictions], y: Ints, main: str) -> list[Difference]:
    """Compare model `main` with every other on the same folds, by metric.

    By the corrected resampled t-test (Nadeau & Bengio 2003, doi:10.1023/A:1024068626366).
    """
    by_fold = {(each.model, each.fold.repeat, each.fold.fold): each for each in predictions}
    splits = [(repeat, fold) for model, repeat, fold in by_fold if model == main]
    others = dict.fromkeys(each.model for each in predictions if each.model != main)
    rows = []
    for other in others:
        ours = [by_fold[main, *split] for split in splits if (other, *split) in by_fold]
        theirs = [by_fold[other, *split] for split in splits if (other, *split) in by_fold]
        rows += [_row(name, METRICS[name], ours, theirs, y) for name in COMPARED if ours]
    return rows


def holm(p: Floats) -> Floats:
    """Adjust (difference,) p by Holm's method; NaN is no test.

    Holm (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted


def _row(
    name: str, metric: Metric, ours: list[FoldPredictions], theirs: list[FoldPredictions], y: Ints
) -> Difference:
    difference = fold_values(metric, ours, y) - fold_values(metric, theirs, y)
    n_train = float(np.mean([len(each.fold.train) for each in ours]))
    n_test = float(np.mean([len(each.fold.test) for each in ours]))
    n_repeats = len({each.fold.repeat for each in ours})
    low, high = corrected_interval(difference, n_train, n_test, n_repeats)
    p = corrected_test(difference, n_train, n_test, n_repeats)
    known = difference[~np.isnan(difference)]
    mean = float(known.mean()) if len(known) else float("nan")
    # Two or three folds give an interval wider than any difference can be; NaN stays.
    widest = metric.high - metric.low
    low, high = np.clip((low, high), -widest, widest).tolist()
    return Difference(theirs[0].model, name, mean, low, high, p)
