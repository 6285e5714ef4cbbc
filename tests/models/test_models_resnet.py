"""The connectivity encoder and its BatchNorm."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import ResNetConfig, ResNetModel

from fmmtc_bidsapp.models.networks.resnet import ResNetEncoder, ResNetSize, reestimate_batchnorm

SMALL = ResNetSize(hidden_sizes=(4, 8), depths=(1, 1))


@pytest.fixture
def encoder() -> ResNetEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ResNetEncoder(6, SMALL)


def matrices(n: int, seed: int) -> torch.Tensor:
    half = torch.randn(n, 20, 20, generator=torch.Generator().manual_seed(seed))
    return (half + half.mT) / 2


def test_resnet_18_has_the_size_of_resnet_18() -> None:
    # 11,689,512 parameters in torchvision's, less its 1000 classes and two input channels.
    with torch.device("meta"):
        backbone = ResNetEncoder(256).backbone
    expected = 11_689_512 - 513 * 1000 - 2 * 64 * 7 * 7
    assert sum(p.numel() for p in backbone.parameters()) == expected


def test_a_matrix_of_any_size_becomes_a_vector(encoder: ResNetEncoder) -> None:
    assert encoder(matrices(3, 0)).shape == (3, 6)
    assert encoder(torch.zeros(2, 33, 33)).shape == (2, 6)


def test_the_layout_in_memory_changes_no_value(encoder: ResNetEncoder) -> None:
    plain = encoder.backbone(matrices(3, 0)[:, None].contiguous()).mean(dim=(2, 3))
    torch.testing.assert_close(encoder(matrices(3, 0)), encoder.projection(plain))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [SMALL, ResNetSize((4, 8, 16, 32), (2, 2, 2, 2))])
def test_outputs_and_gradients_are_those_of_transformers(size: ResNetSize, training: bool) -> None:
    config = ResNetConfig(
        num_channels=1,
        embedding_size=size.hidden_sizes[0],
        hidden_sizes=list(size.hidden_sizes),
        depths=list(size.depths),
        layer_type="basic",
    )
    theirs = ResNetModel(config).train(training).double()
    own = ResNetEncoder(6, size).train(training).double()
    # Both name their parts in the order they are built in.
    weights = zip(own.backbone.state_dict(), theirs.state_dict().values(), strict=True)
    own.backbone.load_state_dict(dict(weights))
    batch = matrices(5, 1).double()
    expected = theirs(batch[:, None]).pooler_output.flatten(1)
    torch.testing.assert_close(own(batch), own.projection(expected))
    for found, parameters in ((own(batch), own.backbone), (own.projection(expected), theirs)):
        torch.autograd.backward(found.square().sum(), inputs=list(parameters.parameters()))
    for one, other in zip(own.backbone.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_statistics_become_those_of_all_batches_together() -> None:
    layer = nn.BatchNorm1d(2)
    layer(torch.full((4, 2), 99.0))
    batches = [torch.tensor([[0.0, 1.0], [2.0, 5.0]]), torch.tensor([[4.0, 0.0], [8.0, 0.0]])]
    reestimate_batchnorm(layer.eval(), batches)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    everyone = torch.cat(batches)
    torch.testing.assert_close(layer.running_mean, everyone.mean(dim=0))
    torch.testing.assert_close(layer.running_var, everyone.var(dim=0))
    assert layer.momentum == 0.1
    assert not layer.training


def test_after_reestimation_evaluation_agrees_with_training_mode(encoder: ResNetEncoder) -> None:
    batch = matrices(8, 1)
    weights = [p.clone() for p in encoder.parameters()]
    in_training = encoder.train()(batch)
    before = encoder.eval()(batch)
    reestimate_batchnorm(encoder, [batch])
    after = encoder(batch)
    assert (before - in_training).abs().max() > 10 * (after - in_training).abs().max()
    assert all(torch.equal(p, q) for p, q in zip(weights, encoder.parameters(), strict=True))
    assert all(p.grad is None for p in encoder.parameters())
