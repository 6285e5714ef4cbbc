"""Fusion of the features of several streams (Table 1 of the paper).

The paper (arXiv 2503.00210) names five fusions; the authors' code has one of them, the
concatenation. The other four are the simplest form of their names; their sizes are not the paper's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

__all__ = [
    "FUSIONS",
    "BidirectionalCrossAttention",
    "Concat",
    "CrossAttention",
    "Fusion",
    "MixtureOfExperts",
    "Sum",
]

_MOST_TOKENS = 8
"""Parts that a vector is read out into; eight, as attention's first form had heads."""

_N_EXPERTS = 4


class Fusion(nn.Module, ABC):
    """Feature vectors of one width per stream, to one vector of ``out_width``.

    ValueError for a number of streams that the fusion does not take.
    """

    out_width: int

    def __init__(self, width: int, n_streams: int = 2) -> None:
        super().__init__()
        if n_streams < 2:
            raise ValueError(f"{n_streams} streams cannot be fused; two or more are needed.")
        self.out_width = width

    @abstractmethod
    def forward(self, *streams: torch.Tensor) -> torch.Tensor:
        """(batch, width) of each stream -> (batch, out_width)."""


class Concat(Fusion):
    """One after the other, the paper's choice."""

    def __init__(self, width: int, n_streams: int = 2) -> None:
        super().__init__(width, n_streams)
        self.out_width = n_streams * width

    def forward(self, *streams: torch.Tensor) -> torch.Tensor:
        """(batch, width) of each stream -> (batch, stream * width)."""
        return torch.cat(streams, dim=1)


class Sum(Fusion):
    """Feature by feature; the projection before it learns which feature meets which."""

    def forward(self, *streams: torch.Tensor) -> torch.Tensor:
        """(batch, width) of each stream -> (batch, width)."""
        total = streams[0]
        for each in streams[1:]:
            total = total + each
        return total


class CrossAttention(Fusion):
    """The series are the query, the connectivity key and value; of two streams, the first queries.

    Scaled dot-product attention, then residual sum and layer normalisation (Vaswani et al.
    2017, arXiv 1706.03762). As single tokens the two vectors could not attend: the softmax over
    one key is 1, which leaves a linear map of the connectivity. So each vector is read out into
    eight tokens (fewer where eight does not divide the width), each by a linear map of the
    whole vector, since neighbours in a feature vector are unrelated. ValueError for an odd
    width, which has no two tokens, and for more than two streams.
    """

    def __init__(self, width: int, n_streams: int = 2) -> None:
        super().__init__(width, n_streams)
        _require_two(n_streams)
        self.attention = _Attention(width)

    def forward(self, *streams: torch.Tensor) -> torch.Tensor:
        """(batch, width), (batch, width) -> (batch, width)."""
        asking, answering = streams
        attended: torch.Tensor = self.attention(asking, answering)
        return attended


class BidirectionalCrossAttention(Fusion):
    """Attention in both directions, concatenated.

    Two of `CrossAttention`'s attentions side by side (Lu et al. 2019, arXiv 1908.02265).
    """

    def __init__(self, width: int, n_streams: int = 2) -> None:
        super().__init__(width, n_streams)
        _require_two(n_streams)
        self.out_width = 2 * width
        # Bundles know the weights by these names.
        self.series_asks = _Attention(width)
        self.connectivity_asks = _Attention(width)

    def forward(self, *streams: torch.Tensor) -> torch.Tensor:
        """(batch, width), (batch, width) -> (batch, 2 * width)."""
        series, connectivity = streams
        answers = (
            self.series_asks(series, connectivity),
            self.connectivity_asks(connectivity, series),
        )
        return torch.cat(answers, dim=1)


class MixtureOfExperts(Fusion):
    """Experts of all vectors, averaged with the weights of a gate.

    The gate is a softmax over a linear map of the same input (Jacobs et al. 1991, doi
    10.1162/neco.1991.3.1.79), and every expert is used, as so few people cannot train a choice.
    The four experts are linear: only the gate is not.
    """

    def __init__(self, width: int, n_streams: int = 2) -> None:
        super().__init__(width, n_streams)
        self.gate = nn.Linear(n_streams * width, _N_EXPERTS)
        self.experts = nn.ModuleList(nn.Linear(n_streams * width, width) for _ in range(_N_EXPERTS))

    def weights(self, *streams: torch.Tensor) -> torch.Tensor:
        """(batch, width) of each stream -> (batch, expert), each row summing to 1."""
        logits: torch.Tensor = self.gate(torch.cat(streams, dim=1))
        return logits.softmax(dim=1)

    def forward(self, *streams: torch.Tensor) -> torch.Tensor:
        """(batch, width) of each stream -> (batch, width)."""
        together = torch.cat(streams, dim=1)
        opinions = torch.stack([expert(together) for expert in self.experts], dim=1)
        return (self.weights(*streams)[:, :, None] * opinions).sum(dim=1)


def _require_two(n_streams: int) -> None:
    if n_streams != 2:
        raise ValueError(
            f"Cross-attention needs two streams, and there are {n_streams}; use concat, sum or "
            "mixture-of-experts."
        )


class _Attention(nn.Module):
    """Attention of one vector to another; see `CrossAttention`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.n_tokens = math.gcd(width, _MOST_TOKENS)
        if self.n_tokens == 1:
            raise ValueError(
                f"{width} features cannot be divided into tokens; attention needs an even width."
            )
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.merge = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, asking: torch.Tensor, answering: torch.Tensor) -> torch.Tensor:
        """(batch, width), (batch, width) -> (batch, width)."""
        context = functional.scaled_dot_product_attention(
            self._tokens(self.query(asking)),
            self._tokens(self.key(answering)),
            self._tokens(self.value(answering)),
        )
        attended: torch.Tensor = self.norm(asking + self.merge(context.flatten(1)))
        return attended

    def _tokens(self, vector: torch.Tensor) -> torch.Tensor:
        """(batch, width) -> (batch, head, token, feature), with one head."""
        return vector.reshape(len(vector), 1, self.n_tokens, -1)


FUSIONS: Mapping[str, type[Fusion]] = {
    "concat": Concat,
    "sum": Sum,
    "cross-attention": CrossAttention,
    "bidirectional-cross-attention": BidirectionalCrossAttention,
    "mixture-of-experts": MixtureOfExperts,
}
