"""ResNet encoder of connectivity matrices, seen as images of one channel."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim.swa_utils import update_bn

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
    standardised
        Whether each output feature has mean 0 and SD 1 over the batch in training and over the
        training rows in evaluation (BatchNorm without weights), so that the next layer meets
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
        features: torch.Tensor = self.projection(self.backbone(image).mean(dim=(2, 3)))
        scaled: torch.Tensor = self.scaling(features)
        return scaled


class _BasicBlock(nn.Module):
    """Two convolutions beside a shortcut; a stride above 1 shrinks the image."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        fits = n_in == n_out and stride == 1
        self.shortcut = nn.Identity() if fits else _convolution(n_in, n_out, 1, stride)
        self.first = _convolution(n_in, n_out, 3, stride)
        self.second = _convolution(n_out, n_out, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(batch, n_in, row, column) -> (batch, n_out, row / stride, column / stride)."""
        residual = self.second(functional.relu(self.first(image)))
        return functional.relu(residual + self.shortcut(image))


def _backbone(size: ResNetSize) -> nn.Sequential:
    """(batch, 1, row, column) -> (batch, channel, row / 32, column / 32) for four stages."""
    blocks = []
    n_in = size.hidden_sizes[0]
    for stage, (width, depth) in enumerate(zip(size.hidden_sizes, size.depths, strict=True)):
        for place in range(depth):
            shrinks = stage > 0 and place == 0
            blocks.append(_BasicBlock(n_in, width, stride=2 if shrinks else 1))
            n_in = width
    return nn.Sequential(
        _convolution(1, size.hidden_sizes[0], 7, 2),
        # The largest of a patch is the same rectified before or after; after, a quarter is left.
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        *blocks,
    )


def _convolution(n_in: int, n_out: int, kernel: int, stride: int) -> nn.Sequential:
    """Build a convolution with BatchNorm, its weights as in He et al. 2015 (fan out)."""
    convolution = nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out))


def reestimate_batchnorm(encoder: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Replace the running statistics of BatchNorm by those of everybody in the training rows.

    After a few dozen steps the running averages are still far from the data, and an evaluation
    with them is noise; call this before every evaluation, with training rows only. Mean and
    variance are those over all batches together: the mean of variances within batches would leave
    out how batches differ, which is how sites differ where a batch is of one site.

    Parameters
    ----------
    encoder
        Its weights stay as they are, and so does its mode (training or evaluation).
    batches
        Inputs of the encoder. A batch is normalised by its own statistics on the way to the next
        layer, so let its people be mixed.
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
