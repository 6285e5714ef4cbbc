"""Covariates out of the features, against brute force and a planted confound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.adjust import fit_adjustment, parts_of, restore_adjustment
from fmmtc_bidsapp.learning.experiments import fit_final, fit_fold, restore_model
from fmmtc_bidsapp.learning.linear import ColumnsLearner
from fmmtc_bidsapp.learning.models import MODELS
from fmmtc_bidsapp.learning.permute import permuted_aurocs
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Examples, Fold

TRAIN = np.arange(4, 24)


def by_hand(feature, covariates):
    """Residuals plus mean of everyone, by the line of the training rows that have the feature."""
    filled = np.where(np.isnan(covariates), np.nanmean(covariates[TRAIN], axis=0), covariates)
    design = np.column_stack([np.ones(len(filled)), filled])
    rows = TRAIN[~np.isnan(feature[TRAIN])]
    beta = np.linalg.lstsq(design[rows], feature[rows], rcond=None)[0]
    return feature - design @ beta + feature[rows].mean()


@pytest.fixture
def people(whole_cohort) -> Examples:
    examples = whole_cohort(effect=1.0)
    examples.covariates[[2, 9], 0] = np.nan
    return replace(examples, cls_random=np.random.default_rng(5).normal(size=(24, 4)))


def test_every_feature_is_the_residual_of_a_regression_on_the_training_rows(people) -> None:
    adjusted = fit_adjustment(people, TRAIN).apply(people)
    z = np.arctanh(people.fc[:, 1, 5].astype(float))
    np.testing.assert_allclose(
        np.arctanh(adjusted.fc[:, 1, 5]), by_hand(z, people.covariates), atol=1e-5
    )
    np.testing.assert_array_equal(adjusted.fc, adjusted.fc.transpose(0, 2, 1))
    for before, after in (
        (people.cls[:, 2], adjusted.cls[:, 2]),
        (people.cls_random[:, 1], adjusted.cls_random[:, 1]),
        (people.series[:, 3, 4].astype(float), adjusted.series[:, 3, 4]),
    ):
        np.testing.assert_allclose(after, by_hand(before, people.covariates), atol=1e-5)
    np.testing.assert_array_equal(adjusted.covariates, people.covariates)
    np.testing.assert_array_equal(adjusted.mean_fd_mm, people.mean_fd_mm)


def test_a_missing_edge_is_regressed_over_those_who_have_it_and_stays_missing(people) -> None:
    fc = people.fc.copy()
    fc[[0, 6, 7], 2] = fc[[0, 6, 7], :, 2] = np.nan
    adjusted = fit_adjustment(replace(people, fc=fc), TRAIN).apply(replace(people, fc=fc))
    expected = by_hand(np.arctanh(fc[:, 2, 3].astype(float)), people.covariates)
    np.testing.assert_allclose(np.arctanh(adjusted.fc[:, 2, 3]), expected, atol=1e-5)
    np.testing.assert_array_equal(np.isnan(adjusted.fc), np.isnan(fc))


def test_an_edge_that_too_few_training_people_have_is_missing_afterwards(people) -> None:
    fc = people.fc.copy()
    fc[TRAIN[3:], 0, 1] = fc[TRAIN[3:], 1, 0] = np.nan
    adjusted = fit_adjustment(replace(people, fc=fc), TRAIN).apply(replace(people, fc=fc))
    assert np.isnan(adjusted.fc[:, 0, 1]).all()
    assert np.isfinite(adjusted.fc[:, 0, 2]).all()


def test_people_outside_the_training_rows_change_nothing_that_is_learnt(people) -> None:
    others = people.take(np.arange(24))
    for array in (others.cls, others.fc, others.series, others.covariates, others.cls_random):
        array[:4] = 7.0
    first, second = (fit_adjustment(each, TRAIN).arrays() for each in (people, others))
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_what_is_restored_adjusts_the_same_to_the_bit(people) -> None:
    fitted = fit_adjustment(people, TRAIN, parts_of(("encoder", "fc")))
    assert set(fitted.lines) == {"cls", "fc"}
    again = restore_adjustment(fitted.arrays()).apply(people)
    for name in ("cls", "fc", "series"):
        np.testing.assert_array_equal(
            getattr(again, name), getattr(fitted.apply(people), name), strict=True
        )


def test_levels_that_add_up_to_one_and_a_constant_column_do_no_harm(people) -> None:
    level = np.arange(24) % 2
    levels = np.column_stack([level, 1 - level, np.ones(24), people.covariates])
    names = ("drug=a", "drug=b", "site", "age", "dose")
    more = replace(people, covariates=levels, covariate_names=names)
    fewer = replace(
        more, covariates=levels[:, [0, 3, 4]], covariate_names=("drug=a", "age", "dose")
    )
    one, other = (fit_adjustment(each, TRAIN).apply(each).cls for each in (more, fewer))
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_more_covariates_than_people_can_bear_are_refused(people) -> None:
    many = np.random.default_rng(0).normal(size=(24, 10))
    wide = replace(people, covariates=many, covariate_names=tuple("abcdefghij"))
    with pytest.raises(InputError, match="10 covariate columns for 20 training people"):
        fit_adjustment(wide, TRAIN)
    with pytest.raises(InputError, match="--adjust needs --covariates"):
        fit_adjustment(replace(people, covariates=None, covariate_names=()), TRAIN)
    with pytest.raises(InputError, match="2 covariate columns, these people have 10"):
        fit_adjustment(people, TRAIN).apply(wide)


def confounded(seed: int, n: int = 120) -> Examples:
    """Age drives the outcome and every feature; nothing else does."""
    rng = np.random.default_rng(seed)
    age = rng.normal(size=n)
    y = (age + 0.5 * rng.normal(size=n) > 0).astype(np.int64)
    return Examples(
        tuple(map(str, range(n))),
        rng.normal(size=(n, 6)) + age[:, None] * rng.normal(size=6),
        np.zeros((n, 0, 0), dtype=np.float32),
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
        cohorts = (examples, fit_adjustment(examples, train).apply(examples))
        for name, seen in zip(found, cohorts, strict=True):
            fitted = ColumnsLearner(setup, "logistic", "encoder").fit(seen, train, 1, 0)
            found[name].append(roc_auc_score(examples.y[test], fitted.logits(seen.take(test))))
    assert np.mean(found["as they are"]) > 0.85
    assert np.mean(found["adjusted"]) == pytest.approx(0.5, abs=0.06)


def test_the_whole_procedure_adjusts_inside_each_training_set(setup) -> None:
    examples, evaluation = confounded(0), EvaluationOptions()
    fold = Fold(0, 0, np.arange(80), np.arange(80, 120))
    adjusting = replace(setup, adjust=True)
    found = fit_fold("svm-encoder", examples, fold, adjusting, evaluation, seed=0)
    by_hand = fit_adjustment(examples, fold.train, ("cls",)).apply(examples)
    plain = fit_fold("svm-encoder", by_hand, fold, setup, evaluation, seed=0)
    # The refit sees what `by_hand` is; the inner folds, and so the calibration, have their own.
    np.testing.assert_allclose(found.logit, plain.logit, atol=1e-12)
    assert found.calibration != plain.calibration
    shuffled = permuted_aurocs(
        ["svm-encoder"], examples, fold, examples.y[None], adjusting, evaluation, seed=0
    )
    assert shuffled[0, 0] == pytest.approx(roc_auc_score(examples.y[fold.test], found.logit))


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
    model = fit_final("ridge-fc", examples, adjusting, EvaluationOptions(), seed=0)
    again = restore_model(model.tensors(), model.description(), setup)
    np.testing.assert_array_equal(again.logits(examples), model.logits(examples))
    without = replace(examples, covariates=None, covariate_names=())
    with pytest.raises(InputError, match="these people have 0"):
        again.logits(without)


def test_what_several_models_read_is_adjusted_once() -> None:
    needs = [need for name in ("fmmtc", "svm-fused", "lstm") for need in MODELS[name].needs]
    assert parts_of(needs) == ("cls", "fc", "series")
