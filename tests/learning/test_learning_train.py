"""Training of the network, on networks and matrices small enough for a test."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from learning_fits import fit_everyone, fit_fold
from sklearn.metrics import roc_auc_score
from torch import nn

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.estimators.inputs import split_batches
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.shared_training import NetworkLearner
from fmmtc_bidsapp.learning.estimators.train import take_step
from fmmtc_bidsapp.learning.model_selection.nested_cv import restore_model
from fmmtc_bidsapp.modalities.preparation import FilledEdges, ScaledFeatures
from fmmtc_bidsapp.models.networks.resnet import ResNetSize
from fmmtc_bidsapp.options import EvaluationOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples, Fold

PARCELS, HIDDEN = 16, 8
SETUP = Setup(
    train=TrainOptions(epochs=6, inner_folds=2, batch_size=4, learning_rate=5e-3),
    model=ModelOptions(encoder="random"),
    device=torch.device("cpu"),
    dtype=torch.float32,
    resnet=ResNetSize(hidden_sizes=(4, 8), depths=(1, 1)),
)
EVALUATION = EvaluationOptions()


def cohort(n=24, in_cls=0.0, in_fc=0.0, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.tile([0, 1], n // 2))
    series = rng.normal(size=(n, 60, PARCELS))
    shared = in_fc * y[:, None, None] * rng.normal(size=(n, 60, 1))
    series[:, :, :6] += shared
    cls = 16 + 0.01 * rng.normal(size=(n, HIDDEN))
    cls += 0.01 * in_cls * y[:, None]
    return Examples(
        keys=tuple(f"sub-{i:02d}" for i in range(n)),
        arrays={
            "cls": cls,
            "fc": np.stack([np.corrcoef(each.T) for each in series]).astype(np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
    )


def fold_of(examples, n_train=16):
    rows = np.arange(len(examples.keys))
    return Fold(repeat=0, fold=0, train=rows[:n_train], test=rows[n_train:])


@pytest.mark.parametrize(("n", "size"), [(9, 8), (17, 8), (8, 8), (3, 8), (25, 4)])
def test_batches_hold_everyone_once_and_nobody_alone(n, size):
    batches = split_batches(np.arange(n), size)
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(n))
    assert max(map(len, batches)) <= size
    assert min(map(len, batches)) >= 2


def test_preparation_learns_from_training_rows_alone():
    examples = cohort()
    changed = examples.with_arrays(cls=examples.cls.copy(), fc=examples.fc.copy())
    changed.cls[20:] = 1e6
    changed.fc[20:] = 1e6
    for kind, source in ((ScaledFeatures, "cls"), (FilledEdges, "fc")):
        first, second = (
            kind.fit(getattr(each, source), np.arange(20)).arrays() for each in (examples, changed)
        )
        for name, learnt in first.items():
            np.testing.assert_array_equal(learnt, second[name])


def test_features_are_standardised_however_small_their_spread():
    examples = cohort()
    scaled = ScaledFeatures.fit(examples.cls, np.arange(24)).apply(examples.cls)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-4)


def test_a_missing_edge_takes_the_training_mean_and_one_that_nobody_has_the_overall_mean():
    examples = cohort()
    fc = examples.fc.copy()
    fc[3, 0, 1] = np.nan
    fc[:, 2, 5] = np.nan
    rows = np.arange(20)
    filled = FilledEdges.fit(fc, rows).apply(fc)
    assert filled[3, 0, 1] == pytest.approx(np.delete(examples.fc[:20, 0, 1], 3).mean(), abs=1e-6)
    off_diagonal = fc[rows][:, ~np.eye(PARCELS, dtype=bool)]
    assert filled[7, 2, 5] == pytest.approx(np.nanmean(off_diagonal), abs=1e-6)
    np.testing.assert_array_equal(filled[~np.isnan(fc)], fc[~np.isnan(fc)])


def test_an_edge_that_only_test_people_have_takes_the_training_mean_for_them_too():
    examples = cohort()
    fc = examples.fc.copy()
    fc[:20, 0, 1:] = fc[:20, 1:, 0] = np.nan
    kept = FilledEdges.fit(fc, np.arange(20))
    others = fc[:20, 1:, 1:][:, ~np.eye(PARCELS - 1, dtype=bool)]
    for filled in (kept, FilledEdges.restore(kept.arrays())):
        np.testing.assert_allclose(filled.apply(fc)[20:, 0, 1:], others.mean(), rtol=1e-5)
        np.testing.assert_array_equal(filled.apply(fc)[20:, 1:, 1:], fc[20:, 1:, 1:])


def test_a_cohort_without_a_single_edge_is_refused():
    examples = cohort()
    with pytest.raises(InputError, match="None of the 16 training connectomes"):
        FilledEdges.fit(np.full_like(examples.fc, np.nan), np.arange(16))


@pytest.mark.parametrize("where", ["in_cls", "in_fc"])
def test_an_effect_in_either_stream_is_found(where):
    examples = cohort(n=48, **{where: 4.0})
    predictions = fit_fold("fmmtc", examples, fold_of(examples, 32), SETUP, EVALUATION, seed=1)
    assert roc_auc_score(examples.y[32:], predictions.logit) > 0.85


def test_training_and_evaluation_mode_agree_on_the_training_rows():
    examples = cohort(n=32, in_fc=1.0)
    rows = np.arange(32)
    fitted = NetworkLearner(SETUP, "fmmtc").fit(examples, rows, 6, 1)
    evaluated = fitted.logits(examples)
    fitted.network.train()
    with torch.no_grad():
        trained = fitted.network(
            torch.as_tensor(fitted.preparations[0].apply(examples.cls)),
            torch.as_tensor(fitted.preparations[1].apply(examples.fc)),
        ).numpy()
    in_train, in_eval = (roc_auc_score(examples.y, each) for each in (trained, evaluated))
    assert in_train > 0.9
    assert in_eval == pytest.approx(in_train, abs=0.05)


def test_a_shorter_training_is_the_beginning_of_a_longer_one():
    examples = cohort(in_fc=1.0)
    rows, others = np.arange(16), np.arange(16, 24)
    learner = NetworkLearner(SETUP, "fmmtc")
    path = learner.validation_curve(examples, rows, others, 3)
    fitted = learner.fit(examples, rows, 4, 3)
    np.testing.assert_allclose(fitted.logits(examples.take(others)), path.logits[3], rtol=1e-5)


def test_the_refit_takes_as_many_steps_as_the_inner_folds_took_to_their_least_loss():
    examples = cohort(in_fc=1.0)
    predictions = fit_fold("fmmtc", examples, fold_of(examples), SETUP, EVALUATION, seed=1)
    assert len(predictions.validation_loss) == 6
    # In batches of 4 people an inner fold takes 2 steps an epoch for its 8, and all 16 take 4.
    assert (len(fold_of(examples).train), SETUP.train.inner_folds) == (16, 2)
    steps = 2 * (predictions.validation_loss.argmin() + 1)
    assert predictions.epoch == max(1, round(steps / 4))
    assert len(predictions.train_loss) == predictions.epoch


def test_an_untrained_network_starts_from_the_share_of_positives():
    examples = cohort()
    few = replace(examples, y=(np.arange(24) < 3).astype(int))
    slow = replace(SETUP, train=replace(SETUP.train, learning_rate=1e-6))
    fitted = NetworkLearner(slow, "fmmtc").fit(few, np.arange(24), 1, 0)
    assert fitted.network.get_parameter("head.bias").item() == pytest.approx(
        np.log(3 / 21), abs=1e-3
    )


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    examples = cohort(in_fc=1.0)
    runs = [
        fit_fold("fmmtc", examples, fold_of(examples), SETUP, EVALUATION, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert runs[0].logit.tobytes() == runs[1].logit.tobytes()
    assert runs[0].calibration == runs[1].calibration
    assert runs[0].logit.tobytes() != runs[2].logit.tobytes()


@pytest.mark.parametrize("name", ["fmmtc", "fc-logistic", "dummy"])
def test_test_outcomes_are_never_read_and_test_inputs_change_no_training(name):
    examples = cohort(in_fc=1.0)
    fold = fold_of(examples)
    unknown = examples.y.copy()
    unknown[fold.test] = -1
    strange = examples.fc.copy()
    strange[fold.test[0]] = 0.0
    blind = replace(examples.with_arrays(fc=strange), y=unknown)
    honest, other = (
        fit_fold(name, each, fold, SETUP, EVALUATION, seed=1) for each in (examples, blind)
    )
    assert honest.calibration == other.calibration
    np.testing.assert_array_equal(honest.validation_loss, other.validation_loss)
    # The first test person is predicted in a batch of their own neighbours only.
    np.testing.assert_allclose(honest.logit[4:], other.logit[4:], rtol=1e-6)


@pytest.mark.parametrize("name", ["fmmtc", "fc-logistic", "dummy"])
def test_a_model_restored_from_its_tensors_and_json_predicts_the_same(name):
    examples = cohort(in_fc=1.0)
    model = fit_everyone(name, examples, SETUP, EVALUATION, seed=1)
    tensors = {key: value.clone() for key, value in model.tensors().items()}
    description = json.loads(json.dumps(model.description()))
    assert {key: list(value.shape) for key, value in tensors.items()} == description["tensors"]
    restored = restore_model(tensors, description, SETUP)
    np.testing.assert_array_equal(restored.logits(examples), model.logits(examples))
    assert (restored.calibration, restored.epoch) == (model.calibration, model.epoch)


def test_features_of_connectivity_have_one_scale_over_the_training_rows_and_nothing_else():
    examples = cohort(n=24, in_fc=4.0)
    fitted = NetworkLearner(SETUP, "fmmtc").fit(examples, np.arange(16), 3, 1)
    ours = fitted.outputs(fitted.prepare(examples)).features[:, HIDDEN:]
    np.testing.assert_allclose(ours[:16].mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(ours[:16].std(axis=0, ddof=1), 1, atol=0.05)
    assert abs(ours[16:].mean(axis=0)).max() > 0.1


def test_a_bundle_of_before_features_of_connectivity_had_one_scale_predicts_as_it_did():
    examples = cohort(in_fc=1.0)
    fitted = NetworkLearner(SETUP, "fmmtc").fit(examples, np.arange(16), 3, 1)
    tensors = {key: each for key, each in fitted.tensors().items() if "scaling" not in key}
    assert len(tensors) < len(fitted.tensors())
    description = {**fitted.description()}
    assert description.pop("standardised")
    old = NetworkLearner(SETUP, "fmmtc").restore(tensors, description)
    network = fitted.network
    network.fc_encoder.scaling = torch.nn.Identity()
    np.testing.assert_array_equal(old.logits(examples), fitted.logits(examples))


def test_imputed_edges_are_counted_once_per_person_and_edge():
    examples = cohort()
    fc = examples.fc.copy()
    fc[2, 4] = fc[2, :, 4] = np.nan
    fc[20, 4] = fc[20, :, 4] = fc[20, 5] = fc[20, :, 5] = np.nan
    lacking = examples.with_arrays(fc=fc)

    def notes(name, examples=lacking, setup=SETUP):
        return fit_fold(name, examples, fold_of(examples), setup, EVALUATION, seed=1).notes

    assert notes("ridge-fc") == {"edges_imputed_train": 15, "edges_imputed_test": 15 + 14}
    assert notes("dummy") == notes("ridge-encoder") == {}


def test_people_are_predicted_in_float32_whatever_a_network_is_trained_in():
    examples = cohort(n=48, in_fc=4.0)
    rough = replace(SETUP, dtype=torch.bfloat16)
    trained = NetworkLearner(rough, "fmmtc").fit(examples, np.arange(48), 6, 1)
    exact = NetworkLearner(SETUP, "fmmtc").fit(examples, np.arange(48), 6, 1)
    assert trained.logits(examples).tobytes() != exact.logits(examples).tobytes()
    again = replace(trained, setup=SETUP)
    np.testing.assert_array_equal(again.logits(examples), trained.logits(examples))


def test_the_statistics_of_batchnorm_are_those_of_everybody_though_files_are_sorted_by_site():
    examples = cohort(n=24)
    fc = examples.fc + np.where(np.arange(24) < 12, -1.0, 1.0)[:, None, None]
    sites = examples.with_arrays(fc=fc.astype(np.float32))
    fitted = NetworkLearner(SETUP, "resnet-fc").fit(sites, np.arange(24), 1, 1)
    network = fitted.network
    first = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    seen = []
    hook = first.register_forward_pre_hook(lambda norm, inputs: seen.append(inputs[0].detach()))
    fitted.logits(sites)
    hook.remove()
    everybody = torch.cat(seen).transpose(0, 1).flatten(1)
    torch.testing.assert_close(first.running_mean, everybody.mean(dim=1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(first.running_var, everybody.var(dim=1), rtol=1e-3, atol=1e-4)


class LogOdds(nn.Module):
    """A network that gives one number a person."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))

    def forward(self, x):
        return self.inner(x)[:, 0]


def test_a_step_is_adamw_on_the_mean_cross_entropy_and_leaves_no_gradients():
    network = LogOdds().train()
    twin = copy.deepcopy(network)
    x, y = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([0.0, 1] * 3)
    expected = nn.BCEWithLogitsLoss()(twin(x), y)
    expected.backward()
    torch.optim.AdamW(twin.parameters(), lr=1e-2).step()
    loss = take_step(network, torch.optim.AdamW(network.parameters(), lr=1e-2), (x,), y, SETUP)
    assert float(loss) == float(expected.detach())
    for found, wanted in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert all(each.grad is None for each in network.parameters())


@pytest.mark.gpu
def test_steps_on_cuda_end_where_steps_on_the_cpu_end():
    x, y = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([0.0, 1] * 3)

    def losses(name):
        device = torch.device(name)
        network = LogOdds().train().to(device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
        setup = replace(SETUP, device=device)
        batch = (x.to(device),), y.to(device)
        return [float(take_step(network, optimizer, *batch, setup)) for _ in range(20)]

    np.testing.assert_allclose(losses("cuda"), losses("cpu"), atol=1e-4)
