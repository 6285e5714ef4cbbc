"""Every network in the one trainer: what it learns from, and what it may not see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from changed_examples import changed
from learning_fits import fit_fold
from sklearn.metrics import roc_auc_score

from fmmtc_bidsapp.errors import InputError, MissingResourceError
from fmmtc_bidsapp.learning.estimators import inputs as inputs_module
from fmmtc_bidsapp.learning.estimators.inputs import Inputs
from fmmtc_bidsapp.learning.estimators.networks import NETWORKS, Stream
from fmmtc_bidsapp.learning.estimators.shared_training import NetworkLearner
from fmmtc_bidsapp.learning.evaluation.performance import evaluate
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.modalities.preparation import BareWindows, CentredSeries, FilledEdges
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Examples

TRAIN = np.arange(16)
SOURCES = ("cls", "cls_random", "fc", "series")
DISTINCT = [name for name in NETWORKS if not name.startswith("fmmtc-")] + ["fmmtc-untrained"]


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_outside_the_training_rows_changes_a_bit_of_the_fit(name, setup, whole_cohort):
    examples = whole_cohort(effect=1.0)
    others = {each: getattr(examples, each).copy() for each in SOURCES}
    for array in others.values():
        array[16:20], array[20:] = 1e6, np.nan
    strange = changed(examples, y=np.append(examples.y[:16], np.full(8, -1)), **others)
    fitted, blind = (
        NetworkLearner(setup, name).fit(each, TRAIN, 2, 1) for each in (examples, strange)
    )
    assert fitted.train_loss.tobytes() == blind.train_loss.tobytes()
    for path, tensor in fitted.tensors().items():
        assert torch.equal(tensor, blind.tensors()[path]), path


@pytest.mark.parametrize("name", [each for each in DISTINCT if "brainlm" not in each])
def test_a_network_can_learn_its_training_people_by_heart(name, setup, whole_cohort):
    examples = whole_cohort()
    longer = replace(setup, train=replace(setup.train, epochs=60, learning_rate=2e-2))
    fitted = NetworkLearner(longer, name).fit(examples, TRAIN, 60, 0)
    assert roc_auc_score(examples.y[TRAIN], fitted.logits(examples.take(TRAIN))) > 0.9
    assert fitted.train_loss[-1] < fitted.train_loss[0]


@pytest.mark.parametrize("name", DISTINCT)
def test_a_network_reads_its_own_streams_and_no_other(name, setup, whole_cohort):
    examples = whole_cohort(effect=1.0)
    fitted = NetworkLearner(setup, name).fit(examples, TRAIN, 1, 0)
    read = {each.source for each in NETWORKS[name].streams}
    before = fitted.logits(examples)
    for source in SOURCES:
        other = changed(examples, **{source: getattr(examples, source)[::-1].copy()})
        assert (fitted.logits(other) != before).any() == (source in read)


def test_dropout_is_drawn_from_the_seed_and_leaves_the_callers_random_state_alone(
    setup, whole_cohort
):
    examples = whole_cohort(effect=1.0)
    before = torch.random.get_rng_state()
    losses = []
    for state in (1, 2):
        torch.manual_seed(state)
        losses.append(NetworkLearner(setup, "bnt").fit(examples, TRAIN, 3, 5).train_loss)
    assert losses[0].tobytes() == losses[1].tobytes()
    without = replace(setup, bnt=replace(setup.bnt, dropout=0.0))
    other = NetworkLearner(without, "bnt").fit(examples, TRAIN, 3, 5).train_loss
    assert other.tobytes() != losses[0].tobytes()
    torch.manual_seed(2)
    at_two = torch.random.get_rng_state()
    NetworkLearner(setup, "bnt").fit(examples, TRAIN, 1, 5)
    assert torch.equal(torch.random.get_rng_state(), at_two)
    torch.random.set_rng_state(before)


def test_only_the_encoder_that_was_trained_before_is_tuned_slowly(setup, whole_cohort):
    examples = whole_cohort(effect=1.0)
    fitted = NetworkLearner(setup, "brainlm-tuned").fit(examples, TRAIN, 1, 0)
    start = setup.encoder.state_dict()
    moved = [
        float((each - start[name]).abs().max())
        for name, each in fitted.network.encoder.state_dict().items()
    ]
    # Four steps of Adam, each of about its learning rate: 5e-3, of which a fiftieth is 1e-4.
    assert 0 < max(moved) < 1e-3
    assert not any(each.requires_grad for each in setup.encoder.parameters())


def test_an_encoder_trained_from_scratch_starts_at_random_weights_and_learns_at_the_full_rate(
    setup, whole_cohort
):
    examples = whole_cohort(effect=1.0)
    blind = replace(setup, encoder=None)
    fitted, again, other = (
        NetworkLearner(blind, "brainlm-scratch").fit(examples, TRAIN, 1, seed) for seed in (0, 0, 1)
    )
    tensors, same = fitted.tensors(), again.tensors()
    assert all(torch.equal(each, same[name]) for name, each in tensors.items())
    assert any(not torch.equal(each, other.tensors()[name]) for name, each in tensors.items())
    tuned = NetworkLearner(setup, "brainlm-tuned").fit(examples, TRAIN, 1, 0)
    start = setup.encoder.state_dict()
    moved = max(
        float((each - start[name]).abs().max())
        for name, each in tuned.network.encoder.state_dict().items()
    )
    # Random weights are far from those that the tuned encoder keeps near.
    weights = fitted.network.encoder.state_dict()
    apart = max(float((weights[name] - each).abs().max()) for name, each in start.items())
    assert apart > 100 * moved


def test_fine_tuning_without_weights_is_refused(setup, whole_cohort):
    learner = NetworkLearner(replace(setup, encoder=None), "brainlm-tuned")
    with pytest.raises(MissingResourceError, match="--encoder-weights"):
        learner.fit(whole_cohort(), TRAIN, 1, 0)


def test_series_are_centred_by_parcel_and_what_is_missing_is_the_training_mean():
    rng = np.random.default_rng(0)
    series = (rng.normal(size=(12, 4, 10)) * 3 + np.arange(4)[:, None]).astype(np.float32)
    series[0, 1] = np.nan
    series[:10, 3] = np.nan
    prepared = CentredSeries.fit(series, np.arange(10)).apply(series)
    assert prepared.shape == (12, 10, 4)
    assert prepared.dtype == np.float32
    known = prepared[1:10, :, :3]
    np.testing.assert_allclose(known.mean(axis=(0, 1)), 0, atol=0.05)
    assert known.std() == pytest.approx(1, abs=0.02)
    assert (prepared[0, :, 1] == 0).all()
    # Nobody in training has the last parcel, so that of the others counts for nothing.
    assert (prepared[:, :, 3] == 0).all()


@pytest.mark.parametrize("value", [np.nan, 5.0])
def test_training_series_without_variation_are_refused(value):
    with pytest.raises(InputError, match="2 training participants do not vary"):
        CentredSeries.fit(np.full((3, 4, 10), value, np.float32), np.arange(2))


def test_people_who_do_not_fit_into_memory_are_prepared_batch_by_batch(monkeypatch, whole_cohort):
    examples = whole_cohort()
    streams = (Stream("fc", FilledEdges), Stream("series", BareWindows))
    kinds = [FilledEdges.fit(examples.fc, TRAIN), BareWindows.fit(examples.series, TRAIN)]
    order = np.random.default_rng(0).permutation(16)
    held = Inputs(examples, streams, kinds, torch.device("cpu"), TRAIN + 4)
    monkeypatch.setattr(inputs_module, "_MOST_BYTES", 100)
    streamed = Inputs(examples, streams, kinds, torch.device("cpu"), TRAIN + 4)
    assert streamed.held is None
    for batches in zip(held.batches(5, order), streamed.batches(5, order), strict=True):
        for one, other in zip(*batches, strict=True):
            assert torch.equal(one, other)
    assert torch.equal(next(held.batches(16))[0], torch.as_tensor(examples.fc[4:20]))


SLOWLY = ("resnet-ts", "lstm", "bnt")


def _judged(name: str, examples: Examples, setup, dtype: torch.dtype):
    own = replace(setup, dtype=dtype, train=replace(setup.train, epochs=6))
    evaluation = EvaluationOptions(bootstrap=200)
    folds = outer_folds(examples.strata, 3, 1, 0)
    predictions = [fit_fold(name, examples, each, own, evaluation, seed=0) for each in folds]
    judged = evaluate(predictions, examples.y, evaluation, 0)
    return {row.metric: row for row in judged.metrics}, np.concatenate(
        [each.logit for each in predictions]
    )


@pytest.mark.parametrize(
    "name", ["fmmtc", *(pytest.param(each, marks=pytest.mark.slow) for each in SLOWLY)]
)
def test_in_bfloat16_the_metrics_lie_within_the_intervals_of_float32(name, setup, whole_cohort):
    examples = whole_cohort(n=48, effect=1.0)
    exact, logits = _judged(name, examples, setup, torch.float32)
    rounded, others = _judged(name, examples, setup, torch.bfloat16)
    # The LSTM is computed in float32 either way: not every processor has one in bfloat16.
    assert (logits.tobytes() == others.tobytes()) == (name == "lstm")
    for metric in ("auroc", "balanced_accuracy", "brier", "mcc"):
        row = exact[metric]
        assert row.pooled_low <= rounded[metric].pooled <= row.pooled_high
