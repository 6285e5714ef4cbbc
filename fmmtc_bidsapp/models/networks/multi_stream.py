"""A network of several streams: an encoder for each, a fusion, and a linear head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from fmmtc_bidsapp.models.networks.fusion import Fusion
from fmmtc_bidsapp.models.networks.single_stream import log_odds

__all__ = ["MultiStream"]


class MultiStream(nn.Module):
    """A network that reads several streams, made of the parts it is given.

    Parameters
    ----------
    encoders
        Of each stream: (batch, ...) -> (batch, width). Of one, ``nn.Identity()`` passes features
        on as they are.
    fusion
        (batch, width) of each stream -> (batch, out_width)
    head
        (batch, out_width) -> (batch, 1), with a bias
    """

    def __init__(self, encoders: Sequence[nn.Module], fusion: Fusion, head: nn.Module) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.fusion = fusion
        self.head = head

    def features(self, *streams: torch.Tensor) -> torch.Tensor:
        """Return what the head reads, (batch, out_width)."""
        pairs = zip(self.encoders, streams, strict=True)
        fused: torch.Tensor = self.fusion(*(encode(each) for encode, each in pairs))
        return fused

    def forward(self, *streams: torch.Tensor) -> torch.Tensor:
        """Return (batch,) logits in float32."""
        return log_odds(self.head, self.features(*streams))
