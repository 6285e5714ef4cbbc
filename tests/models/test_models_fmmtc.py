"""FMM_TC from its parts."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fmmtc_bidsapp.models.networks.fmmtc import FmmTc, build_fmmtc
from fmmtc_bidsapp.models.networks.fusion import FUSIONS
from fmmtc_bidsapp.models.networks.resnet import ResNetSize, reestimate_batchnorm

SMALL = ResNetSize(hidden_sizes=(4, 8), depths=(1, 1))
WIDTH = 6


def people(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(n, 20, 20, generator=generator)
    return torch.randn(n, WIDTH, generator=generator), (half + half.mT) / 2


@pytest.fixture
def network() -> FmmTc:
    return build_fmmtc(WIDTH, "concat", seed=0, resnet=SMALL)


def test_the_logit_is_the_head_over_both_streams(network: FmmTc) -> None:
    cls, fc = people(3)
    network.eval()
    features = network.features(cls, fc)
    torch.testing.assert_close(features[:, :WIDTH], cls)
    torch.testing.assert_close(features[:, WIDTH:], network.fc_encoder(fc))
    weight, bias = network.head.weight, network.head.bias
    torch.testing.assert_close(network(cls, fc), features @ weight[0] + bias)


def test_every_fusion_says_its_width() -> None:
    for fusion in FUSIONS.values():
        part = fusion(WIDTH)
        fused = part(torch.zeros(2, WIDTH), torch.zeros(2, WIDTH))
        assert fused.shape == (2, part.out_width)


def test_one_seed_gives_one_network_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (
        build_fmmtc(WIDTH, "concat", seed, SMALL).state_dict() for seed in (3, 3, 4)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_logits_keep_float32_resolution_under_bfloat16(network: FmmTc) -> None:
    cls, fc = people(64)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network.eval()(cls, fc)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_every_part_is_trained(network: FmmTc) -> None:
    cls, fc = people(4)
    loss = functional.binary_cross_entropy_with_logits(network(cls, fc), torch.tensor([0.0, 1] * 2))
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_a_planted_coupling_is_learnt_and_survives_evaluation_mode(network: FmmTc) -> None:
    cls, fc = people(16)
    y = torch.arange(16) % 2
    fc[:, :10, :10] += 2.0 * y[:, None, None]
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(network(cls, fc), y.float())
        loss.backward()
        optimizer.step()
    reestimate_batchnorm(network.fc_encoder, fc.split(4))
    logits = network.eval()(cls, fc)
    assert logits[y == 1].min() > logits[y == 0].max()
