"""BrainLM with a head, frozen and trained."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fmmtc_bidsapp.model.brainlm import BrainLM, BrainLMConfig
from fmmtc_bidsapp.model.brainlm_heads import (
    TunedBrainLM,
    build_frozen_brainlm,
    build_tuned_brainlm,
)
from fmmtc_bidsapp.model.tokens import token_orders

N_PEOPLE, N_PARCELS, N_VOLUMES, N_TOKENS = 12, 6, 12, 18


@pytest.fixture
def encoder(config: BrainLMConfig) -> BrainLM:
    return BrainLM.from_config(config, torch.Generator().manual_seed(0))


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
    cls = encode(encoder, series, xyz, order)
    return build_tuned_brainlm(encoder, cls.mean(0), cls.std(0, correction=0), seed=0)


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
    torch.testing.assert_close(
        network(series, xyz, order), frozen(standardised), rtol=1e-3, atol=1e-3
    )


def test_the_encoder_it_is_built_from_stays_frozen_and_as_it_was(
    network: TunedBrainLM,
    encoder: BrainLM,
    series: torch.Tensor,
    xyz: torch.Tensor,
    order: torch.Tensor,
) -> None:
    before = {name: each.clone() for name, each in encoder.state_dict().items()}
    network(series, xyz, order).sum().backward()
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    assert not any(each.requires_grad for each in encoder.parameters())
    assert all(torch.equal(before[name], each) for name, each in encoder.state_dict().items())
    assert not torch.equal(network.encoder.cls_token, encoder.cls_token)


def test_every_part_is_trained_but_what_the_softmax_cancels(
    network: TunedBrainLM, series: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor
) -> None:
    y = torch.arange(N_PEOPLE) % 2
    functional.binary_cross_entropy_with_logits(network(series, xyz, order), y.float()).backward()
    untouched = {
        name
        for name, each in network.named_parameters()
        if each.grad is None or not each.grad.abs().max() > 1e-6
    }
    # One bias for all keys adds the same to every score.
    assert untouched <= {"encoder.layers.0.key.bias", "encoder.layers.1.key.bias"}


def test_gradients_of_parts_of_a_batch_add_up_to_its_own(
    network: TunedBrainLM, series: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor
) -> None:
    y = (torch.arange(N_PEOPLE) % 2).float()

    def gradients(size: int) -> list[torch.Tensor]:
        network.zero_grad()
        for rows in torch.arange(N_PEOPLE).split(size):
            logits = network(series[rows], xyz, order[rows])
            loss = functional.binary_cross_entropy_with_logits(logits, y[rows], reduction="sum")
            (loss / N_PEOPLE).backward()
        return [each.grad.clone() for each in network.parameters() if each.grad is not None]

    for whole, parts in zip(gradients(N_PEOPLE), gradients(1), strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-4)


def test_tokens_left_out_have_no_influence(
    network: TunedBrainLM, series: torch.Tensor, xyz: torch.Tensor
) -> None:
    kept = torch.tensor([[3, 17, 4, 9, 5]]).expand(N_PEOPLE, -1)
    expected = network(series, xyz, kept)
    changed = series.clone()
    changed[:, :, 0] = 99.0
    torch.testing.assert_close(network(changed, xyz, kept), expected, rtol=0, atol=0)
    assert not torch.equal(network(changed, xyz), network(series, xyz))


def test_one_seed_gives_one_head_and_leaves_the_global_generator_alone(encoder: BrainLM) -> None:
    before = torch.random.get_rng_state()
    zero, one = torch.zeros(16), torch.ones(16)
    first, again, other = (
        build_tuned_brainlm(encoder, zero, one, seed).state_dict() for seed in (3, 3, 4)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_the_encoder_learns_what_its_head_does_not_read_yet(
    network: TunedBrainLM, series: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor
) -> None:
    y = torch.arange(N_PEOPLE) % 2
    course = torch.tensor([1.0, -1.0]).repeat(N_VOLUMES // 2)[:, None]
    series = series + torch.where(y == 1, 0.3, -0.3)[:, None, None] * course
    optimizer = torch.optim.AdamW(network.encoder.parameters(), lr=1e-3)
    logits = network(series, xyz, order)
    assert logits[y == 1].min() < logits[y == 0].max()
    for _ in range(40):
        optimizer.zero_grad()
        logits = network(series, xyz, order)
        functional.binary_cross_entropy_with_logits(logits, y.float()).backward()
        optimizer.step()
    assert logits[y == 1].min() > logits[y == 0].max()


def test_logits_are_float32_under_bfloat16(
    network: TunedBrainLM, series: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor
) -> None:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(series, xyz, order)
    assert logits.shape == (N_PEOPLE,)
    assert logits.dtype == torch.float32
    assert network.needs == {"series"}
