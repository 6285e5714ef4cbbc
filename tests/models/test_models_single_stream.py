"""What holds for every network of one stream."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from fmmtc_bidsapp.models.networks.brain_network_transformer import (
    BrainNetworkSize,
    build_brain_network_transformer,
)
from fmmtc_bidsapp.models.networks.brainlm_heads import build_frozen_brainlm
from fmmtc_bidsapp.models.networks.recurrent import build_lstm
from fmmtc_bidsapp.models.networks.resnet import ResNetSize, reestimate_batchnorm
from fmmtc_bidsapp.models.networks.resnet_streams import (
    build_connectivity_resnet,
    build_series_resnet,
)
from fmmtc_bidsapp.models.networks.single_stream import SingleStream

N_PARCELS, N_VOLUMES, HIDDEN = 18, 30, 12

SMALL_RESNET = ResNetSize(hidden_sizes=(4, 8), depths=(1, 1))
SMALL_BNT = BrainNetworkSize(
    n_layers=2,
    n_heads=4,
    feedforward=16,
    n_clusters=5,
    cluster_features=4,
    perceptron=(16, 8),
    dropout=0.1,
)

BUILDERS: dict[str, Callable[[int], SingleStream]] = {
    "lstm": lambda seed: build_lstm(N_PARCELS, seed),
    "resnet-ts": lambda seed: build_series_resnet(seed, SMALL_RESNET),
    "resnet-fc": lambda seed: build_connectivity_resnet(seed, SMALL_RESNET),
    "bnt": lambda seed: build_brain_network_transformer(N_PARCELS, seed, SMALL_BNT),
    "brainlm": lambda seed: build_frozen_brainlm(HIDDEN, seed),
}
SHAPES = {
    "cls": (HIDDEN,),
    "fc": (N_PARCELS, N_PARCELS),
    "series": (N_VOLUMES, N_PARCELS),
}


NEEDS = {
    "lstm": "series",
    "resnet-ts": "series",
    "resnet-fc": "fc",
    "bnt": "fc",
    "brainlm": "cls",
}
NEEDS_OF = {type(build(0).encoder): NEEDS[name] for name, build in BUILDERS.items()}


def stream(network: SingleStream, n: int) -> torch.Tensor:
    need = NEEDS_OF[type(network.encoder)]
    values = torch.randn(n, *SHAPES[need], generator=torch.Generator().manual_seed(n))
    return (values + values.mT) / 2 if need == "fc" else values


@pytest.fixture(params=BUILDERS)
def build(request: pytest.FixtureRequest) -> Callable[[int], SingleStream]:
    return BUILDERS[request.param]


def test_every_person_gets_one_logit_that_is_theirs(build: Callable[[int], SingleStream]) -> None:
    network = build(0).eval()
    people = stream(network, 3)
    logits = network(people)
    assert logits.shape == (3,)
    assert logits.std() > 0
    torch.testing.assert_close(logits, torch.cat([network(each[None]) for each in people]))


def test_the_logit_is_the_head_over_the_features(build: Callable[[int], SingleStream]) -> None:
    network = build(0).eval()
    people = stream(network, 3)
    weight, bias = network.get_parameter("head.weight"), network.get_parameter("head.bias")
    torch.testing.assert_close(network(people), network.features(people) @ weight[0] + bias)


def test_one_seed_gives_one_network_and_leaves_the_global_generator_alone(
    build: Callable[[int], SingleStream],
) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (build(seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_logits_are_float32_under_bfloat16(build: Callable[[int], SingleStream]) -> None:
    network = build(0).eval()
    people = stream(network, 16)
    with torch.no_grad():
        exact = network(people)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(people)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())
    torch.testing.assert_close(logits, exact, rtol=0.05, atol=0.05)


def test_the_lstm_computes_in_float32_as_not_every_processor_has_one_in_bfloat16() -> None:
    network = build_lstm(6, 0).eval()
    people = torch.randn(4, 12, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = network.features(people)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            under_autocast = network.features(people)
    assert torch.equal(exact, under_autocast)


def test_every_part_is_trained(build: Callable[[int], SingleStream]) -> None:
    network = build(0)
    loss = functional.binary_cross_entropy_with_logits(
        network(stream(network, 4)), torch.tensor([0.0, 1.0] * 2)
    )
    loss.backward()
    untouched = [
        name
        for name, each in network.named_parameters()
        if each.grad is None or not each.grad.abs().sum() > 0
    ]
    assert not untouched


def test_a_planted_effect_is_learnt_and_survives_evaluation_mode(
    build: Callable[[int], SingleStream],
) -> None:
    network = build(0)
    people = stream(network, 16)
    y = torch.arange(16) % 2
    people[y == 1, ..., :9] += 1.5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
        for _ in range(40):
            optimizer.zero_grad()
            functional.binary_cross_entropy_with_logits(network(people), y.float()).backward()
            optimizer.step()
    reestimate_batchnorm(network.encoder, people.split(4))
    logits = network.eval()(people)
    assert logits[y == 1].min() > logits[y == 0].max()


def test_one_seed_gives_one_training(build: Callable[[int], SingleStream]) -> None:
    def trained(seed: int) -> dict[str, torch.Tensor]:
        network = build(seed)
        people = stream(network, 4)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for _ in range(3):
                optimizer.zero_grad()
                logits = network(people)
                functional.binary_cross_entropy_with_logits(logits, torch.ones(4)).backward()
                optimizer.step()
        return network.state_dict()

    first, again = trained(3), trained(3)
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize(
    ("build_full", "expected"),
    [
        # torchvision's ResNet-18 of one channel, the projection and the head.
        (build_connectivity_resnet, 11_170_240 + 513 * 256 + 257),
        (build_series_resnet, 11_170_240 + 513 * 256 + 257),
        (lambda seed: build_lstm(424, seed), 4 * 32 * (424 + 32 + 2) + 33),
        (lambda seed: build_frozen_brainlm(256, seed), 257),
    ],
)
def test_numbers_of_parameters_at_the_papers_sizes(
    build_full: Callable[[int], SingleStream], expected: int
) -> None:
    with torch.device("meta"):
        network = build_full(0)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_the_series_are_an_image_of_parcels_by_time() -> None:
    series_network, fc_network = (
        build_series_resnet(0, SMALL_RESNET),
        build_connectivity_resnet(0, SMALL_RESNET),
    )
    fc_network.load_state_dict(series_network.state_dict())
    series = torch.randn(2, 33, 21, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(series_network.eval()(series), fc_network.eval()(series.mT))


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives(build: Callable[[int], SingleStream]) -> None:
    network = build(0).eval()
    people = stream(network, 3)
    expected = network(people)
    found = network.cuda()(people.cuda())
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-3)
