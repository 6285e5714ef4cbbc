"""The order in which people are listed has no part in what is predicted of them."""

from __future__ import annotations

import numpy as np
import pytest
from learning_fits import fit_everyone, fit_fold, fit_published, permuted_aurocs

from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Fold

EVALUATION = EvaluationOptions()
NAMES = ("fmmtc", "resnet-ts", "lstm", "svm-fused", "fc-logistic", "knn-fc", "xgboost-fc", "svm-ts")


@pytest.fixture
def listed(whole_cohort):
    """A cohort, the same in another order, and where everybody went; with ties in a feature."""
    people = whole_cohort(effect=1.0)
    people = people.with_arrays(cls=np.round(people.cls, 2))
    order = np.random.default_rng(3).permutation(len(people.keys))
    return people, people.take(order), np.argsort(order)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_people_changes_no_prediction(name, listed, setup):
    people, mixed, place = listed
    train, test = np.arange(4, 24), np.arange(4)
    # The rows of a fold rise, whoever stands in them.
    mixed_test = np.sort(place[test])
    first = fit_fold(name, people, Fold(0, 0, train, test), setup, EVALUATION, seed=0)
    fold = Fold(0, 0, np.sort(place[train]), mixed_test)
    again = fit_fold(name, mixed, fold, setup, EVALUATION, seed=0)
    by_person = dict(zip((people.keys[row] for row in test), first.logit, strict=True))
    expected = [by_person[mixed.keys[row]] for row in mixed_test]
    np.testing.assert_allclose(again.logit, expected, rtol=1e-5, atol=1e-6)
    assert again.epoch == first.epoch
    assert again.calibration.slope == pytest.approx(first.calibration.slope, rel=1e-4)


def test_the_order_of_people_changes_neither_the_kept_model_nor_a_shuffle(listed, setup):
    people, mixed, place = listed
    one, other = (
        fit_everyone("resnet-fc", each, setup, EVALUATION, seed=0) for each in (people, mixed)
    )
    np.testing.assert_allclose(other.logits(people), one.logits(people), rtol=1e-5, atol=1e-6)
    labels = np.random.default_rng(0).permutation(people.y)[None]
    train, test = np.arange(4, 24), np.arange(4)
    fold, again = (
        Fold(0, 0, train, test),
        Fold(0, 0, np.sort(place[train]), np.sort(place[test])),
    )
    shuffled = permuted_aurocs(["ridge-fc"], people, fold, labels, setup, EVALUATION, seed=0)
    moved = np.empty_like(labels)
    moved[:, place] = labels
    found = permuted_aurocs(["ridge-fc"], mixed, again, moved, setup, EVALUATION, seed=0)
    np.testing.assert_array_equal(found, shuffled)
    published = fit_published("fmmtc", people, fold, setup, seed=0)
    there = fit_published("fmmtc", mixed, again, setup, seed=0)
    for name, each in published.items():
        np.testing.assert_allclose(
            np.sort(there[name].logit), np.sort(each.logit), rtol=1e-5, atol=1e-6
        )
