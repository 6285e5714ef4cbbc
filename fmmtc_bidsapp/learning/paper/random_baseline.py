"""The random baseline of the paper: outcomes guessed at the training prevalence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.learning.metrics.scores import DECISION_METRICS
from fmmtc_bidsapp.learning.seeds import GUESSES, derive_seed
from fmmtc_bidsapp.records import Floats, Fold, Ints, MetricRow

__all__ = ["RANDOM", "random_rows"]

RANDOM = "random"
"""Name of the row in every table."""

_DRAWS = 1000

Cells = tuple[Floats, Floats, Floats, Floats]


def random_rows(folds: Sequence[Fold], y: Ints, seed: int) -> tuple[MetricRow, ...]:
    """Evaluate random guesses at the prevalence of the training rows, 1,000 at once.

    As scikit-learn's ``DummyClassifier(strategy="stratified")``. Means over draws; the
    intervals are 2.5 and 97.5 % quantiles over draws, what a single guess may reach by chance.
    Guesses of two values have the AUROC of their balanced accuracy.
    """
    rng = np.random.default_rng(derive_seed(seed, GUESSES))
    guesses = [rng.uniform(size=(_DRAWS, len(each.test))) < y[each.train].mean() for each in folds]
    cells = [_confusion(each, y[fold.test]) for each, fold in zip(guesses, folds, strict=True)]
    repeats = sorted({each.repeat for each in folds})
    together = [
        _sum([own for own, fold in zip(cells, folds, strict=True) if fold.repeat == repeat])
        for repeat in repeats
    ]
    names = {**{name: name for name in DECISION_METRICS}, "auroc": "balanced_accuracy"}
    return tuple(_row(name, DECISION_METRICS[of], cells, together) for name, of in names.items())


def _confusion(guessed: NDArray[np.bool_], y: Ints) -> Cells:
    """(draw, person) -> true and false positives, false and true negatives, each (draw,)."""
    right, wrong = guessed.astype(float), 1.0 - guessed
    return right @ y, right @ (1 - y), wrong @ y, wrong @ (1 - y)


def _sum(cells: Sequence[Cells]) -> Cells:
    tp, fp, fn, tn = np.sum(cells, axis=0)
    return tp, fp, fn, tn


def _row(
    name: str,
    compute: Callable[[Floats, Floats, Floats, Floats], Floats],
    cells: Sequence[Cells],
    together: Sequence[Cells],
) -> MetricRow:
    by_fold = np.array([compute(*each) for each in cells])
    known = by_fold[~np.isnan(by_fold).any(axis=1)]
    means, pooled = known.mean(axis=0), np.mean([compute(*each) for each in together], axis=0)
    low, high = np.quantile(means, [0.025, 0.975])
    pooled_low, pooled_high = np.quantile(pooled, [0.025, 0.975])
    return MetricRow(
        model=RANDOM,
        metric=name,
        mean=float(means.mean()),
        mean_low=float(low),
        mean_high=float(high),
        fold_sd=float(known.std(axis=0, ddof=1).mean()) if len(known) > 1 else float("nan"),
        pooled=float(pooled.mean()),
        pooled_low=float(pooled_low),
        pooled_high=float(pooled_high),
    )
