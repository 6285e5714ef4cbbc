"""Orders of BrainLM's tokens."""

from __future__ import annotations

import torch

__all__ = ["token_orders"]


def token_orders(n_tokens: int, n_orders: int, generator: torch.Generator) -> torch.Tensor:
    """Draw random orders of tokens, (n_orders, n_tokens): each row a permutation."""
    return torch.stack(
        [
            torch.randperm(n_tokens, generator=generator, device=generator.device)
            for _ in range(n_orders)
        ]
    )
