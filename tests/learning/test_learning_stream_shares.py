"""How much each stream carries, against what can be written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from changed_examples import changed
from explained_cohort import fitted, fold_of
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.learning.explanation.cohort_maps import join_nulls, null_maps
from fmmtc_bidsapp.learning.explanation.explain import explain_null
from fmmtc_bidsapp.learning.explanation.stream_shares import (
    modality_shares,
    replaced_logits,
    stream_masses,
)
from fmmtc_bidsapp.learning.metrics.intervals import corrected_interval
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, refit_seed
from fmmtc_bidsapp.options import EvaluationOptions, ExplainOptions
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


OUTCOMES = np.tile([0, 1], 500)


def explanation(streams, repeat=0, fold=0, test=(0, 1), model="fmmtc"):
    split = Fold(repeat, fold, np.array([998, 999]), np.array(test))
    return FoldExplanation(model, split, "integrated gradients", streams=np.array(streams))


def test_shares_are_means_over_people_whatever_the_size_of_their_logits():
    folds = [explanation([[1, 3], [200, 200]]), explanation([[3, 1]], fold=1, test=[2])]
    series, connectivity = modality_shares(folds, OUTCOMES, seed=1, n_bootstrap=500)
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
    first, _, other, _ = modality_shares(folds, OUTCOMES, seed=1, n_bootstrap=50)
    assert (first.n, first.share) == (2, pytest.approx(0.5))
    assert (other.model, other.share, other.n) == ("other", 1.0, 1)


def test_the_interval_holds_the_true_share_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        part = rng.beta(4, 2, size=60)
        streams = np.stack([part, 1 - part], axis=1)
        (own, _) = modality_shares([explanation(streams, test=range(60))], OUTCOMES, seed, 500)
        held += own.low <= 4 / 6 <= own.high
    assert 88 <= held <= 100


def test_without_a_stream_the_logit_is_that_of_a_person_whose_features_are_the_training_mean(
    people, setup
):
    fold = fold_of(people)
    model = fitted("fmmtc", people, fold, setup)
    found = replaced_logits(model, people, fold.test, fold.train)
    head, width = model.fitted.network.head, people.cls.shape[1]
    own = features(model, people, fold.test)
    mean = features(model, people, fold.train).mean(axis=0)
    for column, gone in enumerate((slice(0), slice(width), slice(width, None))):
        changed = own.copy()
        changed[:, gone] = mean[gone]
        with torch.no_grad():
            expected = head(torch.as_tensor(changed, dtype=torch.float32))[:, 0].numpy()
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-4, atol=1e-5)


def test_what_a_stream_is_worth_is_the_auroc_that_held_out_people_lose_without_it():
    rng = np.random.default_rng(3)
    folds, lost = [], {1: [], 2: []}
    for number in range(5):
        test = np.arange(20 * number, 20 * number + 20)
        logits = rng.normal(size=(20, 3)) + OUTCOMES[test][:, None] * [2, 0.5, 1.5]
        split = replace(explanation(np.ones((20, 2)), fold=number, test=test), replaced=logits)
        folds.append(split)
        whole = roc_auc_score(OUTCOMES[test], logits[:, 0])
        for column, own in lost.items():
            own.append(whole - roc_auc_score(OUTCOMES[test], logits[:, column]))
    series, connectivity = modality_shares(folds, OUTCOMES, seed=1, n_bootstrap=50)
    for found, own in ((series, lost[1]), (connectivity, lost[2])):
        assert found.auroc_lost == pytest.approx(np.mean(own))
        limits = corrected_interval(np.array(own), n_train=2, n_test=20)
        assert (found.auroc_lost_low, found.auroc_lost_high) == pytest.approx(limits)


@pytest.mark.parametrize("planted", ["connectivity", "series"])
def test_held_out_people_lose_auroc_without_the_planted_stream_and_not_without_the_other(
    whole_cohort, setup, planted
):
    people = whole_cohort(n=60, effect=3.0, seed=2)
    nothing = whole_cohort(n=60, effect=0.0, seed=2)
    assert (people.y == nothing.y).all()
    other = {"connectivity": {"cls": nothing.cls}, "series": {"fc": nothing.fc}}[planted]
    people = changed(people, **other)
    folds = []
    for number in range(3):
        test = np.arange(number, 60, 3)
        fold = Fold(0, number, np.setdiff1d(np.arange(60), test), test)
        model = fitted("fmmtc", people, fold, setup, epoch=15)
        own = FoldExplanation(
            "fmmtc",
            fold,
            "integrated gradients",
            streams=stream_masses(model, people, fold.test, fold.train),
            replaced=replaced_logits(model, people, fold.test, fold.train),
        )
        folds.append(own)
    shares = {each.modality: each for each in modality_shares(folds, people.y, 0, 50)}
    without = shares.pop(planted)
    (rest,) = shares.values()
    assert without.auroc_lost > 0.3
    # It may gain: a stream of noise has the same say as any other before it is trained.
    assert rest.auroc_lost < 0.1


def test_the_share_with_shuffled_outcomes_stands_beside_the_share():
    null = np.array([[0.7, 0.3], [0.8, 0.2], [0.9, 0.1], [np.nan, np.nan]])
    series, connectivity = modality_shares(
        [explanation([[3, 1], [1, 1]])], OUTCOMES, 1, 50, {"fmmtc": null}
    )
    assert (series.null_share, series.n_null) == (pytest.approx(0.8), 3)
    low, high = np.quantile([0.7, 0.8, 0.9], (0.025, 0.975))
    assert (series.null_low, series.null_high) == pytest.approx((low, high))
    assert (connectivity.null_low, connectivity.null_high) == pytest.approx((1 - high, 1 - low))


def test_three_streams_have_a_share_each_and_what_the_auroc_loses_without_each():
    whole, reversed_ = [-1.0, 1.0, -2.0, 2.0], [1.0, -1.0, 2.0, -2.0]
    one = FoldExplanation(
        "m",
        Fold(0, 0, np.array([4]), np.arange(4)),
        "integrated gradients",
        streams=np.array([[1.0, 1.0, 2.0], [2.0, 2.0, 4.0], [1.0, 1.0, 2.0], [1.0, 1.0, 2.0]]),
        replaced=np.array([whole, whole, reversed_, whole]).T,
        modalities=("series", "connectivity", "genes"),
    )
    null = np.array([[0.5, 0.3, 0.2], [0.3, 0.5, 0.2]])
    shares = modality_shares([one], np.array([0, 1, 0, 1, 0]), 1, 50, {"m": null})
    assert [each.modality for each in shares] == ["series", "connectivity", "genes"]
    assert [each.share for each in shares] == pytest.approx([0.25, 0.25, 0.5])
    assert [each.auroc_lost for each in shares] == [0, 1, 0]
    assert [each.null_share for each in shares] == pytest.approx([0.4, 0.4, 0.2])


def test_shares_of_shuffled_fits_are_means_over_the_people_of_all_folds():
    folds = [
        null_maps([explanation([[1, 3], [1, 1]]), explanation([[1, 0], [1, 0]])]),
        null_maps(
            [explanation([[3, 1]], fold=1, test=[2]), explanation([[0, 1]], fold=1, test=[2])]
        ),
    ]
    joined = join_nulls(folds)
    np.testing.assert_allclose(joined.share[:, 0], [(0.25 + 0.5 + 0.75) / 3, 2 / 3])


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 3.0])
def test_a_share_leaves_those_of_shuffled_outcomes_only_where_the_stream_carries_an_effect(
    whole_cohort, setup, effect
):
    """Half a minute each: 20 trainings of the small network, all from the same random weights."""
    people = whole_cohort(n=60, effect=effect, seed=2)
    people = people.with_arrays(cls=whole_cohort(n=60, effect=0.0, seed=2).cls)
    test = np.arange(0, 60, 3)
    fold = Fold(0, 0, np.setdiff1d(np.arange(60), test), test)
    rng, epochs, seed = np.random.default_rng(0), 15, 1
    model = fitted("fmmtc", people, fold, setup, epoch=epochs, seed=refit_seed(seed, fold))
    own = explanation(stream_masses(model, people, fold.test, fold.train), test=fold.test.tolist())
    shuffled = explain_null(
        Analysis(people, setup, EvaluationOptions(), seed),
        "fmmtc",
        fold,
        np.stack([rng.permutation(people.y) for _ in range(19)]),
        epochs,
        ExplainOptions(explain="features"),
        None,
    )
    _, found = modality_shares([own], people.y, 0, 50, {"fmmtc": shuffled.share[:, 0]})
    assert found.n_null == 19
    assert (found.share > found.null_high) == (effect > 0)
    assert found.share >= found.null_low
