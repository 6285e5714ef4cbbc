"""Every row of the table of models keeps the same promises."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from changed_examples import changed
from learning_fits import fit_everyone, fit_fold, fit_published
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.learning.estimators.models import (
    MODELS,
    baselines,
    check_needs,
    expand_models,
    families,
    missing_needs,
)
from fmmtc_bidsapp.learning.evaluation.external_validation import predict_new
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, fit_together, restore_model
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Examples, Fold

EVALUATION = EvaluationOptions()
LINEAR = [name for name, model in MODELS.items() if not model.is_network]
NEW = [name for name in MODELS if name not in {"fmmtc", "fc-logistic", "dummy"}]
"""The others are held to the same in test_learning_train.py."""
ALIKE = {
    *(name for name in MODELS if name.startswith("fmmtc-")),
    *("ridge-fused", "knn-fused", "xgboost-fused", "brainlm-untrained", "brainlm-tuned"),
    "brainlm-scratch",
}
"""Networks that share nearly all their code with one that the default tests train."""


def slow(names):
    """Leave those that are like another to the slow tests."""
    return [pytest.param(each, marks=pytest.mark.slow) if each in ALIKE else each for each in names]


def fold_of(examples: Examples, n_train: int = 16) -> Fold:
    rows = np.arange(len(examples.keys))
    return Fold(0, 0, rows[:n_train], rows[n_train:])


@pytest.mark.parametrize("name", slow(each for each in MODELS if each not in {"dummy", "fmmtc"}))
def test_an_effect_in_what_the_model_sees_is_found(name, setup, whole_cohort):
    examples = whole_cohort(n=48, effect=4.0)
    fold = fold_of(examples, 32)
    if MODELS[name].is_network:
        setup = replace(setup, train=replace(setup.train, epochs=8))
    found = fit_fold(name, examples, fold, setup, EVALUATION, seed=1)
    assert roc_auc_score(examples.y[fold.test], found.logit) > 0.8


@pytest.mark.parametrize("name", slow(NEW))
def test_test_outcomes_are_never_read_and_test_inputs_change_no_training(name, setup, whole_cohort):
    examples = whole_cohort(effect=1.0)
    fold = fold_of(examples)
    first = fold.test[0]
    values = {
        field: getattr(examples, field).copy()
        for field in ("cls", "cls_random", "fc", "series", "covariates", "mean_fd_mm")
    }
    for array in values.values():
        array[first] = 0.5
    y = examples.y.copy()
    y[fold.test] = -1
    blind = changed(examples, y=y, **values)
    honest, other = (
        fit_fold(name, each, fold, setup, EVALUATION, seed=1) for each in (examples, blind)
    )
    assert honest.calibration == other.calibration
    np.testing.assert_array_equal(honest.validation_loss, other.validation_loss)
    # The first test person is predicted in a batch of their own neighbours only.
    np.testing.assert_allclose(honest.logit[4:], other.logit[4:], rtol=1e-6)


@pytest.mark.parametrize("name", LINEAR)
def test_a_value_that_only_test_people_have_gains_nothing_though_it_is_the_outcome(
    name, setup, whole_cohort
):
    examples = whole_cohort(seed=1)
    fold = fold_of(examples)
    told = 0.9 * (2.0 * examples.y[fold.test] - 1)
    planted = {}
    for mark in (False, True):
        arrays = {
            field: getattr(examples, field).copy()
            for field in ("cls", "fc", "series", "covariates")
        }
        arrays["cls"][:, 0] = 16.0
        for array in (arrays["fc"][:, 0, 1], arrays["fc"][:, 1, 0], arrays["covariates"][:, 0]):
            array[:] = np.nan
        arrays["series"][:, 0] = np.nan
        if mark:
            arrays["cls"][fold.test, 0] = told
            arrays["fc"][fold.test, 0, 1] = arrays["fc"][fold.test, 1, 0] = told
            arrays["series"][fold.test, 0] = told[:, None]
            arrays["covariates"][fold.test, 0] = told
        planted[mark] = fit_fold(name, changed(examples, **arrays), fold, setup, EVALUATION, seed=1)
    np.testing.assert_array_equal(planted[True].logit, planted[False].logit)
    assert planted[True].calibration == planted[False].calibration


@pytest.mark.parametrize("name", slow(NEW))
def test_a_model_restored_from_its_tensors_and_json_predicts_the_same(name, setup, whole_cohort):
    examples = whole_cohort(effect=1.0)
    model = fit_everyone(name, examples, setup, EVALUATION, seed=1)
    tensors = {key: value.clone() for key, value in model.tensors().items()}
    description = json.loads(json.dumps(model.description()))
    assert {key: list(value.shape) for key, value in tensors.items()} == description["tensors"]
    restored = restore_model(tensors, description, setup)
    np.testing.assert_array_equal(restored.logits(examples), model.logits(examples))


@pytest.mark.parametrize("name", slow(MODELS))
def test_the_same_seed_gives_the_same_bytes(name, setup, whole_cohort):
    examples = whole_cohort(effect=1.0)
    first, again = (
        fit_fold(name, examples, fold_of(examples), setup, EVALUATION, seed=3) for _ in range(2)
    )
    assert first.logit.tobytes() == again.logit.tobytes()
    assert first.calibration == again.calibration


@pytest.mark.parametrize("name", LINEAR)
def test_people_who_lack_values_are_predicted_all_the_same(name, setup, whole_cohort):
    examples = whole_cohort()
    arrays = {
        field: getattr(examples, field).copy()
        for field in ("fc", "series", "covariates", "mean_fd_mm")
    }
    for row in (2, 20):
        arrays["fc"][row, 3] = arrays["fc"][row, :, 3] = np.nan
        arrays["series"][row, 3] = np.nan
        arrays["covariates"][row] = np.nan
        arrays["mean_fd_mm"][row] = np.nan
    found = fit_fold(
        name, changed(examples, **arrays), fold_of(examples), setup, EVALUATION, seed=0
    )
    assert np.isfinite(found.logit).all()


@pytest.mark.filterwarnings(
    "ignore:invalid value encountered in logaddexp", "ignore:overflow encountered in cast"
)
def test_an_output_that_is_no_number_is_an_error_that_names_the_model(setup, whole_cohort):
    examples = whole_cohort()
    cls = examples.cls.copy()
    cls[20] = 1e300
    broken = examples.with_arrays(cls=cls)
    for fit in (fit_fold, fit_published):
        given = (EVALUATION,) if fit is fit_fold else ()
        with pytest.raises(InputError, match="brainlm gave 1 of 8 people an output that is no num"):
            fit("brainlm", broken, fold_of(examples), setup, *given, seed=0)
    with pytest.raises(InputError, match="fmmtc gave 1 of 8"):
        fit_together(
            Analysis(broken, setup, EVALUATION, 0), ("fmmtc", "ridge-fused"), fold_of(examples)
        )
    model = fit_everyone("brainlm", examples, setup, EVALUATION, seed=0)
    with pytest.raises(InputError, match="brainlm gave 1 of 24"):
        predict_new(model, broken)


def test_a_cohort_of_matrices_alone_runs_what_needs_matrices_alone(setup, whole_cohort):
    examples = whole_cohort()
    matrices = Examples(
        examples.keys,
        {"cls": np.zeros((24, 0)), "fc": examples.fc},
        examples.y,
        examples.strata,
    )
    possible = {name for name in MODELS if not missing_needs(name, matrices)}
    heads = ("svm", "ridge", "knn", "xgboost")
    assert possible >= {"dummy", "fc-logistic", "fc-logistic-edges"}
    assert possible >= {f"{head}-{seen}" for head in heads for seen in ("fc", "pca-fc")}
    assert possible >= {"resnet-fc", "bnt"}
    assert not possible & {"fmmtc", "covariates", "motion", "svm-ts", "knn-encoder", "ridge-fused"}
    assert not possible & {"lstm", "resnet-ts", "brainlm", "brainlm-untrained", "brainlm-tuned"}
    assert baselines(matrices) == ("dummy", "fc-logistic")
    with pytest.raises(InputError, match=r"svm-pca-ts needs parcel series.*svm-fc"):
        check_needs(["svm-fc", "svm-pca-ts"], matrices)
    with pytest.raises(InputError, match="covariates needs --covariates"):
        fit_fold("covariates", matrices, fold_of(matrices), setup, EVALUATION, seed=0)


def test_a_classifier_stands_for_itself_on_each_of_the_features():
    found = expand_models(["svm", "fmmtc", "svm-fc", "dummy"], ["fc", "pca-ts"])
    assert found == ("svm-fc", "svm-pca-ts", "fmmtc", "dummy")
    assert expand_models(["knn"], []) == ("knn-fc",)
    with pytest.raises(UsageError, match="--network 'emt' is unknown"):
        expand_models(["emt"], [])
    with pytest.raises(UsageError, match=r"--network 'svn' is unknown.*svm"):
        expand_models(["svn"], ["fc"])
    with pytest.raises(UsageError, match=r"--features 'voxels' is unknown.*pca-fc"):
        expand_models(["svm"], ["voxels"])


def test_every_name_of_the_flag_is_a_model():
    networks = ("fmmtc", "brainlm", "lstm", "resnet-ts", "resnet-fc", "bnt")
    others = ("dummy", "covariates", "fc-logistic")
    assert expand_models([*networks, *others], ["fc"]) == networks + others
    assert all(MODELS[name].is_network for name in networks)


def test_what_is_missing_is_said_in_words(whole_cohort):
    examples = replace(whole_cohort().with_arrays(cls_random=None), coordinates_mm=None)
    assert missing_needs("brainlm-untrained", examples) == (
        "series encoded without pre-training beside those of --encoder brainlm",
    )
    with pytest.raises(InputError, match="brainlm-tuned needs parcel coordinates"):
        check_needs(["brainlm-tuned"], examples)


def test_models_of_one_training_are_one_family():
    names = ["dummy", "svm-fused", "bnt", "fmmtc", "svm-fc", "fmmtc-sum", "knn-fused", "bnt"]
    assert families(names) == (
        ("dummy",),
        ("svm-fused", "fmmtc", "knn-fused"),
        ("bnt",),
        ("svm-fc",),
        ("fmmtc-sum",),
    )
