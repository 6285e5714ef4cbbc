"""Models without epochs: classifiers on features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit

from fmmtc_bidsapp.learning.estimators.classifiers import HEADS, FittedHead, Head
from fmmtc_bidsapp.learning.estimators.learner import (
    Fitted,
    Setup,
    ValidationCurve,
    by_key,
    mean_cross_entropy,
)
from fmmtc_bidsapp.learning.preprocessing.adjust import (
    ADJUSTMENT,
    Adjustment,
    fit_adjustment,
    restore_adjustment,
)
from fmmtc_bidsapp.learning.preprocessing.features import (
    FEATURES,
    FeatureSet,
    Scaling,
    declared_scaling,
    fit_scaling,
    restore_scaling,
)
from fmmtc_bidsapp.models.declared import Declared, floats, under
from fmmtc_bidsapp.records import Examples, Floats, Ints

__all__ = ["ColumnsLearner", "DummyLearner", "FittedColumns", "FittedDummy"]

Arrays = Mapping[str, NDArray[Any]]


class _WithoutEpochs(ABC):
    """A learner that is done after one step."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @abstractmethod
    def fit(self, examples: Examples, rows: Ints, epoch: int, seed: int) -> Fitted:
        """Train on the rows."""

    def validation_curve(
        self, examples: Examples, train: Ints, validation: Ints, seed: int
    ) -> ValidationCurve:
        """Train once and predict the validation rows."""
        people = examples.take(validation)
        logits = self.fit(examples, train, 1, seed).logits(people)
        loss = mean_cross_entropy(logits, people.y)
        return ValidationCurve(logits=logits[None], loss=np.array([loss]))


@dataclass(frozen=True, eq=False)
class FittedDummy:
    """The training prevalence for everyone."""

    intercept: float
    train_loss: Floats

    def logits(self, people: Examples) -> Floats:
        """Predict people, -> (person,)."""
        return np.full(len(people.keys), self.intercept)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Log odds of the training prevalence."""
        return {"intercept": torch.tensor([self.intercept], dtype=torch.float64)}

    def description(self) -> dict[str, Any]:
        """Loss of the training rows."""
        return {"train_loss": self.train_loss.tolist()}


class DummyLearner(_WithoutEpochs):
    """The training prevalence for everyone."""

    def declared(self, fitted: Mapping[str, Any], n_values: int) -> dict[str, Declared]:
        """Declare the one tensor."""
        return {"intercept": floats(1)}

    def fit(self, examples: Examples, rows: Ints, epoch: int, seed: int) -> FittedDummy:
        """Take the log odds of the share of positives among the rows."""
        intercept = float(logit(examples.y[rows].mean()))
        loss = mean_cross_entropy(np.full(len(rows), intercept), examples.y[rows])
        return FittedDummy(intercept, np.array([loss]))

    def restore(
        self, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]
    ) -> FittedDummy:
        """Rebuild from tensors."""
        return FittedDummy(float(tensors["intercept"]), np.array(description["train_loss"]))


@dataclass(frozen=True, eq=False)
class FittedColumns:
    """A classifier with the features it was trained on."""

    features: FeatureSet
    learnt: Arrays
    scaling: Scaling
    head: FittedHead
    train_loss: Floats
    adjustment: Adjustment | None = None
    """To covariates, of the columns that the classifier reads; None without ``--adjust``."""

    def logits(self, people: Examples) -> Floats:
        """Predict people, -> (person,)."""
        columns = self.scaling.apply(self.features.read(people, self.learnt))
        if self.adjustment is not None:
            columns = self.adjustment.apply(columns, people)
        return self.head.logits(columns)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything learnt: of the features, their scale, and the classifier."""
        parts = {
            "learnt": self.learnt,
            "scaling": self.scaling.arrays(),
            "head": self.head.arrays(),
            "adjustment": {} if self.adjustment is None else self.adjustment.arrays(),
        }
        return {
            f"{part}.{name}": torch.tensor(np.ascontiguousarray(array))
            for part, arrays in parts.items()
            for name, array in arrays.items()
        }

    def description(self) -> dict[str, Any]:
        """Loss of the training rows."""
        return {"train_loss": self.train_loss.tolist()}


class ColumnsLearner(_WithoutEpochs):
    """A classifier on one set of features (keys of `HEADS` and `FEATURES`), both fitted on rows."""

    def __init__(self, setup: Setup, head: str, features: str) -> None:
        super().__init__(setup)
        self.head: Head = HEADS[head]
        self.features = FEATURES[features]
        # Covariates and motion are no features of the brain: what is made of them stays as it is.
        self._can_adjust = self.head.is_linear and self.features.is_of_brain
        self.adjusts = setup.adjust and self._can_adjust

    def fit(self, examples: Examples, rows: Ints, epoch: int, seed: int) -> FittedColumns:
        """Fit on the rows."""
        rows = by_key(examples, rows)
        learnt, scaling, adjustment, seen = self._prepare(examples, rows)
        head = self.head.fit(seen, examples.y[rows], seed)
        loss = mean_cross_entropy(head.logits(seen), examples.y[rows])
        return FittedColumns(self.features, learnt, scaling, head, np.array([loss]), adjustment)

    def shuffled(
        self, examples: Examples, train: Ints, test: Ints, labels: Ints, seed: int
    ) -> Floats:
        """Fit once per (permutation, person) outcomes, -> (permutation, test person) logits.

        The features are made once, as they do not read outcomes.
        """
        train = by_key(examples, train)
        learnt, scaling, adjustment, seen = self._prepare(examples, train)
        people = examples.take(test)
        others = scaling.apply(self.features.read(people, learnt))
        if adjustment is not None:
            others = adjustment.apply(others, people)
        return self.head.many(seen, labels[:, train], others, seed)

    def declared(self, fitted: Mapping[str, Any], n_values: int) -> dict[str, Declared]:
        """Declare the tensors of features, scale, classifier and adjustment."""
        rotated = self.head.rotates or self.features.n_components is not None
        return {
            **under("learnt.", self.features.declared),
            **under("scaling.", declared_scaling(rotated=rotated)),
            **under("head.", self.head.declared),
            **(under("adjustment.", ADJUSTMENT) if self._can_adjust else {}),
        }

    def _prepare(
        self, examples: Examples, rows: Ints
    ) -> tuple[Arrays, Scaling, Adjustment | None, Floats]:
        """Return what was learnt without outcomes, and the columns of the rows."""
        learnt = self.features.learn(examples, rows)
        people = examples.take(rows)
        columns = self.features.read(people, learnt)
        scaling = fit_scaling(columns, self.features.n_components, rotate=self.head.rotates)
        scaled = scaling.apply(columns)
        if not self.adjusts:
            return learnt, scaling, None, scaled
        # Last: between here and the weighted sum nothing can bring the covariates back.
        adjustment = fit_adjustment(scaled, examples, rows)
        return learnt, scaling, adjustment, adjustment.apply(scaled, people)

    def restore(
        self, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]
    ) -> FittedColumns:
        """Rebuild from tensors."""
        parts: dict[str, dict[str, NDArray[Any]]] = {
            each: {} for each in ("learnt", "scaling", "head", "adjustment")
        }
        for path, tensor in tensors.items():
            part, _, name = path.partition(".")
            parts[part][name] = tensor.numpy()
        scaling = restore_scaling(parts["scaling"])
        head = self.head.restore(parts["head"])
        loss = np.array(description["train_loss"])
        adjusted = parts["adjustment"]
        adjustment = restore_adjustment(adjusted) if adjusted else None
        return FittedColumns(self.features, parts["learnt"], scaling, head, loss, adjustment)
