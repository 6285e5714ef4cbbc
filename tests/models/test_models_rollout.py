"""Attention rollout against the product of the matrices written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM, load_brainlm
from fmmtc_bidsapp.models.encoders.rollout import attention_rollout

N_PARCELS, N_PATCHES, PATCH, HEADS = 6, 3, 4, 2


@pytest.fixture
def network(folder: Path) -> BrainLM:
    return load_brainlm(folder)


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    signal = torch.randn(N_PARCELS, N_PATCHES * PATCH, generator=generator)
    return signal, 3 * torch.randn(N_PARCELS, 3, generator=generator)


def shuffled(n: int = N_PARCELS * N_PATCHES) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(3).permutation(N_PARCELS * N_PATCHES)[:n])


def written_out(
    network: BrainLM, signal: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor
) -> torch.Tensor:
    """(token, token) of the kept tokens and the CLS token, every matrix in full."""
    tokens = network._embed(signal[None], xyz[None])[:, order]
    tokens = torch.cat([network.cls_token, tokens], dim=1)
    product = torch.eye(tokens.shape[1])
    for layer in network.layers:
        query, key = (
            each(tokens).reshape(tokens.shape[1], HEADS, -1).transpose(0, 1)
            for each in (layer.query, layer.key)
        )
        attention = functional.softmax(query @ key.mT / query.shape[2] ** 0.5, dim=-1)
        product = (0.5 * attention.mean(dim=0) + 0.5 * torch.eye(tokens.shape[1])) @ product
        tokens = layer(tokens, n_leading=tokens.shape[1])
    return product


@pytest.mark.parametrize("n_kept", [N_PARCELS * N_PATCHES, 11])
def test_it_is_the_first_row_of_the_product_of_all_layers_added_up_by_parcel(
    network: BrainLM, inputs: tuple[torch.Tensor, torch.Tensor], n_kept: int
) -> None:
    order = shuffled(n_kept)
    row = written_out(network, *inputs, order)[0]
    expected = torch.full((N_PARCELS,), torch.nan)
    for weight, token in zip(row[1:], order, strict=True):
        parcel = token // N_PATCHES
        expected[parcel] = expected[parcel].nan_to_num() + weight
    found = attention_rollout(network, *inputs, order)
    torch.testing.assert_close(found, expected, equal_nan=True)
    torch.testing.assert_close(found.nansum() + row[0], torch.tensor(1.0))


def test_parcels_in_another_order_have_the_same_attention(
    network: BrainLM, inputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    signal, xyz = inputs
    other, order = torch.tensor([3, 1, 5, 0, 4, 2]), shuffled()
    moved = (torch.argsort(other)[order // N_PATCHES]) * N_PATCHES + order % N_PATCHES
    torch.testing.assert_close(
        attention_rollout(network, signal[other], xyz[other], moved),
        attention_rollout(network, signal, xyz, order)[other],
    )


def test_a_parcel_that_is_not_shown_is_nan_and_leaves_no_hook_behind(
    network: BrainLM, inputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    found = attention_rollout(network, *inputs, torch.arange(N_PATCHES, N_PARCELS * N_PATCHES))
    assert found.isnan().tolist() == [True] + [False] * (N_PARCELS - 1)
    assert not any(layer._forward_pre_hooks for layer in network.layers)
