"""Added value of the brain score: a reference model with and without it.

The brain's score of a person is out of fold: the mean over repeats of the model's output,
standardised within the fold that the person was tested in. Of it counts only what the reference
columns do not explain, and what is left is added to the log odds of the reference model, one SD as
`WEIGHT`: a weight that is fixed learns nothing from the outcome. The gain is the AUROC of the sum
minus that of the reference model.

The null distribution uses the shuffled outcomes of the permutation test. Shuffling outcomes between
people equals exchanging their brains and keeping outcome and reference; so the outputs of models of
shuffled outcomes, moved to the people whose outcome was used, are scores of brains that add
nothing. They correlate over folds as the real ones do; exchanging finished scores does not, and
found a gain in one of ten cohorts without any. The reference columns are regressed out of exchanged
scores as of the real one (Freedman & Lane 1983): a brain that reflects head motion only is compared
with brains without anything that motion explains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from fmmtc_bidsapp.learning.evaluation.reference_models import Reference
from fmmtc_bidsapp.learning.metrics.scores import shuffled_aurocs
from fmmtc_bidsapp.records import Floats, Fold, FoldPredictions, Ints

__all__ = ["Gain", "brain_scores", "carry_back", "gains", "reference_scores"]

WEIGHT = 0.7
"""Log odds per SD of the brain's score: between those of an AUROC of 0.65 and of 0.8."""
_FLAT = 1e-9


@dataclass(frozen=True, eq=False)
class Gain:
    """What the brain adds to a reference model."""

    auroc_reference: float
    auroc_both: float
    exchanged: Floats
    """(permutation,) AUROC of the reference model with brains that add nothing."""


def brain_scores(predictions: Sequence[FoldPredictions], n: int) -> Floats:
    """Return one score per person from one model's outputs on every fold, (person,)."""
    outputs = [each.output[None] for each in predictions]
    score: Floats = _joined(outputs, [each.fold for each in predictions], n)[0]
    return score


def carry_back(outputs: Sequence[Floats], folds: Sequence[Fold], rows: Ints) -> Floats:
    """Return scores of exchanged brains from models of shuffled outcomes, (permutation, person).

    `outputs` are (permutation, test person) by fold. `rows` (permutation, person) is
    `exchanged_rows`: person ``i`` was given the outcome of ``rows[b, i]``, where the score of
    person ``i`` is put.
    """
    scores = _joined(outputs, folds, rows.shape[1])
    carried = np.empty_like(scores)
    np.put_along_axis(carried, rows, scores, axis=1)
    return carried


def _joined(outputs: Sequence[Floats], folds: Sequence[Fold], n: int) -> Floats:
    """(permutation, person) mean over repeats of outputs standardised within their fold."""
    total, times = np.zeros((len(outputs[0]), n)), np.zeros(n)
    for output, fold in zip(outputs, folds, strict=True):
        centred = output - output.mean(axis=1, keepdims=True)
        sd = centred.std(axis=1, keepdims=True)
        flat = sd <= _FLAT * np.maximum(np.abs(output).max(axis=1, keepdims=True), _FLAT)
        total[:, fold.test] += np.where(flat, 0.0, centred / np.where(flat, 1.0, sd))
        times[fold.test] += 1
    mean: Floats = total / times
    return mean


def reference_scores(reference: Reference, y: Ints, folds: Sequence[Fold]) -> Floats:
    """Predict people from reference columns by models of the other folds, (person,) log odds.

    `folds` are of one repeat; the mean is 0 in each fold.
    """
    scores = np.zeros(len(y))
    for fold in folds:
        model = LogisticRegression(C=1.0, max_iter=1000)
        model.fit(reference.columns[fold.train], y[fold.train])
        scores[fold.test] = model.decision_function(reference.columns[fold.test])
    return _centred(scores, folds)


def gains(scores: Floats, reference: Reference, y: Ints, folds: Sequence[Fold]) -> Gain:
    """Measure what the brain adds to a reference model, and what exchanged brains add.

    `scores` is (1 + permutation, person) of `brain_scores` and `carry_back`, `folds` those of
    the first repeat.
    """
    alone = reference_scores(reference, y, folds)
    left = _without(scores, reference, folds)
    both = _aurocs(alone + WEIGHT * left, y)
    return Gain(float(_aurocs(alone[None], y)[0]), float(both[0]), both[1:])


def _without(scores: Floats, reference: Reference, folds: Sequence[Fold]) -> Floats:
    """Return (permutation, person) residuals on folds and reference columns, in SD; 0 if none."""
    within = np.zeros((scores.shape[1], len(folds)))
    for i, fold in enumerate(folds):
        within[fold.test, i] = 1
    # Of columns that are all but sums of others, singular values of rounding are left out.
    left_vectors, size, _ = np.linalg.svd(np.hstack([within, reference.columns]), False)
    basis = left_vectors[:, size > _FLAT * size[0]]
    left = scores - (scores @ basis) @ basis.T
    sd = left.std(axis=1, keepdims=True)
    flat = sd <= 1e-6 * np.maximum(scores.std(axis=1, keepdims=True), 1e-6)
    return np.where(flat, 0.0, left / np.where(flat, 1.0, sd))


def _centred(scores: Floats, folds: Sequence[Fold]) -> Floats:
    """(…, person) with a mean of 0 in each fold."""
    centred = scores.copy()
    for fold in folds:
        centred[..., fold.test] -= centred[..., fold.test].mean(axis=-1, keepdims=True)
    return centred


def _aurocs(scores: Floats, y: Ints) -> Floats:
    """(permutation, person) -> (permutation,) AUROC over all pairs; equal scores count as half."""
    rounded = np.round(scores, 9)
    return shuffled_aurocs(rounded, np.broadcast_to(y, rounded.shape))
