"""Thin nipype interfaces of the group level: load, call, save.

As at the participant level, inputs and outputs are paths, numbers and JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from fmmtc_bidsapp.bidsio.read import read_series
from fmmtc_bidsapp.engine import save_arrays
from fmmtc_bidsapp.group.bundle import load_bundle_model, save_bundle_model
from fmmtc_bidsapp.group.exchange import load_examples, save_fold
from fmmtc_bidsapp.group.person import encode_person
from fmmtc_bidsapp.group.quality import write_quality
from fmmtc_bidsapp.learning.experiments import fit_final, fit_fold
from fmmtc_bidsapp.learning.learner import Setup
from fmmtc_bidsapp.model.device import make_deterministic, resolve_device, resolve_precision
from fmmtc_bidsapp.model.encoder import build_encoder, weights_digest
from fmmtc_bidsapp.options import EvaluationOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Fold
from fmmtc_bidsapp.reports.group import write_group_report
from fmmtc_bidsapp.reports.methods import write_citation

__all__ = [
    "Encode",
    "FitFinal",
    "FitFold",
    "Predict",
    "Quality",
    "Report",
    "check_device",
    "check_encoder",
]


def check_device(name: str) -> str:
    """Name the device that ``--device`` means on this machine.

    Raises
    ------
    UsageError
        When it is not there.
    """
    return str(resolve_device(name))


def check_encoder(options: ModelOptions, seed: int) -> str:
    """Digest of the encoder's weights, once they have proven to be whole.

    Raises
    ------
    MissingResourceError, ModelFileError
        When they are absent or damaged.
    """
    # This process is forked later: a pool of threads made here would hang in the children.
    torch.set_num_threads(1)
    return weights_digest(build_encoder(options.encoder, Path(str(options.encoder_weights)), seed))


class _ComputeInput(BaseInterfaceInputSpec):
    """What every node that computes with torch is told."""

    model_options = traits.Str(mandatory=True, desc="ModelOptions as JSON")
    seed = traits.Int(mandatory=True)
    device = traits.Str(mandatory=True)
    use_gpu = traits.Bool(mandatory=True, desc="nipype runs one such node at a time")
    precision = traits.Str(mandatory=True)
    threads = traits.Int(mandatory=True)


class _TrainInput(_ComputeInput):
    """What nodes that train are told besides."""

    examples = File(exists=True, mandatory=True)
    model = traits.Str(mandatory=True)
    train_options = traits.Str(mandatory=True, desc="TrainOptions as JSON")
    evaluation_options = traits.Str(mandatory=True, desc="EvaluationOptions as JSON")


def _start(inputs: Any) -> tuple[torch.device, torch.dtype]:
    """Hold torch to the plan's threads and to the same bytes for the same seed."""
    torch.set_num_threads(inputs.threads)
    device = resolve_device(inputs.device)
    make_deterministic(device)
    return device, resolve_precision(inputs.precision, device)


def _setup(inputs: Any, train: TrainOptions) -> Setup:
    device, dtype = _start(inputs)
    return Setup(train, ModelOptions(**json.loads(inputs.model_options)), device, dtype)


def _training(inputs: Any) -> tuple[Setup, EvaluationOptions]:
    train = TrainOptions(**json.loads(inputs.train_options))
    evaluation = EvaluationOptions(**json.loads(inputs.evaluation_options))
    return _setup(inputs, train), evaluation


class _EncodeInput(_ComputeInput):
    series = InputMultiObject(File(exists=True), mandatory=True, desc="one file per run")
    xyz_mm = File(exists=True, mandatory=True, desc="(parcel, 3) coordinates")
    # The digest says what the weights are, wherever they lie.
    weights = traits.Str(mandatory=True, nohash=True, desc="folder of pre-trained weights")
    encoder_digest = traits.Str(mandatory=True)


class _EncodeOutput(TraitedSpec):
    encoded = File(desc="cls (hidden,) and fc (parcel, parcel) of one person")


class Encode(SimpleInterface):
    """Encoder features and merged connectivity of one person."""

    input_spec = _EncodeInput
    output_spec = _EncodeOutput

    def _run_interface(self, runtime: Any) -> Any:
        device, dtype = _start(self.inputs)
        options = ModelOptions(**json.loads(self.inputs.model_options))
        weights = Path(self.inputs.weights)
        encoder = build_encoder(options.encoder, weights, self.inputs.seed).to(device)
        person = encode_person(
            encoder,
            [(Path(path).name, read_series(Path(path)).signal) for path in self.inputs.series],
            np.load(self.inputs.xyz_mm),
            options,
            seed=self.inputs.seed,
            device=device,
            dtype=dtype,
        )
        about = {**person.about, "precision": str(dtype).removeprefix("torch.")}
        arrays = {"cls": person.cls, "fc": person.fc}
        self._results["encoded"] = save_arrays(Path(runtime.cwd) / "encoded.npz", arrays, about)
        return runtime


class _FitFoldInput(_TrainInput):
    fold = traits.Str(mandatory=True, desc="repeat, fold, train and test rows as JSON")


class _FitFoldOutput(TraitedSpec):
    predictions = File(desc="arrays of FoldPredictions")


class FitFold(SimpleInterface):
    """One model through the whole procedure on one fold."""

    input_spec = _FitFoldInput
    output_spec = _FitFoldOutput

    def _run_interface(self, runtime: Any) -> Any:
        split = json.loads(self.inputs.fold)
        rows = {name: np.array(split[name], dtype=np.int64) for name in ("train", "test")}
        setup, evaluation = _training(self.inputs)
        predictions = fit_fold(
            self.inputs.model,
            load_examples(self.inputs.examples),
            Fold(split["repeat"], split["fold"], rows["train"], rows["test"]),
            setup,
            evaluation,
            seed=self.inputs.seed,
        )
        self._results["predictions"] = save_fold(Path(runtime.cwd) / "fold.npz", predictions)
        return runtime


class _FitFinalOutput(TraitedSpec):
    tensors = File(exists=True)
    description = File(exists=True)


class FitFinal(SimpleInterface):
    """The same procedure on everyone: what a bundle keeps."""

    input_spec = _TrainInput
    output_spec = _FitFinalOutput

    def _run_interface(self, runtime: Any) -> Any:
        setup, evaluation = _training(self.inputs)
        model = fit_final(
            self.inputs.model,
            load_examples(self.inputs.examples),
            setup,
            evaluation,
            seed=self.inputs.seed,
        )
        tensors, description = save_bundle_model(Path(runtime.cwd), model)
        self._results["tensors"] = str(tensors)
        self._results["description"] = str(description)
        return runtime


class _PredictInput(_ComputeInput):
    examples = File(exists=True, mandatory=True)
    bundle = traits.Str(mandatory=True, hash_files=False, desc="folder of the bundle")
    bundle_digest = traits.Str(mandatory=True)


class _PredictOutput(TraitedSpec):
    logits = File(desc="(person,) logits")


class Predict(SimpleInterface):
    """A bundle applied to people it has never seen."""

    input_spec = _PredictInput
    output_spec = _PredictOutput

    def _run_interface(self, runtime: Any) -> Any:
        examples = load_examples(self.inputs.examples)
        setup = _setup(self.inputs, TrainOptions())
        model = load_bundle_model(Path(self.inputs.bundle), setup)
        self._results["logits"] = save_arrays(
            Path(runtime.cwd) / "logits.npz",
            {"logits": model.logits(examples)},
            {"keys": examples.keys},
        )
        return runtime


class _QualityInput(BaseInterfaceInputSpec):
    output_dir = traits.Str(mandatory=True, hash_files=False)


class _QualityOutput(TraitedSpec):
    summary = File(exists=True, desc="one line of text")


class Quality(SimpleInterface):
    """The quality of all runs, and QC-FC, from the written files."""

    input_spec = _QualityInput
    output_spec = _QualityOutput

    def _run_interface(self, runtime: Any) -> Any:
        summary = Path(runtime.cwd) / "summary.txt"
        summary.write_text(write_quality(Path(self.inputs.output_dir)), encoding="utf-8")
        self._results["summary"] = str(summary)
        return runtime


class _ReportInput(BaseInterfaceInputSpec):
    output_dir = traits.Str(mandatory=True, hash_files=False)
    label = traits.Str(mandatory=True)


class _ReportOutput(TraitedSpec):
    report = File(exists=True)


class Report(SimpleInterface):
    """The group's HTML report, and what to cite, from the written files."""

    input_spec = _ReportInput
    output_spec = _ReportOutput

    def _run_interface(self, runtime: Any) -> Any:
        output_dir = Path(self.inputs.output_dir)
        write_citation(output_dir)
        self._results["report"] = str(write_group_report(output_dir, self.inputs.label))
        return runtime
