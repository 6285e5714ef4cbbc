"""Classifiers on R_TC, the features that FMM_TC hands to its last layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fmmtc_bidsapp.learning.estimators.classifiers import HEADS, FittedHead
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.shared_training import NetworkLearner, OfNetwork
from fmmtc_bidsapp.learning.estimators.train import FittedNetwork, Outputs
from fmmtc_bidsapp.learning.preprocessing.features import (
    Scaling,
    declared_scaling,
    fit_scaling,
    restore_scaling,
)
from fmmtc_bidsapp.models.declared import Declared, under
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = ["FittedFused", "FusedLearner"]


@dataclass(frozen=True, eq=False)
class FittedFused:
    """A network up to its last layer, and the classifier in that layer's place."""

    network: FittedNetwork
    scaling: Scaling
    head: FittedHead

    @property
    def source(self) -> FittedNetwork:
        """The network."""
        return self.network

    @property
    def train_loss(self) -> Floats:
        """Mean loss of every epoch of the network, (epoch,)."""
        return self.network.train_loss

    def logits(self, people: Examples) -> Floats:
        """Predict people, -> (person,)."""
        return self.read(self.network.outputs(self.network.prepare(people)))

    def read(self, outputs: Outputs) -> Floats:
        """Predict people from the network's `outputs`, -> (person,)."""
        return self.head.logits(self.scaling.apply(outputs.features))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights of the network, the scale of its features, and the classifier."""
        arrays = {f"scaling.{name}": each for name, each in self.scaling.arrays().items()}
        arrays |= {f"head.{name}": each for name, each in self.head.arrays().items()}
        own = {name: torch.tensor(np.ascontiguousarray(each)) for name, each in arrays.items()}
        return own | {f"fmmtc.{name}": each for name, each in self.network.tensors().items()}

    def description(self) -> dict[str, Any]:
        """Sizes and parts of the network."""
        return self.network.description()


class FusedLearner(OfNetwork):
    """Any classifier on the fused features of FMM_TC, both trained on the same rows.

    The network is trained with its own last layer, whose validation loss chooses the epoch;
    then the classifier replaces that layer. Models of one network share its training.
    """

    def __init__(self, setup: Setup, network: str, head: str) -> None:
        super().__init__(setup, network)
        self.alone = NetworkLearner(setup, network)
        self.head = HEADS[head]

    def on(
        self, network: FittedNetwork, seen: Callable[[], Outputs], y: Ints, seed: int
    ) -> FittedFused:
        """Train the classifier on the network's features of the training people."""
        features = seen().features
        scaling = fit_scaling(features, None, rotate=self.head.rotates)
        return FittedFused(network, scaling, self.head.fit(scaling.apply(features), y, seed))

    def declared(self, fitted: Mapping[str, Any], n_values: int) -> dict[str, Declared]:
        """Declare the tensors of the three parts."""
        return {
            **under("fmmtc.", self.alone.declared(fitted, n_values)),
            **under("scaling.", declared_scaling(rotated=self.head.rotates)),
            **under("head.", self.head.declared),
        }

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
            self.alone.restore(parts["fmmtc"], description),
            restore_scaling(scaling),
            self.head.restore(head),
        )
