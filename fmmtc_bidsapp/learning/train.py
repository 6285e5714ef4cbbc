"""Training of FMM_TC with everything learnt inside the training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from scipy.special import logit
from torch.nn.functional import binary_cross_entropy_with_logits

from fmmtc_bidsapp.learning.learner import Setup, ValidationPath, mean_cross_entropy
from fmmtc_bidsapp.learning.prepare import Preparation, fit_preparation
from fmmtc_bidsapp.learning.seeds import derive_seed
from fmmtc_bidsapp.model.device import autocast
from fmmtc_bidsapp.model.network import FmmTc, build_fmmtc
from fmmtc_bidsapp.model.resnet import ResNetSize, reestimate_batchnorm
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = ["FittedFmmTc", "FmmTcLearner", "split_batches"]

_LAST_LEARNING_RATE = 1e-7

_EVALUATION_BATCH = 4
"""Small batches estimate BatchNorm's statistics as training saw them, and bound the memory."""


@dataclass(frozen=True, eq=False)
class FittedFmmTc:
    """A trained network with the preparation of its inputs."""

    network: FmmTc
    preparation: Preparation
    setup: Setup
    train_loss: Floats

    def logits(self, people: Examples) -> Floats:
        """Predict people, -> (person,)."""
        return self._batchwise(self.network, people)

    def fused(self, people: Examples) -> Floats:
        """Compute what the head reads, the paper's R_TC, -> (person, feature)."""
        return self._batchwise(self.network.features, people)

    @torch.no_grad()
    def _batchwise(self, compute: Callable[..., torch.Tensor], people: Examples) -> Floats:
        self.network.eval()
        device = self.setup.device
        batches = []
        for rows in split_batches(np.arange(len(people.keys)), _EVALUATION_BATCH):
            x_cls = torch.as_tensor(self.preparation.cls(people.cls[rows]), device=device)
            x_fc = torch.as_tensor(self.preparation.fc(people.fc[rows]), device=device)
            with autocast(device, self.setup.dtype):
                batches.append(compute(x_cls, x_fc).double().cpu().numpy())
        return np.concatenate(batches)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights and BatchNorm statistics, and the preparation of the inputs."""
        state = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        return {**state, **_preparation_tensors(self.preparation)}

    def description(self) -> dict[str, Any]:
        """Sizes and parts of the network."""
        return {
            "hidden": len(self.preparation.cls_mean),
            "fusion": self.setup.model.fusion,
            "resnet": asdict(self.setup.resnet),
            "train_loss": self.train_loss.tolist(),
        }


class FmmTcLearner:
    """FMM_TC: frozen series features and a ResNet of the connectivity, trained end to end.

    AdamW, binary cross-entropy, and a cosine from the learning rate to 1e-7 over all epochs; a
    shorter training follows the same curve and stops, so an epoch means the same everywhere.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    def path(self, examples: Examples, train: Ints, validation: Ints, seed: int) -> ValidationPath:
        """Train to the last epoch and predict the validation rows after each."""
        people = examples.take(validation)
        logits = [fitted.logits(people) for fitted in self.trained(examples, train, seed)]
        loss = [mean_cross_entropy(each, people.y) for each in logits]
        return ValidationPath(logits=np.array(logits), loss=np.array(loss))

    def trained(self, examples: Examples, rows: Ints, seed: int) -> Iterator[FittedFmmTc]:
        """Train to the last epoch; yields the network after each, good until the next is asked."""
        training = _Training(self.setup, examples, rows, seed)
        for _ in training.epochs():
            yield training.evaluable(np.array([]))

    def fit(self, examples: Examples, rows: Ints, epoch: int, seed: int) -> FittedFmmTc:
        """Train on the rows for some epochs of the schedule."""
        training = _Training(self.setup, examples, rows, seed)
        losses = list(islice(training.epochs(), epoch))
        return training.evaluable(np.array(losses))

    def restore(
        self, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]
    ) -> FittedFmmTc:
        """Rebuild a trained network from its tensors."""
        size = ResNetSize(**{name: tuple(each) for name, each in description["resnet"].items()})
        network = build_fmmtc(description["hidden"], description["fusion"], 0, size)
        prefix = "network."
        network.load_state_dict(
            {name[len(prefix) :]: each for name, each in tensors.items() if name.startswith(prefix)}
        )
        preparation = Preparation(
            cls_mean=tensors["cls_mean"].numpy(),
            cls_sd=tensors["cls_sd"].numpy(),
            edge_mean=tensors["edge_mean"].numpy(),
        )
        losses = np.array(description["train_loss"])
        return FittedFmmTc(network.to(self.setup.device), preparation, self.setup, losses)


class _Training:
    """One network on its way, with the rows that it learns from."""

    def __init__(self, setup: Setup, examples: Examples, rows: Ints, seed: int) -> None:
        self.setup = setup
        self.examples = examples
        self.rows = rows
        self.rng = np.random.default_rng(derive_seed(seed, 1))
        self.preparation = fit_preparation(examples, rows)
        network = build_fmmtc(
            examples.cls.shape[1], setup.model.fusion, derive_seed(seed, 0), setup.resnet
        )
        # Otherwise the first epochs are spent on the share of responders.
        torch.nn.init.constant_(
            network.get_parameter("head.bias"), float(logit(examples.y[rows].mean()))
        )
        self.network = network.to(setup.device)

    def epochs(self) -> Iterator[float]:
        """Train epoch by epoch; yields the mean loss of each."""
        options = self.setup.train
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=options.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=options.epochs, eta_min=_LAST_LEARNING_RATE
        )
        for _ in range(options.epochs):
            yield self._epoch(optimizer)
            schedule.step()

    def _epoch(self, optimizer: torch.optim.Optimizer) -> float:
        self.network.train()
        device, dtype = self.setup.device, self.setup.dtype
        total = 0.0
        for batch in split_batches(self.rng.permutation(self.rows), self.setup.train.batch_size):
            y = torch.as_tensor(self.examples.y[batch], dtype=torch.float32, device=device)
            with autocast(device, dtype):
                logits = self.network(self._cls(batch), self._fc(batch))
            loss = binary_cross_entropy_with_logits(logits, y)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item() * len(batch)
        return total / len(self.rows)

    def evaluable(self, train_loss: Floats) -> FittedFmmTc:
        """Return the network as it stands, with BatchNorm statistics of its training rows."""
        with autocast(self.setup.device, self.setup.dtype):
            reestimate_batchnorm(
                self.network.fc_encoder,
                (self._fc(batch) for batch in split_batches(self.rows, _EVALUATION_BATCH)),
            )
        return FittedFmmTc(self.network, self.preparation, self.setup, train_loss)

    def _cls(self, rows: Ints) -> torch.Tensor:
        return torch.as_tensor(
            self.preparation.cls(self.examples.cls[rows]), device=self.setup.device
        )

    def _fc(self, rows: Ints) -> torch.Tensor:
        return torch.as_tensor(
            self.preparation.fc(self.examples.fc[rows]), device=self.setup.device
        )


def split_batches(rows: Ints, size: int) -> list[Ints]:
    """Cut rows into the fewest batches of at most `size`, all but equal.

    From a size of 3 on nobody is alone in a batch, with BatchNorm statistics of their own.
    """
    return np.array_split(rows, max(1, -(-len(rows) // size)))


def _preparation_tensors(preparation: Preparation) -> dict[str, torch.Tensor]:
    return {
        "cls_mean": torch.as_tensor(preparation.cls_mean),
        "cls_sd": torch.as_tensor(preparation.cls_sd),
        "edge_mean": torch.as_tensor(preparation.edge_mean),
    }
