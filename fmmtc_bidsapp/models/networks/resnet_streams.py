"""ResNet-18 on one stream: the connectivity, or the series as an image (Table 3 of the paper)."""

from __future__ import annotations

import torch
from torch import nn

from fmmtc_bidsapp.models.networks.resnet import RESNET_18, ResNetEncoder, ResNetSize
from fmmtc_bidsapp.models.networks.single_stream import SingleStream, seeded

__all__ = [
    "SeriesResNetEncoder",
    "build_connectivity_resnet",
    "build_series_resnet",
]

_WIDTH = 256
"""Features that the backbone is projected to, as FMM_TC's are."""


class SeriesResNetEncoder(ResNetEncoder):
    """ResNet of a window of series, seen as an image of one channel, parcel by time."""

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """(batch, time, parcel) -> (batch, width)."""
        return super().forward(series.mT)


def build_connectivity_resnet(seed: int, resnet: ResNetSize = RESNET_18) -> SingleStream:
    """Build ResNet-18 of connectivity with random weights of a seed, on the CPU."""
    with seeded(seed):
        return SingleStream(ResNetEncoder(_WIDTH, resnet), nn.Linear(_WIDTH, 1))


def build_series_resnet(seed: int, resnet: ResNetSize = RESNET_18) -> SingleStream:
    """Build ResNet-18 of series with random weights of a seed, on the CPU."""
    with seeded(seed):
        return SingleStream(SeriesResNetEncoder(_WIDTH, resnet), nn.Linear(_WIDTH, 1))
