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
from fmmtc_bidsapp.group.bundle import load_bundle_model, save_bundle_model
from fmmtc_bidsapp.group.exchange import load_examples, save_arrays, save_fold
from fmmtc_bidsapp.learning.experiments import fit_final, fit_fold
from fmmtc_bidsapp.learning.features import encode_series, merge_connectomes
from fmmtc_bidsapp.learning.learner import Setup
from fmmtc_bidsapp.model.device import resolve_device, resolve_precision
from fmmtc_bidsapp.model.encoder import build_encoder, weights_digest
from fmmtc_bidsapp.options import EvaluationOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Fold
from fmmtc_bidsapp.signals.connectivity import correlate

__all__ = ["Encode", "FitFinal", "FitFold", "Predict", "check_device", "check_encoder"]


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
    return weights_digest(build_encoder(options.encoder, _folder(options), seed))


def _folder(options: ModelOptions) -> Path | None:
    return None if options.encoder_weights is None else Path(options.encoder_weights)


class _ComputeInput(BaseInterfaceInputSpec):
    """What every node that computes with torch is told."""

    options = traits.Str(mandatory=True, desc="train, model and evaluation options as JSON")
    seed = traits.Int(mandatory=True)
    device = traits.Str(mandatory=True)
    threads = traits.Int(mandatory=True)


def _setup(inputs: Any) -> Setup:
    """Read the options, and hold torch to the threads of the plan."""
    torch.set_num_threads(inputs.threads)
    options = json.loads(inputs.options)
    train, model = TrainOptions(**options["train"]), ModelOptions(**options["model"])
    device = resolve_device(inputs.device)
    return Setup(train, model, device, resolve_precision(train.precision, device))


def _evaluation(inputs: Any) -> EvaluationOptions:
    return EvaluationOptions(**json.loads(inputs.options)["evaluation"])


class _EncodeInput(_ComputeInput):
    series = InputMultiObject(File(exists=True), mandatory=True, desc="one file per run")
    xyz_mm = File(exists=True, mandatory=True, desc="(parcel, 3) coordinates")
    encoder_digest = traits.Str(mandatory=True)


class _EncodeOutput(TraitedSpec):
    encoded = File(desc="cls (hidden,) and fc (parcel, parcel) of one person")


class Encode(SimpleInterface):
    """Encoder features and merged connectivity of one person."""

    input_spec = _EncodeInput
    output_spec = _EncodeOutput

    def _run_interface(self, runtime: Any) -> Any:
        setup = _setup(self.inputs)
        encoder = build_encoder(setup.model.encoder, _folder(setup.model), self.inputs.seed)
        encoder.to(setup.device)
        runs = [read_series(Path(path)) for path in self.inputs.series]
        scans = [
            encode_series(
                encoder,
                run.signal,
                np.load(self.inputs.xyz_mm),
                setup.model,
                seed=self.inputs.seed,
                device=setup.device,
                dtype=setup.dtype,
            )
            for run in runs
        ]
        fc = merge_connectomes([(correlate(run.signal), len(run.signal)) for run in runs])
        self._results["encoded"] = save_arrays(
            Path(runtime.cwd) / "encoded.npz",
            {"cls": np.mean([scan.cls for scan in scans], axis=0), "fc": fc.astype(np.float32)},
            {
                "n_volumes": [len(run.signal) for run in runs],
                "n_windows": sum(scan.n_windows for scan in scans),
                "n_patches_dropped": sum(scan.n_patches_dropped for scan in scans),
                "n_parcels_left_out": max(scan.n_parcels_left_out for scan in scans),
                "order_spread": float(np.mean([scan.order_spread for scan in scans])),
                "precision": str(setup.dtype).removeprefix("torch."),
            },
        )
        return runtime


class _FitFoldInput(_ComputeInput):
    examples = File(exists=True, mandatory=True)
    model = traits.Str(mandatory=True)
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
        predictions = fit_fold(
            self.inputs.model,
            load_examples(self.inputs.examples),
            Fold(split["repeat"], split["fold"], rows["train"], rows["test"]),
            _setup(self.inputs),
            _evaluation(self.inputs),
            seed=self.inputs.seed,
        )
        self._results["predictions"] = save_fold(Path(runtime.cwd) / "fold.npz", predictions)
        return runtime


class _FitFinalInput(_ComputeInput):
    examples = File(exists=True, mandatory=True)
    model = traits.Str(mandatory=True)


class _FitFinalOutput(TraitedSpec):
    tensors = File(exists=True)
    description = File(exists=True)


class FitFinal(SimpleInterface):
    """The same procedure on everyone: what a bundle keeps."""

    input_spec = _FitFinalInput
    output_spec = _FitFinalOutput

    def _run_interface(self, runtime: Any) -> Any:
        model = fit_final(
            self.inputs.model,
            load_examples(self.inputs.examples),
            _setup(self.inputs),
            _evaluation(self.inputs),
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
        model = load_bundle_model(Path(self.inputs.bundle), _setup(self.inputs))
        self._results["logits"] = save_arrays(
            Path(runtime.cwd) / "logits.npz",
            {"logits": model.logits(examples.cls, examples.fc)},
            {"keys": examples.keys},
        )
        return runtime
