"""Judging out-of-fold predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import t
from sklearn.metrics import average_precision_score, roc_auc_score

from fmmtc_bidsapp.learning.evaluation.performance import evaluate
from fmmtc_bidsapp.learning.metrics.calibrate import fit_calibration
from fmmtc_bidsapp.learning.metrics.intervals import (
    auroc_bound,
    auroc_half_width,
    bootstrap_interval,
    corrected_interval,
)
from fmmtc_bidsapp.learning.metrics.predictions import pool, prediction_rows, score_fold
from fmmtc_bidsapp.learning.metrics.scores import METRICS
from fmmtc_bidsapp.learning.model_selection.ensemble import merge_trainings
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Calibration, Examples, Fold, FoldPredictions
from fmmtc_bidsapp.stats import bootstrap_weights

N = 40
Y = np.tile([0, 1], N // 2)
OPTIONS = EvaluationOptions(bootstrap=200)


def predictions_of(model, logits, repeats=1, slope=1.0):
    folds = outer_folds([str(y) for y in Y], folds=5, repeats=repeats, seed=0)
    return [
        FoldPredictions(
            model=model,
            fold=fold,
            logit=logits[fold.test],
            calibration=Calibration("sigmoid", slope, 0.1, 0.5),
            prevalence=float(Y[fold.train].mean()),
            epoch=1,
            validation_loss=np.zeros(1),
            train_loss=np.zeros(1),
        )
        for fold in folds
    ]


def pairs_of(folds):
    """AUROC over the pairs of one fold, pair by pair."""
    won = [
        (a > b) + 0.5 * (a == b)
        for f in folds
        for a in f.logit[Y[f.fold.test] == 1]
        for b in f.logit[Y[f.fold.test] == 0]
    ]
    return np.mean(won)


def row(evaluation, model, metric):
    return next(r for r in evaluation.metrics if (r.model, r.metric) == (model, metric))


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(1).normal(size=N) + Y


def test_the_headline_is_the_mean_of_the_folds_with_a_corrected_interval(logits):
    folds = predictions_of("net", logits, repeats=2)
    aurocs = np.array([roc_auc_score(Y[f.fold.test], f.logit) for f in folds])
    found = row(evaluate(folds, Y, OPTIONS, seed=0), "net", "auroc")
    half = t.ppf(0.975, 4) * np.sqrt(aurocs.var(ddof=1) * (1 / 10 + 8 / 32))
    assert found.mean == pytest.approx(aurocs.mean())
    assert found.fold_sd == pytest.approx(aurocs.std(ddof=1))
    assert found.mean_low == pytest.approx(aurocs.mean() - half)
    assert found.mean_high == pytest.approx(min(1.0, aurocs.mean() + half))


def test_pooled_figures_can_be_had_from_the_table_of_predictions(logits):
    folds = predictions_of("net", logits, slope=0.5)
    examples = Examples(
        keys=tuple(f"sub-{i:02d}" for i in range(N)),
        arrays={
            "cls": np.zeros((N, 1)),
            "fc": np.zeros((N, 2, 2), np.float32),
        },
        y=Y,
        strata=tuple(map(str, Y)),
    )
    rows = prediction_rows(folds, examples)
    assert sorted(r.key for r in rows) == list(examples.keys)
    evaluation = evaluate(folds, Y, OPTIONS, seed=0)
    y, probability = [r.y_true for r in rows], [r.probability for r in rows]
    pooled = {m: row(evaluation, "net", m).pooled for m in ("auroc", "average_precision")}
    assert pooled["auroc"] == pytest.approx(pairs_of(folds))
    # Every fold trains on half positives here, so the prevalence moves nobody.
    assert pooled["average_precision"] == pytest.approx(average_precision_score(y, probability))
    accuracy = np.mean([(r.y_pred == r.y_true) for r in rows])
    assert row(evaluation, "net", "balanced_accuracy").pooled == pytest.approx(accuracy)
    assert [r.probability_raw for r in rows] == [expit(r.logit) for r in rows]


def test_a_model_that_says_the_same_of_everyone_has_an_auroc_of_one_half():
    folds = predictions_of("dummy", np.zeros(N))
    # Prevalences of training rows differ between folds, against the people left out.
    folds = [replace(f, logit=f.logit - i % 2) for i, f in enumerate(folds)]
    found = row(evaluate(folds, Y, OPTIONS, seed=0), "dummy", "auroc")
    assert (found.mean, found.pooled, found.pooled_low, found.pooled_high) == (0.5,) * 4


def a_null_cohort(rng, calibration="sigmoid"):
    """Five sites of unequal prevalence, each tested by a model that says what chance has it say."""
    y = np.concatenate([np.arange(12) < n for n in (2, 4, 6, 8, 10)]).astype(int)
    folds = []
    for i in range(5):
        test = np.arange(12 * i, 12 * i + 12)
        train = np.setdiff1d(np.arange(60), test)
        prevalence = float(y[train].mean())
        fitted = fit_calibration(rng.normal(size=48), y[train], calibration, "0.5", prevalence)
        nothing = np.zeros(0)
        fold = Fold(0, i, train, test)
        logits = rng.normal(size=12)
        folds.append(FoldPredictions("net", fold, logits, fitted, prevalence, 1, nothing, nothing))
    return folds, y


def test_folds_that_fell_back_to_their_prevalence_do_not_pull_the_pooled_auroc_below_one_half():
    rng = np.random.default_rng(0)
    pooled, area, by_probability = [], [], []
    for _ in range(150):
        folds, y = a_null_cohort(rng)
        scored = pool(folds, y)
        pooled.append(METRICS["auroc"].compute(scored, np.ones((1, 60)))[0])
        area.append(roc_auc_score(scored.y, scored.lift))
        by_probability.append(roc_auc_score(scored.y, scored.probability))
    assert np.mean(pooled) == pytest.approx(0.5, abs=0.03)
    assert np.mean(area) == pytest.approx(0.5, abs=0.03)
    assert np.mean(by_probability) < 0.3


def test_pooled_pairs_are_of_one_fold_for_any_bootstrap_weights():
    folds, y = a_null_cohort(np.random.default_rng(1))
    weights = bootstrap_weights(y, 20, np.random.default_rng(2))
    found = METRICS["auroc"].compute(pool(folds, y), weights)
    for auroc, w in zip(found, weights, strict=True):
        won = pairs = 0.0
        for f in folds:
            rows = f.fold.test
            if 0 < w[rows] @ y[rows] < w[rows].sum():
                own = (w[rows] @ y[rows]) * (w[rows] @ (1 - y[rows]))
                won += own * roc_auc_score(y[rows], f.logit, sample_weight=w[rows])
                pairs += own
        assert auroc == pytest.approx(won / pairs)


@pytest.mark.parametrize("metric", ["auroc", "average_precision"])
def test_one_training_and_the_mean_of_several_are_ranked_alike(metric):
    y = np.tile([0, 1], 10)
    fold = Fold(0, 0, np.zeros(0, int), np.arange(20))
    nothing = np.zeros(0)
    logits = np.random.default_rng(0).normal(size=20)
    flat = [
        FoldPredictions(
            "net", fold, logits, Calibration("sigmoid", 0.0, 0.0, 0.5), 0.5, 1, nothing, nothing,
            seed=seed,
        )
        for seed in (0, 1)
    ]  # fmt: skip
    one, two = (
        METRICS[metric].compute(score_fold(merge_trainings(own)[0], y), np.ones((1, 20)))[0]
        for own in (flat[:1], flat)
    )
    reference = {"auroc": roc_auc_score, "average_precision": average_precision_score}[metric]
    assert one == two == pytest.approx(reference(y, logits))


def test_an_interval_needs_a_value_in_nearly_every_draw():
    draws = np.linspace(0, 1, 101)
    assert bootstrap_interval(draws) == pytest.approx((0.025, 0.975))
    draws[:5] = np.nan
    assert bootstrap_interval(draws) == pytest.approx(tuple(np.quantile(draws[5:], [0.025, 0.975])))
    draws[:6] = np.nan
    assert np.isnan(bootstrap_interval(draws)).all()


def test_predicting_the_training_prevalence_has_no_skill():
    folds = predictions_of("dummy", np.zeros(N), slope=0.0)
    at_prevalence = [
        replace(f, calibration=Calibration("sigmoid", 0.0, 0.0, 0.5), prevalence=0.5) for f in folds
    ]
    evaluation = evaluate(at_prevalence, Y, OPTIONS, seed=0)
    assert row(evaluation, "dummy", "brier_skill").pooled == pytest.approx(0)
    assert row(evaluation, "dummy", "log_loss_skill").mean == pytest.approx(0)


def test_a_test_fold_of_one_class_is_left_out_of_the_mean_and_not_called_chance(logits):
    folds = predictions_of("net", logits)
    one_class = folds[0].fold.test[Y[folds[0].fold.test] == 1]
    folds[0] = replace(
        folds[0], fold=replace(folds[0].fold, test=one_class), logit=logits[one_class]
    )
    others = [roc_auc_score(Y[f.fold.test], f.logit) for f in folds[1:]]
    found = row(evaluate(folds, Y, OPTIONS, seed=0), "net", "auroc")
    assert found.mean == pytest.approx(np.mean(others))


def test_bootstrap_draws_people_within_their_class():
    y = np.array([0] * 7 + [1] * 13)
    weights = bootstrap_weights(y, 50, np.random.default_rng(0))
    assert (weights[:, y == 0].sum(axis=1) == 7).all()
    assert (weights[:, y == 1].sum(axis=1) == 13).all()
    assert len(np.unique(weights, axis=0)) == 50


def test_the_bootstrap_interval_is_that_of_resampled_people(logits):
    found = row(
        evaluate(predictions_of("net", logits), Y, EvaluationOptions(bootstrap=2000), 0),
        "net",
        "auroc",
    )
    rng = np.random.default_rng(5)
    classes = [np.arange(0, N, 2), np.arange(1, N, 2)]
    draws = []
    fold = np.zeros(N, dtype=int)
    for each in predictions_of("net", logits):
        fold[each.fold.test] = each.fold.fold
    for _ in range(500):
        positive, negative = (rng.choice(rows, len(rows)) for rows in classes[::-1])
        same = fold[positive][:, None] == fold[negative]
        draws.append((logits[positive][:, None] > logits[negative])[same].mean())
    np.testing.assert_allclose(
        [found.pooled_low, found.pooled_high], np.quantile(draws, [0.025, 0.975]), atol=0.03
    )


@pytest.mark.parametrize("auroc", [0.5, 0.8])
def test_the_expected_width_is_the_spread_of_aurocs_of_exponential_scores(auroc):
    # Hanley and McNeil's variance is exact when both classes have exponential scores.
    rng = np.random.default_rng(0)
    negative = rng.exponential(1.0, (20000, 12))
    positive = rng.exponential(auroc / (1 - auroc), (20000, 9))
    aurocs = (positive[:, :, None] > negative[:, None, :]).mean(axis=(1, 2))
    assert aurocs.mean() == pytest.approx(auroc, abs=0.005)
    assert auroc_half_width(9, 12, auroc) == pytest.approx(1.96 * aurocs.std(), rel=0.02)


def test_one_fold_has_no_interval():
    assert np.isnan(corrected_interval(np.array([0.7, np.nan]), 30, 10)).all()


def test_folds_that_are_all_equal_have_no_interval():
    assert np.isnan(corrected_interval(np.array([0.7, 0.7, np.nan]), 30, 10)).all()


def test_reliability_has_five_bins_of_equal_mass_before_and_after_calibration(logits):
    evaluation = evaluate(predictions_of("net", logits, slope=0.5), Y, OPTIONS, seed=0)
    for stage, slope, shift in (("before", 1.0, 0.0), ("after", 0.5, 0.1)):
        bins = [each for each in evaluation.calibration if each.stage == stage]
        assert [each.n for each in bins] == [8] * 5
        lowest = np.sort(expit(slope * logits + shift))[:8]
        assert bins[0].mean_probability == pytest.approx(lowest.mean())
        assert all(each.low <= each.observed_share <= each.high for each in bins)


def test_people_of_one_probability_share_a_bin_whatever_their_order():
    def bins(order):
        y, p = np.tile([0, 1], 20)[order], np.repeat([0.3, 0.7], [12, 28])[order]
        fold = Fold(0, 0, np.zeros(0, int), np.arange(40))
        nothing = np.zeros(0)
        unchanged = Calibration("none", 1.0, 0.0, 0.5)
        one = FoldPredictions("net", fold, np.log(p / (1 - p)), unchanged, 0.5, 1, nothing, nothing)
        found = evaluate([one], y, OPTIONS, 0)
        return [
            (each.n, round(each.mean_probability, 6), each.observed_share)
            for each in found.calibration
            if each.stage == "after"
        ], row(found, "net", "calibration_error").pooled

    as_they_come, error = bins(np.arange(40))
    by_outcome, again = bins(np.argsort(np.tile([0, 1], 20), kind="stable"))
    assert as_they_come == by_outcome == [(12, 0.3, 0.5), (28, 0.7, 0.5)]
    assert error == pytest.approx(0.2)
    assert again == pytest.approx(0.2)


def test_without_permutations_the_verdict_is_not_tested_with_the_width_to_expect(logits):
    evaluation = evaluate(predictions_of("net", logits), Y, OPTIONS, seed=0)
    assert evaluation.verdict.startswith("not tested")
    assert f"± {evaluation.expected_half_width:.2f}" in evaluation.verdict


def test_the_same_seed_gives_the_same_evaluation(logits):
    folds = predictions_of("net", logits)
    first, again = (evaluate(folds, Y, OPTIONS, seed=3).metrics for _ in range(2))
    assert repr(first) == repr(again)


@pytest.mark.parametrize("classes", [[(8, 8)], [(3, 2), (3, 3), (2, 3)], [(2, 9), (9, 2)]])
def test_folds_of_the_bound_are_all_perfect_in_one_cohort_of_forty(classes):
    """Simulated exponential scores, of the outcome that gives the lower bound."""
    rng = np.random.default_rng(1)
    bound = auroc_bound(1.0, classes)
    shares = []
    for turn in (False, True):
        perfect = np.ones(200_000, dtype=bool)
        for positive, negative in classes:
            above, below = (negative, positive) if turn else (positive, negative)
            upper = rng.exponential(bound / (1 - bound), (len(perfect), above))
            perfect &= upper.min(axis=1) > rng.exponential(1, (len(perfect), below)).max(axis=1)
        shares.append(perfect.mean())
    assert max(shares) == pytest.approx(0.025, abs=0.002)


def test_an_auroc_that_is_the_same_in_every_fold_has_a_bound_and_no_interval():
    found = row(evaluate(predictions_of("net", Y + 0.0), Y, OPTIONS, seed=0), "net", "auroc")
    assert found.mean == 1
    assert np.isnan([found.mean_low, found.mean_high]).all()
    assert found.bound == auroc_bound(1.0, [(4, 4)] * 5)
    constant = row(evaluate(predictions_of("net", 0.0 * Y), Y, OPTIONS, seed=0), "net", "auroc")
    assert constant.bound == pytest.approx(0.5 - auroc_half_width(20, 20, 0.5))


def test_an_auroc_with_an_interval_has_no_bound(logits):
    found = evaluate(predictions_of("net", logits), Y, OPTIONS, seed=0).metrics
    assert np.isnan([each.bound for each in found]).all()
