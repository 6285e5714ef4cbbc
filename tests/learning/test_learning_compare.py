"""The corrected resampled t-test, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.learning.evaluation.compare import compare, holm
from fmmtc_bidsapp.records import Calibration, Fold, FoldPredictions

Y = np.tile([0, 1], 15)


def predictions(model: str, skill: float, seed: int) -> list[FoldPredictions]:
    rng = np.random.default_rng(seed)
    rows = np.arange(len(Y))
    folds = [
        Fold(0, i, np.setdiff1d(rows, test), test) for i, test in enumerate(rows.reshape(3, 10))
    ]
    return [
        FoldPredictions(
            model=model,
            fold=fold,
            logit=skill * Y[fold.test] + rng.normal(size=len(fold.test)),
            calibration=Calibration("sigmoid", 1.0, 0.0, 0.5),
            prevalence=0.5,
            epoch=1,
            validation_loss=np.array([0.7]),
            train_loss=np.array([0.7]),
        )
        for fold in folds
    ]


def test_the_difference_its_interval_and_p_are_nadeau_and_bengios() -> None:
    ours, theirs = predictions("fmmtc", 2.0, 0), predictions("dummy", 0.0, 1)
    rows = compare([*ours, *theirs], Y, "fmmtc")
    row = next(each for each in rows if each.metric == "auroc")
    auroc = [
        roc_auc_score(Y[a.fold.test], a.logit) - roc_auc_score(Y[b.fold.test], b.logit)
        for a, b in zip(ours, theirs, strict=True)
    ]
    standard_error = np.sqrt(np.var(auroc, ddof=1) * (1 / 3 + 10 / 20))
    assert row.model == "dummy"
    assert row.difference == pytest.approx(np.mean(auroc))
    assert row.difference - row.low == pytest.approx(t.ppf(0.975, 2) * standard_error)
    assert row.p == pytest.approx(2 * t.sf(abs(np.mean(auroc)) / standard_error, 2))


def test_a_model_is_not_compared_with_itself_and_equal_models_have_no_p() -> None:
    ours = predictions("fmmtc", 1.0, 0)
    twin = predictions("twin", 1.0, 0)
    rows = compare([*ours, *twin], Y, "fmmtc")
    assert {each.model for each in rows} == {"twin"}
    assert all(each.difference == 0 and np.isnan(each.p) for each in rows)


def test_an_interval_is_never_wider_than_any_difference_can_be() -> None:
    ours, theirs = predictions("fmmtc", 5.0, 0), predictions("other", 0.0, 1)
    rows = compare([*ours[:2], *theirs[:2]], Y, "fmmtc")
    for row in rows:
        widest = 2.0 if row.metric == "mcc" else 1.0
        assert -widest <= row.low <= row.difference <= row.high <= widest
    assert any(row.high == 1.0 for row in rows)
    assert all(0 < row.p < 1 for row in rows)


def test_repeats_of_the_folds_add_no_degrees_of_freedom() -> None:
    def repeated(model: str, skill: float) -> list[FoldPredictions]:
        return [
            replace(each, fold=replace(each.fold, repeat=repeat))
            for repeat in range(4)
            for each in predictions(model, skill, 10 * repeat + len(model))
        ]

    ours, theirs = repeated("fmmtc", 2.0), repeated("dummy", 0.0)
    row = next(each for each in compare([*ours, *theirs], Y, "fmmtc") if each.metric == "auroc")
    auroc = [
        roc_auc_score(Y[a.fold.test], a.logit) - roc_auc_score(Y[b.fold.test], b.logit)
        for a, b in zip(ours, theirs, strict=True)
    ]
    standard_error = np.sqrt(np.var(auroc, ddof=1) * (1 / 12 + 10 / 20))
    assert row.p == pytest.approx(2 * t.sf(np.mean(auroc) / standard_error, 2))
    assert row.difference - row.low == pytest.approx(t.ppf(0.975, 2) * standard_error)


def test_holms_p_are_those_of_the_method_written_out() -> None:
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.5])
    # Sorted 0.01, 0.03, 0.04, 0.5 times 4, 3, 2, 1, never falling.
    expected = [0.04, 0.09, np.nan, 0.09, 0.5]
    np.testing.assert_allclose(holm(p), expected)
    assert np.isnan(holm(np.full(2, np.nan))).all()


def test_of_many_true_null_hypotheses_one_is_rejected_in_one_family_of_twenty() -> None:
    p = np.random.default_rng(0).uniform(size=(2000, 45))
    assert np.mean([(holm(each) <= 0.05).any() for each in p]) == pytest.approx(0.05, abs=0.015)
