"""What the nodes of the group level compute: each a function that a `Task` calls.

Functions that are given a folder write there, under names that the graph's reader knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from fmmtc_bidsapp.bidsio.tables.read_series import read_relmat, read_series
from fmmtc_bidsapp.engine import save_arrays, save_record
from fmmtc_bidsapp.group.bundle.bundle import load_bundle_model, load_fitted, save_bundle_model
from fmmtc_bidsapp.group.encode.encoder_config import NO_ENCODER
from fmmtc_bidsapp.group.encode.person import (
    EncodedPerson,
    MatrixRun,
    SeriesRun,
    encode_person,
    fit_scale_of_runs,
    merge_matrices,
)
from fmmtc_bidsapp.group.encode.serialization import load_examples, load_scale, save_scale
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.estimators.networks import NETWORKS
from fmmtc_bidsapp.learning.evaluation.external_validation import predict_new
from fmmtc_bidsapp.learning.explanation.explain import explain_fold, explain_null
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, fit_final, fit_together
from fmmtc_bidsapp.learning.model_selection.permutations import (
    aurocs_of_shuffles,
    permuted_labels,
    permuted_outputs,
)
from fmmtc_bidsapp.learning.paper.best_on_test import publish_together
from fmmtc_bidsapp.models.device import make_deterministic, resolve_device, resolve_precision
from fmmtc_bidsapp.models.encoders.base import Encoder
from fmmtc_bidsapp.models.encoders.registry import build_encoder, describe, encoder_digest
from fmmtc_bidsapp.options import EvaluationOptions, ExplainOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Blocks, Examples, Floats, Fold, Ints

if TYPE_CHECKING:
    # Importing it takes seconds.
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

__all__ = [
    "Compute",
    "Shuffles",
    "Training",
    "check_device",
    "check_encoder",
    "encode",
    "explain",
    "explain_shuffled",
    "fit",
    "fit_everyone",
    "fit_published",
    "fit_scale",
    "fit_shuffled",
    "merge",
    "predict",
    "training_precision",
]


def check_device(name: str) -> str:
    """Name the device that ``--device`` means on this machine.

    Raises
    ------
    UsageError
        When it is not there.
    """
    return str(resolve_device(name))


def training_precision(name: str, device: str) -> str:
    """Name the arithmetic in which networks are trained there, of ``--precision``."""
    return str(resolve_precision(name, resolve_device(device))).removeprefix("torch.")


def check_encoder(options: ModelOptions, seed: int) -> str:
    """Digest of the encoder's weights, once they have proven to be whole; ``none`` without one.

    Raises
    ------
    MissingResourceError, ModelFileError
        When they are absent or damaged.
    UsageError
        When the window does not fit it.
    """
    # This process is forked later: a pool of threads made here would hang in the children.
    torch.set_num_threads(1)
    if options.encoder == NO_ENCODER:
        return NO_ENCODER
    encoder = build_encoder(options, Path(str(options.encoder_weights)), seed)
    digest = encoder_digest(options.encoder, encoder)
    print(describe(encoder, digest))
    return digest


@dataclass(frozen=True)
class Compute:
    """What every step that computes with torch is told."""

    model: ModelOptions
    seed: int
    device: str
    precision: str
    threads: int


@dataclass(frozen=True)
class Training:
    """What steps that train are told besides."""

    compute: Compute
    models: tuple[str, ...]
    """Trained together."""
    train: TrainOptions
    evaluation: EvaluationOptions
    adjust: bool
    """Whether covariates are regressed out."""


@dataclass(frozen=True)
class Shuffles:
    """Which shuffles of the outcomes a step takes."""

    blocks: Blocks
    first: int
    n: int

    def labels(self, examples: Examples, seed: int) -> Ints:
        """(shuffle, person) outcomes, of all there are."""
        return permuted_labels(examples.y, self.blocks, self.first + self.n, seed)[self.first :]


def _start(compute: Compute) -> tuple[torch.device, torch.dtype]:
    """Hold torch to the plan's threads and to the same bytes for the same seed."""
    torch.set_num_threads(compute.threads)
    device = resolve_device(compute.device)
    make_deterministic(device)
    return device, resolve_precision(compute.precision, device)


def _setup(training: Training, weights: Path) -> Setup:
    device, dtype = _start(training.compute)
    return Setup(
        training.train,
        training.compute.model,
        device,
        dtype,
        encoder=_tuned_encoder(training, weights),
        adjust=training.adjust,
    )


def _analysis(training: Training, examples: Path, weights: Path) -> Analysis:
    setup = _setup(training, weights)
    return Analysis(load_examples(examples), setup, training.evaluation, training.compute.seed)


def _tuned_encoder(training: Training, weights: Path) -> BrainLM | None:
    """Build the encoder where a network starts from it, as the people were encoded."""
    networks = [NETWORKS[family] for name in training.models if (family := MODELS[name].family)]
    if not any(each.tunes_encoder for each in networks):
        return None
    encoder = build_encoder(training.compute.model, weights, training.compute.seed)
    return cast("BrainLM", encoder.network)


def encode(
    series: Sequence[Path],
    xyz_mm: Floats,
    weights: Path,
    *,
    compute: Compute,
    tr_s: Sequence[float | None],
    folder: Path,
    scale: Path | None = None,
) -> Path:
    """Compute encoder features, merged connectivity and a window of series of one person."""
    device, _ = _start(compute)
    encoder = None
    if compute.model.encoder != NO_ENCODER:
        encoder = build_encoder(compute.model, weights, compute.seed).to(device)
    person = encode_person(
        encoder,
        _read_runs(series, tr_s),
        xyz_mm,
        compute.model,
        scale=None if scale is None else load_scale(scale),
    )
    return _save_person(person, folder)


def _save_person(person: EncodedPerson, folder: Path) -> Path:
    about = {**person.about, "precision": "float32"}
    return Path(save_arrays(folder / "encoded.npz", person.arrays, about))


def _read_runs(series: Sequence[Path], tr_s: Sequence[float | None]) -> list[SeriesRun]:
    runs = zip(series, tr_s, strict=True)
    return [SeriesRun(path.name, read_series(path).signal, own_tr_s) for path, own_tr_s in runs]


def fit_scale(
    series: Sequence[Path], *, model: ModelOptions, tr_s: Sequence[float | None], folder: Path
) -> Path:
    """Learn each parcel's median and interquartile range over the training people."""
    scale = fit_scale_of_runs(_read_runs(series, tr_s), model)
    return Path(save_scale(folder / "scale.npy", scale))


def merge(
    matrices: Sequence[Path],
    *,
    fisher_z: Sequence[bool],
    n_volumes: Sequence[int | None],
    parcels: Sequence[str],
    folder: Path,
) -> Path:
    """Merge the connectivity of one person of whom there are matrices alone."""
    runs = [
        MatrixRun(path.name, replace(read_relmat(path), fisher_z=is_z), n)
        for path, is_z, n in zip(matrices, fisher_z, n_volumes, strict=True)
    ]
    return _save_person(merge_matrices(runs, parcels), folder)


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
    """Take models that are trained together through the whole procedure on one fold."""
    analysis = _analysis(training, examples, weights)
    models, predictions = fit_together(analysis, training.models, fold, training=number)
    written = [Path(save_record(folder / f"{each.model}.npz", each)) for each in predictions]
    # nipype removes from a node's folder what is no output of it.
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
    analysis = _analysis(training, examples, weights)
    labels = shuffles.labels(analysis.examples, analysis.seed)
    outputs = permuted_outputs(analysis, training.models, fold, labels)
    arrays = {"aurocs": aurocs_of_shuffles(outputs, fold, labels), "outputs": outputs}
    return Path(save_arrays(folder / "shuffles.npz", arrays, {"models": training.models}))


def fit_published(
    examples: Path, weights: Path, *, training: Training, fold: Fold, folder: Path
) -> list[Path]:
    """Take networks that are trained together through the published protocol on one fold.

    The test rows choose the epoch.
    """
    published = publish_together(_analysis(training, examples, weights), training.models, fold)
    return [
        Path(save_record(folder / f"{each.model}_{selection}.npz", each))
        for one in published
        for selection, each in one.items()
    ]


def fit_everyone(
    examples: Path, weights: Path, *, training: Training, number: int, folder: Path
) -> tuple[Path, Path]:
    """Fit the model on everyone by the same procedure, which a bundle keeps."""
    (name,) = training.models
    model = fit_final(_analysis(training, examples, weights), name, number)
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
    setup = _setup(training, weights)
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
    """Build the encoder that a model reads, where maps go back to its input."""
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
    analysis = _analysis(training, examples, weights)
    (name,) = training.models
    labels = shuffles.labels(analysis.examples, analysis.seed)
    encoder = _explained_encoder(training, options, weights, analysis.setup.device)
    maps = explain_null(analysis, name, fold, labels, epoch, options, encoder)
    return Path(save_arrays(folder / "maps.npz", maps.arrays(), {}))


def predict(examples: Path, bundle: Path, *, compute: Compute, folder: Path) -> Path:
    """Apply a bundle to people it has never seen."""
    device, dtype = _start(compute)
    setup = Setup(TrainOptions(), compute.model, device, dtype)
    predictions = predict_new(load_bundle_model(bundle, setup), load_examples(examples))
    return Path(save_record(folder / "predictions.npz", predictions))
