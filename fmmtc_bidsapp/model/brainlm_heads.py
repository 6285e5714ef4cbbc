"""BrainLM as a predictor of its own: a linear head on its features, frozen or trained with it."""

from __future__ import annotations

import copy

import torch
from torch import nn

from fmmtc_bidsapp.model.brainlm import BrainLM
from fmmtc_bidsapp.model.single_stream import SingleStream, log_odds, seeded

__all__ = ["FrozenBrainLM", "TunedBrainLM", "build_frozen_brainlm", "build_tuned_brainlm"]


class FrozenBrainLM(SingleStream):
    """A linear head on features that were encoded once: a logistic regression."""

    needs = frozenset({"cls"})


class TunedBrainLM(nn.Module):
    """The encoder and its head, all of it trainable.

    The features are standardised with fixed statistics before the head, as those of the frozen
    encoder are: between people they differ by a small part of their length, and a head on the bare
    features would learn little else than their mean.

    The network has neither dropout nor BatchNorm, so a batch may be cut into smaller ones whose
    gradients are added up: the step is the same, and the memory is that of the smaller batch.

    Parameters
    ----------
    encoder
        Its weights are trained: give a copy of one that others use.
    head
        (batch, hidden) -> (batch, 1)
    cls_mean, cls_sd
        (hidden,) of the training rows, by this encoder before training.
    """

    needs = frozenset({"series"})
    cls_mean: torch.Tensor
    cls_sd: torch.Tensor

    def __init__(
        self, encoder: BrainLM, head: nn.Module, cls_mean: torch.Tensor, cls_sd: torch.Tensor
    ) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(True)
        self.head = head
        self.register_buffer("cls_mean", cls_mean.float().clone())
        self.register_buffer("cls_sd", cls_sd.float().clone())

    def features(
        self, series: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Encode windows and standardise; parameters as in `forward`. Returns (batch, hidden)."""
        cls: torch.Tensor = self.encoder(series.mT, xyz.expand(len(series), -1, -1), order)
        return (cls - self.cls_mean) / self.cls_sd

    def forward(
        self, series: torch.Tensor, xyz: torch.Tensor, order: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Encode windows and predict.

        Parameters
        ----------
        series
            (batch, time, parcel) normalised windows; parcels and patches that no token of `order`
            names may hold anything finite.
        xyz
            (parcel, 3) parcel coordinates in mm.
        order
            (batch, kept) tokens to show, in this order, numbered ``parcel * n_patches + patch``;
            all tokens, parcel by parcel, by default. One order for training and test, as the
            encoder's features depend on it.

        Returns
        -------
        torch.Tensor
            (batch,) logits in float32.
        """
        return log_odds(self.head, self.features(series, xyz, order))


def build_frozen_brainlm(hidden: int, seed: int) -> FrozenBrainLM:
    """Build a head for features of the frozen encoder.

    Parameters
    ----------
    hidden
        Width of the encoded series.
    seed
        The same seed gives the same weights; the caller's random state is left alone.
    """
    with seeded(seed):
        return FrozenBrainLM(nn.Identity(), nn.Linear(hidden, 1))


def build_tuned_brainlm(
    encoder: BrainLM, cls_mean: torch.Tensor, cls_sd: torch.Tensor, seed: int
) -> TunedBrainLM:
    """Build a trainable copy of an encoder with a head of random weights.

    Parameters
    ----------
    encoder
        Where training starts, pre-trained or random; it stays as it is.
    cls_mean, cls_sd
        (hidden,) of the training rows, by this encoder.
    seed
        Seed of the head; the caller's random state is left alone.
    """
    with seeded(seed):
        head = nn.Linear(encoder.config.hidden_size, 1)
    return TunedBrainLM(copy.deepcopy(encoder), head, cls_mean, cls_sd)
