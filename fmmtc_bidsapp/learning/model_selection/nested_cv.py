"""Nested cross-validation: choose the epoch, calibrate, train, predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.estimators.inputs import n_batches
from fmmtc_bidsapp.learning.estimators.learner import (
    Fitted,
    Learner,
    Setup,
    ValidationCurve,
    by_key,
)
from fmmtc_bidsapp.learning.estimators.models import MODELS, check_needs, families
from fmmtc_bidsapp.learning.estimators.shared_training import (
    OfNetwork,
    Reader,
    finish,
    follow,
    predict,
)
from fmmtc_bidsapp.learning.metrics.calibrate import check_calibration, fit_calibration
from fmmtc_bidsapp.learning.model_selection.splits import SplitPlan, fold_seed
from fmmtc_bidsapp.learning.preprocessing.adjust import ADJUSTMENT, OUTDATED
from fmmtc_bidsapp.learning.seeds import derive_seed
from fmmtc_bidsapp.models.declared import check_tensors_declared
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Calibration, Examples, Floats, Fold, FoldPredictions, Ints

__all__ = [
    "Analysis",
    "FittedModel",
    "fit_final",
    "fit_together",
    "refit_seed",
    "restore_model",
    "validation_curves",
]


_INNER, _REFIT, _TRAINING = range(1, 4)

_ADJUSTMENT = "adjustment."
"""Before the names of the tensors of an adjustment to covariates."""


@dataclass(frozen=True, eq=False)
class Analysis:
    """A cohort, and how all of its models are trained and calibrated."""

    examples: Examples
    setup: Setup
    evaluation: EvaluationOptions
    """Calibration and threshold."""
    seed: int
    """Of the run; each fold has a part of it."""


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A calibrated model, with the epochs it was trained for."""

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

    `lengths` are of known axes, such as ``parcel``. ModelFileError for tensors that are not those
    of the model, InputError for ``--adjust`` of a version that adjusted any model.
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


def fit_together(
    analysis: Analysis, names: Sequence[str], fold: Fold, training: int = 0
) -> tuple[tuple[FittedModel, ...], tuple[FoldPredictions, ...]]:
    """Fit models of one training (of `families`) to the training rows of a fold, and predict.

    Outcomes of test rows are not read. `training` is the number of the ``--seeds`` training; all
    of them have the same inner folds. Each model is as if it were fitted alone.
    """
    examples = analysis.examples
    own_seed = fold_seed(analysis.seed, fold)
    models = _fit_nested(analysis, names, fold.train, own_seed, training)
    people, readers = examples.take(fold.test), [each.fitted for each in models]
    outputs = (
        (readers[0].logits(people),)
        if len(readers) == 1
        else predict(cast("Sequence[Reader]", readers), people)
    )
    notes = _imputed(names[0], examples, fold)
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
    return models, predictions


def fit_final(analysis: Analysis, name: str, training: int = 0) -> FittedModel:
    """Fit the model of a bundle: the procedure of `fit_together` on the whole cohort."""
    everyone = np.arange(len(analysis.examples.keys))
    return _fit_nested(analysis, (name,), everyone, derive_seed(analysis.seed), training)[0]


def refit_seed(seed: int, fold: Fold, training: int = 0) -> int:
    """Return the seed with which `fit_together` trains on all training rows of a fold."""
    return derive_seed(_training_seed(fold_seed(seed, fold), training), _REFIT)


def _training_seed(seed: int, training: int) -> int:
    """Return the seed of one of the ``--seeds`` trainings; the first has that of a single one."""
    return derive_seed(seed, _TRAINING, training) if training else seed


def _fit_nested(
    analysis: Analysis, names: Sequence[str], rows: Ints, seed: int, training: int
) -> tuple[FittedModel, ...]:
    """Choose the epoch and fit the calibration on inner folds, then train on all rows."""
    examples, setup, evaluation = analysis.examples, analysis.setup, analysis.evaluation
    check_needs(names, examples)
    check_calibration(evaluation.calibration, len(rows))
    rows = by_key(examples, rows)
    own_seed = _training_seed(seed, training)
    splits = SplitPlan(examples.strata, examples.groups, setup.train, seed).inner(rows, seed)
    curves = [
        validation_curves(
            analysis, names, rows[fit], rows[held_out], derive_seed(own_seed, _INNER, i)
        )
        for i, (fit, held_out) in enumerate(splits)
    ]
    # Models of one family have one loss, that of their network.
    validation_loss = np.mean([own[0].loss for own in curves], axis=0)
    best = int(validation_loss.argmin())
    epoch = _same_steps(best + 1, [len(fit) for fit, _ in splits], len(rows), names[0], setup)
    held_out_rows = np.concatenate([rows[held_out] for _, held_out in splits])
    prevalence = float(examples.y[rows].mean())
    calibrations = [
        fit_calibration(
            np.concatenate([own[i].logits[best] for own in curves]),
            examples.y[held_out_rows],
            evaluation.calibration,
            evaluation.threshold,
            prevalence,
        )
        for i in range(len(names))
    ]
    learners, refit = _learners(names, setup), derive_seed(own_seed, _REFIT)
    fits: Sequence[Fitted] = (
        (learners[0].fit(examples, rows, epoch, refit),)
        if len(learners) == 1
        else finish(cast("Sequence[OfNetwork]", learners), examples, rows, epoch, refit)
    )
    return tuple(
        FittedModel(name, fitted, calibration, prevalence, epoch, validation_loss)
        for name, fitted, calibration in zip(names, fits, calibrations, strict=True)
    )


def _same_steps(epoch: int, n_inner: Sequence[int], n_all: int, name: str, setup: Setup) -> int:
    """Convert epochs of the inner folds to the epochs on all rows that take as many steps.

    An epoch on more people has more steps of the optimiser, so the same number of epochs would
    train longer than the inner folds found best.
    """
    if not MODELS[name].is_network:
        return epoch
    size = setup.train.batch_size
    steps = epoch * np.mean([n_batches(n, size) for n in n_inner])
    return max(1, round(float(steps / n_batches(n_all, size))))


def validation_curves(
    analysis: Analysis, names: Sequence[str], train: Ints, validation: Ints, seed: int
) -> tuple[ValidationCurve, ...]:
    """Train a family once and predict the validation rows after every epoch, in order of `names`.

    Only the loss reads outcomes of the validation rows.
    """
    learners = _learners(names, analysis.setup)
    # Families of several models are of one network.
    if len(learners) == 1:
        return (learners[0].validation_curve(analysis.examples, train, validation, seed),)
    networks = cast("Sequence[OfNetwork]", learners)
    return follow(networks, analysis.examples, train, validation, seed)


def _learners(names: Sequence[str], setup: Setup) -> list[Learner]:
    if len(families(names)) != 1:
        raise ValueError(f"{', '.join(names)} are not one family; fit them one by one.")
    return [MODELS[name].learner(setup) for name in names]


def _imputed(name: str, examples: Examples, fold: Fold) -> dict[str, float]:
    """Count the missing values of a model's inputs, which its preparation fills in."""
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
    """Count the missing edges of a person, each once, not per triangle."""
    return int(np.isnan(seen.fc[row][np.triu_indices(seen.fc.shape[1], k=1)]).sum())


def _missing_values(seen: Examples, row: int) -> int:
    return int(np.isnan(np.asarray(seen.series)[row]).sum())


_COUNTED: Mapping[str, tuple[str, Callable[[Examples, int], int]]] = {
    "fc": ("edges", _missing_edges),
    "series": ("series_values", _missing_values),
}
