"""transformers' ResNet as an encoder of connectivity matrices, images of one channel."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim.swa_utils import update_bn

__all__ = ["RESNET_18", "ResNetEncoder", "ResNetSize", "current_name", "reestimate_batchnorm"]


@dataclass(frozen=True)
class ResNetSize:
    """Channels and number of basic blocks of each stage."""

    hidden_sizes: tuple[int, ...]
    depths: tuple[int, ...]


RESNET_18 = ResNetSize(hidden_sizes=(64, 128, 256, 512), depths=(2, 2, 2, 2))
"""The paper's (He et al. 2016, doi 10.1109/CVPR.2016.90)."""


class ResNetEncoder(nn.Module):
    """ResNet of basic blocks, mean over the image, and a linear projection.

    `standardised`: each output feature has mean 0 and SD 1 over the batch in training and over
    the training rows in evaluation (BatchNorm without weights), so that the next layer has
    features of one scale. Batches of one person cannot be trained then.
    """

    def __init__(
        self, width: int, size: ResNetSize = RESNET_18, standardised: bool = False
    ) -> None:
        super().__init__()
        # The layout of memory that convolutions are fastest in; the values do not depend on it.
        self.backbone = convert_conv2d_weight_memory_format(_backbone(size), torch.channels_last)
        self.projection = nn.Linear(size.hidden_sizes[-1], width)
        self.scaling = nn.BatchNorm1d(width, affine=False) if standardised else nn.Identity()

    def forward(self, fc: torch.Tensor) -> torch.Tensor:
        """(batch, parcel, parcel) -> (batch, width)."""
        image = fc[:, None].contiguous(memory_format=torch.channels_last)
        pooled = self.backbone(image).pooler_output.flatten(1)
        features: torch.Tensor = self.projection(pooled)
        scaled: torch.Tensor = self.scaling(features)
        return scaled


def _backbone(size: ResNetSize) -> nn.Module:
    """(batch, 1, row, column) -> (batch, channel, row / 32, column / 32) for four stages.

    Weights are drawn convolution by convolution, as in He et al. 2015 (fan out), in the order in
    which versions before transformers' network drew them: the same seed gives the same weights.
    """
    # Here: it takes seconds to import.
    from transformers.models.resnet.configuration_resnet import ResNetConfig
    from transformers.models.resnet.modeling_resnet import ResNetModel

    config = ResNetConfig(
        num_channels=1,
        embedding_size=size.hidden_sizes[0],
        hidden_sizes=list(size.hidden_sizes),
        depths=list(size.depths),
        layer_type="basic",
    )
    with torch.random.fork_rng(devices=[]):
        backbone: nn.Module = ResNetModel(config)
    stem, *others = [each for each in backbone.modules() if isinstance(each, nn.Conv2d)]
    for convolution in (*others, stem):
        convolution.reset_parameters()
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return backbone


_OLD_NAME = re.compile(r"(.*\bbackbone\.)(\d+)\.(?:(shortcut|first|second)\.)?([01])\.(\w+)")
_PARTS = {"shortcut": "shortcut", "first": "layer.0", "second": "layer.1"}
_KINDS = ("convolution", "normalization")


def current_name(name: str, depths: Sequence[int]) -> str:
    """Translate the name of a tensor of a bundle written before transformers' network.

    `depths` are the blocks of each stage; other names are returned as they are.
    """
    found = _OLD_NAME.fullmatch(name)
    if found is None:
        return name
    prefix, number, part, kind, rest = found.groups()
    if part is None:
        return f"{prefix}embedder.embedder.{_KINDS[int(kind)]}.{rest}"
    # The blocks of all stages were numbered on, after the convolution, the pooling and the ReLU.
    block = int(number) - 3
    stage = 0
    while stage < len(depths) and block >= depths[stage]:
        block -= depths[stage]
        stage += 1
    place = f"encoder.stages.{stage}.layers.{block}.{_PARTS[part]}"
    return f"{prefix}{place}.{_KINDS[int(kind)]}.{rest}"


def reestimate_batchnorm(encoder: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Set BatchNorm's running statistics to those over all training rows.

    After a few dozen steps the running averages are still far from the data; call this before
    every evaluation, with mixed batches of training rows. Mean and variance are those over all
    batches together: the mean of variances within batches would leave out how batches, and so
    sites, differ. Weights and mode are unchanged.
    """
    moments: dict[nn.Module, list[torch.Tensor]] = {}

    def add(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        values = inputs[0].transpose(0, 1).flatten(1).double()
        count = torch.full_like(values[:, 0], values.shape[1])
        own = torch.stack([count, values.sum(dim=1), values.square().sum(dim=1)])
        moments.setdefault(norm, []).append(own)

    norms = [each for each in encoder.modules() if isinstance(each, _NORMS)]
    with ExitStack() as hooks:
        for norm in norms:
            hooks.callback(norm.register_forward_pre_hook(add).remove)
        update_bn(batches, encoder)
    for norm in norms:
        n, total, squares = torch.stack(moments[norm]).sum(dim=0)
        mean = total / n
        variance = ((squares - n * mean.square()) / (n - 1)).clamp(min=0)
        for name, found in (("running_mean", mean), ("running_var", variance)):
            norm.get_buffer(name).copy_(found)


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
