"""Maps of networks: they add up, they know their place, and they find what was planted."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from explained_cohort import SEED, as_encoder, encoded, fitted, fold_of
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.estimators.networks import NETWORKS
from fmmtc_bidsapp.learning.explanation.attribution import (
    ParcelMap,
    TracedNetwork,
    _agreement,
    attribute,
    can_attribute,
)
from fmmtc_bidsapp.learning.explanation.integrated_gradients import Integral
from fmmtc_bidsapp.learning.explanation.map_values import strengths
from fmmtc_bidsapp.learning.explanation.model_parts import branches_of
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.options import ExplainOptions
from fmmtc_bidsapp.records import Examples

OPTIONS = ExplainOptions(explain="parcels")
QUICK = ("bnt", "brainlm", "fmmtc", "lstm")
SLOW = [pytest.param(each, marks=pytest.mark.slow) for each in sorted(set(NETWORKS) - set(QUICK))]


@pytest.fixture(scope="module")
def people(whole_cohort, setup):
    return encoded(whole_cohort(effect=1.0), setup.encoder)


def explained(name, examples, setup, options=OPTIONS, n_test=2, **how):
    fold = fold_of(examples, n_test)
    model = fitted(name, examples, fold, setup)
    how = {"compare": False} | how
    own = None if setup.encoder is None else as_encoder(setup.encoder, examples)
    found = attribute(model, examples, fold, options, encoder=own, seed=SEED, **how)
    return model, found


def logit(model, people, row):
    return float(model.logits(people.take(np.array([row])))[0])


def at_zero(model, people, row, setup):
    """The prediction of someone who is nothing but zeros where the person has values."""
    person = people.take(np.array([row]))
    zero = np.where(np.isnan(person.fc), np.nan, np.eye(person.fc.shape[1]))
    nobody = person.with_arrays(series=0 * person.series, fc=zero.astype(np.float32))
    return float(model.logits(encoded(nobody, setup.encoder))[0])


def whole(found, i):
    """Everything attributed to a person; each edge once."""
    parts = [] if found.series is None else [np.nansum(found.series[i])]
    if found.edges is not None:
        parts.append(np.nansum(strengths(found.edges[i])))
    return float(np.sum(parts))


@pytest.mark.parametrize("name", [*QUICK, "ridge-fused", *SLOW])
def test_attributions_add_up_to_the_logit_less_that_of_the_baseline(people, setup, name):
    model, found = explained(name, people, setup)
    for i, row in enumerate(found.fold.test):
        difference = logit(model, people, row) - at_zero(model, people, row, setup)
        missed = abs(whole(found, i) - difference) / abs(difference)
        assert missed == pytest.approx(found.delta[i], abs=2e-3)
        assert found.converged[i] == (found.delta[i] <= 0.01)
    assert found.converged.any()
    # In the tiny cohort people have one window and one order, so nothing stands for anything.
    np.testing.assert_allclose(found.gap, 0, atol=2e-3)


def test_a_map_is_the_same_bytes_again(people, setup):
    options = ExplainOptions(explain="parcels", explain_baseline="surrogate")
    first, again = (explained("fmmtc", people, setup, options)[1] for _ in range(2))
    for name in ("series", "series_size", "edges", "delta"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()


def test_each_edge_is_whole_in_both_triangles_and_the_diagonal_is_no_edge(people, setup):
    _, found = explained("bnt", people, setup)
    np.testing.assert_array_equal(found.edges, found.edges.transpose(0, 2, 1))
    assert np.isnan(found.edges[:, np.arange(8), np.arange(8)]).all()
    assert np.isfinite(found.edges).sum() == 2 * 56


@pytest.mark.parametrize("name", ["fmmtc", "lstm", "brainlm-tuned"])
def test_what_a_person_lacks_has_no_attribution_and_the_rest_adds_up(people, setup, name):
    series, fc = people.series.copy(), people.fc.copy()
    # One lacks a parcel, the other the second half of the window.
    series[-1, 3] = np.nan
    series[-2, :, 5:] = np.nan
    fc[-1, 3] = fc[-1, :, 3] = np.nan
    lacking = people.with_arrays(series=series, fc=fc)
    if name == "fmmtc":
        short = lacking.with_arrays(series=series[:, :, :5]).take(np.array([22]))
        cls = people.cls.copy()
        cls[22] = encoded(short, setup.encoder, window=10).cls
        cls[23] = encoded(lacking.take(np.array([23])), setup.encoder).cls
        lacking = lacking.with_arrays(cls=cls)
    _, found = explained(name, lacking, setup)
    assert np.isnan(found.series[1, 3])
    assert np.isfinite(found.series).sum() == 15
    if found.edges is not None:
        assert np.isnan(found.edges[1, 3]).all()
        assert np.isfinite(found.edges[1]).sum() == 42
    np.testing.assert_allclose(found.gap, 0, atol=2e-3)
    assert found.converged.any()


def test_more_token_orders_leave_a_gap_that_is_said(people, setup):
    several = encoded(people, setup.encoder, orders=8)
    _, found = explained("brainlm", several, setup)
    assert (found.gap > 1e-3).all()


def test_from_the_mean_person_the_mean_person_has_no_map(people, setup):
    fold = fold_of(people, 2)
    series = people.series.copy()
    series[fold.test] = series[fold.train].mean(axis=0)
    own = people.with_arrays(series=series)
    _, found = explained("lstm", own, setup, ExplainOptions(explain_baseline="mean"))
    np.testing.assert_allclose(found.series_size, 0, atol=1e-5)


def test_other_baselines_are_compared_and_surrogates_only_where_there_are_series(people, setup):
    _, found = explained("bnt", people, setup, compare=True)
    assert set(found.agreement) == {"mean", "surrogate"}
    assert all(-1 <= each <= 1 for each in found.agreement.values())
    assert 1 <= found.agreement_n <= found.converged.sum()
    bare = people.with_arrays(series=None)
    assert set(explained("bnt", bare, setup, compare=True)[1].agreement) == {"mean"}
    with pytest.raises(InputError, match="there are only matrices"):
        explained("bnt", bare, setup, ExplainOptions(explain_baseline="surrogate"))


class Traced:
    """Maps made up: that of the second person from the baseline `bad` is incomplete and wrong."""

    def __init__(self, examples, bad):
        self.baselines, self.bad = SimpleNamespace(examples=examples), bad

    def explain(self, row, how, *_):
        size = np.array([1.0, 2, 3, 4])
        if row == 21 and how == self.bad:
            return ParcelMap(size, 100 * size[::-1], None, 0.5, 16)
        return ParcelMap(size, size, None, 0.001, 16)


@pytest.mark.parametrize(("bad", "n"), [("zero", 3), ("mean", 2), ("none", 3)])
def test_baselines_are_compared_over_people_whose_maps_all_converged(people, bad, n):
    fold = fold_of(people, 4)
    traced = Traced(people, bad)
    own = [traced.explain(row, "zero") for row in fold.test]
    found_n, found = _agreement(traced, "zero", fold, own)
    assert (found_n, set(found)) == (n, {"mean", "surrogate"})
    assert found == pytest.approx({"mean": 1, "surrogate": 1})
    nobody = [replace(each, delta=np.inf) for each in own]
    found_n, found = _agreement(traced, "zero", fold, nobody)
    assert found_n == 0
    assert np.isnan(list(found.values())).all()


def test_the_misses_of_several_surrogates_do_not_cancel(people, setup):
    fold = fold_of(people, 2)
    model = fitted("bnt", people, fold, setup)
    traced = TracedNetwork(branches_of(model.fitted), people, fold, None, SEED)
    nothing = torch.zeros(1, 8, 8)
    draws = [Integral((nothing,), error, 1.0, 16) for error in (0.5, -0.5)]
    found = traced._map(traced.baselines.person(22), draws)
    assert found.delta == 0.5
    assert not found.has_converged


def test_a_dead_network_has_no_map_to_believe(people, setup):
    fold = fold_of(people, 2)
    model = fitted("bnt", people, fold, setup)
    for each in model.fitted.network.parameters():
        each.data.zero_()
    found = attribute(model, people, fold, OPTIONS, encoder=None, seed=SEED, compare=True)
    assert not found.converged.any()
    assert np.isinf(found.delta).all()
    assert (found.steps == 16).all()
    assert found.agreement_n == 0


@pytest.mark.parametrize(("name", "most"), [("fmmtc", [256, 1024]), ("brainlm-tuned", [256])])
def test_ways_through_the_encoder_take_fewer_steps_at_most(people, setup, name, most):
    fold = fold_of(people, 2)
    model = fitted(name, people, fold, setup)
    traced = TracedNetwork(
        branches_of(model.fitted), people, fold, as_encoder(setup.encoder, people), SEED
    )
    person = traced.baselines.person(22)
    assert [each.most_steps for each in traced._terms(person, person)] == most


def test_the_network_that_predicts_is_left_as_it_was(people, setup):
    model = fitted("lstm", people, fold_of(people, 2), setup)
    network = model.fitted.network.eval()
    branches_of(model.fitted)
    assert not any(each.training for each in network.modules())


def test_without_an_encoder_there_is_no_way_back(people, setup):
    with pytest.raises(InputError, match="goes back through the encoder"):
        explained("fmmtc", people, replace(setup, encoder=None))


def test_every_model_has_a_map_or_a_reason():
    without = {name for name in MODELS if can_attribute(name)}
    assert without == {
        "dummy", "covariates", "motion", "acquisition", "svm-encoder", "ridge-encoder",
        *(f"{head}-{seen}" for head in ("knn", "xgboost")
          for seen in ("ts", "fc", "pca-ts", "pca-fc", "encoder", "fused")),
    }  # fmt: skip
    assert not without & set(NETWORKS)


def coupled(n=64, n_parcels=24, seed=0):
    """People of whom those with the outcome have four parcels that go along with each other."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.tile([0, 1], n // 2))
    signal = rng.normal(size=(n, 100, n_parcels))
    signal[:, :, :4] += 2 * y[:, None, None] * rng.normal(size=(n, 100, 1))
    return Examples(
        keys=tuple(f"sub-{i:02d}" for i in range(n)),
        arrays={
            "cls": np.zeros((n, 0)),
            "fc": np.stack([np.corrcoef(each.T) for each in signal]).astype(np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
    )


def mean_parcels(found):
    maps = [found.series_size] if found.edges is None else [strengths(np.abs(found.edges))]
    return maps[0][found.converged].mean(axis=0)


@pytest.mark.slow
def test_parcels_whose_coupling_was_planted_stand_out_in_a_resnet(setup):
    people = coupled()
    more = replace(setup, train=replace(setup.train, epochs=10))
    fold = fold_of(people, 8)
    model = fitted("resnet-fc", people, fold, more, epoch=10)
    assert roc_auc_score(people.y[fold.test], model.logits(people.take(fold.test))) > 0.9
    options = ExplainOptions(explain_baseline="mean")
    found = attribute(model, people, fold, options, encoder=None, seed=1, compare=False)
    assert roc_auc_score(np.arange(24) < 4, mean_parcels(found)) >= 0.8


@pytest.mark.slow
def test_parcels_whose_level_was_planted_stand_out_through_a_random_encoder(setup):
    rng = np.random.default_rng(0)
    n, n_parcels = 64, 24
    y = rng.permutation(np.tile([0, 1], n // 2))
    series = rng.normal(size=(n, n_parcels, 20))
    series[:, :4] += 2 * y[:, None, None]
    config = BrainLMSize(64, 2, 2, 64, 5, 5, 20)
    encoder = BrainLM.from_size(config, torch.Generator().manual_seed(0))
    people = encoded(
        replace(
            coupled(n, n_parcels).with_arrays(series=series.astype(np.float32)),
            y=y,
            strata=tuple(map(str, y)),
            coordinates_mm=rng.normal(scale=40, size=(n_parcels, 3)),
        ),
        encoder,
    )
    more = replace(setup, encoder=encoder, train=replace(setup.train, epochs=30))
    fold = fold_of(people, 16)
    model = fitted("brainlm", people, fold, more, epoch=30)
    assert roc_auc_score(people.y[fold.test], model.logits(people.take(fold.test))) > 0.8
    options = ExplainOptions(explain_baseline="mean")
    found = attribute(
        model, people, fold, options, encoder=as_encoder(encoder, people), seed=SEED, compare=False
    )
    assert roc_auc_score(np.arange(n_parcels) < 4, mean_parcels(found)) >= 0.8
