"""Nested cross-validation: choose the epoch, calibrate, train, predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.estimators.inputs import n_batches
from fmmtc_bidsapp.learning.estimators.learner import Fitted, Learner, Setup, ValidationPath, by_key
from fmmtc_bidsapp.learning.estimators.models import MAIN_MODEL, MODELS, check_needs, families
from fmmtc_bidsapp.learning.estimators.shared_training import (
    OfNetwork,
    Reader,
    finish,
    follow,
    predict,
)
from fmmtc_bidsapp.learning.metrics.calibrate import check_calibration, fit_calibration
from fmmtc_bidsapp.learning.model_selection.splits import inner_folds, outer_folds
from fmmtc_bidsapp.learning.preprocessing.adjust import ADJUSTMENT, OUTDATED, check_adjustment
from fmmtc_bidsapp.learning.seeds import derive_seed
from fmmtc_bidsapp.models.declared import check_tensors_declared
from fmmtc_bidsapp.options import EvaluationOptions, TrainOptions
from fmmtc_bidsapp.records import Calibration, Examples, Floats, Fold, FoldPredictions, Ints

__all__ = [
    "MAIN_MODEL",
    "MODELS",
    "FittedModel",
    "family_paths",
    "fit_final",
    "fit_fold",
    "fit_together",
    "refit_seed",
    "rehearse_adjustment",
    "rehearse_fold",
    "rehearse_splits",
    "restore_model",
    "train_together",
]


_SPLIT, _INNER, _REFIT, _TRAINING = range(4)

_ADJUSTMENT = "adjustment."
"""Before the names of the tensors of an adjustment to covariates."""


def refit_seed(seed: int, fold: Fold, training: int = 0) -> int:
    """Seed with which `fit_fold` trains on all training rows of a fold."""
    return derive_seed(_own(derive_seed(seed, fold.repeat, fold.fold), training), _REFIT)


def _own(seed: int, training: int) -> int:
    """Seed of one of several trainings; the first has that of a single one."""
    return derive_seed(seed, _TRAINING, training) if training else seed


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A calibrated model with how it came about."""

    name: str
    fitted: Fitted
    calibration: Calibration
    prevalence: float
    """Share of positives among the training rows."""
    epoch: int
    """Epochs trained: as many steps of the optimiser as the inner folds chose."""
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
    tensors: Mapping[str, torch.Tensor],
    description: Mapping[str, Any],
    setup: Setup,
    lengths: Mapping[str, int] | None = None,
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
    lengths : mapping, optional
        Of axes that are known, such as ``parcel``.

    Returns
    -------
    FittedModel

    Raises
    ------
    ModelFileError
        When the tensors are not those of such a model.
    InputError
        For a model that was trained with ``--adjust`` by a version that adjusted any model.
    """
    name = description["model"]
    adjusted = {each.removeprefix(_ADJUSTMENT) for each in tensors if each.startswith(_ADJUSTMENT)}
    if adjusted and (MODELS[name].adjustment != "columns" or not adjusted <= set(ADJUSTMENT)):
        raise InputError(OUTDATED)
    learner, fitted = MODELS[name].learner(setup), description["fitted"]
    declared = learner.declared(fitted, sum(each.numel() for each in tensors.values()))
    check_tensors_declared(tensors, declared, lengths or {})
    return FittedModel(
        name=name,
        fitted=learner.restore(tensors, fitted),
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
    training: int = 0,
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
    training : int, optional
        Which of the ``--seeds`` trainings; all of them have the same inner folds.

    Returns
    -------
    FoldPredictions
    """
    return fit_together((name,), examples, fold, setup, evaluation, seed=seed, training=training)[0]


def fit_together(
    names: Sequence[str],
    examples: Examples,
    fold: Fold,
    setup: Setup,
    evaluation: EvaluationOptions,
    *,
    seed: int,
    training: int = 0,
) -> tuple[FoldPredictions, ...]:
    """Run `fit_fold` for the models of one family, with one training for all of them.

    Parameters
    ----------
    names : sequence of str
        One group of `fmmtc_bidsapp.learning.estimators.models.families`.
    examples, fold, setup, evaluation, seed, training
        As in `fit_fold`.

    Returns
    -------
    tuple of FoldPredictions
        In the order of `names`, each as `fit_fold` alone would return it.
    """
    return train_together(names, examples, fold, setup, evaluation, seed=seed, training=training)[1]


def train_together(
    names: Sequence[str],
    examples: Examples,
    fold: Fold,
    setup: Setup,
    evaluation: EvaluationOptions,
    *,
    seed: int,
    training: int = 0,
) -> tuple[tuple[FittedModel, ...], tuple[FoldPredictions, ...]]:
    """Run `fit_together`, and give the models back as well as what they predict.

    Parameters
    ----------
    names, examples, fold, setup, evaluation, seed, training
        As in `fit_together`.

    Returns
    -------
    models : tuple of FittedModel
        In the order of `names`.
    predictions : tuple of FoldPredictions
        Of `fit_together`.
    """
    own_seed = derive_seed(seed, fold.repeat, fold.fold)
    models = _fit_nested(names, examples, fold.train, setup, evaluation, own_seed, training)
    notes = _imputed(names[0], examples, fold)
    outputs = _predict(models, examples.take(fold.test))
    predictions = tuple(
        FoldPredictions(
            model=model.name,
            fold=fold,
            logit=logit,
            calibration=model.calibration,
            prevalence=model.prevalence,
            epoch=model.epoch,
            validation_loss=model.validation_loss,
            train_loss=model.fitted.train_loss,
            notes=notes,
            seed=training,
        )
        for model, logit in zip(models, outputs, strict=True)
    )
    return tuple(models), predictions


def fit_final(
    name: str,
    examples: Examples,
    setup: Setup,
    evaluation: EvaluationOptions,
    *,
    seed: int,
    training: int = 0,
) -> FittedModel:
    """Run the same procedure on everyone: the model to keep.

    Parameters
    ----------
    name, examples, setup, evaluation, seed, training
        As in `fit_fold`.

    Returns
    -------
    FittedModel
    """
    everyone = np.arange(len(examples.keys))
    own_seed = derive_seed(seed)
    return _fit_nested((name,), examples, everyone, setup, evaluation, own_seed, training)[0]


def _fit_nested(
    names: Sequence[str],
    examples: Examples,
    rows: Ints,
    setup: Setup,
    evaluation: EvaluationOptions,
    seed: int,
    training: int,
) -> list[FittedModel]:
    """Inner folds choose the epoch and fit the calibration; one training on all rows follows."""
    check_needs(names, examples)
    check_calibration(evaluation.calibration, len(rows))
    rows = by_key(examples, rows)
    own_seed = _own(seed, training)
    splits = _inner(examples.strata, examples.groups, rows, setup.train.inner_folds, seed)
    paths = [
        family_paths(
            names, examples, rows[fit], rows[held_out], setup, derive_seed(own_seed, _INNER, i)
        )
        for i, (fit, held_out) in enumerate(splits)
    ]
    # Models of one family have one loss, that of their network.
    validation_loss = np.mean([own[0].loss for own in paths], axis=0)
    best = int(validation_loss.argmin())
    epoch = _same_steps(best + 1, [len(fit) for fit, _ in splits], len(rows), names[0], setup)
    held_out_rows = np.concatenate([rows[held_out] for _, held_out in splits])
    prevalence = float(examples.y[rows].mean())
    calibrations = [
        fit_calibration(
            np.concatenate([own[i].logits[best] for own in paths]),
            examples.y[held_out_rows],
            evaluation.calibration,
            evaluation.threshold,
            prevalence,
        )
        for i in range(len(names))
    ]
    fits = _fits(_learners(names, setup), examples, rows, epoch, derive_seed(own_seed, _REFIT))
    return [
        FittedModel(name, fitted, calibration, prevalence, epoch, validation_loss)
        for name, fitted, calibration in zip(names, fits, calibrations, strict=True)
    ]


def _same_steps(epoch: int, n_inner: Sequence[int], n_all: int, name: str, setup: Setup) -> int:
    """Turn epochs of the inner folds into the epochs on all rows that take as many steps.

    An epoch on more people has more steps of the optimiser, so the same number of epochs would
    train longer than the inner folds found best.
    """
    if not MODELS[name].is_network:
        return epoch
    size = setup.train.batch_size
    steps = epoch * np.mean([n_batches(n, size) for n in n_inner])
    return max(1, round(float(steps / n_batches(n_all, size))))


def family_paths(
    names: Sequence[str],
    examples: Examples,
    train: Ints,
    validation: Ints,
    setup: Setup,
    seed: int,
) -> tuple[ValidationPath, ...]:
    """Train a family once and predict other rows after every epoch.

    Parameters
    ----------
    names : sequence of str
        One group of `fmmtc_bidsapp.learning.estimators.models.families`.
    examples : Examples
        The cohort.
    train, validation : array of int
        Rows to train on, and rows to predict, whose outcomes only the loss reads.
    setup : Setup
        How to train.
    seed : int
        Of the training.

    Returns
    -------
    tuple of ValidationPath
        In the order of `names`.
    """
    learners = _learners(names, setup)
    # Networks alone come in families of several.
    if len(learners) == 1:
        return (learners[0].path(examples, train, validation, seed),)
    return follow(cast("Sequence[OfNetwork]", learners), examples, train, validation, seed)


def _learners(names: Sequence[str], setup: Setup) -> list[Learner]:
    if len(families(names)) != 1:
        raise ValueError(f"{', '.join(names)} are not one family; fit them one by one.")
    return [MODELS[name].learner(setup) for name in names]


def _fits(
    learners: Sequence[Learner], examples: Examples, rows: Ints, epoch: int, seed: int
) -> tuple[Fitted, ...]:
    if len(learners) == 1:
        return (learners[0].fit(examples, rows, epoch, seed),)
    return finish(cast("Sequence[OfNetwork]", learners), examples, rows, epoch, seed)


def _predict(models: Sequence[FittedModel], people: Examples) -> tuple[Floats, ...]:
    """Predict people, -> (person,) of each model."""
    if len(models) == 1:
        return (models[0].fitted.logits(people),)
    return predict(cast("Sequence[Reader]", [each.fitted for each in models]), people)


def rehearse_splits(
    strata: Sequence[str],
    groups: Sequence[str] | None,
    train: TrainOptions,
    calibration: str,
    seed: int,
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
    calibration : str
        ``EvaluationOptions.calibration``, which may need more people than a fold trains on.
    seed : int
        Seed of the run.

    Raises
    ------
    InputError
        With the split that fails, and what to do.
    """
    for fold in outer_folds(strata, train.folds, train.repeats, seed, groups):
        rehearse_fold(fold, strata, groups, train, calibration, seed)
    _inner(strata, groups, np.arange(len(strata)), train.inner_folds, derive_seed(seed))


def rehearse_adjustment(
    covariates: Floats,
    strata: Sequence[str],
    groups: Sequence[str] | None,
    train: TrainOptions,
    seed: int,
) -> None:
    """Refuse covariates that are too many for the people of one of the trainings to come.

    Parameters
    ----------
    covariates : array
        (person, covariate) that will be regressed out.
    strata, groups, train, seed
        As in `rehearse_splits`.

    Raises
    ------
    InputError
        With the smallest training that cannot bear them.
    """
    for fold in outer_folds(strata, train.folds, train.repeats, seed, groups):
        own_seed = derive_seed(seed, fold.repeat, fold.fold)
        for fit, _ in _inner(strata, groups, fold.train, train.inner_folds, own_seed):
            check_adjustment(covariates, fold.train[fit])


def rehearse_fold(
    fold: Fold,
    strata: Sequence[str],
    groups: Sequence[str] | None,
    train: TrainOptions,
    calibration: str,
    seed: int,
) -> None:
    """Make the inner splits of one fold, and throw them away; as in `rehearse_splits`."""
    check_calibration(calibration, len(fold.train))
    own_seed = derive_seed(seed, fold.repeat, fold.fold)
    _inner(strata, groups, fold.train, train.inner_folds, own_seed)


def _inner(
    strata: Sequence[str], groups: Sequence[str] | None, rows: Ints, folds: int, seed: int
) -> list[tuple[Ints, Ints]]:
    own = None if groups is None else [groups[row] for row in rows]
    return inner_folds([strata[row] for row in rows], folds, derive_seed(seed, _SPLIT), own)


def _imputed(name: str, examples: Examples, fold: Fold) -> dict[str, float]:
    """Count what a model lacks of what it reads, and has to fill in."""
    parts = (("train", fold.train), ("test", fold.test))
    needs = MODELS[name].needs
    return {
        f"{what}_imputed_{part}": float(sum(count(examples, row) for row in rows))
        for need, (what, count) in _COUNTED.items()
        if need in needs
        for part, rows in parts
    } | {
        f"people_without_{need}_{part}": float((~examples.has(need)[rows]).sum())
        for need in needs
        if need in examples.present
        for part, rows in parts
    }


def _missing_edges(seen: Examples, row: int) -> int:
    """Edges that a person lacks; each is counted once, not per triangle."""
    return int(np.isnan(seen.fc[row][np.triu_indices(seen.fc.shape[1], k=1)]).sum())


def _missing_values(seen: Examples, row: int) -> int:
    return int(np.isnan(np.asarray(seen.series)[row]).sum())


_COUNTED: Mapping[str, tuple[str, Callable[[Examples, int], int]]] = {
    "fc": ("edges", _missing_edges),
    "series": ("series_values", _missing_values),
}
