"""The whole procedure on training rows: choose the epoch, calibrate, train, and predict others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmmtc_bidsapp.learning.calibrate import check_calibration, fit_calibration
from fmmtc_bidsapp.learning.learner import Fitted, Setup
from fmmtc_bidsapp.learning.models import MAIN_MODEL, MODELS, check_needs
from fmmtc_bidsapp.learning.seeds import derive_seed
from fmmtc_bidsapp.learning.splits import inner_folds, outer_folds
from fmmtc_bidsapp.options import EvaluationOptions, TrainOptions
from fmmtc_bidsapp.records import Calibration, Examples, Floats, Fold, FoldPredictions, Ints

__all__ = [
    "MAIN_MODEL",
    "MODELS",
    "FittedModel",
    "fit_final",
    "fit_fold",
    "refit_seed",
    "rehearse_splits",
    "restore_model",
]


_SPLIT, _INNER, _REFIT = range(3)


def refit_seed(seed: int, fold: Fold) -> int:
    """Seed with which `fit_fold` trains on all training rows of a fold."""
    return derive_seed(derive_seed(seed, fold.repeat, fold.fold), _REFIT)


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A calibrated model with how it came about."""

    name: str
    fitted: Fitted
    calibration: Calibration
    prevalence: float
    """Share of positives among the training rows."""
    epoch: int
    """Epochs trained, as the inner folds chose."""
    validation_loss: Floats
    """(epoch,) mean over inner folds"""

    def logits(self, people: Examples) -> Floats:
        """Predict people, -> (person,)."""
        return self.fitted.logits(people)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything learnt, by name."""
        return self.fitted.tensors()

    def description(self) -> dict[str, Any]:
        """Everything else that `restore_model` needs, ready for JSON."""
        return {
            "model": self.name,
            "calibration": asdict(self.calibration),
            "prevalence": self.prevalence,
            "epoch": self.epoch,
            "validation_loss": self.validation_loss.tolist(),
            "fitted": self.fitted.description(),
            "tensors": {name: list(each.shape) for name, each in self.tensors().items()},
        }


def restore_model(
    tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any], setup: Setup
) -> FittedModel:
    """Rebuild a model from `FittedModel.tensors` and `FittedModel.description`.

    Parameters
    ----------
    tensors : mapping of str to torch.Tensor
        With the names and shapes of ``description["tensors"]``.
    description : mapping
        As read from JSON.
    setup : Setup
        Where and in which arithmetic to compute.

    Returns
    -------
    FittedModel
    """
    return FittedModel(
        name=description["model"],
        fitted=MODELS[description["model"]].learner(setup).restore(tensors, description["fitted"]),
        calibration=Calibration(**description["calibration"]),
        prevalence=description["prevalence"],
        epoch=description["epoch"],
        validation_loss=np.array(description["validation_loss"]),
    )


def fit_fold(
    name: str,
    examples: Examples,
    fold: Fold,
    setup: Setup,
    evaluation: EvaluationOptions,
    *,
    seed: int,
) -> FoldPredictions:
    """Run the whole procedure on the training rows of a fold and predict its test rows.

    Parameters
    ----------
    name : str
        A key of `MODELS`.
    examples : Examples
        The cohort; outcomes of test rows are not read.
    fold : Fold
        Rows to train on and rows to predict.
    setup : Setup
        How to train.
    evaluation : EvaluationOptions
        Calibration and threshold.
    seed : int
        Seed of the run; the fold draws its own from it.

    Returns
    -------
    FoldPredictions
    """
    own_seed = derive_seed(seed, fold.repeat, fold.fold)
    model = _fit_nested(name, examples, fold.train, setup, evaluation, own_seed)
    return FoldPredictions(
        model=name,
        fold=fold,
        logit=model.logits(examples.take(fold.test)),
        calibration=model.calibration,
        prevalence=model.prevalence,
        epoch=model.epoch,
        validation_loss=model.validation_loss,
        train_loss=model.fitted.train_loss,
        notes={
            "edges_imputed_train": _missing_edges(examples.fc, fold.train),
            "edges_imputed_test": _missing_edges(examples.fc, fold.test),
        },
    )


def fit_final(
    name: str,
    examples: Examples,
    setup: Setup,
    evaluation: EvaluationOptions,
    *,
    seed: int,
) -> FittedModel:
    """Run the same procedure on everyone: the model to keep.

    Parameters
    ----------
    name, examples, setup, evaluation, seed
        As in `fit_fold`.

    Returns
    -------
    FittedModel
    """
    everyone = np.arange(len(examples.keys))
    return _fit_nested(name, examples, everyone, setup, evaluation, derive_seed(seed))


def _fit_nested(
    name: str,
    examples: Examples,
    rows: Ints,
    setup: Setup,
    evaluation: EvaluationOptions,
    seed: int,
) -> FittedModel:
    """Inner folds choose the epoch and fit the calibration; one training on all rows follows."""
    check_needs([name], examples)
    check_calibration(evaluation.calibration, len(examples.keys))
    learner = MODELS[name].learner(setup)
    splits = _inner(examples.strata, examples.groups, rows, setup.train.inner_folds, seed)
    paths = [
        learner.path(examples, rows[fit], rows[held_out], derive_seed(seed, _INNER, i))
        for i, (fit, held_out) in enumerate(splits)
    ]
    validation_loss = np.mean([path.loss for path in paths], axis=0)
    best = int(validation_loss.argmin())
    held_out_rows = np.concatenate([rows[held_out] for _, held_out in splits])
    prevalence = float(examples.y[rows].mean())
    calibration = fit_calibration(
        np.concatenate([path.logits[best] for path in paths]),
        examples.y[held_out_rows],
        evaluation.calibration,
        evaluation.threshold,
        prevalence,
    )
    return FittedModel(
        name=name,
        fitted=learner.fit(examples, rows, best + 1, derive_seed(seed, _REFIT)),
        calibration=calibration,
        prevalence=prevalence,
        epoch=best + 1,
        validation_loss=validation_loss,
    )


def rehearse_splits(
    strata: Sequence[str], groups: Sequence[str] | None, train: TrainOptions, seed: int
) -> None:
    """Make every split that a run will make, and throw them away.

    Groups can be too few or too lopsided for an inner fold in ways that no count foretells; found
    here, that costs nobody a night of encoding.

    Parameters
    ----------
    strata, groups
        (person,) as in `fmmtc_bidsapp.records.Examples`.
    train : TrainOptions
        Outer folds, repeats and inner folds.
    seed : int
        Seed of the run.

    Raises
    ------
    InputError
        With the split that fails, and what to do.
    """
    everyone = np.arange(len(strata))
    outer = [
        (fold.train, derive_seed(seed, fold.repeat, fold.fold))
        for fold in outer_folds(strata, train.folds, train.repeats, seed, groups)
    ]
    for rows, own_seed in [*outer, (everyone, derive_seed(seed))]:
        _inner(strata, groups, rows, train.inner_folds, own_seed)


def _inner(
    strata: Sequence[str], groups: Sequence[str] | None, rows: Ints, folds: int, seed: int
) -> list[tuple[Ints, Ints]]:
    own = None if groups is None else [groups[row] for row in rows]
    return inner_folds([strata[row] for row in rows], folds, derive_seed(seed, _SPLIT), own)


def _missing_edges(fc: NDArray[np.float32], rows: Ints) -> float:
    """Edges that the rows lack, together; each is counted once, not per triangle."""
    upper = np.triu_indices(fc.shape[1], k=1)
    return float(sum(int(np.isnan(fc[row][upper]).sum()) for row in rows))
