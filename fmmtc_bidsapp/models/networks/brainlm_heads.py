"""BrainLM as a predictor: a linear head on its features, frozen or trained with it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fmmtc_bidsapp.models.networks.single_stream import SingleStream, seeded

if TYPE_CHECKING:
    # Importing it takes seconds.
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

__all__ = ["TunedBrainLM", "build_frozen_brainlm", "build_tuned_brainlm"]


class TunedBrainLM(SingleStream):
    """The encoder and its head, all of it trainable.

    The features are standardised with fixed statistics before the head, as those of the frozen
    encoder are: between people they differ by a small part of their length, and a head on the
    bare features would learn little but their mean.

    Without dropout or BatchNorm, people are encoded one by one, each with the available tokens,
    and once more on the way back: a batch takes the memory of one person. `xyz` is (parcel, 3)
    in mm; `order` is (token,) numbered ``parcel * n_patches + patch``, one for training and
    test, as the features depend on it.
    """

    xyz: torch.Tensor
    order: torch.Tensor
    cls_mean: torch.Tensor
    cls_sd: torch.Tensor

    def __init__(
        self, encoder: BrainLM, head: nn.Module, xyz: torch.Tensor, order: torch.Tensor
    ) -> None:
        super().__init__(encoder.requires_grad_(True), head)
        hidden = encoder.size.hidden_size
        self.patch = encoder.size.timepoint_patching_size
        self.register_buffer("xyz", xyz.float().clone())
        self.register_buffer("order", order.clone())
        self.register_buffer("cls_mean", torch.zeros(hidden))
        self.register_buffer("cls_sd", torch.ones(hidden))

    def features(self, stream: torch.Tensor) -> torch.Tensor:
        """Encode windows and standardise, (batch, time, parcel) -> (batch, hidden).

        A patch of a parcel with a NaN is left out of the order.
        """
        return (self.encode(stream) - self.cls_mean) / self.cls_sd

    def encode(self, series: torch.Tensor) -> torch.Tensor:
        """Encode windows, (batch, time, parcel) -> (batch, hidden)."""
        return torch.cat(
            [
                checkpoint(self._encode_one, each, use_reentrant=False, preserve_rng_state=False)
                if torch.is_grad_enabled()
                else self._encode_one(each)
                for each in series.split(1)
            ]
        )

    def standardise(self, cls: torch.Tensor) -> None:
        """Set the statistics to those of the (training person, hidden) features before training."""
        sd, mean = torch.std_mean(cls.double(), dim=0, correction=0)
        varies = sd > 1e-7 * cls.double().abs().amax(dim=0)
        self.cls_mean.copy_(mean)
        self.cls_sd.copy_(torch.where(varies, sd, 1.0))

    def _encode_one(self, series: torch.Tensor) -> torch.Tensor:
        """(1, time, parcel) -> (1, hidden)."""
        there = ~series.mT.unflatten(2, (-1, self.patch)).isnan().any(dim=3).flatten()
        kept = self.order[there[self.order]]
        cls: torch.Tensor = self.encoder(series.mT.nan_to_num(), self.xyz[None], kept[None])
        return cls


def build_frozen_brainlm(hidden: int, seed: int) -> SingleStream:
    """Build a head of random weights for (person, hidden) features of the frozen encoder."""
    with seeded(seed):
        return SingleStream(nn.Identity(), nn.Linear(hidden, 1))


def build_tuned_brainlm(
    encoder: BrainLM, xyz: torch.Tensor, order: torch.Tensor, seed: int
) -> TunedBrainLM:
    """Build a trainable copy of an encoder with a head of random weights."""
    with seeded(seed):
        head = nn.Linear(encoder.size.hidden_size, 1)
    return TunedBrainLM(copy.deepcopy(encoder), head, xyz, order)
