"""Examples and predictions between nodes, as files in the work directory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from fmmtc_bidsapp.engine import load_arrays, save_arrays
from fmmtc_bidsapp.records import Calibration, Examples, Fold, FoldPredictions

__all__ = ["load_examples", "load_fold", "save_examples", "save_fold"]


def save_examples(path: Path, examples: Examples) -> str:
    """Write what the networks see of a cohort."""
    arrays = {"cls": examples.cls, "fc": examples.fc, "y": examples.y}
    given = {name: getattr(examples, name) for name in _OPTIONAL}
    arrays |= {name: array for name, array in given.items() if array is not None}
    names = ("keys", "strata", "covariate_names", "groups")
    return save_arrays(path, arrays, {name: getattr(examples, name) for name in names})


_OPTIONAL = ("series", "covariates", "mean_fd_mm")
"""Arrays that a cohort may lack."""


def load_examples(path: str | Path) -> Examples:
    """Read what `save_examples` wrote."""
    arrays, about = load_arrays(path)
    return Examples(
        keys=tuple(about["keys"]),
        cls=arrays["cls"],
        fc=arrays["fc"],
        y=arrays["y"],
        strata=tuple(about["strata"]),
        covariate_names=tuple(about["covariate_names"]),
        groups=None if about["groups"] is None else tuple(about["groups"]),
        **{name: arrays.get(name) for name in _OPTIONAL},
    )


def save_fold(path: Path, predictions: FoldPredictions) -> str:
    """Write what one model says of one fold."""
    fold = predictions.fold
    arrays = {
        "train": fold.train,
        "test": fold.test,
        "logit": predictions.logit,
        "validation_loss": predictions.validation_loss,
        "train_loss": predictions.train_loss,
    }
    about = {
        "model": predictions.model,
        "repeat": fold.repeat,
        "fold": fold.fold,
        "calibration": asdict(predictions.calibration),
        "prevalence": predictions.prevalence,
        "epoch": predictions.epoch,
        "notes": dict(predictions.notes),
        "selection": predictions.selection,
    }
    return save_arrays(path, arrays, about)


def load_fold(path: str | Path) -> FoldPredictions:
    """Read what `save_fold` wrote."""
    arrays, about = load_arrays(path)
    return FoldPredictions(
        model=about["model"],
        fold=Fold(about["repeat"], about["fold"], arrays["train"], arrays["test"]),
        logit=arrays["logit"],
        calibration=Calibration(**about["calibration"]),
        prevalence=about["prevalence"],
        epoch=about["epoch"],
        validation_loss=arrays["validation_loss"],
        train_loss=arrays["train_loss"],
        notes=about["notes"],
        selection=about["selection"],
    )
