"""The encoder against the published one's outputs and against one written out in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM, BrainLMConfig
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize

N_PARCELS, N_PATCHES, PATCH, HEADS = 6, 3, 4, 2


@pytest.fixture
def network(folder: Path) -> BrainLM:
    return BrainLM.from_pretrained(folder)


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    signal = torch.randn(2, N_PARCELS, N_PATCHES * PATCH, generator=generator)
    return signal, 3 * torch.randn(2, N_PARCELS, 3, generator=generator)


@pytest.fixture
def order() -> torch.Tensor:
    return torch.tensor(np.random.default_rng(3).permuted([np.arange(18)] * 2, axis=1))


def written_out(
    weights: dict[str, torch.Tensor],
    signal: torch.Tensor,
    xyz: torch.Tensor,
    order: torch.Tensor,
) -> torch.Tensor:
    """The CLS of one scan: every token of every layer, attention maps in full."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    n_patches = signal.shape[1] // PATCH
    tokens = [
        linear(signal[p, PATCH * k : PATCH * (k + 1)], "vit.embeddings.signal_embedding_projection")
        + linear(xyz[p], "vit.embeddings.xyz_embedding_projection")
        + weights["vit.embeddings.pos_embedding.pe"][k]
        for p, k in (divmod(int(token), n_patches) for token in order)
    ]
    x = torch.stack([weights["vit.embeddings.cls_token"][0, 0], *tokens])
    for layer in ("vit.encoder.layer.0.", "vit.encoder.layer.1."):
        heads = []
        dim = x.shape[1] // HEADS
        for head in range(HEADS):
            part = slice(head * dim, (head + 1) * dim)
            query, key, value = (
                linear(x, f"{layer}attention.self.{each}")[:, part]
                for each in ("query", "key", "value")
            )
            context = (query @ key.T / dim**0.5).softmax(-1) @ value
            taps = weights[f"{layer}attention.self.conv.weight"][head, 0, :, 0]
            for i in range(len(x)):
                for k, tap in enumerate(taps):
                    if 0 <= i + k - len(taps) // 2 < len(x):
                        context[i] += tap * value[i + k - len(taps) // 2]
            heads.append(context)
        merged = linear(torch.cat(heads, 1), f"{layer}attention.output.dense")
        attended = norm(x + merged, f"{layer}attention.output.LayerNorm")
        expanded = functional.gelu(linear(attended, f"{layer}intermediate.dense"))
        x = norm(attended + linear(expanded, f"{layer}output.dense"), f"{layer}output.LayerNorm")
    return norm(x, "vit.layernorm")[0]


def orders_that_sort(noise: np.ndarray) -> list[np.ndarray]:
    """List every order of (token,) noise from low to high: equal values may stand either way."""
    order = noise.argsort(kind="stable")
    orders = [order]
    for place in np.flatnonzero(np.diff(noise[order]) == 0):
        swapped = [place + 1, place]
        orders += [each.copy() for each in orders]
        for each in orders[len(orders) // 2 :]:
            each[[place, place + 1]] = each[swapped]
    return orders


@pytest.mark.parametrize(("tag", "share"), [("m00_random", 1.0), ("m20_random", 0.8)])
def test_cls_in_the_order_of_the_noise_equals_the_published_encoders(
    shared: Path, tag: str, share: float
) -> None:
    reference = shared / "reference" / "brainlm-tiny"
    golden = np.load(reference / "golden_small.npz")
    network = BrainLM.from_pretrained(reference)
    signal, xyz = torch.tensor(golden["signal_vectors"]), torch.tensor(golden["xyz_vectors"])
    for i, noise in enumerate(golden["noise_random"]):
        # Some noise is equal to the last digit, and processors sort such values differently.
        kept = [order[: int(len(order) * share)] for order in orders_that_sort(noise)]
        assert len(kept) <= 4
        found = [
            network(signal[i : i + 1], xyz[i : i + 1], torch.tensor(order)[None]) for order in kept
        ]
        errors = [np.abs(cls[0].numpy() - golden[f"{tag}__cls"][i]).max() for cls in found]
        assert min(errors) <= 1e-5


def test_cls_in_the_order_of_the_parcels_equals_the_published_encoders(shared: Path) -> None:
    reference = shared / "reference" / "brainlm-tiny"
    golden = np.load(reference / "golden_small.npz")
    cls = BrainLM.from_pretrained(reference)(
        torch.tensor(golden["signal_vectors"]), torch.tensor(golden["xyz_vectors"]), None
    )
    np.testing.assert_allclose(cls, golden["m00_identity__cls"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_patches", [1, 2, 3])
def test_cls_equals_the_encoder_written_out_in_full(
    network: BrainLM,
    weights: dict[str, torch.Tensor],
    inputs: tuple[torch.Tensor, torch.Tensor],
    n_patches: int,
) -> None:
    signal, xyz = inputs[0][:, :, : n_patches * PATCH], inputs[1]
    order = torch.tensor([[4, 0, 2, 5, 1], [3, 1, 5, 0, 4]])
    expected = [written_out(weights, *each) for each in zip(signal, xyz, order, strict=True)]
    torch.testing.assert_close(network(signal, xyz, order), torch.stack(expected))


def test_without_an_order_tokens_come_parcel_by_parcel(
    network: BrainLM, inputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    in_order = torch.arange(N_PARCELS * N_PATCHES).expand(2, -1)
    torch.testing.assert_close(network(*inputs), network(*inputs, in_order), rtol=0, atol=0)


def test_only_the_convolution_sees_the_order(
    network: BrainLM, inputs: tuple[torch.Tensor, torch.Tensor], order: torch.Tensor
) -> None:
    assert (network(*inputs, order) - network(*inputs)).abs().max() > 0.01
    for name, parameter in network.named_parameters():
        if name.endswith("taps"):
            parameter.zero_()
    torch.testing.assert_close(network(*inputs, order), network(*inputs))


def test_tokens_left_out_have_no_influence_even_as_nan(
    network: BrainLM, inputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    signal, xyz = inputs
    kept = torch.arange(N_PATCHES, N_PARCELS * N_PATCHES).expand(2, -1)
    without = network(signal[:, 1:], xyz[:, 1:])
    signal[:, 0] = torch.nan
    torch.testing.assert_close(network(signal, xyz, kept), without)
    assert network(signal, xyz).isnan().all()


def test_a_batch_gives_what_its_scans_give_alone(
    network: BrainLM, inputs: tuple[torch.Tensor, torch.Tensor], order: torch.Tensor
) -> None:
    signal, xyz = inputs
    alone = [network(signal[[i]], xyz[[i]], order[[i]]) for i in range(2)]
    torch.testing.assert_close(network(signal, xyz, order), torch.cat(alone))


def test_the_gradient_of_the_input_is_the_slope(
    network: BrainLM, inputs: tuple[torch.Tensor, torch.Tensor], order: torch.Tensor
) -> None:
    signal, xyz = inputs
    direction, step = torch.randn(signal.shape, generator=torch.Generator().manual_seed(4)), 1e-2
    network(signal.requires_grad_(), xyz, order).square().sum().backward()
    with torch.no_grad():
        ahead, behind = (
            network(signal + sign * step * direction, xyz, order).square().sum() for sign in (1, -1)
        )
    assert signal.grad is not None
    slope = (signal.grad * direction).sum()
    torch.testing.assert_close(slope, (ahead - behind) / (2 * step), rtol=0.01, atol=0.01)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_bfloat16_stays_close_and_returns_float32(
    network: BrainLM, inputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(*inputs)
    assert half.dtype == torch.float32
    similarity = functional.cosine_similarity(half, network(*inputs), dim=1)
    assert similarity.min() > 0.999
    assert not torch.equal(half, network(*inputs))


def test_bfloat16_sees_small_changes_of_large_signals(network: BrainLM) -> None:
    xyz = torch.zeros(1, N_PARCELS, 3)
    level = torch.full((1, N_PARCELS, N_PATCHES * PATCH), 9000.0)
    network.signal_embedding.weight.mul_(1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        # 9000 and 9010 are one number in bfloat16.
        embedded = [network._embed(signal, xyz) for signal in (level, level + 10)]
    assert not torch.equal(*embedded)


@pytest.mark.parametrize("n_volumes", [0, 6, 16])
def test_a_window_that_does_not_fit_is_refused(network: BrainLM, n_volumes: int) -> None:
    with pytest.raises(ValueError, match=f"{n_volumes} volumes"):
        network(torch.zeros(1, 2, n_volumes), torch.zeros(1, 2, 3))


def test_random_weights_follow_the_published_initialisation(config: BrainLMSize) -> None:
    network = BrainLM.from_size(config, torch.Generator().manual_seed(0))
    for name, value in network.named_parameters():
        if name.endswith("norm.weight"):
            assert (value == 1).all()
        elif name.endswith("bias"):
            assert (value == 0).all()
    drawn = torch.cat([p.flatten() for p in network.parameters() if p.ndim > 1])
    assert drawn.std() == pytest.approx(0.02, rel=0.05)
    assert drawn.mean() == pytest.approx(0, abs=0.001)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_one_seed_gives_one_network_and_leaves_the_global_generator_alone(
    config: BrainLMSize,
) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (
        BrainLM.from_size(config, torch.Generator().manual_seed(seed)).state_dict()
        for seed in (7, 7, 8)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["cls_token"], other["cls_token"])


def test_random_networks_number_positions_as_the_published_file_does(shared: Path) -> None:
    published = BrainLM.from_pretrained(shared / "reference" / "brainlm-tiny")
    drawn = BrainLM.from_size(published.config.size, torch.Generator().manual_seed(0))
    # The last digit of a frequency is the processor's own, and counts as often as the position is.
    position = torch.arange(len(published.positions))[:, None]
    difference = (drawn.positions - published.positions).abs()
    assert (difference <= 1e-6 + 1e-7 * position).all()


def test_the_published_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = BrainLM(BrainLMConfig())
    encoder_layer = 4 * (256 * 256 + 256) + 4 * 65 + 2 * 256 * 1024 + 1024 + 256 + 4 * 256
    embedding = 256 + 256 * 20 + 256 + 256 * 3 + 256 + 2 * 256
    assert sum(p.numel() for p in network.parameters()) == 4 * encoder_layer + embedding


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives(
    network: BrainLM, inputs: tuple[torch.Tensor, torch.Tensor], order: torch.Tensor
) -> None:
    expected = network(*inputs, order)
    found = network.cuda()(*(each.cuda() for each in (*inputs, order)))
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-3)
