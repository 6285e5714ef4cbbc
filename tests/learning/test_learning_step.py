"""Steps of training that are recorded and replayed."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fmmtc_bidsapp.learning.estimators import step as steps
from fmmtc_bidsapp.learning.estimators.shared_training import NetworkLearner
from fmmtc_bidsapp.learning.estimators.step import Replayed, adamw, training_step

CPU = torch.device("cpu")


class Tape:
    """Records by remembering the step and its tensors; a replay takes it on what they then hold."""

    def __init__(self, fails=False):
        self.fails = fails
        self.warm_ups = self.recordings = self.replays = 0

    def warm_up(self, step, batch, y):
        self.warm_ups += 1
        return step(batch, y)

    def record(self, step, batch, y):
        self.recordings += 1
        if self.fails:
            raise RuntimeError("out of memory")
        loss = torch.zeros(())

        def replay():
            self.replays += 1
            loss.copy_(step(batch, y))

        return loss, replay


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1, bias=True))


class LogOdds(nn.Module):
    """A network that gives one number a person."""

    def __init__(self):
        super().__init__()
        self.inner = small_network()

    def forward(self, x):
        return self.inner(x)[:, 0]


def batches(sizes):
    drawn = torch.Generator().manual_seed(1)
    for size in sizes:
        yield (
            (torch.randn(size, 5, generator=drawn),),
            torch.randint(2, (size,), generator=drawn).float(),
        )


def losses_and_weights(network, step, sizes):
    network.train()
    losses = [float(step(batch, y)) for batch, y in batches(sizes)]
    return losses, copy.deepcopy(network.state_dict())


@pytest.fixture
def eager():
    network = LogOdds()
    optimizer = adamw({1e-2: list(network.parameters())}, CPU)
    return network, training_step(network, optimizer, CPU, torch.float32)


def replayed(tape):
    network = LogOdds()
    optimizer = adamw({1e-2: list(network.parameters())}, CPU)
    return network, Replayed(training_step(network, optimizer, CPU, torch.float32), tape)


def assert_same(found, expected):
    assert found[0] == expected[0]
    for name, value in expected[1].items():
        torch.testing.assert_close(found[1][name], value, rtol=0, atol=0)


@pytest.mark.parametrize("sizes", [[6] * 12, [6, 5] * 12])
def test_replayed_steps_train_as_the_steps_do(sizes, eager):
    tape = Tape()
    assert_same(losses_and_weights(*replayed(tape), sizes), losses_and_weights(*eager, sizes))
    n_shapes = len(set(sizes))
    assert (tape.warm_ups, tape.recordings) == (3 * n_shapes, n_shapes)
    assert tape.replays == len(sizes) - tape.warm_ups


def test_a_step_that_cannot_be_recorded_is_taken_as_written_and_says_so_once(eager):
    tape = Tape(fails=True)
    with pytest.warns(UserWarning, match="out of memory") as told:
        found = losses_and_weights(*replayed(tape), [6] * 12)
    assert_same(found, losses_and_weights(*eager, [6] * 12))
    assert (len(told), tape.recordings, tape.warm_ups) == (1, 1, 12)


def test_a_step_leaves_no_gradients_behind(eager):
    network, step = eager
    losses_and_weights(network, step, [6])
    assert all(each.grad is None for each in network.parameters())


def test_the_step_is_adamw_on_the_mean_cross_entropy(eager):
    network, step = eager
    twin = copy.deepcopy(network).train()
    (batch, y), *_ = batches([6])
    loss = nn.BCEWithLogitsLoss()(twin(*batch), y)
    loss.backward()
    torch.optim.AdamW(twin.parameters(), lr=1e-2).step()
    network.train()
    assert float(step(batch, y)) == float(loss.detach())
    for found, expected in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["fmmtc", "lstm", "resnet-fc", "brainlm-tuned"])
def test_a_recorded_training_on_cuda_ends_where_one_as_written_ends(
    name, setup, whole_cohort, monkeypatch
):
    on_gpu = replace(setup, device=torch.device("cuda"))
    examples = whole_cohort(n=24, effect=1.0)
    train, test = np.arange(18), np.arange(18, 24)

    def logits():
        return NetworkLearner(on_gpu, name).path(examples, train, test, 0).logits

    recorded = logits()
    monkeypatch.setattr(steps, "Replayed", lambda step, recording: step)
    as_written = logits()
    np.testing.assert_allclose(recorded, as_written, atol=1e-3)
