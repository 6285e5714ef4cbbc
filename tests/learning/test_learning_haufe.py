"""Patterns of linear models against Haufe's formula and a line fitted edge by edge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from explained_cohort import fitted, fold_of
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.learning.explanation.haufe import haufe_pattern, shuffled_patterns, slopes
from fmmtc_bidsapp.learning.explanation.map_values import strengths
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Examples
from fmmtc_bidsapp.stats import LARGEST_SINGLE, fisher_z


@pytest.mark.parametrize("name", ["ridge-fc", "svm-fc", "fc-logistic-edges", "ridge-pca-fc"])
def test_of_a_model_of_edges_it_is_the_covariance_of_the_edges_times_the_weights(
    whole_cohort, setup, name
):
    people = whole_cohort(effect=1.0)
    fold = fold_of(people)
    model = fitted(name, people, fold, setup)
    first, second = np.triu_indices(8, k=1)
    columns = fisher_z(people.fc[fold.train][:, first, second], LARGEST_SINGLE)
    output = model.logits(people.take(fold.train))
    # The weights on the columns themselves, as nilearn orders them, by the output's differences.
    weights = np.linalg.lstsq(columns - columns.mean(axis=0), output - output.mean())[0]
    expected = np.cov(columns.T) @ weights / np.var(output, ddof=1)
    found = haufe_pattern(model, people, fold)
    assert found.method == "Haufe pattern"
    assert found.converged is None
    assert found.edges.shape == (1, 8, 8)
    np.testing.assert_allclose(found.edges[0][first, second], expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found.edges[0], found.edges[0].T)
    assert np.isnan(np.diag(found.edges[0])).all()


def test_slopes_are_those_of_a_line_fitted_to_the_people_who_have_the_column():
    rng = np.random.default_rng(0)
    columns, outputs = rng.normal(size=(20, 5)), rng.normal(size=(3, 20))
    columns[:4, 1] = columns[3:9, 2] = np.nan
    columns[:18, 3] = np.nan
    columns[:, 4] = 7.0
    found = slopes(columns, outputs)
    for output, own in zip(outputs, found, strict=True):
        for i in (0, 1, 2):
            there = ~np.isnan(columns[:, i])
            assert own[i] == pytest.approx(np.polyfit(output[there], columns[there, i], 1)[0])
    assert np.isnan(found[:, 3]).all()
    np.testing.assert_allclose(found[:, 4], 0, atol=1e-12)
    assert np.isnan(slopes(columns, np.ones((1, 20)))).all()


def test_a_parcel_that_everybody_lacks_has_no_pattern(whole_cohort, setup):
    people = whole_cohort(effect=1.0)
    fc = people.fc.copy()
    fc[:, 2] = fc[:, :, 2] = np.nan
    people = people.with_arrays(fc=fc)
    fold = fold_of(people)
    found = haufe_pattern(fitted("ridge-fc", people, fold, setup), people, fold)
    assert np.isnan(found.edges[0, 2]).all()
    assert np.isnan(strengths(found.edges[0])).sum() == 1


def test_of_a_model_of_series_volumes_are_added_up(whole_cohort, setup):
    people = whole_cohort(effect=1.0)
    fold = fold_of(people)
    found = haufe_pattern(fitted("ridge-ts", people, fold, setup), people, fold)
    assert found.series.shape == found.series_size.shape == (1, 8)
    assert (found.series_size >= np.abs(found.series)).all()
    # Every parcel's level is higher in those with the outcome.
    assert (found.series > 0).all()


def test_shuffles_in_one_go_are_fits_one_by_one(whole_cohort, setup):
    people = whole_cohort(effect=0.5)
    fold = fold_of(people)
    rng = np.random.default_rng(0)
    labels = np.stack([rng.permutation(people.y) for _ in range(2)])
    analysis = Analysis(people, setup, EvaluationOptions(), 3)
    at_once = list(shuffled_patterns(analysis, "fc-logistic", fold, labels))
    for y, found in zip(labels, at_once, strict=True):
        own = replace(people, y=y)
        alone = haufe_pattern(fitted("fc-logistic", own, fold, setup), people, fold)
        np.testing.assert_allclose(found.edges, alone.edges, rtol=1e-3, atol=1e-6)


def coupled(n=60, n_parcels=24, strength=1.0, seed=0):
    """People of whom those with the outcome have four parcels that go along with each other."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.tile([0, 1], n // 2))
    signal = rng.normal(size=(n, 100, n_parcels))
    signal[:, :, :4] += strength * y[:, None, None] * rng.normal(size=(n, 100, 1))
    return Examples(
        keys=tuple(f"sub-{i:02d}" for i in range(n)),
        arrays={
            "cls": np.zeros((n, 0)),
            "fc": np.stack([np.corrcoef(each.T) for each in signal]).astype(np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
    )


@pytest.mark.parametrize("name", ["fc-logistic", "ridge-fc", "svm-fc"])
def test_parcels_that_were_planted_stand_out(setup, name):
    people = coupled()
    fold = fold_of(people, 20)
    found = haufe_pattern(fitted(name, people, fold, setup), people, fold)
    planted = np.arange(24) < 4
    assert roc_auc_score(planted, strengths(np.abs(found.edges[0]))) >= 0.8
