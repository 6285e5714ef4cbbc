"""Covariates out of the features, against brute force and a planted confound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from learning_fits import fit_everyone, fit_fold, permuted_aurocs
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.learning.estimators.linear import ColumnsLearner
from fmmtc_bidsapp.learning.estimators.models import MODELS, refuse_adjusting
from fmmtc_bidsapp.learning.model_selection.nested_cv import restore_model
from fmmtc_bidsapp.learning.preprocessing.adjust import fit_adjustment
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Examples, Fold

TRAIN = np.arange(4, 24)


def by_hand(columns, covariates):
    """Residuals of everyone, by the lines of the training rows."""
    filled = np.where(np.isnan(covariates), np.nanmean(covariates[TRAIN], axis=0), covariates)
    design = np.column_stack([np.ones(len(filled)), filled])
    beta = np.linalg.lstsq(design[TRAIN], columns[TRAIN], rcond=None)[0]
    return columns - design @ beta


@pytest.fixture
def people(whole_cohort) -> Examples:
    examples = whole_cohort(effect=1.0)
    examples.covariates[[2, 9], 0] = np.nan
    return examples


def adjusted(columns, people):
    return fit_adjustment(columns[TRAIN], people, TRAIN).apply(columns, people)


def test_every_column_is_the_residual_of_a_regression_on_the_training_rows(people) -> None:
    found, expected = adjusted(people.cls, people), by_hand(people.cls, people.covariates)
    difference = found - expected
    # The mean stays; a weighted sum has an intercept of its own.
    np.testing.assert_allclose(difference - difference[0], 0, atol=1e-9)
    np.testing.assert_allclose(found[TRAIN].mean(axis=0), people.cls[TRAIN].mean(axis=0), atol=1e-9)


def test_the_columns_that_a_linear_model_weighs_are_uncorrelated_with_the_covariates(
    people, setup
) -> None:
    """After tangent space, scaling and rotation: nothing that follows can bring them back."""
    model = ColumnsLearner(replace(setup, adjust=True), "logistic", "tangent").fit(
        people, TRAIN, 1, 0
    )
    means = np.nanmean(people.covariates[TRAIN], axis=0)
    known = np.where(np.isnan(people.covariates), means, people.covariates)
    logits = model.logits(people)[TRAIN]
    centred = known[TRAIN] - known[TRAIN].mean(axis=0)
    np.testing.assert_allclose(centred.T @ (logits - logits.mean()), 0, atol=1e-9)


def test_people_outside_the_training_rows_change_nothing_that_is_learnt(people) -> None:
    others = people.take(np.arange(24))
    others.cls[:4], others.covariates[:4] = 7.0, 7.0
    first, second = (
        fit_adjustment(each.cls[TRAIN], each, TRAIN).arrays() for each in (people, others)
    )
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_levels_that_add_up_to_one_and_a_constant_column_do_no_harm(people) -> None:
    level = np.arange(24) % 2
    levels = np.column_stack([level, 1 - level, np.ones(24), people.covariates])
    names = ("drug=a", "drug=b", "site", "age", "dose")
    more = replace(people, covariates=levels, covariate_names=names)
    fewer = replace(
        more, covariates=levels[:, [0, 3, 4]], covariate_names=("drug=a", "age", "dose")
    )
    one, other = (adjusted(each.cls, each) for each in (more, fewer))
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_more_covariates_than_people_can_bear_are_refused(people) -> None:
    many = np.random.default_rng(0).normal(size=(24, 10))
    wide = replace(people, covariates=many, covariate_names=tuple("abcdefghij"))
    with pytest.raises(InputError, match="10 covariate columns for 20 training participants"):
        adjusted(people.cls, wide)
    with pytest.raises(InputError, match="--adjust needs --covariates"):
        adjusted(people.cls, replace(people, covariates=None, covariate_names=()))
    with pytest.raises(InputError, match="2 covariate columns, these participants have 10"):
        fit_adjustment(people.cls[TRAIN], people, TRAIN).apply(people.cls, wide)


def confounded(seed: int, n: int = 120) -> Examples:
    """Age drives the outcome and every feature; nothing else does."""
    rng = np.random.default_rng(seed)
    age = rng.normal(size=n)
    y = (age + 0.5 * rng.normal(size=n) > 0).astype(np.int64)
    return Examples(
        tuple(map(str, range(n))),
        {
            "cls": rng.normal(size=(n, 6)) + age[:, None] * rng.normal(size=6),
            "fc": np.zeros((n, 0, 0), dtype=np.float32),
        },
        y,
        tuple(map(str, y)),
        covariates=age[:, None],
        covariate_names=("age",),
    )


def test_a_confound_behind_outcome_and_features_predicts_until_it_is_taken_out(setup) -> None:
    found = {"as they are": [], "adjusted": []}
    train, test = np.arange(80), np.arange(80, 120)
    for seed in range(20):
        examples = confounded(seed)
        for name, adjust in zip(found, (False, True), strict=True):
            learner = ColumnsLearner(replace(setup, adjust=adjust), "logistic", "encoder")
            fitted = learner.fit(examples, train, 1, 0)
            found[name].append(roc_auc_score(examples.y[test], fitted.logits(examples.take(test))))
    assert np.mean(found["as they are"]) > 0.85
    assert np.mean(found["adjusted"]) == pytest.approx(0.5, abs=0.06)


def test_shuffled_outcomes_are_learnt_from_columns_that_are_adjusted_alike(setup) -> None:
    examples, evaluation = confounded(0), EvaluationOptions()
    fold = Fold(0, 0, np.arange(80), np.arange(80, 120))
    adjusting = replace(setup, adjust=True)
    found = fit_fold("svm-encoder", examples, fold, adjusting, evaluation, seed=0)
    plain = fit_fold("svm-encoder", examples, fold, setup, evaluation, seed=0)
    shuffled = permuted_aurocs(
        ["svm-encoder"], examples, fold, examples.y[None], adjusting, evaluation, seed=0
    )
    assert shuffled[0, 0] == pytest.approx(roc_auc_score(examples.y[fold.test], found.logit))
    assert shuffled[0, 0] < roc_auc_score(examples.y[fold.test], plain.logit) - 0.2


def test_people_outside_the_training_rows_change_no_calibration(setup) -> None:
    examples, evaluation = confounded(0), EvaluationOptions()
    fold = Fold(0, 0, np.arange(80), np.arange(80, 120))
    others = examples.take(np.arange(120))
    others.cls[80:], others.covariates[80:] = 9.0, -9.0
    one, other = (
        fit_fold("svm-encoder", each, fold, replace(setup, adjust=True), evaluation, seed=0)
        for each in (examples, others)
    )
    assert one.calibration == other.calibration


def test_the_covariates_only_baseline_is_left_as_it_is(setup) -> None:
    examples, evaluation = confounded(0), EvaluationOptions()
    fold = Fold(0, 0, np.arange(80), np.arange(80, 120))
    one, other = (
        fit_fold("covariates", examples, fold, each, evaluation, seed=0)
        for each in (setup, replace(setup, adjust=True))
    )
    np.testing.assert_array_equal(one.logit, other.logit)


def test_a_kept_model_carries_its_adjustment(setup, whole_cohort) -> None:
    examples, adjusting = whole_cohort(effect=1.0), replace(setup, adjust=True)
    model = fit_everyone("ridge-fc", examples, adjusting, EvaluationOptions(), seed=0)
    again = restore_model(model.tensors(), model.description(), setup)
    np.testing.assert_array_equal(again.logits(examples), model.logits(examples))
    without = replace(examples, covariates=None, covariate_names=())
    with pytest.raises(InputError, match="these participants have 0"):
        again.logits(without)


def test_a_kept_model_that_an_older_version_adjusted_is_refused(setup, whole_cohort) -> None:
    old = {"adjustment.mean": torch.zeros(2), "adjustment.fc.slopes": torch.zeros(2, 28)}
    for name in ("ridge-fc", "knn-fc"):
        model = fit_everyone(name, whole_cohort(), setup, EvaluationOptions(), seed=0)
        with pytest.raises(InputError, match="by an older version"):
            restore_model(model.tensors() | old, model.description(), setup)


REFUSED = ("fmmtc", "resnet-ts", "lstm", "svm-fused", "xgboost-fc", "knn-ts")


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_would_find_the_covariates_again_are_refused(name) -> None:
    with pytest.raises(UsageError, match=f"--adjust cannot be used with {name}.*fc-logistic"):
        refuse_adjusting(["fc-logistic", name])


def test_every_model_is_adjusted_refused_or_reads_nothing_of_the_brain() -> None:
    adjusted = {name for name, model in MODELS.items() if model.adjustment == "columns"}
    assert adjusted == {"fc-logistic", "fc-logistic-edges"} | {
        f"{head}-{features}"
        for head in ("svm", "ridge")
        for features in ("ts", "fc", "pca-ts", "pca-fc", "encoder")
    }
    left = {name for name, model in MODELS.items() if not model.adjustment}
    assert left == {"dummy", "covariates", "motion", "acquisition"}
    refuse_adjusting([*adjusted, *left])
