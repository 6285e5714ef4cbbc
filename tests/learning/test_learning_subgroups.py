"""Performance per arm, and the difference between arms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.learning.evaluation.subgroups import evaluate_arms
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.records import Calibration, FoldPredictions

N = 120
Y = np.tile([0, 1], N // 2)
ARMS = tuple("drug" if i % 4 < 2 else "placebo" for i in range(N))
DRUG = np.array([each == "drug" for each in ARMS])


def predictions(logits, repeats=1):
    return [
        FoldPredictions(
            model="net",
            fold=fold,
            logit=logits[fold.test],
            calibration=Calibration("sigmoid", 1.0, 0.0, 0.5),
            prevalence=0.5,
            epoch=1,
            validation_loss=np.zeros(1),
            train_loss=np.zeros(1),
        )
        for fold in outer_folds([str(y) for y in Y], 4, repeats, seed=0)
    ]


def within_folds(logits, people):
    """AUROC of some people over the pairs of one fold: folds weigh as they have pairs."""
    aurocs, pairs = [], []
    for each in predictions(logits):
        rows = each.fold.test[people[each.fold.test]]
        aurocs.append(roc_auc_score(Y[rows], logits[rows]))
        pairs.append(Y[rows].sum() * (1 - Y[rows]).sum())
    return np.average(aurocs, weights=pairs)


def test_folds_that_say_their_prevalence_do_not_pull_an_arm_below_one_half():
    flat = []
    for each in predictions(np.random.default_rng(0).normal(size=N)):
        # Half the folds find no slope, and all train on fewer positives the more they test.
        prevalence = 0.2 + 0.2 * each.fold.fold
        test = np.flatnonzero(np.arange(N) % 4 == each.fold.fold)
        slope = float(each.fold.fold % 2)
        line = Calibration("sigmoid", slope, float(np.log(prevalence / (1 - prevalence))), 0.5)
        fold = replace(each.fold, train=np.setdiff1d(np.arange(N), test), test=test)
        flat.append(
            replace(each, fold=fold, calibration=line, prevalence=prevalence, logit=np.zeros(30))
        )
    y = np.random.default_rng(1).integers(0, 2, N)
    rows, _ = evaluate_arms(flat, y, ARMS, 20, 0)
    assert {each.value for each in rows if each.metric == "auroc"} == {0.5}


def test_a_model_that_knows_one_arm_only_differs_between_them():
    logits = np.random.default_rng(0).normal(size=N) + np.where(DRUG, 3 * Y, 0)
    rows, differences = evaluate_arms(predictions(logits), Y, ARMS, draws=300, seed=0)
    auroc = {each.arm: each for each in rows if each.metric == "auroc"}
    for arm, people in (("drug", DRUG), ("placebo", ~DRUG)):
        assert auroc[arm].value == pytest.approx(within_folds(logits, people))
    assert auroc["placebo"].low < 0.5 < auroc["placebo"].high
    assert (auroc["drug"].n, auroc["drug"].n_positive) == (60, 30)
    (found,) = (each for each in differences if each.metric == "auroc")
    assert (found.arm, found.other) == ("drug", "placebo")
    assert found.difference == pytest.approx(auroc["drug"].value - auroc["placebo"].value)
    assert found.low > 0


def test_the_interval_of_a_difference_covers_no_difference():
    misses = 0
    for seed in range(40):
        logits = np.random.default_rng(seed).normal(size=N) + Y
        _, differences = evaluate_arms(predictions(logits), Y, ARMS, draws=200, seed=seed)
        found = next(each for each in differences if each.metric == "auroc")
        misses += not found.low <= 0 <= found.high
    assert misses <= 6


def test_an_arm_of_one_outcome_has_no_auroc_and_no_difference():
    y = np.where(DRUG, 1, Y)
    rows, differences = evaluate_arms(predictions(np.arange(N) * 1.0), y, ARMS, draws=20, seed=0)
    drug = next(each for each in rows if each.arm == "drug" and each.metric == "auroc")
    assert np.isnan([drug.value, drug.low, drug.high]).all()
    assert np.isnan(next(each for each in differences if each.metric == "auroc").difference)


def test_repeats_are_averaged():
    logits = np.random.default_rng(0).normal(size=N) + Y
    both = predictions(logits, 2)
    first, second = ([each for each in both if each.fold.repeat == i] for i in (0, 1))
    one, two, mean = (
        np.array([each.value for each in evaluate_arms(own, Y, ARMS, 20, 0)[0]])
        for own in (first, second, both)
    )
    np.testing.assert_allclose(mean, (one + two) / 2)
