"""How much each stream carries, against what can be written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from explained_cohort import fitted, fold_of

from fmmtc_bidsapp.learning.streams import modality_shares, stream_masses
from fmmtc_bidsapp.records import Fold, FoldExplanation


@pytest.fixture(scope="module")
def people(whole_cohort):
    return whole_cohort(effect=1.0)


def features(model, people, rows):
    """R_T and R_C by the network's parts."""
    network = model.fitted.source
    with torch.no_grad():
        cls, fc = (
            torch.as_tensor(own.apply(values[rows]))
            for own, values in zip(network.preparations, (people.cls, people.fc), strict=True)
        )
        return np.hstack([cls.numpy(), network.network.eval().fc_encoder(fc).numpy()])


def written_out(model, people, fold, weights):
    mean = features(model, people, fold.train).mean(axis=0)
    each = np.abs(weights * (features(model, people, fold.test) - mean))
    return np.stack([part.sum(axis=1) for part in np.split(each, 2, axis=1)], axis=1)


def test_after_a_concatenation_it_is_the_weight_times_the_distance_from_the_mean(people, setup):
    fold = fold_of(people)
    model = fitted("fmmtc", people, fold, setup)
    weights = model.fitted.network.get_parameter("head.weight").detach().numpy()[0]
    masses = stream_masses(model, people, fold.test, fold.train)
    np.testing.assert_allclose(masses, written_out(model, people, fold, weights), rtol=1e-4)


def test_a_linear_classifier_in_place_of_the_head_is_taken_with_its_scaling(people, setup):
    fold = fold_of(people)
    model = fitted("ridge-fused", people, fold, setup)
    own = model.fitted
    weights = own.head.weights @ own.scaling.components / own.scaling.scale
    masses = stream_masses(model, people, fold.test, fold.train)
    np.testing.assert_allclose(masses, written_out(model, people, fold, weights), rtol=1e-3)


@pytest.mark.parametrize("fusion", ["cross-attention", "mixture-of-experts"])
def test_after_other_fusions_the_parts_add_up_to_the_logit_less_that_of_the_mean(
    people, setup, fusion
):
    fold = fold_of(people)
    model = fitted(f"fmmtc-{fusion}", people, fold, setup)
    masses = stream_masses(model, people, fold.test, fold.train)
    assert np.isfinite(masses).all()
    network, width = model.fitted.network, people.cls.shape[1]
    mean = features(model, people, fold.train).mean(axis=0, keepdims=True)
    ends = [
        network.fusion(*torch.as_tensor(each, dtype=torch.float32).split(width, dim=1))
        for each in (features(model, people, fold.test), mean)
    ]
    logit, at_mean = (network.head(each).detach().numpy()[:, 0] for each in ends)
    assert (masses.sum(axis=1) >= np.abs(logit - at_mean) * 0.98).all()


def test_the_scale_of_a_feature_does_not_count(people, setup):
    fold = fold_of(people)
    model = fitted("fmmtc", people, fold, setup)
    before = stream_masses(model, people, fold.test, fold.train)
    with torch.no_grad():
        model.fitted.network.fc_encoder.projection.weight *= 10
        model.fitted.network.fc_encoder.projection.bias *= 10
        model.fitted.network.head.weight[:, people.cls.shape[1] :] /= 10
    after = stream_masses(model, people, fold.test, fold.train)
    np.testing.assert_allclose(after, before, rtol=1e-3)


@pytest.mark.parametrize("name", ["resnet-fc", "fc-logistic", "dummy", "knn-fused"])
def test_models_of_one_stream_or_without_gradients_have_none(people, setup, name):
    fold = fold_of(people)
    model = fitted(name, people, fold, setup)
    assert stream_masses(model, people, fold.test, fold.train) is None


def explanation(streams, repeat=0, fold=0, test=(0, 1), model="fmmtc"):
    split = Fold(repeat, fold, np.array([998, 999]), np.array(test))
    return FoldExplanation(model, split, "integrated gradients", streams=np.array(streams))


def test_shares_are_means_over_people_whatever_the_size_of_their_logits():
    folds = [explanation([[1, 3], [200, 200]]), explanation([[3, 1]], fold=1, test=[2])]
    series, connectivity = modality_shares(folds, seed=1, n_bootstrap=500)
    assert (series.modality, connectivity.modality) == ("series", "connectivity")
    assert series.share == pytest.approx((0.25 + 0.5 + 0.75) / 3)
    assert connectivity.share == pytest.approx(1 - series.share)
    assert series.n == 3
    assert series.fold_sd == pytest.approx(np.std([0.375, 0.75], ddof=1))
    assert series.low == pytest.approx(0.25)
    assert (connectivity.low, connectivity.high) == pytest.approx((1 - series.high, 0.75))


def test_repeats_are_the_same_people_and_who_has_no_figure_is_none_of_them():
    folds = [
        explanation([[1, 3], [1, 1]]),
        explanation([[3, 1], [np.nan, np.nan]], repeat=1),
        explanation([[1, 0]], model="other", test=[4]),
        replace(explanation([[0, 1]]), streams=None),
    ]
    first, _, other, _ = modality_shares(folds, seed=1, n_bootstrap=50)
    assert (first.n, first.share) == (2, pytest.approx(0.5))
    assert (other.model, other.share, other.n) == ("other", 1.0, 1)


def test_the_interval_holds_the_true_share_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        part = rng.beta(4, 2, size=60)
        streams = np.stack([part, 1 - part], axis=1)
        (own, _) = modality_shares([explanation(streams, test=range(60))], seed, 500)
        held += own.low <= 4 / 6 <= own.high
    assert 88 <= held <= 100
