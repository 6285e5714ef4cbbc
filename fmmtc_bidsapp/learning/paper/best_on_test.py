"""The published protocol: the epoch chosen on the test fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from sklearn.metrics import matthews_corrcoef

from fmmtc_bidsapp.learning.estimators.learner import ValidationCurve
from fmmtc_bidsapp.learning.estimators.models import check_needs
from fmmtc_bidsapp.learning.metrics.predictions import fold_values
from fmmtc_bidsapp.learning.metrics.scores import METRICS
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, refit_seed, validation_curves
from fmmtc_bidsapp.records import (
    Calibration,
    Fold,
    FoldPredictions,
    Ints,
    OptimismRow,
)

__all__ = ["BEST_ON_TEST", "LAST_EPOCH", "optimism_rows", "publish_together"]

BEST_ON_TEST = "best-on-test"
LAST_EPOCH = "last-epoch"

_COMPARED = ("mcc", "auroc", "balanced_accuracy", "f1_macro")
_AS_IT_IS = Calibration(method="none", slope=1.0, intercept=0.0, threshold=0.5)


def publish_together(
    analysis: Analysis, names: Sequence[str], fold: Fold
) -> tuple[dict[str, FoldPredictions], ...]:
    """Train models of one training once, and predict the test rows after every epoch.

    The protocol of the authors' code, kept to show its optimism: **outcomes of test rows are
    read.** By model, ``best-on-test`` is the epoch with the highest MCC of the test rows, and
    ``last-epoch`` is not chosen; both are without calibration, decided at a probability of 0.5.
    """
    examples = analysis.examples
    check_needs(names, examples)
    # The networks of the first training that `fit_together` trains in the end, evaluated otherwise.
    own_seed = refit_seed(analysis.seed, fold)
    curves = validation_curves(analysis, names, fold.train, fold.test, own_seed)
    return tuple(
        {
            selection: FoldPredictions(
                model=name,
                fold=fold,
                logit=curve.logits[epoch],
                calibration=_AS_IT_IS,
                prevalence=float(examples.y[fold.train].mean()),
                epoch=epoch + 1,
                validation_loss=curve.loss,
                train_loss=np.zeros(0),
                selection=selection,
            )
            for selection, epoch in _epochs(curve, examples.y[fold.test]).items()
        }
        for name, curve in zip(names, curves, strict=True)
    )


def _epochs(curve: ValidationCurve, y: Ints) -> dict[str, int]:
    mcc = [matthews_corrcoef(y, logits >= 0) for logits in curve.logits]
    return {BEST_ON_TEST: int(np.argmax(mcc)), LAST_EPOCH: len(mcc) - 1}


def optimism_rows(
    nested: Sequence[FoldPredictions],
    published: Sequence[Mapping[str, FoldPredictions]],
    y: Ints,
) -> tuple[OptimismRow, ...]:
    """Compare both protocols by model and metric, in the order of `published`.

    Folds that only one of them has are left out, and of `nested` the first training is
    compared; both decide at a probability of 0.5, without calibration.
    """
    rows = []
    for model in dict.fromkeys(each[LAST_EPOCH].model for each in published):
        honest = {_place(each): each for each in nested if each.model == model and not each.seed}
        chosen = {
            _place(each[LAST_EPOCH]): each
            for each in published
            if each[LAST_EPOCH].model == model and _place(each[LAST_EPOCH]) in honest
        }
        protocols = {
            "nested": [_decided_alike(honest[place]) for place in chosen],
            LAST_EPOCH: [each[LAST_EPOCH] for each in chosen.values()],
            BEST_ON_TEST: [each[BEST_ON_TEST] for each in chosen.values()],
        }
        for metric in _COMPARED:
            means = {name: _mean(metric, folds, y) for name, folds in protocols.items()}
            best, own = means[BEST_ON_TEST], means["nested"]
            rows.append(OptimismRow(model, metric, own, means[LAST_EPOCH], best, best - own))
    return tuple(rows)


def _decided_alike(nested: FoldPredictions) -> FoldPredictions:
    """Use the outputs as in the published protocol: a calibration is no part of the gap."""
    return replace(nested, logit=nested.output, calibration=_AS_IT_IS)


def _place(predictions: FoldPredictions) -> tuple[int, int]:
    return predictions.fold.repeat, predictions.fold.fold


def _mean(metric: str, folds: Sequence[FoldPredictions], y: Ints) -> float:
    values = fold_values(METRICS[metric], folds, y)
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
