"""Rows of numbers, against scikit-learn and nilearn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from nilearn.connectome import ConnectivityMeasure
from nilearn.connectome.connectivity_matrices import _geometric_mean
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from fmmtc_bidsapp.learning.estimators.classifiers import HEADS
from fmmtc_bidsapp.learning.estimators.linear import ColumnsLearner
from fmmtc_bidsapp.learning.preprocessing.features import fit_scaling
from fmmtc_bidsapp.learning.preprocessing.tangent import (
    fit_reference,
    geometric_mean,
    tangent_edges,
)
from fmmtc_bidsapp.records import Examples


def columns_with_holes(n=20, p=30, seed=0):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(n, p)) * rng.uniform(0.1, 10, p) + rng.normal(size=p)
    columns[rng.uniform(size=columns.shape) < 0.1] = np.nan
    return columns


def test_columns_are_filled_scaled_and_rotated_as_a_pipeline_of_scikit_learn_does():
    columns = columns_with_holes()
    reference = make_pipeline(
        SimpleImputer(),
        StandardScaler(),
        FunctionTransformer(lambda x: x / np.sqrt(30)),
        PCA(5, svd_solver="full"),
    ).fit(columns[:14])
    ours = fit_scaling(columns[:14], 5, rotate=True)
    np.testing.assert_allclose(ours.apply(columns), reference.transform(columns), atol=1e-12)


def test_a_rotation_keeps_every_distance_between_training_people():
    columns = columns_with_holes()
    plain, rotated = (fit_scaling(columns, None, rotate=each).apply(columns) for each in (0, 1))
    distance = [np.linalg.norm(x[:, None] - x[None], axis=2) for x in (plain, rotated)]
    np.testing.assert_allclose(distance[0], distance[1], atol=1e-12)


def test_a_column_that_training_people_share_counts_for_nothing():
    columns = columns_with_holes()
    columns[:, 4], columns[:, 7] = 0.1 + 0.2, np.nan
    scaling = fit_scaling(columns, None, rotate=True)
    other = columns[:3].copy()
    other[:, 4], other[:, 7] = 1e6, -1e6
    np.testing.assert_array_equal(scaling.apply(other), scaling.apply(columns[:3]))


@pytest.mark.parametrize(
    ("head", "reference"),
    [
        ("svm", SVC(kernel="linear")),
        ("ridge", RidgeClassifier()),
        ("logistic", LogisticRegression(max_iter=1000)),
    ],
)
def test_linear_heads_rank_people_as_scikit_learn_does(head, reference):
    rng = np.random.default_rng(0)
    columns, y = rng.normal(size=(30, 12)), np.tile([0, 1], 15)
    ours = HEADS[head].fit(columns[:20], y[:20], 0).logits(columns)
    theirs = reference.fit(columns[:20], y[:20]).decision_function(columns)
    scale = 2 if head == "ridge" else 1
    np.testing.assert_allclose(ours, scale * theirs, atol=1e-6)


def test_neighbours_give_the_smoothed_log_odds_of_their_share():
    rng = np.random.default_rng(0)
    columns, y = rng.normal(size=(30, 4)), np.tile([0, 1], 15)
    share = KNeighborsClassifier(5).fit(columns[:20], y[:20]).predict_proba(columns[20:])[:, 1]
    ours = HEADS["knn"].fit(columns[:20], y[:20], 0).logits(columns[20:])
    np.testing.assert_allclose(ours, np.log((5 * share + 1) / (6 - 5 * share)))


@pytest.mark.parametrize("head", HEADS)
def test_many_outcomes_at_once_are_as_one_after_the_other(head):
    rng = np.random.default_rng(0)
    columns, others = rng.normal(size=(20, 12)), rng.normal(size=(7, 12))
    labels = np.array([rng.permutation(np.tile([0, 1], 10)) for _ in range(4)])
    together = HEADS[head].many(columns, labels, others, 0)
    single = [HEADS[head].fit(columns, y, 0).logits(others) for y in labels]
    np.testing.assert_allclose(together, single, atol=1e-12)


def test_trees_see_the_columns_that_tell_the_training_outcomes_apart():
    rng = np.random.default_rng(0)
    columns, y = rng.normal(size=(40, 1000)), np.tile([0, 1], 20)
    columns[:, 700] += 5 * y
    fitted = HEADS["xgboost"].fit(columns, y, 0)
    kept = fitted.arrays()["kept"]
    assert len(kept) == 256
    assert 700 in kept
    assert (fitted.logits(columns) > 0).tolist() == y.astype(bool).tolist()


def test_columns_are_screened_as_scikit_learn_does_for_all_outcomes_at_once():
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(30, 700)) * rng.uniform(0.1, 9, 700)
    columns[:, [3, 500]] = 4.0
    labels = np.array([rng.permutation(np.repeat([0, 1], [18, 12])) for _ in range(60)])
    found = HEADS["xgboost"].many(columns, labels, columns[:4], 0)
    for i in (0, 49, 50, 59):
        with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            best = SelectKBest(f_classif, k=256).fit(columns, labels[i])
        fitted = HEADS["xgboost"].fit(columns, labels[i], 0)
        np.testing.assert_array_equal(fitted.arrays()["kept"], best.get_support(indices=True))
        np.testing.assert_array_equal(found[i], fitted.logits(columns[:4]))


def test_the_mean_of_connectomes_is_that_of_nilearn_and_the_least_squares_one():
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(20, 20))
    matrices = []
    for _ in range(9):
        series = rng.normal(size=(60, 20)) @ (mixing + 0.5 * rng.normal(size=(20, 20)))
        matrices.append(0.9 * np.corrcoef(series.T) + 0.1 * np.eye(20))
    ours = geometric_mean(matrices)
    theirs = _geometric_mean(matrices, max_iter=200, tol=1e-12)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_mean_of_matrices_that_commute_is_the_geometric_mean_of_their_values():
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    values = np.random.default_rng(1).uniform(0.1, 50, size=(7, 6))
    matrices = [(vectors * own) @ vectors.T for own in values]
    expected = (vectors * np.exp(np.log(values).mean(axis=0))) @ vectors.T
    np.testing.assert_allclose(geometric_mean(matrices), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(geometric_mean(matrices[:1]), matrices[0], atol=1e-12)


def test_the_tangent_space_is_nilearns_of_the_shrunk_matrices():
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)) for _ in range(12)]
    fc = np.stack([np.corrcoef(each.T) for each in series]).astype(np.float32)
    examples = Examples(
        tuple(map(str, range(12))),
        {"cls": np.zeros((12, 0)), "fc": fc},
        np.tile([0, 1], 6),
        ("0", "1") * 6,
    )

    class Shrunk(SimpleImputer):
        def fit(self, X, y=None):
            self.covariance_ = 0.9 * X + 0.1 * np.eye(len(X))
            return self

    measure = ConnectivityMeasure(Shrunk(), kind="tangent", vectorize=True, standardize=False)
    measure.fit(list(fc[:8].astype(float)))
    ours = tangent_edges(examples, fit_reference(examples, np.arange(8)))
    np.testing.assert_allclose(ours, measure.transform(list(fc.astype(float))), atol=1e-6)


def test_matrices_of_fewer_volumes_than_parcels_have_a_tangent():
    rng = np.random.default_rng(0)
    fc = np.stack([np.corrcoef(rng.normal(size=(15, 8))) for _ in range(6)]).astype(np.float32)
    fc[3, 2] = fc[3, :, 2] = np.nan
    examples = Examples(
        tuple(map(str, range(6))),
        {"cls": np.zeros((6, 0)), "fc": fc},
        np.tile([0, 1], 3),
        ("0", "1") * 3,
    )
    found = tangent_edges(examples, fit_reference(examples, np.arange(6)))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-2)


def test_shuffled_outcomes_meet_the_features_of_the_real_run(setup, whole_cohort):
    examples = whole_cohort(effect=1.0)
    train, test = np.arange(16), np.arange(16, 24)
    learner = ColumnsLearner(setup, "svm", "pca-fc")
    found = learner.shuffled(examples, train, test, examples.y[None], 0)
    fitted = learner.fit(examples, train, 1, 0)
    np.testing.assert_allclose(found[0], fitted.logits(examples.take(test)))
