"""Logits to probabilities."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from learning_fits import fit_fold
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import balanced_accuracy_score

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.metrics.calibrate import (
    apply_calibration,
    check_calibration,
    fit_calibration,
)
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Calibration, Fold


class Passing(ClassifierMixin, BaseEstimator):
    """A classifier whose output is its input."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return X[:, 0]

    def predict(self, X):
        return self.classes_[(X[:, 0] > 0).astype(int)]


@pytest.fixture
def overconfident():
    rng = np.random.default_rng(0)
    truth = rng.normal(0.3, 1.0, 60)
    y = (rng.uniform(size=60) < expit(truth)).astype(int)
    return 4 * truth + 2, y


def test_sigmoid_is_platts_as_scikit_learn_has_it(overconfident):
    logits, y = overconfident
    passing = FrozenEstimator(Passing().fit(logits[:, None], y))
    reference = CalibratedClassifierCV(passing, method="sigmoid").fit(logits[:, None], y)
    ours = fit_calibration(logits, y, "sigmoid", "0.5", y.mean())
    np.testing.assert_allclose(
        apply_calibration(ours, logits), reference.predict_proba(logits[:, None])[:, 1], atol=1e-4
    )


def test_temperature_minimises_the_cross_entropy(overconfident):
    logits, y = overconfident
    found = fit_calibration(logits, y, "temperature", "0.5", y.mean())
    slopes = np.linspace(0.01, 2, 2000)
    loss = [(np.logaddexp(0, s * logits) - y * s * logits).sum() for s in slopes]
    assert found.intercept == 0
    assert found.slope == pytest.approx(slopes[np.argmin(loss)], abs=1e-3)


def test_none_leaves_the_networks_own_probability(overconfident):
    logits, y = overconfident
    unchanged = fit_calibration(logits, y, "none", "0.5", y.mean())
    np.testing.assert_array_equal(apply_calibration(unchanged, logits), expit(logits))


@pytest.mark.parametrize("method", ["sigmoid", "temperature"])
def test_outputs_against_the_outcome_fall_back_to_the_training_prevalence(method):
    y = np.repeat([0, 1], 10)
    found = fit_calibration(np.linspace(2, -2, 20), y, method, "0.5", prevalence=0.3)
    assert found.slope == 0
    np.testing.assert_allclose(apply_calibration(found, np.array([-5.0, 5.0])), 0.3)


@pytest.mark.parametrize("method", ["sigmoid", "temperature"])
def test_outputs_that_are_all_alike_fall_back_to_the_training_prevalence(method):
    y = np.repeat([0, 1], 10)
    found = fit_calibration(np.full(20, logit(0.5)), y, method, "0.5", prevalence=0.45)
    np.testing.assert_allclose(apply_calibration(found, np.zeros(3)), 0.45)


def test_perfect_separation_keeps_probabilities_inside_platts_targets():
    y = np.repeat([0, 1], 5)
    found = fit_calibration(np.where(y == 1, 30.0, -30.0), y, "sigmoid", "0.5", 0.5)
    np.testing.assert_allclose(
        apply_calibration(found, np.array([30.0, -30.0])), [6 / 7, 1 / 7], atol=1e-4
    )


def test_a_tuned_threshold_has_the_best_balanced_accuracy(overconfident):
    logits, y = overconfident
    found = fit_calibration(logits + 3, y, "none", "tuned", y.mean())
    probability = expit(logits + 3)
    best = max(balanced_accuracy_score(y, probability >= p) for p in np.unique(probability))
    assert balanced_accuracy_score(y, probability >= found.threshold) == best
    assert best > balanced_accuracy_score(y, probability >= 0.5)


def test_a_diverged_network_is_an_error_that_says_what_to_do():
    with pytest.raises(InputError, match=r"1 of 4 outputs are not finite.*learning-rate"):
        fit_calibration(np.array([0, 1, np.nan, 2]), np.array([0, 1, 0, 1]), "sigmoid", "0.5", 0.5)


def test_isotonic_is_scikit_learns_within_platts_targets():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=300)
    y = (rng.uniform(size=300) < expit(2 * logits)).astype(int)
    found = fit_calibration(logits, y, "isotonic", "tuned", y.mean())
    n = np.bincount(y)
    steps = IsotonicRegression(
        y_min=1 / (n[0] + 2), y_max=(n[1] + 1) / (n[1] + 2), out_of_bounds="clip"
    ).fit(logits, y)
    new = np.linspace(-5, 5, 50)
    np.testing.assert_allclose(apply_calibration(found, new), steps.predict(new))
    assert Calibration(**json.loads(json.dumps(asdict(found)))) == found


def test_isotonic_is_refused_below_200_people():
    check_calibration("isotonic", 200)
    check_calibration("sigmoid", 20)
    with pytest.raises(
        InputError, match="isotonic needs 200 training participants, found 199; use sig"
    ):
        check_calibration("isotonic", 199)


def test_isotonic_outputs_against_the_outcome_say_the_prevalence():
    y = np.repeat([0, 1], 10)
    found = fit_calibration(np.linspace(2, -2, 20), y, "isotonic", "0.5", prevalence=0.5)
    np.testing.assert_allclose(apply_calibration(found, np.array([-5.0, 5.0])), 0.5)


def test_a_fold_counts_the_people_it_trains_on_and_no_others(setup, whole_cohort):
    examples = whole_cohort(n=220)
    fold = Fold(0, 0, np.arange(40), np.arange(40, 60))
    with pytest.raises(InputError, match="found 40"):
        fit_fold(
            "covariates", examples, fold, setup, EvaluationOptions(calibration="isotonic"), seed=0
        )
