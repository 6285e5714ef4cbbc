"""Folds, and what a model predicts of the test participants of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fmmtc_bidsapp.errors import require
from fmmtc_bidsapp.records.arrays import Floats, Ints

__all__ = ["Blocks", "Calibration", "Fold", "FoldPredictions"]


Blocks = Sequence[Sequence[Sequence[int]]]
"""Who may exchange outcomes: by block its units, by unit its rows; units change places whole."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows of one outer split."""

    repeat: int
    fold: int
    train: Ints
    test: Ints

    def __post_init__(self) -> None:
        require(
            not set(self.train.tolist()) & set(self.test.tolist()),
            f"Fold {self.fold} of repeat {self.repeat} has a person in training and in test.",
        )


@dataclass(frozen=True)
class Calibration:
    """Map from a logit to a probability: ``expit(slope * logit + intercept)``, or the knots."""

    method: str
    slope: float
    intercept: float
    threshold: float
    """Probability from which a person counts as positive."""
    knots: tuple[tuple[float, float], ...] = ()
    """(logit, probability) points that ``isotonic`` joins by straight lines; else none."""

    def __post_init__(self) -> None:
        # JSON knows lists alone; what was written and read back must equal what was written.
        points = tuple((float(x), float(p)) for x, p in self.knots)
        object.__setattr__(self, "knots", points)


@dataclass(frozen=True, eq=False)
class FoldPredictions:
    """What one model says of the test rows of one fold, with how it got there."""

    model: str
    fold: Fold
    logit: Floats
    """(test person,) raw output"""
    calibration: Calibration
    prevalence: float
    """Share of positives among the training rows."""
    epoch: int
    """Epochs trained, as the inner folds chose (1 for models without epochs)."""
    validation_loss: Floats
    """(epoch,) mean over inner folds"""
    train_loss: Floats
    """(epoch,) of the refit"""
    notes: Mapping[str, float] = field(default_factory=dict)
    """Counts worth reporting, such as imputed edges."""
    seed: int = 0
    """Which of the ``--seeds`` trainings; 0 also where they are merged."""
    refits: Floats | None = None
    """(training, test person) calibrated probability of each of the ``--seeds`` trainings that are
    merged here; None with one."""
    raw: Floats | None = None
    """(test person,) mean output of the merged trainings before calibration; None with one, whose
    `logit` it is."""
    selection: str = "nested"
    """``nested``, or of the published protocol ``best-on-test`` (optimistic: the epoch was chosen
    on these very rows) or ``last-epoch``."""

    def __post_init__(self) -> None:
        lost = int((~np.isfinite(self.logit)).sum())
        require(
            not lost,
            f"{self.model} gave {lost} of {len(self.logit)} people an output that is no number: "
            "training diverged (use a smaller --learning-rate or --precision float32), or these "
            "people hold values far beyond those of the training people.",
        )

    @property
    def output(self) -> Floats:
        """(test person,) output before calibration, the mean of merged trainings."""
        return self.logit if self.raw is None else self.raw
