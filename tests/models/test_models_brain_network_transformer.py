"""The readout and the transformer of connectivity matrices against brute force."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from fmmtc_bidsapp.models.networks.brain_network_transformer import (
    PUBLISHED_SIZE,
    BrainNetworkEncoder,
    BrainNetworkSize,
    OrthonormalReadout,
    build_brain_network_transformer,
)

SIZE = BrainNetworkSize(
    n_layers=2,
    n_heads=4,
    feedforward=6,
    n_clusters=3,
    cluster_features=2,
    perceptron=(7, 4),
    dropout=0.5,
)


@pytest.fixture
def readout() -> OrthonormalReadout:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return OrthonormalReadout(n_features=8, n_clusters=3)


def matrices(n: int, n_parcels: int) -> torch.Tensor:
    series = torch.randn(n, n_parcels, 40, generator=torch.Generator().manual_seed(n_parcels))
    return torch.stack([torch.corrcoef(each) for each in series])


def test_centres_are_orthonormal_and_fixed(readout: OrthonormalReadout) -> None:
    torch.testing.assert_close(readout.centres @ readout.centres.T, torch.eye(3))
    assert not list(readout.parameters())
    assert "centres" in readout.state_dict()


def test_the_readout_is_its_formula_parcel_by_parcel(readout: OrthonormalReadout) -> None:
    parcels = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(2, 3, 8)
    for b in range(2):
        for i in range(5):
            scores = [
                math.exp(sum(float(z * e) for z, e in zip(parcels[b, i], centre, strict=True)))
                for centre in readout.centres
            ]
            for k in range(3):
                expected[b, k] += scores[k] / sum(scores) * parcels[b, i]
    torch.testing.assert_close(readout(parcels), expected)


def test_every_parcel_is_shared_out_whole(readout: OrthonormalReadout) -> None:
    parcels = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(readout.assignments(parcels).sum(dim=2), torch.ones(2, 5))
    torch.testing.assert_close(readout(parcels).sum(dim=1), parcels.sum(dim=1))


def test_the_order_of_the_parcels_does_not_matter_to_the_readout(
    readout: OrthonormalReadout,
) -> None:
    parcels = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(readout(parcels.flip(1)), readout(parcels))


def test_a_parcel_far_along_a_centre_belongs_to_it_alone(readout: OrthonormalReadout) -> None:
    found = readout.assignments(50 * readout.centres[None])[0]
    torch.testing.assert_close(found, torch.eye(3))


def written_out(encoder: BrainNetworkEncoder, fc: torch.Tensor, n_heads: int) -> torch.Tensor:
    """One person's features in evaluation mode."""
    x = functional.pad(fc, (0, encoder.n_zeros))
    for name in ("layers.0.", "layers.1."):
        weight = {key: encoder.get_parameter(name + key) for key in LAYER}
        q, k, v = (
            x @ weight["self_attn.in_proj_weight"].T + weight["self_attn.in_proj_bias"]
        ).chunk(3, dim=1)
        heads = [
            (qh @ kh.T / qh.shape[1] ** 0.5).softmax(1) @ vh
            for qh, kh, vh in zip(*(each.chunk(n_heads, dim=1) for each in (q, k, v)), strict=True)
        ]
        mixed = torch.cat(heads, 1) @ weight["self_attn.out_proj.weight"].T
        x = norm(x + mixed + weight["self_attn.out_proj.bias"])
        hidden = (x @ weight["linear1.weight"].T + weight["linear1.bias"]).relu()
        x = norm(x + hidden @ weight["linear2.weight"].T + weight["linear2.bias"])
    share = (x @ encoder.readout.centres.T).softmax(1)
    reduced = encoder.reduction(share.T @ x)
    features: torch.Tensor = encoder.perceptron(reduced.reshape(1, -1))[0]
    return features


LAYER = (
    "self_attn.in_proj_weight",
    "self_attn.in_proj_bias",
    "self_attn.out_proj.weight",
    "self_attn.out_proj.bias",
    "linear1.weight",
    "linear1.bias",
    "linear2.weight",
    "linear2.bias",
)


def norm(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize("n_parcels", [8, 9, 10, 11])
def test_the_encoder_equals_one_written_out(n_parcels: int) -> None:
    network = build_brain_network_transformer(n_parcels, 0, SIZE).eval()
    encoder = network.encoder
    assert isinstance(encoder, BrainNetworkEncoder)
    fc = matrices(3, n_parcels)
    expected = torch.stack([written_out(encoder, each, SIZE.n_heads) for each in fc])
    torch.testing.assert_close(network.features(fc), expected)
    with torch.no_grad():
        # torch computes this path by other code.
        torch.testing.assert_close(network.features(fc), expected)


@pytest.mark.parametrize(("n_parcels", "n_zeros"), [(2, 2), (17, 3), (100, 0), (101, 3), (424, 0)])
def test_any_number_of_parcels_has_a_network(n_parcels: int, n_zeros: int) -> None:
    network = build_brain_network_transformer(n_parcels, 0)
    encoder = network.encoder
    assert isinstance(encoder, BrainNetworkEncoder)
    assert encoder.n_zeros == n_zeros
    assert len(encoder.readout.centres) == min(100, n_parcels + n_zeros)
    assert network(torch.zeros(2, n_parcels, n_parcels)).shape == (2,)


def test_layers_start_with_weights_of_their_own() -> None:
    encoder = build_brain_network_transformer(8, 0, SIZE).encoder
    first, second = (encoder.get_parameter(f"layers.{i}.linear1.weight") for i in (0, 1))
    assert not torch.equal(first, second)


def test_the_number_of_parameters_at_424_parcels() -> None:
    network = build_brain_network_transformer(424, 0)
    layer = 4 * (424 * 424 + 424) + 2 * 424 * 1024 + 1024 + 424 + 4 * 424
    reading = (424 * 8 + 8) + (800 * 256 + 256) + (256 * 32 + 32) + 33
    assert PUBLISHED_SIZE.n_layers == 2
    assert sum(p.numel() for p in network.parameters()) == 2 * layer + reading == 3_401_305


def test_dropout_follows_the_global_generator_and_ends_with_training() -> None:
    network = build_brain_network_transformer(8, 0, SIZE)
    fc = matrices(2, 8)

    def drawn(seed: int) -> torch.Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return network(fc)

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
    network.eval()
    assert torch.equal(drawn(0), drawn(1))
