"""Several trainings of one model: the mean predicts, the spread gives an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from fmmtc_bidsapp.errors import ModelFileError
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.metrics.calibrate import apply_calibration, log_odds
from fmmtc_bidsapp.learning.model_selection.nested_cv import FittedModel, restore_model
from fmmtc_bidsapp.records import Calibration, Examples, Floats, FoldPredictions

__all__ = [
    "EnsembleModel",
    "merge_trainings",
    "restore_trainings",
    "unite_descriptions",
    "unite_tensors",
]


def merge_trainings(predictions: Sequence[FoldPredictions]) -> tuple[FoldPredictions, ...]:
    """Merge the ``--seeds`` trainings of every model, repeat and fold, in order of appearance.

    The mean of the calibrated log odds predicts. Epoch and learning curves are those of the
    first training, as they have no common length.
    """
    groups: dict[tuple[str, str, int, int], list[FoldPredictions]] = {}
    for each in predictions:
        key = (each.model, each.selection, each.fold.repeat, each.fold.fold)
        groups.setdefault(key, []).append(each)
    return tuple(_merge(sorted(own, key=lambda each: each.seed)) for own in groups.values())


def _merge(trainings: Sequence[FoldPredictions]) -> FoldPredictions:
    if len(trainings) == 1:
        return trainings[0]
    odds = [log_odds(each.calibration, each.logit) for each in trainings]
    return replace(
        trainings[0],
        logit=np.mean(odds, axis=0),
        calibration=_as_it_is([each.calibration for each in trainings]),
        seed=0,
        refits=np.array([apply_calibration(each.calibration, each.logit) for each in trainings]),
        raw=np.mean([each.output for each in trainings], axis=0),
    )


def _as_it_is(calibrations: Sequence[Calibration]) -> Calibration:
    """Return the identity on calibrated log odds, with the mean threshold."""
    threshold = float(np.mean([each.threshold for each in calibrations]))
    return Calibration(method="none", slope=1.0, intercept=0.0, threshold=threshold)


@dataclass(frozen=True, eq=False)
class EnsembleModel:
    """Several trainings of one model on the same people."""

    trainings: tuple[FittedModel, ...]

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.trainings[0].name

    @property
    def calibration(self) -> Calibration:
        """Calibration of `logits`."""
        return _as_it_is([each.calibration for each in self.trainings])

    @property
    def prevalence(self) -> float:
        """Share of positives among the training people."""
        return self.trainings[0].prevalence

    def logits(self, people: Examples) -> Floats:
        """Predict people by the mean of the calibrated log odds, -> (person,)."""
        mean: Floats = np.mean(self.training_logits(people), axis=0)
        return mean

    def training_logits(self, people: Examples) -> Floats:
        """Calibrated log odds of each training, -> (training, person)."""
        return np.array(
            [log_odds(each.calibration, each.logits(people)) for each in self.trainings]
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything learnt, as `unite_tensors` names it."""
        return unite_tensors([each.tensors() for each in self.trainings])

    def description(self) -> dict[str, Any]:
        """Everything else that `restore_trainings` needs, ready for JSON."""
        return unite_descriptions([each.description() for each in self.trainings])


def unite_tensors(trainings: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Join the tensors of several trainings under ``training-0.`` and so on; one is unchanged."""
    if len(trainings) == 1:
        return dict(trainings[0])
    return {
        _of_training(i, name): tensor
        for i, each in enumerate(trainings)
        for name, tensor in each.items()
    }


def _of_training(i: int, name: str) -> str:
    return f"training-{i}.{name}"


def unite_descriptions(trainings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the descriptions of several trainings into one.

    It has the entries of a single one as well, for readers that know no ensembles; epoch and
    curve are the first training's.
    """
    first = dict(trainings[0])
    if len(trainings) == 1:
        return first
    calibration = _as_it_is([Calibration(**each["calibration"]) for each in trainings])
    shapes = {
        _of_training(i, name): shape
        for i, each in enumerate(trainings)
        for name, shape in each["tensors"].items()
    }
    return {
        **{name: first[name] for name in ("model", "prevalence", "epoch", "validation_loss")},
        "calibration": asdict(calibration),
        "trainings": [dict(each) for each in trainings],
        "tensors": shapes,
    }


def restore_trainings(
    tensors: Mapping[str, torch.Tensor],
    description: Mapping[str, Any],
    setup: Setup,
    lengths: Mapping[str, int] | None = None,
) -> FittedModel | EnsembleModel:
    """Rebuild the model of one training or of several, as `restore_model`."""
    if "trainings" not in description:
        return restore_model(tensors, description, setup, lengths)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for path, tensor in tensors.items():
        part, _, name = path.partition(".")
        parts.setdefault(part, {})[name] = tensor
    unknown = set(parts) - {f"training-{i}" for i in range(len(description["trainings"]))}
    if unknown:
        raise ModelFileError(
            f"There are tensors of {', '.join(sorted(unknown)[:5])}, which the configuration does "
            "not describe. Copy the whole bundle again."
        )
    return EnsembleModel(
        tuple(
            restore_model(parts.get(f"training-{i}", {}), each, setup, lengths)
            for i, each in enumerate(description["trainings"])
        )
    )
