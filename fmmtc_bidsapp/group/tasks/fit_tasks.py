"""The steps that fit, explain and apply models, each a function that a `Task` calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fmmtc_bidsapp.engine import save_arrays, save_record
from fmmtc_bidsapp.group.bundle.fitted import load_fitted, save_bundle_model
from fmmtc_bidsapp.group.bundle.read import load_bundle_model
from fmmtc_bidsapp.group.encode.encoder_config import NO_ENCODER
from fmmtc_bidsapp.group.encode.serialization import load_examples
from fmmtc_bidsapp.group.tasks.compute import (
    Compute,
    Shuffles,
    Training,
    analysis_of,
    setup_of,
    start_torch,
)
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.evaluation.external_validation import predict_new
from fmmtc_bidsapp.learning.explanation.explain import explain_fold, explain_null
from fmmtc_bidsapp.learning.model_selection.nested_cv import fit_final, fit_together
from fmmtc_bidsapp.learning.model_selection.permutations import (
    aurocs_of_shuffles,
    permuted_outputs,
)
from fmmtc_bidsapp.learning.paper.best_on_test import publish_together
from fmmtc_bidsapp.models.encoders.base import Encoder
from fmmtc_bidsapp.models.encoders.registry import build_encoder
from fmmtc_bidsapp.options import ExplainOptions, TrainOptions
from fmmtc_bidsapp.records import Fold

__all__ = [
    "explain",
    "explain_shuffled",
    "fit",
    "fit_everyone",
    "fit_published",
    "fit_shuffled",
    "predict",
]


def fit(
    examples: Path,
    weights: Path,
    *,
    training: Training,
    fold: Fold,
    number: int,
    folder: Path,
    keep: Sequence[str] = (),
) -> list[Path]:
    """Fit models that are trained together on one fold, and predict its test people."""
    analysis = analysis_of(training, examples, weights)
    models, predictions = fit_together(analysis, training.models, fold, training=number)
    written = [Path(save_record(folder / f"{each.model}.npz", each)) for each in predictions]
    # nipype removes files from the folder of a node that are not among its outputs.
    kept = [
        file
        for model in models
        if model.name in keep
        for file in save_bundle_model(_made(folder / model.name), model)
    ]
    return [*written, *kept]


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def fit_shuffled(
    examples: Path,
    weights: Path,
    *,
    training: Training,
    fold: Fold,
    shuffles: Shuffles,
    folder: Path,
) -> Path:
    """Fit models that are trained together on one fold, with shuffled outcomes."""
    analysis = analysis_of(training, examples, weights)
    labels = shuffles.labels(analysis.examples, analysis.seed)
    outputs = permuted_outputs(analysis, training.models, fold, labels)
    arrays = {"aurocs": aurocs_of_shuffles(outputs, fold, labels), "outputs": outputs}
    return Path(save_arrays(folder / "shuffles.npz", arrays, {"models": training.models}))


def fit_published(
    examples: Path, weights: Path, *, training: Training, fold: Fold, folder: Path
) -> list[Path]:
    """Fit networks that are trained together by the published protocol on one fold.

    The test rows choose the epoch.
    """
    published = publish_together(analysis_of(training, examples, weights), training.models, fold)
    return [
        Path(save_record(folder / f"{each.model}_{selection}.npz", each))
        for one in published
        for selection, each in one.items()
    ]


def fit_everyone(
    examples: Path, weights: Path, *, training: Training, number: int, folder: Path
) -> tuple[Path, Path]:
    """Fit the model of the bundle on everyone by the same procedure."""
    (name,) = training.models
    model = fit_final(analysis_of(training, examples, weights), name, number)
    return save_bundle_model(folder, model)


def explain(
    examples: Path,
    weights: Path,
    tensors: Path,
    description: Path,
    *,
    training: Training,
    fold: Fold,
    options: ExplainOptions,
    folder: Path,
) -> Path:
    """Explain a fitted model on the test people of its fold."""
    setup = setup_of(training, weights)
    explanation = explain_fold(
        load_fitted(tensors, description, setup),
        load_examples(examples),
        fold,
        options,
        encoder=_explained_encoder(training, options, weights, setup.device),
        seed=training.compute.seed,
    )
    return Path(save_record(folder / "explanation.npz", explanation))


def _explained_encoder(
    training: Training, options: ExplainOptions, weights: Path, device: torch.device
) -> Encoder | None:
    """Build the encoder of a model, if maps go back to its input."""
    chosen = training.compute.model.encoder
    needs = {need for name in training.models for need in MODELS[name].needs}
    kinds = {"encoder": chosen, "random encoder": "random"}
    kind = next((kinds[need] for need in kinds if need in needs), NO_ENCODER)
    if options.explain != "parcels" or kind == NO_ENCODER:
        return None
    model = replace(training.compute.model, encoder=kind)
    return build_encoder(model, weights, training.compute.seed).to(device)


def explain_shuffled(
    examples: Path,
    weights: Path,
    *,
    training: Training,
    fold: Fold,
    shuffles: Shuffles,
    epoch: int,
    options: ExplainOptions,
    folder: Path,
) -> Path:
    """Explain models that are fitted to shuffled outcomes."""
    analysis = analysis_of(training, examples, weights)
    (name,) = training.models
    labels = shuffles.labels(analysis.examples, analysis.seed)
    encoder = _explained_encoder(training, options, weights, analysis.setup.device)
    maps = explain_null(analysis, name, fold, labels, epoch, options, encoder)
    return Path(save_arrays(folder / "maps.npz", maps.arrays(), {}))


def predict(examples: Path, bundle: Path, *, compute: Compute, folder: Path) -> Path:
    """Predict new people with a bundle."""
    device, dtype = start_torch(compute)
    setup = Setup(TrainOptions(), compute.model, device, dtype)
    predictions = predict_new(load_bundle_model(bundle, setup), load_examples(examples))
    return Path(save_record(folder / "predictions.npz", predictions))
