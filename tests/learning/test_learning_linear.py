"""Baselines, and what cross-validation says of cohorts without and with an effect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learning_fits import fit_fold
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.linear import ColumnsLearner
from fmmtc_bidsapp.learning.evaluation.performance import evaluate
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.options import EvaluationOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples

PARCELS = 12
SETUP = Setup(
    TrainOptions(folds=5, inner_folds=2),
    ModelOptions(encoder="random"),
    torch.device("cpu"),
    torch.float32,
)
EVALUATION = EvaluationOptions(bootstrap=10)


def cohort(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.tile([0, 1], n // 2))
    series = rng.normal(size=(n, 40, PARCELS))
    return Examples(
        keys=tuple(f"sub-{i:02d}" for i in range(n)),
        arrays={
            "cls": np.zeros((n, 2)),
            "fc": np.stack([np.corrcoef(each.T) for each in series]).astype(np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
    )


def cross_validate(name, examples, seed):
    folds = outer_folds(examples.strata, SETUP.train.folds, 1, seed)
    predictions = [fit_fold(name, examples, f, SETUP, EVALUATION, seed=seed) for f in folds]
    rows = evaluate(predictions, examples.y, EVALUATION, seed).metrics
    return {row.metric: row for row in rows}


def test_fc_logistic_is_the_logistic_regression_on_all_scaled_edges():
    examples = cohort(30, seed=0)
    fitted = ColumnsLearner(SETUP, "logistic", "fc").fit(examples, np.arange(20), 1, 0)
    upper = np.triu_indices(PARCELS, k=1)
    z = np.arctanh(examples.fc[:, upper[0], upper[1]].astype(float))
    scaled = (z - z[:20].mean(axis=0)) / z[:20].std(axis=0) / np.sqrt(z.shape[1])
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(scaled[:20], examples.y[:20])
    np.testing.assert_allclose(fitted.logits(examples), model.decision_function(scaled), atol=1e-3)


def test_the_dummy_has_the_training_prevalence_an_auroc_of_one_half_and_no_skill():
    examples = cohort(30, seed=0)
    found = cross_validate("dummy", examples, seed=0)
    assert (found["auroc"].mean, found["auroc"].pooled) == (0.5, 0.5)
    assert found["brier_skill"].mean == pytest.approx(0)
    fold = outer_folds(examples.strata, 5, 1, 0)[0]
    predictions = fit_fold("dummy", examples, fold, SETUP, EVALUATION, seed=0)
    np.testing.assert_allclose(expit(predictions.logit), examples.y[fold.train].mean())


def test_null_cohorts_are_at_chance_on_average():
    aurocs = []
    for seed in range(40):
        examples = cohort(24, seed)
        for fold in outer_folds(examples.strata, 2, 1, seed):
            predictions = fit_fold("fc-logistic", examples, fold, SETUP, EVALUATION, seed=seed)
            aurocs.append(roc_auc_score(examples.y[fold.test], predictions.logit))
    assert np.mean(aurocs) == pytest.approx(0.5, abs=0.05)
    assert np.std(aurocs) > 0.05  # chance is their mean, not a constant


def test_an_edge_that_only_test_people_have_gains_nothing_even_if_it_gives_the_outcome_away():
    examples = cohort(30, seed=1)
    fold = outer_folds(examples.strata, 5, 1, seed=1)[0]
    unseen = examples.fc.copy()
    unseen[:, 0, 1] = unseen[:, 1, 0] = np.nan
    marked = unseen.copy()
    marked[fold.test, 0, 1] = marked[fold.test, 1, 0] = 0.9 * (2 * examples.y[fold.test] - 1)
    without, with_mark = (
        fit_fold("fc-logistic", examples.with_arrays(fc=fc), fold, SETUP, EVALUATION, seed=1)
        for fc in (unseen, marked)
    )
    np.testing.assert_array_equal(with_mark.logit, without.logit)
    assert with_mark.calibration == without.calibration
