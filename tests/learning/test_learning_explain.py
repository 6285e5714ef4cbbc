"""What is explained of which model, and of models of shuffled outcomes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from explained_cohort import SEED, as_encoder, encoded, fitted, fold_of

from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.explanation.explain import explain_fold, explain_null
from fmmtc_bidsapp.learning.explanation.map_values import strengths
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, refit_seed
from fmmtc_bidsapp.options import EvaluationOptions, ExplainOptions

FEATURES, PARCELS = ExplainOptions(), ExplainOptions(explain="parcels")


@pytest.fixture(scope="module")
def people(whole_cohort, setup):
    return encoded(whole_cohort(effect=1.0), setup.encoder)


@pytest.mark.parametrize(
    ("name", "options", "streams", "series", "edges"),
    [
        ("fmmtc", FEATURES, True, False, False),
        ("fmmtc", PARCELS, True, True, True),
        ("knn-fused", PARCELS, False, False, False),
        ("bnt", FEATURES, False, False, False),
        ("bnt", PARCELS, False, False, True),
        ("fc-logistic", FEATURES, False, False, True),
        ("ridge-ts", FEATURES, False, True, False),
        ("xgboost-fc", PARCELS, False, False, False),
        ("dummy", PARCELS, False, False, False),
    ],
)
def test_every_model_says_what_it_can(people, setup, name, options, streams, series, edges):
    fold = fold_of(people, 2)
    model = fitted(name, people, fold, setup)
    encoder = as_encoder(setup.encoder, people)
    found = explain_fold(model, people, fold, options, encoder=encoder, seed=SEED)
    assert (found.streams is not None) == streams
    assert (found.series is not None, found.edges is not None) == (series, edges)
    assert found.model == name


def shuffled(people, count=2):
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation(people.y) for _ in range(count)])


def test_null_maps_of_a_linear_model_are_patterns_of_shuffled_fits(people, setup):
    fold, labels = fold_of(people, 2), shuffled(people)
    analysis = Analysis(people, setup, EvaluationOptions(), SEED)
    found = explain_null(analysis, "ridge-fc", fold, labels, 1, FEATURES, None)
    own = replace(people, y=labels[1])
    model = fitted("ridge-fc", own, fold, setup)
    alone = explain_fold(model, own, fold, FEATURES, encoder=None, seed=SEED)
    assert found.n.tolist() == [1, 1]
    np.testing.assert_allclose(found.connectivity[1], strengths(np.abs(alone.edges[0])), rtol=1e-4)


def test_null_maps_of_a_network_are_maps_of_shuffled_fits_of_as_many_epochs(people, setup):
    fold, labels = fold_of(people, 2), shuffled(people)
    analysis = Analysis(people, setup, EvaluationOptions(), SEED)
    found = explain_null(analysis, "bnt", fold, labels, 2, PARCELS, None)
    own = replace(people, y=labels[1])
    learner = MODELS["bnt"].learner(setup)
    model = replace(
        fitted("bnt", own, fold, setup),
        fitted=learner.fit(own, fold.train, 2, refit_seed(SEED, fold)),
    )
    alone = explain_fold(model, own, fold, PARCELS, encoder=None, seed=SEED)
    kept = alone.edges[alone.converged]
    assert found.n[1] == len(kept)
    np.testing.assert_allclose(found.connectivity[1], strengths(np.abs(kept)).mean(axis=0))
    assert found.edges.shape == (2, 28)


def test_real_outcomes_have_no_part_in_null_maps(people, setup):
    fold, labels = fold_of(people, 2), shuffled(people, 1)
    unknown = replace(people, y=np.full(24, -1))
    first, second = (
        explain_null(
            Analysis(each, setup, EvaluationOptions(), SEED), "bnt", fold, labels, 1, PARCELS, None
        )
        for each in (people, unknown)
    )
    np.testing.assert_array_equal(first.edges, second.edges)
