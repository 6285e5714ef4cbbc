"""What networks of one stream have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["SingleStream", "log_odds", "seeded"]


class SingleStream(nn.Module):
    """A network that reads one stream, made of the parts it is given.

    Parameters
    ----------
    encoder
        The stream -> (batch, width). A stream is (batch, hidden) features of an encoder,
        standardised over the training rows; (batch, parcel, parcel) connectivity without NaN; or
        (batch, time, parcel) normalised windows, with NaN at missing parcels only for a network
        that leaves them out itself.
    head
        (batch, width) -> (batch, 1)
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def features(self, stream: torch.Tensor) -> torch.Tensor:
        """Return what the head reads, (batch, width)."""
        features: torch.Tensor = self.encoder(stream)
        return features

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        """Return (batch,) logits in float32."""
        return log_odds(self.head, self.features(stream))


def log_odds(head: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Apply a head in float32, (batch, width) -> (batch,).

    Logits of eight significant bits would tie people who differ.
    """
    with torch.autocast(features.device.type, enabled=False):
        logits: torch.Tensor = head(features.float())
    return logits.squeeze(1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from a seed and leave the caller's random state alone.

    torch draws them from the global generator of the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
