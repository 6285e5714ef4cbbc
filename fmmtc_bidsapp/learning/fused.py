"""Classifiers on R_TC: what a trained FMM_TC hands to its last layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fmmtc_bidsapp.learning.columns import Scaling, fit_scaling, restore_scaling
from fmmtc_bidsapp.learning.heads import HEADS, FittedHead
from fmmtc_bidsapp.learning.learner import Setup, ValidationPath, mean_cross_entropy
from fmmtc_bidsapp.learning.train import FittedFmmTc, FmmTcLearner
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = ["FittedFused", "FusedLearner"]


@dataclass(frozen=True, eq=False)
class FittedFused:
    """A network up to its last layer, and the classifier in that layer's place."""

    network: FittedFmmTc
    scaling: Scaling
    head: FittedHead

    @property
    def train_loss(self) -> Floats:
        """Mean loss of every epoch of the network, (epoch,)."""
        return self.network.train_loss

    def logits(self, people: Examples) -> Floats:
        """Predict people, -> (person,)."""
        return self.head.logits(self.scaling.apply(self.network.fused(people)))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights of the network, the scale of its features, and the classifier."""
        arrays = {f"scaling.{name}": each for name, each in self.scaling.arrays().items()}
        arrays |= {f"head.{name}": each for name, each in self.head.arrays().items()}
        own = {name: torch.tensor(np.ascontiguousarray(each)) for name, each in arrays.items()}
        return own | {f"fmmtc.{name}": each for name, each in self.network.tensors().items()}

    def description(self) -> dict[str, Any]:
        """Sizes and parts of the network."""
        return self.network.description()


class FusedLearner:
    """Any classifier on the fused features of FMM_TC, both trained on the same rows.

    The network is trained with its own last layer, whose validation loss chooses the epoch; then
    the classifier takes that layer's place. A supervised feature: as dear as the network itself.

    Parameters
    ----------
    setup
        How to train.
    head
        A name in `fmmtc_bidsapp.learning.heads.HEADS`.
    """

    def __init__(self, setup: Setup, head: str) -> None:
        self.network = FmmTcLearner(setup)
        self.head = HEADS[head]

    def path(self, examples: Examples, train: Ints, validation: Ints, seed: int) -> ValidationPath:
        """Train to the last epoch and predict the validation rows after each."""
        people = examples.take(validation)
        logits, loss = [], []
        for network in self.network.trained(examples, train, seed):
            logits.append(self._on(network, examples, train, seed).logits(people))
            loss.append(mean_cross_entropy(network.logits(people), people.y))
        return ValidationPath(logits=np.array(logits), loss=np.array(loss))

    def fit(self, examples: Examples, rows: Ints, epoch: int, seed: int) -> FittedFused:
        """Train the network for some epochs, then the classifier."""
        return self._on(self.network.fit(examples, rows, epoch, seed), examples, rows, seed)

    def _on(self, network: FittedFmmTc, examples: Examples, rows: Ints, seed: int) -> FittedFused:
        features = network.fused(examples.take(rows))
        scaling = fit_scaling(features, None, rotate=self.head.rotates)
        head = self.head.fit(scaling.apply(features), examples.y[rows], seed)
        return FittedFused(network, scaling, head)

    def restore(
        self, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]
    ) -> FittedFused:
        """Rebuild from tensors."""
        parts: dict[str, dict[str, torch.Tensor]] = {"fmmtc": {}, "scaling": {}, "head": {}}
        for path, tensor in tensors.items():
            part, _, name = path.partition(".")
            parts[part][name] = tensor
        scaling = {name: each.numpy() for name, each in parts["scaling"].items()}
        head = {name: each.numpy() for name, each in parts["head"].items()}
        return FittedFused(
            self.network.restore(parts["fmmtc"], description),
            restore_scaling(scaling),
            self.head.restore(head),
        )
