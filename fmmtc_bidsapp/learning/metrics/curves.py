"""ROC and precision-recall curves, per fold and averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from fmmtc_bidsapp.learning.metrics.predictions import score_fold
from fmmtc_bidsapp.records import Curve, Floats, FoldPredictions, Ints

__all__ = ["curves_of"]

Points = tuple[Floats, Floats]
"""x, rising, and y; a jump is two points of one x."""


def curves_of(model: str, folds: Sequence[FoldPredictions], y: Ints) -> tuple[Curve, ...]:
    """Return a model's ROC and precision-recall curves: of each fold, and their mean.

    The area of the mean is the mean of the folds' AUROC or average precision. A fold without
    people of both outcomes has no curve.
    """
    scored = [(each.fold, score_fold(each, y)) for each in folds]
    there = [(fold, own.y, own.score) for fold, own in scored if len(np.unique(own.y)) > 1]
    if not there:
        return ()
    found: list[Curve] = []
    for kind, draw, average in (("roc", _roc, _mean_roc), ("pr", _pr, _mean_pr)):
        lines = [draw(outcome, score) for _, outcome, score in there]
        found.append(Curve(model, kind, *average(lines)))
        if len(lines) > 1:
            found += [
                Curve(model, kind, *line, repeat=fold.repeat, fold=fold.fold)
                for line, (fold, _, _) in zip(lines, there, strict=True)
            ]
    return tuple(found)


def _roc(y: Ints, score: Floats) -> Points:
    false_positive, true_positive, _ = roc_curve(y, score)
    return false_positive, true_positive


def _pr(y: Ints, score: Floats) -> Points:
    """Return recall and the precision of the step that leads to it, the first at recall 0 too."""
    precision, recall, _ = precision_recall_curve(y, score)
    # Of the points of one recall the first that reaches it counts, as in average precision.
    x, first = np.unique(recall[::-1], return_index=True)
    steps = precision[::-1][first]
    return x, np.append(steps[1], steps[1:])


def _mean_roc(lines: Sequence[Points]) -> Points:
    """Average the heights at each x; at every jump of a fold both sides of it."""
    x = np.unique(np.concatenate([line[0] for line in lines]))
    below, above = (
        np.mean([_side(line, x, last=last) for line in lines], axis=0) for last in (False, True)
    )
    return _without_repeats(np.repeat(x, 2), np.stack([below, above], axis=1).ravel())


def _side(line: Points, x: Floats, *, last: bool) -> Floats:
    """Return a line's height at each x; at a jump the lower end or, with ``last``, the upper."""
    own, first = np.unique(line[0], return_index=True)
    low, high = line[1][first], line[1][np.append(first[1:], len(line[0])) - 1]
    left = np.clip(np.searchsorted(own, x, side="right") - 1, 0, len(own) - 2)
    share = (x - own[left]) / (own[left + 1] - own[left])
    between: Floats = high[left] + share * (low[left + 1] - high[left])
    at = np.searchsorted(own, x)
    known = own[np.clip(at, 0, len(own) - 1)] == x
    between[known] = (high if last else low)[at[known]]
    return between


def _mean_pr(lines: Sequence[Points]) -> Points:
    """Average the steps: each precision holds for the recalls up to its own."""
    x = np.unique(np.concatenate([line[0] for line in lines]))
    steps = [own_y[np.searchsorted(own_x, x)] for own_x, own_y in lines]
    return x, np.mean(steps, axis=0)


def _without_repeats(x: Floats, y: Floats) -> Points:
    kept = np.append(True, (np.diff(x) != 0) | (np.diff(y) != 0))
    return x[kept], y[kept]
