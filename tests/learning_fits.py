"""Fits of one model on one fold, from their parts."""

from __future__ import annotations

from collections.abc import Sequence

from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.model_selection.nested_cv import (
    Analysis,
    FittedModel,
    fit_final,
    fit_together,
)
from fmmtc_bidsapp.learning.model_selection.permutations import aurocs_of_shuffles, permuted_outputs
from fmmtc_bidsapp.learning.paper.best_on_test import publish_together
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Examples, Floats, Fold, FoldPredictions, Ints

__all__ = ["fit_everyone", "fit_fold", "fit_published", "permuted_aurocs"]


def fit_fold(
    name: str,
    examples: Examples,
    fold: Fold,
    setup: Setup,
    evaluation: EvaluationOptions,
    *,
    seed: int,
    training: int = 0,
) -> FoldPredictions:
    analysis = Analysis(examples, setup, evaluation, seed)
    return fit_together(analysis, (name,), fold, training)[1][0]


def fit_everyone(
    name: str,
    examples: Examples,
    setup: Setup,
    evaluation: EvaluationOptions,
    *,
    seed: int,
    training: int = 0,
) -> FittedModel:
    return fit_final(Analysis(examples, setup, evaluation, seed), name, training)


def fit_published(
    name: str, examples: Examples, fold: Fold, setup: Setup, *, seed: int
) -> dict[str, FoldPredictions]:
    analysis = Analysis(examples, setup, EvaluationOptions(), seed)
    return publish_together(analysis, (name,), fold)[0]


def permuted_aurocs(
    names: Sequence[str],
    examples: Examples,
    fold: Fold,
    labels: Ints,
    setup: Setup,
    evaluation: EvaluationOptions,
    *,
    seed: int,
) -> Floats:
    """(model, permutation) AUROC of the test rows; NaN where they have one outcome."""
    outputs = permuted_outputs(Analysis(examples, setup, evaluation, seed), names, fold, labels)
    return aurocs_of_shuffles(outputs, fold, labels)
