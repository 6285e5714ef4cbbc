"""FMM_TC: encoded series and connectivity to the log odds of a response."""

from __future__ import annotations

import torch
from torch import nn

from fmmtc_bidsapp.models.networks.fusion import FUSIONS, Fusion
from fmmtc_bidsapp.models.networks.resnet import RESNET_18, ResNetEncoder, ResNetSize
from fmmtc_bidsapp.models.networks.single_stream import log_odds, seeded

__all__ = ["FmmTc", "build_fmmtc"]


class FmmTc(nn.Module):
    """The trainable part of FMM_TC (arXiv 2503.00210)."""

    def __init__(self, fc_encoder: nn.Module, fusion: Fusion, head: nn.Module) -> None:
        super().__init__()
        self.fc_encoder = fc_encoder
        self.fusion = fusion
        self.head = head

    @property
    def encoders(self) -> tuple[nn.Module, nn.Module]:
        """Encoder of each stream; the series are encoded already."""
        return nn.Identity(), self.fc_encoder

    def features(self, cls: torch.Tensor, fc: torch.Tensor) -> torch.Tensor:
        """Fuse both streams: (batch, width), (batch, parcel, parcel) -> (batch, out_width)."""
        fused: torch.Tensor = self.fusion(cls, self.fc_encoder(fc))
        return fused

    def forward(self, cls: torch.Tensor, fc: torch.Tensor) -> torch.Tensor:
        """(batch, width), (batch, parcel, parcel) -> (batch,) logits in float32."""
        return log_odds(self.head, self.features(cls, fc))


def build_fmmtc(
    hidden: int,
    fusion: str,
    seed: int,
    resnet: ResNetSize = RESNET_18,
    standardised: bool = True,
) -> FmmTc:
    """Build FMM_TC with random weights of a seed, on the CPU; `hidden` is the width of the series.

    `standardised`: whether the features of connectivity are standardised over the training
    rows, as those of the series are; bundles written before 2026-12-01 are not.
    """
    with seeded(seed):
        meeting = FUSIONS[fusion](hidden)
        encoder = ResNetEncoder(hidden, resnet, standardised)
        return FmmTc(encoder, meeting, nn.Linear(meeting.out_width, 1))
