"""A fitted network as one branch per stream and the part that joins them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from fmmtc_bidsapp.learning.estimators.classifiers import Weights
from fmmtc_bidsapp.learning.estimators.fused_features import FittedFused
from fmmtc_bidsapp.learning.estimators.learner import Fitted
from fmmtc_bidsapp.learning.estimators.train import FittedNetwork
from fmmtc_bidsapp.models.networks.fusion import Concat, Sum
from fmmtc_bidsapp.models.networks.single_stream import log_odds

__all__ = ["Branches", "branches_of"]

_ADDITIVE = (Concat, Sum)
"""Fusions after which a linear head sums one function of each stream."""


@dataclass(frozen=True, eq=False)
class Branches:
    """What a fitted network computes, in two stages."""

    source: FittedNetwork
    encode: tuple[Callable[[torch.Tensor], torch.Tensor], ...]
    """Of each stream: the network's input to features, (batch, ...) -> (batch, width)."""
    join: Callable[..., torch.Tensor]
    """The features of all streams to (batch,) logits in float32."""
    is_additive: bool
    """Whether the logit is a sum of one function a stream."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Of each stream, its modality."""
        return tuple(each.modality for each in self.source.kind.streams)


def branches_of(fitted: Fitted) -> Branches | None:
    """Split a copy of a fitted network, in evaluation mode, into branches and their fusion.

    None without a network, or with a classifier without gradients as its head.
    """
    if isinstance(fitted, FittedNetwork):
        return _apart(fitted, None)
    if isinstance(fitted, FittedFused) and isinstance(fitted.head, Weights):
        return _apart(fitted.network, _as_layer(fitted, fitted.head))
    return None


def _apart(source: FittedNetwork, other_head: nn.Module | None) -> Branches:
    network: Any = deepcopy(source.network).eval()
    for module in network.modules():
        # cuDNN has no gradient of a recurrent layer in evaluation mode; ours have no dropout.
        if isinstance(module, nn.RNNBase):
            module.train()
            # On CUDA a copy has its weights in pieces, and cuDNN warns at every call.
            module.flatten_parameters()
    head = network.head if other_head is None else other_head
    if len(source.kind.streams) == 1:
        return Branches(source, (network.features,), partial(log_odds, head), is_additive=True)

    def join(*features: torch.Tensor) -> torch.Tensor:
        return log_odds(head, network.fusion(*features))

    is_additive = isinstance(network.fusion, _ADDITIVE)
    return Branches(source, tuple(network.encoders), join, is_additive)


def _as_layer(fitted: FittedFused, head: Weights) -> nn.Linear:
    """Write a linear classifier of scaled features as a layer on the features themselves."""
    scaling = fitted.scaling
    rotated = head.weights if scaling.components is None else head.weights @ scaling.components
    weights = rotated / scaling.scale
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, len(weights), 1)
    layer.weight.data = torch.as_tensor(weights[None], dtype=torch.float32)
    bias = head.intercept - scaling.mean @ weights
    layer.bias.data = torch.as_tensor(np.array([bias]), dtype=torch.float32)
    return layer.requires_grad_(False).to(fitted.network.setup.device)
