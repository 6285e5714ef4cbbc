"""Metrics of weighted people against scikit-learn's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from fmmtc_bidsapp.learning.metrics.scores import EXTERNAL_METRICS, METRICS, Scored

REFERENCES = {
    "auroc": lambda s, w: reference.roc_auc_score(s.y, s.score, sample_weight=w),
    "average_precision": lambda s, w: reference.average_precision_score(
        s.y, s.score, sample_weight=w
    ),
    "balanced_accuracy": lambda s, w: reference.balanced_accuracy_score(
        s.y, s.positive, sample_weight=w
    ),
    "f1_macro": lambda s, w: reference.f1_score(s.y, s.positive, average="macro", sample_weight=w),
    "mcc": lambda s, w: reference.matthews_corrcoef(s.y, s.positive, sample_weight=w),
    "sensitivity": lambda s, w: reference.recall_score(s.y, s.positive, sample_weight=w),
    "specificity": lambda s, w: reference.recall_score(
        s.y, s.positive, pos_label=0, sample_weight=w
    ),
    "brier": lambda s, w: reference.brier_score_loss(s.y, s.probability, sample_weight=w),
    "log_loss": lambda s, w: reference.log_loss(s.y, s.probability, sample_weight=w),
    "brier_skill": lambda s, w: 1 - reference.brier_score_loss(s.y, s.probability) / 0.25,
    "log_loss_skill": lambda s, w: reference.d2_log_loss_score(s.y, s.probability, sample_weight=w),
}


def scored_people(seed, n=40):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([0, 1], n // 2))
    # Two decimals make ties, which is where ranking metrics go wrong.
    probability = np.round(expit(rng.normal(size=n) + y), 2).clip(0.01, 0.99)
    score, one_fold = logit(probability), np.zeros(n, dtype=int)
    return Scored(y, score, score, probability, probability >= 0.5, np.full(n, 0.5), one_fold)


@pytest.mark.parametrize("name", REFERENCES)
def test_each_metric_equals_scikit_learns_for_any_weights(name):
    scored = scored_people(1)
    rng = np.random.default_rng(2)
    weights = np.vstack([np.ones(40), rng.multinomial(40, np.full(40, 1 / 40), size=20)])
    if name.endswith("_skill"):
        weights = weights[:1]  # scikit-learn weighs the reference's prevalence, too
    ours = METRICS[name].compute(scored, weights)
    np.testing.assert_allclose(ours, [REFERENCES[name](scored, w) for w in weights], atol=1e-12)


def test_every_metric_has_a_reference():
    own_tests = {"calibration_slope", "calibration_intercept", "calibration_error"}
    assert set(METRICS) - set(REFERENCES) == own_tests


def test_the_calibration_error_is_the_mean_gap_of_five_bins_of_equal_mass():
    scored = scored_people(4, n=50)
    scored = replace(scored, probability=scored.probability + np.linspace(0, 1e-4, 50))
    by_hand = 0.0
    people = zip(scored.probability, scored.y, strict=True)
    ranked = sorted(people, key=lambda person: person[0])
    for i in range(0, 50, 10):
        probability, y = zip(*ranked[i : i + 10], strict=True)
        by_hand += abs(np.mean(probability) - np.mean(y)) / 5
    found = METRICS["calibration_error"].compute(scored, np.ones((1, 50)))
    assert found[0] == pytest.approx(by_hand)


def test_calibration_slope_and_intercept_are_those_of_a_logistic_regression():
    scored = scored_people(3, n=200)
    overconfident = expit(2 * logit(scored.probability) + 1)
    scored = replace(scored, probability=overconfident)
    x = logit(overconfident)
    slope = LogisticRegression(C=np.inf, tol=1e-10).fit(x[:, None], scored.y).coef_[0, 0]
    ones = np.ones((1, 200))
    assert METRICS["calibration_slope"].compute(scored, ones)[0] == pytest.approx(slope, rel=1e-4)
    shift = METRICS["calibration_intercept"].compute(scored, ones)[0]
    assert expit(x + shift).mean() == pytest.approx(scored.y.mean(), abs=1e-9)


def test_the_share_of_positives_that_folds_were_trained_on_is_an_offset_of_the_calibration_slope():
    """By brute force: the largest likelihood over slope and shift, the offset fixed."""
    rng = np.random.default_rng(8)
    prevalence = np.repeat([0.3, 0.5, 0.6], 40)
    beyond = rng.normal(size=120)
    y = (rng.random(120) < expit(logit(prevalence) + 0.7 * beyond)).astype(int)
    scored = replace(
        scored_people(8, n=120),
        y=y,
        prevalence=prevalence,
        probability=expit(logit(prevalence) + beyond),
        fold=np.repeat([0, 1, 2], 40),
    )

    def loss(parameters):
        eta = logit(prevalence) + parameters[0] + parameters[1] * beyond
        return (np.logaddexp(0, eta) - y * eta).sum()

    best = minimize(loss, [0.0, 1.0], tol=1e-10).x[1]
    found = METRICS["calibration_slope"].compute(scored, np.ones((1, 120)))[0]
    assert found == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(("n_flat", "has_slope"), [(2, True), (3, False)])
def test_a_calibration_slope_needs_a_slope_in_most_folds(n_flat, has_slope):
    scored = scored_people(9, n=100)
    fold = np.repeat(np.arange(5), 20)
    flat = fold < n_flat
    scored = replace(
        scored, fold=fold, probability=np.where(flat, scored.prevalence, scored.probability)
    )
    found = METRICS["calibration_slope"].compute(scored, np.ones((1, 100)))[0]
    assert np.isfinite(found) == has_slope


def test_the_skill_beyond_the_own_share_is_0_for_the_share_itself():
    y = np.repeat([1, 0], [10, 30])
    scored = replace(scored_people(2), y=y, probability=np.full(40, 0.25))
    for name in ("brier_skill_own_share", "log_loss_skill_own_share"):
        assert EXTERNAL_METRICS[name].compute(scored, np.ones((1, 40)))[0] == pytest.approx(0)


def test_the_skills_beyond_the_own_share_are_those_of_scikit_learns_losses():
    scored = scored_people(3)
    share = np.full(40, scored.y.mean())
    losses = {
        "brier_skill_own_share": reference.brier_score_loss,
        "log_loss_skill_own_share": reference.log_loss,
    }
    for name, loss in losses.items():
        expected = 1 - loss(scored.y, scored.probability) / loss(scored.y, share)
        found = EXTERNAL_METRICS[name].compute(scored, np.ones((1, 40)))[0]
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("outcome", [0, 1])
@pytest.mark.parametrize(
    "name", ["auroc", "average_precision", "balanced_accuracy", "f1_macro", "mcc"]
)
def test_one_class_has_no_value_rather_than_chance(name, outcome):
    scored = replace(scored_people(4), y=np.full(40, outcome))
    assert np.isnan(METRICS[name].compute(scored, np.ones((1, 40)))[0])


def test_a_slope_that_separation_would_send_to_infinity_has_no_value():
    scored = scored_people(5)
    perfect = replace(scored, probability=np.where(scored.y == 1, 0.8, 0.3))
    assert np.isnan(METRICS["calibration_slope"].compute(perfect, np.ones((1, 40)))[0])
    wrong = replace(scored, probability=np.where(scored.y == 1, 0.3, 0.8))
    assert np.isnan(METRICS["calibration_slope"].compute(wrong, np.ones((1, 40)))[0])


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_the_same_probability_for_everyone_has_no_slope_and_its_gap_as_the_error(share):
    rng = np.random.default_rng(0)
    y = np.arange(50) < 50 * share
    constant = replace(
        scored_people(7, n=50), y=y.astype(int), score=rng.normal(size=50), probability=y * 0 + 0.4
    )
    assert np.isnan(METRICS["calibration_slope"].compute(constant, np.ones((1, 50)))[0])
    found = METRICS["calibration_error"].compute(constant, np.ones((1, 50)))
    assert found[0] == pytest.approx(share - 0.4)


def test_one_confident_miss_costs_a_finite_log_loss():
    scored = replace(scored_people(6), probability=np.zeros(40))
    assert np.isfinite(METRICS["log_loss"].compute(scored, np.ones((1, 40)))[0])
