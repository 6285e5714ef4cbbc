"""BrainLM with a head, frozen and trained."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.encoders.brainlm.tokens import token_orders
from fmmtc_bidsapp.models.networks.brainlm_heads import (
    TunedBrainLM,
    build_frozen_brainlm,
    build_tuned_brainlm,
)

N_PEOPLE, N_PARCELS, N_VOLUMES, N_TOKENS = 12, 6, 12, 18


@pytest.fixture
def encoder(config: BrainLMSize) -> BrainLM:
    return BrainLM.from_size(config, torch.Generator().manual_seed(0))


@pytest.fixture
def series() -> torch.Tensor:
    return torch.randn(N_PEOPLE, N_VOLUMES, N_PARCELS, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def xyz() -> torch.Tensor:
    return torch.randn(N_PARCELS, 3, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def order() -> torch.Tensor:
    return token_orders(N_TOKENS, 1, torch.Generator().manual_seed(3)).expand(N_PEOPLE, -1)


def encode(
    encoder: BrainLM, series: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor
) -> torch.Tensor:
    with torch.no_grad():
        cls: torch.Tensor = encoder(series.mT, xyz.expand(len(series), -1, -1), order)
    return cls


@pytest.fixture
def network(
    encoder: BrainLM, series: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor
) -> TunedBrainLM:
    network = build_tuned_brainlm(encoder, xyz, order[0], seed=0)
    network.standardise(encode(encoder, series, xyz, order))
    return network


def test_before_training_it_is_the_frozen_encoder_with_its_head(
    network: TunedBrainLM,
    encoder: BrainLM,
    series: torch.Tensor,
    xyz: torch.Tensor,
    order: torch.Tensor,
) -> None:
    cls = encode(encoder, series, xyz, order)
    standardised = (cls - cls.mean(0)) / cls.std(0, correction=0)
    frozen = build_frozen_brainlm(cls.shape[1], seed=0)
    torch.testing.assert_close(network(series), frozen(standardised), rtol=1e-3, atol=1e-3)


def test_the_encoder_it_is_built_from_stays_frozen_and_as_it_was(
    network: TunedBrainLM, encoder: BrainLM, series: torch.Tensor
) -> None:
    before = {name: each.clone() for name, each in encoder.state_dict().items()}
    network(series).sum().backward()
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    assert not any(each.requires_grad for each in encoder.parameters())
    assert all(torch.equal(before[name], each) for name, each in encoder.state_dict().items())
    assert not torch.equal(network.encoder.cls_token, encoder.cls_token)


def test_every_part_is_trained_but_what_the_softmax_cancels(
    network: TunedBrainLM, series: torch.Tensor
) -> None:
    y = torch.arange(N_PEOPLE) % 2
    functional.binary_cross_entropy_with_logits(network(series), y.float()).backward()
    untouched = {
        name
        for name, each in network.named_parameters()
        if each.grad is None or not each.grad.abs().max() > 1e-6
    }
    # One bias for all keys adds the same to every score.
    assert untouched <= {"encoder.layers.0.key.bias", "encoder.layers.1.key.bias"}


def test_people_encoded_once_more_on_the_way_back_have_the_gradients_of_one_pass(
    network: TunedBrainLM, series: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor
) -> None:
    y = (torch.arange(N_PEOPLE) % 2).float()

    def gradients(logits: torch.Tensor) -> list[torch.Tensor]:
        network.zero_grad()
        functional.binary_cross_entropy_with_logits(logits, y).backward()
        return [each.grad.clone() for each in network.parameters() if each.grad is not None]

    cls = network.encoder(series.mT, xyz.expand(N_PEOPLE, -1, -1), order)
    together = network.head((cls - network.cls_mean) / network.cls_sd)[:, 0]
    for own, expected in zip(gradients(network(series)), gradients(together), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-4)


def test_what_is_missing_is_left_out_of_the_order(
    network: TunedBrainLM, series: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor
) -> None:
    lacking = series.clone()
    lacking[0, :, 2] = torch.nan
    lacking[0, 8:, 4] = torch.nan
    n_patches = N_TOKENS // N_PARCELS
    gone = {2 * n_patches + patch for patch in range(n_patches)} | {4 * n_patches + 2}
    kept = torch.tensor([[each for each in order[0].tolist() if each not in gone]])
    found = network.encode(lacking)
    torch.testing.assert_close(found[:1], network.encoder(series[:1].mT, xyz[None], kept))
    torch.testing.assert_close(found[1:], network.encode(series[1:]), rtol=0, atol=0)


def test_a_feature_that_does_not_vary_is_not_blown_up(network: TunedBrainLM) -> None:
    cls = torch.randn(5, network.cls_sd.shape[0], generator=torch.Generator().manual_seed(0))
    cls[:, 0] = 16.0
    network.standardise(cls)
    assert network.cls_sd[0] == 1
    torch.testing.assert_close(network.cls_sd[1:], cls.std(0, correction=0)[1:])


def test_one_seed_gives_one_head_and_leaves_the_global_generator_alone(
    encoder: BrainLM, xyz: torch.Tensor, order: torch.Tensor
) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (
        build_tuned_brainlm(encoder, xyz, order[0], seed).state_dict() for seed in (3, 3, 4)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_the_encoder_learns_what_its_head_does_not_read_yet(
    network: TunedBrainLM, series: torch.Tensor
) -> None:
    y = torch.arange(N_PEOPLE) % 2
    course = torch.tensor([1.0, -1.0]).repeat(N_VOLUMES // 2)[:, None]
    series = series + torch.where(y == 1, 0.3, -0.3)[:, None, None] * course
    optimizer = torch.optim.AdamW(network.encoder.parameters(), lr=1e-3)
    logits = network(series)
    assert logits[y == 1].min() < logits[y == 0].max()
    for _ in range(40):
        optimizer.zero_grad()
        logits = network(series)
        functional.binary_cross_entropy_with_logits(logits, y.float()).backward()
        optimizer.step()
    assert logits[y == 1].min() > logits[y == 0].max()


def test_logits_are_float32_under_bfloat16(network: TunedBrainLM, series: torch.Tensor) -> None:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(series)
    assert logits.shape == (N_PEOPLE,)
    assert logits.dtype == torch.float32
