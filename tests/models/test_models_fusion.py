"""The five fusions of the paper's Table 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from fmmtc_bidsapp.models.networks.fmmtc import build_fmmtc
from fmmtc_bidsapp.models.networks.fusion import (
    FUSIONS,
    BidirectionalCrossAttention,
    CrossAttention,
    Fusion,
    MixtureOfExperts,
    Sum,
)
from fmmtc_bidsapp.models.networks.resnet import ResNetSize
from fmmtc_bidsapp.options import ModelOptions

SMALL = ResNetSize(hidden_sizes=(4, 8), depths=(1, 1))
WIDTH = 24


def built(name: str, width: int = WIDTH) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FUSIONS[name](width)


def vectors(n: int, width: int = WIDTH) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(n, width, generator=generator),
        torch.randn(n, width, generator=generator),
    )


def test_every_choice_of_the_flag_is_a_row_of_the_table() -> None:
    assert ModelOptions.__dataclass_fields__["fusion"].metadata["choices"] == tuple(FUSIONS)


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("width", [6, 24, 256])
def test_every_fusion_says_its_width(name: str, width: int) -> None:
    part = built(name, width)
    assert part(*vectors(3, width)).shape == (3, part.out_width)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("concat", 0),
        ("sum", 0),
        ("cross-attention", 4 * (256 * 256 + 256) + 2 * 256),
        ("bidirectional-cross-attention", 8 * (256 * 256 + 256) + 4 * 256),
        ("mixture-of-experts", 4 * (512 * 256 + 256) + 512 * 4 + 4),
    ],
)
def test_numbers_of_parameters_at_the_papers_width(name: str, expected: int) -> None:
    assert sum(p.numel() for p in built(name, 256).parameters()) == expected


@pytest.mark.parametrize("name", FUSIONS)
def test_a_batch_gives_what_its_people_give_alone(name: str) -> None:
    part, (series, connectivity) = built(name), vectors(3)
    alone = [part(series[[i]], connectivity[[i]]) for i in range(3)]
    torch.testing.assert_close(part(series, connectivity), torch.cat(alone))


@pytest.mark.parametrize("name", FUSIONS)
def test_both_streams_and_every_weight_take_gradient(name: str) -> None:
    part = built(name)
    inputs = [each.requires_grad_() for each in vectors(4)]
    # A plain sum would not do: layer normalisation keeps it at 0.
    mix = torch.randn(4, part.out_width, generator=torch.Generator().manual_seed(2))
    (part(*inputs) * mix).sum().backward()
    for each in (*inputs, *part.parameters()):
        assert each.grad is not None
        assert each.grad.abs().sum() > 1e-6


def test_the_sum_is_the_sum() -> None:
    series, connectivity = vectors(2)
    assert torch.equal(Sum(WIDTH)(series, connectivity), series + connectivity)


def written_out(part: Any, asking: torch.Tensor, answering: torch.Tensor) -> torch.Tensor:
    """One person's attention, token by token."""

    def tokens(linear: torch.nn.Linear, vector: torch.Tensor) -> list[torch.Tensor]:
        return list((linear.weight @ vector + linear.bias).split(WIDTH // 8))

    query, key, value = (
        tokens(linear, vector)
        for linear, vector in (
            (part.query, asking),
            (part.key, answering),
            (part.value, answering),
        )
    )
    context = []
    for q in query:
        weight = torch.stack([q @ k / (WIDTH // 8) ** 0.5 for k in key]).exp()
        context.append(sum(w * v for w, v in zip(weight / weight.sum(), value, strict=True)))
    merged = asking + part.merge.weight @ torch.cat(context) + part.merge.bias
    return (merged - merged.mean()) / (merged.var(correction=0) + 1e-5).sqrt()


def test_cross_attention_equals_attention_written_out() -> None:
    part, (series, connectivity) = built("cross-attention"), vectors(2)
    expected = [
        written_out(part.attention, *each) for each in zip(series, connectivity, strict=True)
    ]
    torch.testing.assert_close(part(series, connectivity), torch.stack(expected))


def test_without_a_question_every_token_is_heard_alike() -> None:
    part, (series, connectivity) = built("cross-attention").attention, vectors(2)
    torch.nn.init.zeros_(part.query.weight)
    torch.nn.init.zeros_(part.query.bias)
    mean = part.value(connectivity).reshape(2, 8, -1).mean(dim=1).repeat(1, 8)
    expected = functional.layer_norm(series + part.merge(mean), [WIDTH])
    torch.testing.assert_close(part(series, connectivity), expected)


def test_what_is_answered_depends_on_the_question() -> None:
    part, (series, connectivity) = built("cross-attention").attention, vectors(1)
    part.norm = torch.nn.Identity()
    answers = [part(each, connectivity) - each for each in (series, 5 * series)]
    # Single tokens would give the same answer to every question.
    assert (answers[0] - answers[1]).abs().max() > 0.01


@pytest.mark.parametrize("fusion", [CrossAttention, BidirectionalCrossAttention])
def test_a_width_without_tokens_is_refused(fusion: type[Fusion]) -> None:
    with pytest.raises(ValueError, match="7 features"):
        fusion(7)


def test_with_the_same_weights_both_directions_differ_by_their_roles_alone() -> None:
    part, (series, connectivity) = built("bidirectional-cross-attention"), vectors(3)
    assert not torch.equal(part.series_asks.query.weight, part.connectivity_asks.query.weight)
    part.connectivity_asks.load_state_dict(part.series_asks.state_dict())
    forward, swapped = part(series, connectivity), part(connectivity, series)
    torch.testing.assert_close(forward, swapped.roll(WIDTH, dims=1))
    single = CrossAttention(WIDTH)
    single.attention.load_state_dict(part.series_asks.state_dict())
    torch.testing.assert_close(forward[:, :WIDTH], single(series, connectivity))


def test_the_gate_shares_out_the_whole() -> None:
    part, inputs = built("mixture-of-experts"), vectors(5)
    weights = part.weights(*inputs)
    assert weights.shape == (5, 4)
    assert (weights > 0).all()
    np.testing.assert_allclose(weights.sum(dim=1).detach(), 1, rtol=1e-6)
    assert weights.std(dim=0).min() > 0.01


def test_a_gate_that_is_sure_leaves_one_expert_and_one_that_is_not_their_mean() -> None:
    part, inputs = built("mixture-of-experts"), vectors(5)
    opinions = torch.stack([expert(torch.cat(inputs, 1)) for expert in part.experts])
    torch.nn.init.zeros_(part.gate.weight)
    torch.nn.init.zeros_(part.gate.bias)
    torch.testing.assert_close(part(*inputs), opinions.mean(dim=0))
    with torch.no_grad():
        part.gate.bias[2] = 100.0
    torch.testing.assert_close(part(*inputs), opinions[2])


def test_a_mixture_is_not_linear_but_its_experts_are() -> None:
    part: MixtureOfExperts = built("mixture-of-experts")
    series, connectivity = vectors(2)

    def bend(part: MixtureOfExperts) -> float:
        ends = part(series, connectivity)
        middle = part(series.mean(0, keepdim=True), connectivity.mean(0, keepdim=True))
        return (ends.mean(0) - middle[0]).abs().max().item()

    assert bend(part) > 0.01
    torch.nn.init.zeros_(part.gate.weight)
    assert bend(part) < 1e-6


@pytest.mark.parametrize("name", FUSIONS)
def test_one_seed_gives_one_network(name: str) -> None:
    before = torch.random.get_rng_state()
    first, again = (build_fmmtc(WIDTH, name, 3, SMALL).state_dict() for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_sign_that_needs_both_streams_is_learnt(name: str) -> None:
    part, (series, connectivity) = built(name), vectors(40)
    y = (series[:, 0] + connectivity[:, 1] > 0).float()
    head = torch.nn.Linear(part.out_width, 1)
    torch.nn.init.zeros_(head.weight)
    # The sum alone has no weights to tell feature 0 of the one from feature 0 of the other.
    projection = torch.nn.Linear(WIDTH, WIDTH)
    torch.nn.init.eye_(projection.weight)
    parameters = [*part.parameters(), *head.parameters(), *projection.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        logits = head(part(series, projection(connectivity))).squeeze(1)
        functional.binary_cross_entropy_with_logits(logits, y).backward()
        optimizer.step()
    assert logits[y == 1].min() > logits[y == 0].max()


@pytest.mark.parametrize("name", FUSIONS)
def test_fmmtc_gives_float32_logits_under_bfloat16(name: str) -> None:
    network = build_fmmtc(WIDTH, name, 0, SMALL).eval()
    fc = torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(3))
    exact = network(vectors(3)[0], fc)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(vectors(3)[0], fc)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ["concat", "sum", "mixture-of-experts"])
def test_three_streams_meet_and_each_of_them_moves_the_result(name: str) -> None:
    torch.manual_seed(0)
    fusion = FUSIONS[name](6, n_streams=3)
    streams = [torch.randn(5, 6) for _ in range(3)]
    before = fusion(*streams)
    assert before.shape == (5, fusion.out_width)
    for i in range(3):
        others = [each + (place == i) for place, each in enumerate(streams)]
        assert not torch.allclose(fusion(*others), before)


@pytest.mark.parametrize("name", ["cross-attention", "bidirectional-cross-attention"])
def test_cross_attention_refuses_a_third_stream_and_says_what_takes_one(name: str) -> None:
    with pytest.raises(ValueError, match="there are 3; use concat, sum or mixture-of-experts"):
        FUSIONS[name](6, n_streams=3)
