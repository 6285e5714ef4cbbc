"""The connectivity encoder and its BatchNorm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fmmtc_bidsapp.model.resnet import ResNetEncoder, ResNetSize, reestimate_batchnorm

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
    plain = encoder.backbone(matrices(3, 0)[:, None].contiguous()).pooler_output.flatten(1)
    torch.testing.assert_close(encoder(matrices(3, 0)), encoder.projection(plain))


def test_statistics_become_the_mean_over_batches() -> None:
    layer = nn.BatchNorm1d(2)
    layer(torch.full((4, 2), 99.0))
    batches = [torch.tensor([[0.0, 1.0], [2.0, 5.0]]), torch.tensor([[4.0, 0.0], [8.0, 0.0]])]
    reestimate_batchnorm(layer.eval(), batches)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.running_mean.tolist() == [3.5, 1.5]
    assert layer.running_var.tolist() == [5.0, 4.0]
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


def test_rectifying_after_the_first_pooling_changes_no_bit(encoder: ResNetEncoder) -> None:
    batch = matrices(4, 2)[:, None]
    start = encoder.backbone.embedder
    pool, rectify = start.pooler
    convolved = start.embedder.normalization(start.embedder.convolution(batch))
    weight = start.embedder.convolution.weight
    gradients = [
        torch.autograd.grad(pooled.square().sum(), weight, retain_graph=True)[0]
        for pooled in (rectify(pool(convolved)), pool(rectify(convolved)))
    ]
    assert torch.equal(start(batch), pool(rectify(convolved)))
    assert torch.equal(*gradients)
