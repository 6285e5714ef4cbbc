"""Token lists and their orders."""

from __future__ import annotations

import torch

from fmmtc_bidsapp.models.encoders.brainlm.tokens import token_orders


def test_every_order_is_a_permutation_of_its_own() -> None:
    orders = token_orders(50, 4, torch.Generator().manual_seed(0))
    assert orders.shape == (4, 50)
    assert (orders.sort(dim=1).values == torch.arange(50)).all()
    assert len({tuple(order) for order in orders.tolist()}) == 4


def test_a_seed_gives_the_same_orders() -> None:
    first, again, other = (
        token_orders(20, 2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
