"""The device, threads, encoder and models of a step that computes with torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from fmmtc_bidsapp.group.encode.encoder_config import NO_ENCODER
from fmmtc_bidsapp.group.encode.serialization import load_examples
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.estimators.networks import NETWORKS
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis
from fmmtc_bidsapp.learning.model_selection.permutations import (
    permuted_labels,
)
from fmmtc_bidsapp.models.device import make_deterministic, resolve_device, resolve_precision
from fmmtc_bidsapp.models.encoders.registry import build_encoder, describe, encoder_digest
from fmmtc_bidsapp.options import EvaluationOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Blocks, Examples, Ints

if TYPE_CHECKING:
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

__all__ = [
    "Compute",
    "Shuffles",
    "Training",
    "analysis_of",
    "check_device",
    "check_encoder",
    "setup_of",
    "start_torch",
    "training_precision",
]


def check_device(name: str) -> str:
    """Return the device of ``--device`` on this machine; UsageError if it is absent."""
    return str(resolve_device(name))


def training_precision(name: str, device: str) -> str:
    """Return the arithmetic of ``--precision`` in which networks are trained on a device."""
    return str(resolve_precision(name, resolve_device(device))).removeprefix("torch.")


def check_encoder(options: ModelOptions, seed: int) -> str:
    """Build the encoder, print it, and return the digest of its weights; ``none`` without one."""
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
    """Encoder, seed, device and threads of a step that computes with torch."""

    model: ModelOptions
    seed: int
    device: str
    precision: str
    threads: int


@dataclass(frozen=True)
class Training:
    """Models and options of a step that trains."""

    compute: Compute
    models: tuple[str, ...]
    """Trained together."""
    train: TrainOptions
    evaluation: EvaluationOptions
    adjust: bool
    """Whether covariates are regressed out."""


@dataclass(frozen=True)
class Shuffles:
    """The shuffles of the outcomes of a step."""

    blocks: Blocks
    first: int
    n: int

    def labels(self, examples: Examples, seed: int) -> Ints:
        """Return the outcomes of these shuffles, (shuffle, person)."""
        return permuted_labels(examples.y, self.blocks, self.first + self.n, seed)[self.first :]


def start_torch(compute: Compute) -> tuple[torch.device, torch.dtype]:
    """Set threads and determinism of torch; return device and arithmetic."""
    torch.set_num_threads(compute.threads)
    device = resolve_device(compute.device)
    make_deterministic(device)
    return device, resolve_precision(compute.precision, device)


def setup_of(training: Training, weights: Path) -> Setup:
    """Return the setup of a training: options, device, arithmetic and a tuned encoder."""
    device, dtype = start_torch(training.compute)
    return Setup(
        training.train,
        training.compute.model,
        device,
        dtype,
        encoder=_tuned_encoder(training, weights),
        adjust=training.adjust,
    )


def analysis_of(training: Training, examples: Path, weights: Path) -> Analysis:
    """Return the examples of a step with the setup, evaluation and seed of its training."""
    setup = setup_of(training, weights)
    return Analysis(load_examples(examples), setup, training.evaluation, training.compute.seed)


def _tuned_encoder(training: Training, weights: Path) -> BrainLM | None:
    """Build the encoder if a network is tuned from it."""
    networks = [NETWORKS[family] for name in training.models if (family := MODELS[name].family)]
    if not any(each.tunes_encoder for each in networks):
        return None
    encoder = build_encoder(training.compute.model, weights, training.compute.seed)
    return cast("BrainLM", encoder.network)
