"""The gates of intervals: how many of them hold the truth, over simulated cohorts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import kstest

from fmmtc_bidsapp.learning.estimators.linear import ColumnsLearner
from fmmtc_bidsapp.learning.evaluation.external_validation import evaluate_external
from fmmtc_bidsapp.learning.evaluation.performance import metric_rows
from fmmtc_bidsapp.learning.metrics.intervals import Draws, draw_people
from fmmtc_bidsapp.learning.metrics.scores import shuffled_aurocs
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Calibration, Examples, Fold, FoldPredictions

COHORTS, N, NEW, REPEATS, FEATURES = 400, 56, 500, 10, 10
UNCALIBRATED = Calibration("none", 1.0, 0.0, 0.5)
ONE = np.ones((1, N))
NO_DRAWS = Draws(ONE, ONE, ONE / 2)


def gaussian_people(effect: float, seed: int) -> Examples:
    """A cohort of `N`, and below it `NEW` people whom no fold has, of the same population."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([rng.permutation(np.tile([0, 1], n // 2)) for n in (N, NEW)])
    features = rng.normal(size=(N + NEW, FEATURES))
    features[:, 0] += effect * y
    return Examples(
        keys=tuple(f"sub-{i:03d}" for i in range(N + NEW)),
        arrays={
            "cls": features,
            "fc": np.zeros((N + NEW, 0, 0), dtype=np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
    )


def cross_validated(learner: ColumnsLearner, people: Examples, seed: int):
    """Predictions of every fold of all repeats; AUROC of the first repeat in new people."""
    new = np.arange(N, N + NEW)
    folds, truths = [], []
    for fold in outer_folds(people.strata[:N], 5, REPEATS, seed):
        asked = np.concatenate([fold.test, new]) if fold.repeat == 0 else fold.test
        (logits,) = learner.shuffled(people, fold.train, asked, people.y[None], 0)
        folds.append(
            FoldPredictions(
                model="ridge-encoder",
                fold=fold,
                logit=logits[: len(fold.test)],
                calibration=UNCALIBRATED,
                prevalence=0.5,
                epoch=1,
                validation_loss=np.zeros(1),
                train_loss=np.zeros(1),
            )
        )
        if fold.repeat == 0:
            truths.append(shuffled_aurocs(logits[None, len(fold.test) :], people.y[None, new])[0])
    return folds, np.mean(truths)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("effect", "auroc"), [(0.0, 0.5), (0.82, 0.63), (1.9, 0.86)])
def test_the_headline_interval_holds_the_truth_whatever_the_effect_and_the_repeats(
    effect, auroc, setup
):
    learner = ColumnsLearner(setup, "ridge", "encoder")
    intervals, truths = {1: [], REPEATS: []}, []
    for seed in range(COHORTS):
        people = gaussian_people(effect, seed)
        folds, truth = cross_validated(learner, people, seed)
        truths.append(truth)
        for repeats, found in intervals.items():
            own = [each for each in folds if each.fold.repeat < repeats]
            (row,) = metric_rows(own, people.y[:N], NO_DRAWS, ["auroc"])
            found.append((row.mean_low, row.mean_high))
    # What the procedure is worth on average; the cohort of an analysis is one draw of many.
    truth = np.mean(truths)
    assert truth == pytest.approx(auroc, abs=0.02)
    for repeats, found in intervals.items():
        low, high = np.array(found).T
        covered = np.mean((low <= truth) & (truth <= high))
        print(f"AUROC {truth:.3f}, {repeats} repeats: {covered:.3f} of {COHORTS} intervals")
        assert 0.90 <= covered <= 0.985


def predicted(fold: Fold, logit: np.ndarray) -> FoldPredictions:
    nothing = np.zeros(0)
    return FoldPredictions("net", fold, logit, UNCALIBRATED, 0.5, 1, nothing, nothing)


def calibrated_people(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Log odds, and outcomes that follow them exactly."""
    logit = rng.normal(size=n)
    return logit, (rng.random(n) < expit(logit)).astype(np.int64)


def in_folds(logit: np.ndarray) -> list[FoldPredictions]:
    rows = np.arange(len(logit))
    return [
        predicted(Fold(0, i, np.setdiff1d(rows, rows[i::5]), rows[i::5]), logit[i::5])
        for i in range(5)
    ]


def intercepts(n: int, cohorts: int, draws: int) -> np.ndarray:
    """(cohort, 2) interval of the calibration intercept of probabilities that are right."""
    found = []
    for seed in range(cohorts):
        rng = np.random.default_rng(seed)
        logit, y = calibrated_people(rng, n)
        drawn = draw_people(y, draws, rng)
        (row,) = metric_rows(in_folds(logit), y, drawn, ["calibration_intercept"])
        found.append((row.pooled_low, row.pooled_high))
    return np.array(found)


def covered(intervals: np.ndarray, truth: float) -> float:
    return float(np.mean((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])))


def test_the_interval_of_the_calibration_intercept_lets_the_share_of_positives_vary():
    assert covered(intercepts(N, 100, 200), 0.0) >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize("n", [56, 200])
def test_the_interval_of_the_calibration_intercept_holds_the_truth_19_times_of_20(n):
    share = covered(intercepts(n, COHORTS, 1000), 0.0)
    print(f"calibration intercept, {n} people: {share:.3f} of {COHORTS} intervals")
    assert 0.92 <= share <= 0.97


@pytest.mark.slow
def test_at_external_validation_the_intercept_and_the_brier_score_hold_the_truth_as_often():
    population, outcomes = calibrated_people(np.random.default_rng(10**6), 10**6)
    truths = {
        "calibration_intercept": 0.0,
        "brier": np.mean((expit(population) - outcomes) ** 2),
    }
    found = {name: [] for name in truths}
    for seed in range(300):
        logit, y = calibrated_people(np.random.default_rng(seed), 100)
        frozen = predicted(Fold(-1, -1, np.zeros(0, int), np.arange(100)), logit)
        external = evaluate_external(frozen, y, EvaluationOptions(bootstrap=500), seed)
        rows = {row.metric: row for row in external.evaluation.metrics if row.model == "net"}
        for name, own in found.items():
            own.append((rows[name].pooled_low, rows[name].pooled_high))
    for name, own in found.items():
        share = covered(np.array(own), truths[name])
        print(f"external {name}: {share:.3f} of 300 intervals")
        assert 0.92 <= share <= 0.97


def calibration_error(logit: np.ndarray, y: np.ndarray, seed: int):
    draws = draw_people(y, 200, np.random.default_rng(seed))
    return metric_rows(in_folds(logit), y, draws, ["calibration_error"])[0]


def test_the_calibration_error_of_right_probabilities_is_what_is_expected_of_them():
    rows = [
        calibration_error(*calibrated_people(np.random.default_rng(seed), N), seed)
        for seed in range(100)
    ]
    errors, expected = (
        np.mean([getattr(row, name) for row in rows]) for name in ("pooled", "pooled_if_calibrated")
    )
    assert errors > 0.08  # far from 0, though every probability is right
    assert expected == pytest.approx(errors, abs=0.01)
    p = [row.pooled_if_calibrated_p for row in rows]
    assert kstest(p, "uniform").pvalue > 0.01
    # The bootstrap's distribution lies above the value, so there is no interval to show.
    assert all(np.isnan(row.pooled_low) and np.isnan(row.pooled_high) for row in rows)


def test_the_calibration_error_of_wrong_probabilities_is_more_than_is_expected():
    logit, y = calibrated_people(np.random.default_rng(1), 200)
    assert calibration_error(logit + 2, y, 0).pooled_if_calibrated_p < 0.01
