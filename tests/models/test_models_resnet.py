"""The connectivity encoder and its BatchNorm."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from fmmtc_bidsapp.models.networks.resnet import (
    ResNetEncoder,
    ResNetSize,
    current_name,
    reestimate_batchnorm,
)
from fmmtc_bidsapp.models.networks.single_stream import seeded

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


def written_out(weights: dict[str, torch.Tensor], image: torch.Tensor, depths: tuple[int, ...]):
    """The network in full, from tensors as bundles before transformers' network name them."""

    def convolved(name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        kernel = weights[f"{name}.0.weight"]
        x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        mean, var, weight, bias = (
            weights[f"{name}.1.{each}"]
            for each in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, var, weight, bias)

    x = functional.max_pool2d(convolved("0", image, 2).relu(), 3, 2, 1)
    block = 3
    for stage, depth in enumerate(depths):
        for place in range(depth):
            stride = 2 if stage > 0 and place == 0 else 1
            residual = convolved(
                f"{block}.second", convolved(f"{block}.first", x, stride).relu(), 1
            )
            if f"{block}.shortcut.0.weight" in weights:
                x = convolved(f"{block}.shortcut", x, stride)
            x = (residual + x).relu()
            block += 1
    return x.mean(dim=(2, 3))


def old_names(depths: tuple[int, ...], shortcuts: set[int]) -> list[str]:
    """Name the tensors of an old bundle, in their order."""
    parts = ["0"]
    for block in range(3, 3 + sum(depths)):
        own = ["shortcut", "first", "second"] if block in shortcuts else ["first", "second"]
        parts += [f"{block}.{part}" for part in own]
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [
        name
        for part in parts
        for name in (f"{part}.0.weight", *(f"{part}.1.{each}" for each in norm))
    ]


@pytest.mark.parametrize(
    ("size", "shortcuts"),
    [(SMALL, {4}), (ResNetSize((4, 8, 16, 32), (2, 1, 2, 3)), {5, 6, 8})],
)
def test_tensors_of_an_old_bundle_give_the_outputs_of_the_network_written_out(
    size: ResNetSize, shortcuts: set[int]
) -> None:
    with seeded(1):
        encoder = ResNetEncoder(6, size).eval().double()
    generator = torch.Generator().manual_seed(2)
    known = encoder.backbone.state_dict()
    old = {}
    for name, value in zip(old_names(size.depths, shortcuts), known.values(), strict=True):
        drawn = torch.rand(value.shape, generator=generator, dtype=torch.float64) + 0.1
        old[name] = drawn - 0.6 * name.endswith("0.weight") if value.ndim else value
    renamed = {current_name(f"backbone.{name}", size.depths): each for name, each in old.items()}
    assert list(renamed) == [f"backbone.{name}" for name in known]
    encoder.load_state_dict(renamed, strict=False)
    batch = matrices(5, 1).double()
    expected = encoder.projection(written_out(old, batch[:, None], size.depths))
    torch.testing.assert_close(encoder(batch), expected)


def test_names_of_other_tensors_stay() -> None:
    for name in ("network.head.weight", "network.fc_encoder.projection.bias", "mean"):
        assert current_name(name, (2, 2)) == name


def test_the_same_seed_draws_the_weights_of_versions_before_transformers() -> None:
    with seeded(3):
        found = ResNetEncoder(6, SMALL).backbone.state_dict()
    with seeded(3):
        # Blocks first, each shortcut before its convolutions, then the first convolution.
        shapes = ((4, 4, 3), (4, 4, 3), (4, 8, 1), (4, 8, 3), (8, 8, 3), (1, 4, 7))
        drawn = []
        for n_in, n_out, kernel in shapes:
            convolution = nn.Conv2d(n_in, n_out, kernel, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            drawn.append(convolution.weight)
    kernels = [value for name, value in found.items() if "convolution" in name]
    for value, expected in zip(kernels, [drawn[-1], *drawn[:-1]], strict=True):
        assert torch.equal(value, expected)


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
