"""Performance per arm, and the difference between arms."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.learning.arms import judge_arms
from fmmtc_bidsapp.learning.splits import outer_folds
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


def test_a_model_that_knows_one_arm_only_differs_between_them():
    logits = np.random.default_rng(0).normal(size=N) + np.where(DRUG, 3 * Y, 0)
    rows, differences = judge_arms(predictions(logits), Y, ARMS, draws=300, seed=0)
    auroc = {each.arm: each for each in rows if each.metric == "auroc"}
    assert auroc["drug"].value == pytest.approx(roc_auc_score(Y[DRUG], logits[DRUG]))
    assert auroc["placebo"].value == pytest.approx(roc_auc_score(Y[~DRUG], logits[~DRUG]))
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
        _, differences = judge_arms(predictions(logits), Y, ARMS, draws=200, seed=seed)
        found = next(each for each in differences if each.metric == "auroc")
        misses += not found.low <= 0 <= found.high
    assert misses <= 6


def test_an_arm_of_one_outcome_has_no_auroc_and_no_difference():
    y = np.where(DRUG, 1, Y)
    rows, differences = judge_arms(predictions(np.arange(N) * 1.0), y, ARMS, draws=20, seed=0)
    drug = next(each for each in rows if each.arm == "drug" and each.metric == "auroc")
    assert np.isnan([drug.value, drug.low, drug.high]).all()
    assert np.isnan(next(each for each in differences if each.metric == "auroc").difference)


def test_repeats_are_averaged():
    logits = np.random.default_rng(0).normal(size=N) + Y
    once, twice = (
        judge_arms(predictions(logits, repeats), Y, ARMS, 20, 0)[0] for repeats in (1, 2)
    )
    assert [each.value for each in once] == pytest.approx([each.value for each in twice])
