"""ResNet encoder of connectivity matrices, seen as images of one channel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim.swa_utils import update_bn
from transformers import ResNetConfig, ResNetModel

__all__ = ["RESNET_18", "ResNetEncoder", "ResNetSize", "reestimate_batchnorm"]


@dataclass(frozen=True)
class ResNetSize:
    """Channels and number of basic blocks of each stage."""

    hidden_sizes: tuple[int, ...]
    depths: tuple[int, ...]


RESNET_18 = ResNetSize(hidden_sizes=(64, 128, 256, 512), depths=(2, 2, 2, 2))
"""The paper's (He et al. 2016, doi 10.1109/CVPR.2016.90)."""


class ResNetEncoder(nn.Module):
    """ResNet of basic blocks, mean over the image, and a linear projection.

    Parameters
    ----------
    width
        Number of output features.
    size
        Stages of the network.
    """

    def __init__(self, width: int, size: ResNetSize = RESNET_18) -> None:
        super().__init__()
        config = ResNetConfig(
            num_channels=1,
            embedding_size=size.hidden_sizes[0],
            hidden_sizes=list(size.hidden_sizes),
            depths=list(size.depths),
            layer_type="basic",
        )
        # The layout of memory that convolutions are fastest in; the values do not depend on it.
        self.backbone = convert_conv2d_weight_memory_format(
            ResNetModel(config), torch.channels_last
        )
        # The largest of a patch is the same rectified before or after; after, a quarter is left.
        start = self.backbone.embedder
        pooled = nn.Sequential(start.pooler, start.embedder.activation)
        start.register_module("pooler", pooled)
        start.embedder.register_module("activation", nn.Identity())
        self.projection = nn.Linear(size.hidden_sizes[-1], width)

    def forward(self, fc: torch.Tensor) -> torch.Tensor:
        """(batch, parcel, parcel) -> (batch, width)."""
        image = fc[:, None].contiguous(memory_format=torch.channels_last)
        features: torch.Tensor = self.projection(self.backbone(image).pooler_output.flatten(1))
        return features


def reestimate_batchnorm(encoder: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Replace the running statistics of BatchNorm by those of one pass over the training rows.

    After a few dozen steps the running averages are still far from the data, and an evaluation
    with them is noise; call this before every evaluation, with training rows only.

    Parameters
    ----------
    encoder
        Its weights stay as they are, and so does its mode (training or evaluation).
    batches
        Inputs of the encoder; all batches weigh the same, so make them equal in size.
    """
    update_bn(batches, encoder)
