"""Models that share one training of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Protocol

import numpy as np
import torch

from fmmtc_bidsapp.learning.estimators.learner import (
    Fitted,
    Setup,
    ValidationCurve,
    mean_cross_entropy,
)
from fmmtc_bidsapp.learning.estimators.networks import NETWORKS, NetworkKind
from fmmtc_bidsapp.learning.estimators.train import FittedNetwork, Outputs, Training
from fmmtc_bidsapp.models.declared import Declared, declared_network, under
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = ["NetworkLearner", "OfNetwork", "Reader", "finish", "follow", "predict"]


class Reader(Fitted, Protocol):
    """A model on a trained network."""

    @property
    def source(self) -> FittedNetwork:
        """The network."""

    def read(self, outputs: Outputs) -> Floats:
        """Predict people from the network's `outputs`, -> (person,)."""


class OfNetwork(ABC):
    """A learner of a model on a trained network, a key of `NETWORKS`."""

    def __init__(self, setup: Setup, network: str) -> None:
        self.setup = setup
        self.kind: NetworkKind = NETWORKS[network]

    @abstractmethod
    def on(self, network: FittedNetwork, seen: Callable[[], Outputs], y: Ints, seed: int) -> Reader:
        """Make this model of a network as it stands after some epoch.

        `seen` computes its outputs of the training people, at the first call, and `y` are
        their outcomes.
        """

    def validation_curve(
        self, examples: Examples, train: Ints, validation: Ints, seed: int
    ) -> ValidationCurve:
        """Train to the last epoch and predict the validation rows after each."""
        return follow([self], examples, train, validation, seed)[0]

    def fit(self, examples: Examples, rows: Ints, epoch: int, seed: int) -> Reader:
        """Train on the rows for some epochs of the schedule."""
        return finish([self], examples, rows, epoch, seed)[0]

    @abstractmethod
    def restore(
        self, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]
    ) -> Reader:
        """Rebuild from tensors."""


def follow(
    learners: Sequence[OfNetwork], examples: Examples, train: Ints, validation: Ints, seed: int
) -> tuple[ValidationCurve, ...]:
    """Train the learners' network once and predict the validation rows after each epoch.

    All have the loss of the network, so one epoch is chosen for all.
    """
    people = examples.take(validation)
    training = Training(learners[0].kind, learners[0].setup, examples, train, seed)
    inputs = training.prepare(people)
    logits: list[list[Floats]] = [[] for _ in learners]
    loss = []
    for network in training.trained():
        seen = cache(partial(network.outputs, training.inputs))
        outputs = network.outputs(inputs)
        for own, learner in zip(logits, learners, strict=True):
            own.append(learner.on(network, seen, training.outcomes, seed).read(outputs))
        loss.append(mean_cross_entropy(outputs.logits, people.y))
    return tuple(ValidationCurve(logits=np.array(own), loss=np.array(loss)) for own in logits)


def finish(
    learners: Sequence[OfNetwork], examples: Examples, rows: Ints, epoch: int, seed: int
) -> tuple[Reader, ...]:
    """Train the learners' network once for some epochs, and make each model of it."""
    training = Training(learners[0].kind, learners[0].setup, examples, rows, seed)
    network = training.finish(epoch)
    seen = cache(partial(network.outputs, training.inputs))
    return tuple(each.on(network, seen, training.outcomes, seed) for each in learners)


def predict(readers: Sequence[Reader], people: Examples) -> tuple[Floats, ...]:
    """Predict people by several models of one network in one pass, (person,) logits by model."""
    network = readers[0].source
    outputs = network.outputs(network.prepare(people))
    return tuple(each.read(outputs) for each in readers)


class NetworkLearner(OfNetwork):
    """A network trained end to end."""

    def declared(self, fitted: Mapping[str, Any], n_values: int) -> dict[str, Declared]:
        """Declare the tensors of a network of these sizes.

        ModelFileError if there is no such network, or it would be larger than the stored
        tensors.
        """
        prepared = {
            name: each for own in self.kind.streams for name, each in own.declared().items()
        }
        return prepared | under("network.", declared_network(self.kind, fitted, n_values))

    def on(
        self, network: FittedNetwork, seen: Callable[[], Outputs], y: Ints, seed: int
    ) -> FittedNetwork:
        """Return the network itself."""
        return network

    def restore(
        self, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]
    ) -> FittedNetwork:
        """Rebuild a trained network from its tensors."""
        sizes = {name: each for name, each in description.items() if name != "train_loss"}
        network = self.kind.build(sizes, 0)
        prefix = "network."
        network.load_state_dict(
            {name[len(prefix) :]: each for name, each in tensors.items() if name.startswith(prefix)}
        )
        arrays = {
            name: each.numpy() for name, each in tensors.items() if not name.startswith(prefix)
        }
        return FittedNetwork(
            network=network.to(self.setup.device),
            kind=self.kind,
            sizes=sizes,
            preparations=[each.restore(arrays) for each in self.kind.streams],
            setup=self.setup,
            train_loss=np.array(description["train_loss"]),
        )
