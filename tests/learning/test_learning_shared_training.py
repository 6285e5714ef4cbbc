"""One training serves several models, and each is what it would be alone."""

from __future__ import annotations

import numpy as np
import pytest
from learning_fits import fit_fold, fit_published

from fmmtc_bidsapp.learning.estimators import shared_training as family
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, fit_together, refit_seed
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.learning.paper.best_on_test import publish_together
from fmmtc_bidsapp.learning.seeds import derive_seed
from fmmtc_bidsapp.options import EvaluationOptions

EVALUATION = EvaluationOptions()
FAMILY = ("knn-fused", "fmmtc", "ridge-fused", "svm-fused", "xgboost-fused")


@pytest.fixture
def examples(whole_cohort):
    return whole_cohort(effect=1.0)


@pytest.fixture
def fold(examples):
    return outer_folds(examples.strata, 3, 1, 0)[0]


def test_a_family_is_trained_once_and_says_what_each_member_says_alone(
    setup, examples, fold, monkeypatch
):
    trained = []
    training = family.Training
    monkeypatch.setattr(
        family, "Training", lambda *given: trained.append(given[-1]) or training(*given)
    )
    together = fit_together(Analysis(examples, setup, EVALUATION, 3), FAMILY, fold)[1]
    assert len(trained) == len(set(trained)) == setup.train.inner_folds + 1
    for name, found in zip(FAMILY, together, strict=True):
        alone = fit_fold(name, examples, fold, setup, EVALUATION, seed=3)
        assert found.model == name
        assert found.logit.tobytes() == alone.logit.tobytes()
        assert found.train_loss.tobytes() == alone.train_loss.tobytes()
        assert (found.calibration, found.epoch) == (alone.calibration, alone.epoch)


def test_the_published_protocol_of_a_family_is_that_of_each_member(setup, examples, fold):
    together = publish_together(Analysis(examples, setup, EVALUATION, 3), FAMILY[:3], fold)
    for name, found in zip(FAMILY, together, strict=False):
        alone = fit_published(name, examples, fold, setup, seed=3)
        for selection, each in found.items():
            assert each.logit.tobytes() == alone[selection].logit.tobytes()
            assert (each.model, each.epoch) == (name, alone[selection].epoch)


def test_models_of_two_trainings_are_not_fitted_together(setup, examples, fold):
    with pytest.raises(ValueError, match="fmmtc, bnt are not one family"):
        fit_together(Analysis(examples, setup, EVALUATION, 0), ("fmmtc", "bnt"), fold)


def test_the_first_training_has_the_seed_of_a_single_one_and_the_others_their_own(
    setup, examples, fold
):
    single, first, second, again = (
        fit_fold("fmmtc", examples, fold, setup, EVALUATION, seed=3, **which)
        for which in ({}, {"training": 0}, {"training": 1}, {"training": 1})
    )
    assert single.logit.tobytes() == first.logit.tobytes()
    assert second.logit.tobytes() == again.logit.tobytes() != first.logit.tobytes()
    assert [each.seed for each in (single, first, second)] == [0, 0, 1]
    assert refit_seed(3, fold) == derive_seed(derive_seed(3, 0, 0), 2)
    assert len({refit_seed(3, fold, k) for k in range(5)}) == 5


def test_the_training_of_the_published_protocol_is_the_first_of_the_nested_one(
    setup, examples, fold
):
    last = fit_published("lstm", examples, fold, setup, seed=3)["last-epoch"]
    learner = family.NetworkLearner(setup, "lstm")
    refit = learner.fit(examples, fold.train, last.epoch, refit_seed(3, fold))
    np.testing.assert_array_equal(refit.logits(examples.take(fold.test)), last.logit)
    assert last.seed == 0


def test_values_of_series_that_were_filled_in_are_counted(setup, examples, fold):
    series = examples.series.copy()
    series[fold.train[0], 2] = np.nan
    series[fold.test[:2], 3] = np.nan
    lacking = examples.with_arrays(series=series)
    notes = fit_fold("lstm", lacking, fold, setup, EVALUATION, seed=0).notes
    assert notes["series_values_imputed_train"] == 10
    assert notes["series_values_imputed_test"] == 20
    assert (
        "series_values_imputed_test"
        not in fit_fold("resnet-fc", lacking, fold, setup, EVALUATION, seed=0).notes
    )
