"""Which tokens BrainLM is shown, and in what order."""

from __future__ import annotations

import torch

__all__ = ["kept_tokens", "token_orders"]


def kept_tokens(has_data: torch.Tensor, n_patches: int) -> torch.Tensor:
    """List the tokens of the parcels that have data, parcel by parcel.

    Parameters
    ----------
    has_data
        (parcel,) boolean
    n_patches
        Patches in the window.

    Returns
    -------
    torch.Tensor
        (kept,) token numbers ``parcel * n_patches + patch``.
    """
    return has_data.repeat_interleave(n_patches).nonzero().squeeze(1)


def token_orders(n_tokens: int, n_orders: int, generator: torch.Generator) -> torch.Tensor:
    """Draw random orders of tokens: each row is a permutation of ``0 .. n_tokens - 1``.

    Returns
    -------
    torch.Tensor
        (n_orders, n_tokens); index a list of kept tokens with it to shuffle that list.
    """
    return torch.stack(
        [
            torch.randperm(n_tokens, generator=generator, device=generator.device)
            for _ in range(n_orders)
        ]
    )
