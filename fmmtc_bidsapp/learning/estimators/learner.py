"""What all trainable models have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from fmmtc_bidsapp.models.declared import Declared
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.networks.brain_network_transformer import PUBLISHED_SIZE, BrainNetworkSize
from fmmtc_bidsapp.models.networks.resnet import RESNET_18, ResNetSize
from fmmtc_bidsapp.options import ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples, Floats, Ints

if TYPE_CHECKING:
    # Importing it takes seconds.
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

__all__ = ["Fitted", "Learner", "Setup", "ValidationCurve", "by_key", "mean_cross_entropy"]


@dataclass(frozen=True)
class Setup:
    """How to train, apart from the people and the seed."""

    train: TrainOptions
    model: ModelOptions
    device: torch.device
    dtype: torch.dtype
    """Arithmetic of the steps of training: float32 or bfloat16. All else is computed in float32."""
    resnet: ResNetSize = RESNET_18
    bnt: BrainNetworkSize = PUBLISHED_SIZE
    encoder: BrainLM | None = None
    """Where a fine-tuned encoder starts; only ``brainlm-tuned`` needs it."""
    brainlm: BrainLMSize = field(default_factory=BrainLMSize)
    """Size of the encoder that ``brainlm-scratch`` trains from random weights."""
    adjust: bool = False
    """Whether the covariates are regressed out of the columns that linear models read."""


@dataclass(frozen=True, eq=False)
class ValidationCurve:
    """Predictions of validation people after every epoch of one training."""

    logits: Floats
    """(epoch, validation person)"""
    loss: Floats
    """(epoch,) mean binary cross-entropy"""


class Fitted(Protocol):
    """A trained model."""

    @property
    def train_loss(self) -> Floats:
        """Mean loss of every epoch, (epoch,)."""

    def logits(self, people: Examples) -> Floats:
        """Predict people, whose outcomes are not read, -> (person,)."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything learnt, by name."""

    def description(self) -> dict[str, Any]:
        """Return what `Learner.restore` needs besides the tensors, ready for JSON."""


class Learner(Protocol):
    """A model that can be trained on rows of a cohort."""

    def __init__(self, setup: Setup) -> None: ...

    def validation_curve(
        self, examples: Examples, train: Ints, validation: Ints, seed: int
    ) -> ValidationCurve:
        """Train on some rows to the last epoch and predict other rows after each epoch."""

    def fit(self, examples: Examples, rows: Ints, epoch: int, seed: int) -> Fitted:
        """Train on the rows and stop after `epoch` epochs of the same schedule."""

    def declared(self, fitted: Mapping[str, Any], n_values: int) -> Mapping[str, Declared]:
        """Declare the tensors for `restore`, of a description and a number of stored values."""

    def restore(
        self, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]
    ) -> Fitted:
        """Rebuild from `Fitted.tensors` and `Fitted.description`."""


def by_key(examples: Examples, rows: Ints) -> Ints:
    """Sort (person,) rows by the people's keys, so that a fit does not depend on their order.

    Batches, splits, ties and the last digit of a sum would follow it.
    """
    return rows[np.argsort([examples.keys[row] for row in rows], kind="stable")]


def mean_cross_entropy(logits: Floats, y: Ints) -> float:
    """Mean binary cross-entropy of (person,) logits against (person,) outcomes."""
    return float((np.logaddexp(0, logits) - y * logits).mean())
