"""Random guesses, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import balanced_accuracy_score, f1_score, matthews_corrcoef, roc_auc_score

from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.learning.paper.random_baseline import random_rows

# The paper's OpenNeuro cohort: 26 of 56 respond.
Y = np.repeat([0, 1], [30, 26])
FOLDS = outer_folds([str(y) for y in Y], 5, 1, seed=0)


def test_guesses_are_those_of_a_stratified_dummy():
    metrics = {
        "f1_macro": lambda y, guess: f1_score(y, guess, average="macro"),
        "balanced_accuracy": balanced_accuracy_score,
        "mcc": matthews_corrcoef,
        "auroc": roc_auc_score,
    }
    dummies = [
        [
            DummyClassifier(strategy="stratified", random_state=5 * draw + fold.fold)
            .fit(np.zeros((len(fold.train), 1)), Y[fold.train])
            .predict(np.zeros((len(fold.test), 1)))
            for fold in FOLDS
        ]
        for draw in range(50)
    ]
    rows = {each.metric: each for each in random_rows(FOLDS, Y, seed=0)}
    for name, metric in metrics.items():
        by_fold = [
            [metric(Y[fold.test], guess) for fold, guess in zip(FOLDS, draw, strict=True)]
            for draw in dummies
        ]
        means = np.mean(by_fold, axis=1)
        assert rows[name].mean == pytest.approx(means.mean(), abs=0.04)
        assert rows[name].mean_high == pytest.approx(np.quantile(means, 0.975), abs=0.08)
        y = np.concatenate([fold.test for fold in FOLDS])
        pooled = [metric(Y[y], np.concatenate(draw)) for draw in dummies]
        assert rows[name].pooled == pytest.approx(np.mean(pooled), abs=0.04)


def test_the_same_seed_gives_the_same_rows():
    assert random_rows(FOLDS, Y, seed=1) == random_rows(FOLDS, Y, seed=1)
    assert random_rows(FOLDS, Y, seed=1) != random_rows(FOLDS, Y, seed=2)
