"""Train a network; everything is learnt from the training rows.

AdamW, binary cross-entropy, and a cosine from the learning rate to 1e-7 over all epochs; a shorter
training follows the same curve and stops, so an epoch means the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fmmtc_bidsapp.learning.estimators.inputs import Batch, Inputs
from fmmtc_bidsapp.learning.estimators.learner import Setup, by_key
from fmmtc_bidsapp.learning.estimators.networks import NetworkKind
from fmmtc_bidsapp.learning.seeds import derive_seed
from fmmtc_bidsapp.modalities.preparation import Preparation
from fmmtc_bidsapp.models.device import autocast
from fmmtc_bidsapp.models.networks.resnet import reestimate_batchnorm
from fmmtc_bidsapp.models.networks.single_stream import log_odds
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = ["FittedNetwork", "Outputs", "Training", "take_step"]

_LAST_LEARNING_RATE = 1e-7

_SLOW = 0.02
"""Share of the learning rate for a part that is only tuned: 1e-5 where the others have 5e-4."""

_EVALUATION_BATCH = 4
"""Bounds the memory."""

_NORM_BATCH = 16
"""People that are normalised together while BatchNorm's statistics are estimated."""

_WEIGHTS, _ORDER, _DROPOUT, _NORMS = range(4)


@dataclass(frozen=True, eq=False)
class Outputs:
    """Features and logits of people, from one pass."""

    features: Floats
    """(person, width) what the head reads; of FMM_TC the paper's R_TC"""
    logits: Floats
    """(person,)"""


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A trained network with the preparation of its inputs."""

    network: nn.Module
    kind: NetworkKind
    sizes: Mapping[str, Any]
    preparations: Sequence[Preparation]
    """One for each input."""
    setup: Setup
    train_loss: Floats

    @property
    def source(self) -> FittedNetwork:
        """The network itself."""
        return self

    def logits(self, people: Examples) -> Floats:
        """Predict people, -> (person,)."""
        return self.outputs(self.prepare(people)).logits

    def prepare(self, people: Examples) -> Inputs:
        """Prepare people with the preparation of the training rows."""
        return Inputs(people, self.kind.streams, self.preparations, self.setup.device)

    @torch.no_grad()
    def outputs(self, inputs: Inputs) -> Outputs:
        """Compute features and logits of prepared people."""
        network: Any = self.network.eval()
        features, logits = [], []
        for batch in inputs.batches(_EVALUATION_BATCH):
            features.append(network.features(*batch))
            logits.append(log_odds(network.head, features[-1]))
        # One transfer for all batches, at the end: before it the host waits for nothing.
        found = (torch.cat(each).double().cpu().numpy() for each in (features, logits))
        return Outputs(*found)

    def read(self, outputs: Outputs) -> Floats:
        """Return the logits of its `outputs`, (person,)."""
        return outputs.logits

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights and BatchNorm statistics, and the preparation of the inputs."""
        state = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        pairs = zip(self.kind.streams, self.preparations, strict=True)
        learnt = [stream.arrays(each) for stream, each in pairs]
        return state | {
            name: torch.as_tensor(value) for own in learnt for name, value in own.items()
        }

    def description(self) -> dict[str, Any]:
        """Sizes and parts of the network."""
        return {**self.sizes, "train_loss": self.train_loss.tolist()}


class Training:
    """One network in training, with its training rows; nothing of other rows is read.

    Weights, the order of the batches and dropout each have a part of the seed.
    """

    def __init__(
        self, kind: NetworkKind, setup: Setup, examples: Examples, rows: Ints, seed: int
    ) -> None:
        rows = by_key(examples, rows)
        self.kind = kind
        self.setup = setup
        self.seed = seed
        self.rng = np.random.default_rng(derive_seed(seed, _ORDER))
        self.preparations = [
            each.preparation.fit(each.values(examples), rows) for each in kind.streams
        ]
        self.inputs = Inputs(examples, kind.streams, self.preparations, setup.device, rows)
        self.outcomes = examples.y[rows]
        self.sizes = kind.sizes(examples, setup)
        network = kind.build(self.sizes, derive_seed(seed, _WEIGHTS))
        # Otherwise the first epochs are spent on the share of responders.
        nn.init.constant_(network.get_parameter("head.bias"), float(logit(self.outcomes.mean())))
        self.network = network.to(setup.device)
        if kind.begin is not None:
            kind.begin(self.network, examples, self.inputs, setup)

    def prepare(self, people: Examples) -> Inputs:
        """Prepare other people as the training rows are."""
        return Inputs(people, self.kind.streams, self.preparations, self.setup.device)

    def trained(self) -> Iterator[FittedNetwork]:
        """Train to the last epoch; yields the network after each, valid until the next."""
        for _ in self._epochs():
            yield self.fitted()

    def finish(self, epoch: int) -> FittedNetwork:
        """Train for some epochs."""
        return self.fitted(np.array(list(islice(self._epochs(), epoch))))

    def fitted(self, train_loss: Floats | None = None) -> FittedNetwork:
        """Return the network as it stands, with BatchNorm statistics of its training rows."""
        if self.kind.batchnorm:
            part, stream = self.kind.batchnorm
            # In the order of the files a batch would be of one site, and hide how sites differ.
            order = np.random.default_rng(derive_seed(self.seed, _NORMS)).permutation(
                len(self.inputs)
            )
            reestimate_batchnorm(
                self.network.get_submodule(part),
                (batch[stream] for batch in self.inputs.batches(_NORM_BATCH, order)),
            )
        return FittedNetwork(
            self.network,
            self.kind,
            self.sizes,
            self.preparations,
            self.setup,
            np.zeros(0) if train_loss is None else train_loss,
        )

    def _epochs(self) -> Iterator[float]:
        """Train epoch by epoch; yields the mean loss of each."""
        options = self.setup.train
        optimizer = torch.optim.AdamW(
            {"params": each, "lr": rate} for rate, each in self._parameters().items()
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=options.epochs, eta_min=_LAST_LEARNING_RATE
        )
        for epoch in range(options.epochs):
            with _seeded(derive_seed(self.seed, _DROPOUT, epoch), self.setup.device):
                loss = self._epoch(optimizer)
            yield loss
            schedule.step()

    def _parameters(self) -> dict[float, list[nn.Parameter]]:
        """Group the parameters by their learning rate."""
        rate = self.setup.train.learning_rate
        groups: dict[float, list[nn.Parameter]] = {}
        for name, each in self.network.named_parameters():
            is_slow = name.partition(".")[0] == self.kind.slow
            groups.setdefault(rate * _SLOW if is_slow else rate, []).append(each)
        return groups

    def _epoch(self, optimizer: torch.optim.Optimizer) -> float:
        self.network.train()
        device, size = self.setup.device, self.setup.train.batch_size
        order = self.rng.permutation(len(self.inputs))
        y = torch.as_tensor(self.outcomes[order], dtype=torch.float32, device=device)
        # Summed up where it is computed: to read it at every step would make the host wait.
        total = torch.zeros((), dtype=torch.float64, device=device)
        done = 0
        for batch in self.inputs.batches(size, order):
            n = len(batch[0])
            loss = take_step(self.network, optimizer, batch, y[done : done + n], self.setup)
            total += loss.double() * n
            done += n
        return float(total) / len(order)


def take_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    y: torch.Tensor,
    setup: Setup,
) -> torch.Tensor:
    """Change the weights by one step on a batch; returns its mean loss, a scalar on the device."""
    with autocast(setup.device, setup.dtype):
        logits = network(*batch)
    loss = binary_cross_entropy_with_logits(logits, y)
    torch.autograd.backward(loss)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw dropout from a seed, and leave the caller's random state alone."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
