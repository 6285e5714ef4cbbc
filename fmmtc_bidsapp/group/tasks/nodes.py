"""Thin nipype interfaces of the group level: load, call, save.

As at the participant level, inputs and outputs are paths, numbers and JSON.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from fmmtc_bidsapp.bidsio.tables.read_series import read_relmat, read_series
from fmmtc_bidsapp.engine import save_arrays
from fmmtc_bidsapp.group.bundle.bundle import load_bundle_model, load_fitted, save_bundle_model
from fmmtc_bidsapp.group.encode.encoder_config import NO_ENCODER
from fmmtc_bidsapp.group.encode.person import (
    MatrixRun,
    SeriesRun,
    encode_person,
    fit_scale_of_runs,
    merge_matrices,
)
from fmmtc_bidsapp.group.encode.serialization import (
    load_examples,
    load_scale,
    save_explanation,
    save_fold,
    save_scale,
)
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.estimators.networks import NETWORKS
from fmmtc_bidsapp.learning.evaluation.external_validation import predict_new
from fmmtc_bidsapp.learning.explanation.explain import explain_fold, explain_null
from fmmtc_bidsapp.learning.model_selection.nested_cv import fit_final, train_together
from fmmtc_bidsapp.learning.model_selection.permutations import (
    aurocs_of_shuffles,
    permuted_labels,
    permuted_outputs,
)
from fmmtc_bidsapp.learning.paper.best_on_test import publish_together
from fmmtc_bidsapp.learning.preprocessing.encode_series import Scale, check_window
from fmmtc_bidsapp.models.device import make_deterministic, resolve_device, resolve_precision
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.encoder import build_encoder, weights_digest
from fmmtc_bidsapp.options import EvaluationOptions, ExplainOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples, Fold, Ints

__all__ = [
    "Encode",
    "Explain",
    "FitFinal",
    "FitFold",
    "FitPublished",
    "FitScale",
    "Merge",
    "NullMaps",
    "Predict",
    "Shuffle",
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
    encoder = build_encoder(options.encoder, Path(str(options.encoder_weights)), seed)
    check_window(options.window, encoder.config)
    return weights_digest(encoder)


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

    # Its content is its digest: nipype would read it again for every node.
    examples = File(exists=True, mandatory=True, hash_files=False)
    examples_digest = traits.Str(mandatory=True)
    # What people are encoded with is known by their digest.
    weights = traits.Str(mandatory=True, nohash=True, desc="folder of pre-trained weights")
    models = traits.List(traits.Str(), mandatory=True, desc="trained together")
    train_options = traits.Str(mandatory=True, desc="TrainOptions as JSON")
    adjust = traits.Bool(mandatory=True, desc="whether covariates are regressed out")
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
    setup = replace(_setup(inputs, train), encoder=_tuned_encoder(inputs), adjust=inputs.adjust)
    return setup, evaluation


def _tuned_encoder(inputs: Any) -> BrainLM | None:
    """Build the encoder where a network starts from it, as the people were encoded."""
    options = ModelOptions(**json.loads(inputs.model_options))
    networks = [NETWORKS[family] for name in inputs.models if (family := MODELS[name].family)]
    if not any(each.tunes_encoder for each in networks):
        return None
    return build_encoder(options.encoder, Path(inputs.weights), inputs.seed)


class _EncodeInput(_ComputeInput):
    series = InputMultiObject(File(exists=True), mandatory=True, desc="one file per run")
    runs = traits.Str(mandatory=True, desc="of each, its tr_s, as JSON")
    xyz_mm = File(exists=True, mandatory=True, desc="(parcel, 3) coordinates")
    # The digest says what the weights are, wherever they lie.
    weights = traits.Str(mandatory=True, nohash=True, desc="folder of pre-trained weights")
    encoder_digest = traits.Str(mandatory=True)
    scale = File(exists=True, desc="median and IQR of the training people, where it is theirs")


class _EncodeOutput(TraitedSpec):
    encoded = File(desc="cls, fc and series of one person, as in Examples")


class Encode(SimpleInterface):
    """Encoder features, merged connectivity and a window of series of one person."""

    input_spec = _EncodeInput
    output_spec = _EncodeOutput

    def _run_interface(self, runtime: Any) -> Any:
        device, _ = _start(self.inputs)
        options = ModelOptions(**json.loads(self.inputs.model_options))
        person = encode_person(
            _encoder(options, Path(self.inputs.weights), self.inputs.seed, device),
            _read_runs(self.inputs),
            np.load(self.inputs.xyz_mm),
            options,
            seed=self.inputs.seed,
            device=device,
            scale=_scale(self.inputs),
        )
        about = {**person.about, "precision": "float32"}
        path = Path(runtime.cwd) / "encoded.npz"
        self._results["encoded"] = save_arrays(path, person.arrays, about)
        return runtime


def _encoder(
    options: ModelOptions, weights: Path, seed: int, device: torch.device
) -> BrainLM | None:
    if options.encoder == NO_ENCODER:
        return None
    return build_encoder(options.encoder, weights, seed).to(device)


def _read_runs(inputs: Any) -> list[SeriesRun]:
    runs = zip(map(Path, inputs.series), json.loads(inputs.runs), strict=True)
    return [SeriesRun(path.name, read_series(path).signal, about["tr_s"]) for path, about in runs]


def _scale(inputs: Any) -> Scale | None:
    return load_scale(inputs.scale) if isdefined(inputs.scale) else None


class _ScaleInput(BaseInterfaceInputSpec):
    series = InputMultiObject(File(exists=True), mandatory=True, desc="every run of these people")
    runs = traits.Str(mandatory=True, desc="of each, its tr_s, as JSON")
    model_options = traits.Str(mandatory=True, desc="ModelOptions as JSON")


class _ScaleOutput(TraitedSpec):
    scale = File(exists=True)


class FitScale(SimpleInterface):
    """Each parcel's median and interquartile range over the training people."""

    input_spec = _ScaleInput
    output_spec = _ScaleOutput

    def _run_interface(self, runtime: Any) -> Any:
        options = ModelOptions(**json.loads(self.inputs.model_options))
        scale = fit_scale_of_runs(_read_runs(self.inputs), options)
        self._results["scale"] = save_scale(Path(runtime.cwd) / "scale.npy", scale)
        return runtime


class _MergeInput(BaseInterfaceInputSpec):
    matrices = InputMultiObject(File(exists=True), mandatory=True, desc="one file per run")
    runs = traits.Str(mandatory=True, desc="of each, fisher_z and n_volumes, as JSON")
    parcels = traits.Str(mandatory=True, desc="names in the order that is wanted, as JSON")


class Merge(SimpleInterface):
    """Merged connectivity of one person of whom there are matrices alone."""

    input_spec = _MergeInput
    output_spec = _EncodeOutput

    def _run_interface(self, runtime: Any) -> Any:
        runs = zip(map(Path, self.inputs.matrices), json.loads(self.inputs.runs), strict=True)
        person = merge_matrices(
            [
                MatrixRun(
                    path.name,
                    replace(read_relmat(path), fisher_z=about["fisher_z"]),
                    about["n_volumes"],
                )
                for path, about in runs
            ],
            json.loads(self.inputs.parcels),
        )
        about = {**person.about, "precision": "float32"}
        path = Path(runtime.cwd) / "encoded.npz"
        self._results["encoded"] = save_arrays(path, person.arrays, about)
        return runtime


class _FoldInput(_TrainInput):
    """What nodes of one fold are told besides."""

    fold = traits.Str(mandatory=True, desc="repeat, fold, train and test rows as JSON")


def _fold(text: str) -> Fold:
    split = json.loads(text)
    rows = {name: np.array(split[name], dtype=np.int64) for name in ("train", "test")}
    return Fold(split["repeat"], split["fold"], rows["train"], rows["test"])


class _FitFoldInput(_FoldInput):
    training = traits.Int(mandatory=True, desc="which of the --seeds")
    # Left undefined where none is, so that the other nodes are known by what they always were.
    keep = traits.List(traits.Str(), desc="models whose weights are kept")


class _PredictionsOutput(TraitedSpec):
    predictions = OutputMultiObject(File(exists=True), desc="FoldPredictions of each model")


class _FitFoldOutput(_PredictionsOutput):
    kept = traits.List(File(exists=True), desc="weights and descriptions of the models to keep")


class FitFold(SimpleInterface):
    """Models that are trained together through the whole procedure on one fold."""

    input_spec = _FitFoldInput
    output_spec = _FitFoldOutput

    def _run_interface(self, runtime: Any) -> Any:
        setup, evaluation = _training(self.inputs)
        models, predictions = train_together(
            self.inputs.models,
            load_examples(self.inputs.examples),
            _fold(self.inputs.fold),
            setup,
            evaluation,
            seed=self.inputs.seed,
            training=self.inputs.training,
        )
        self._results["predictions"] = [
            save_fold(Path(runtime.cwd) / f"{each.model}.npz", each) for each in predictions
        ]
        keep = self.inputs.keep if isdefined(self.inputs.keep) else ()
        # nipype removes from a node's folder what is no output of it.
        self._results["kept"] = [
            str(file)
            for model in models
            if model.name in keep
            for file in save_bundle_model(_folder(Path(runtime.cwd) / model.name), model)
        ]
        return runtime


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


class _ShuffleInput(_FoldInput):
    blocks = traits.Str(mandatory=True, desc="who may exchange the outcome with whom, as JSON")
    first = traits.Int(mandatory=True, desc="number of the first shuffle")
    shuffles = traits.Int(mandatory=True)


class _ShuffleOutput(TraitedSpec):
    shuffles = File(exists=True, desc="(model, shuffle) AUROCs, (model, shuffle, person) outputs")


class Shuffle(SimpleInterface):
    """Models that are trained together on one fold, with shuffled outcomes."""

    input_spec = _ShuffleInput
    output_spec = _ShuffleOutput

    def _run_interface(self, runtime: Any) -> Any:
        setup, evaluation = _training(self.inputs)
        examples = load_examples(self.inputs.examples)
        fold, labels = _fold(self.inputs.fold), _shuffled(self.inputs, examples)
        outputs = permuted_outputs(
            self.inputs.models,
            examples,
            fold,
            labels,
            setup,
            evaluation,
            seed=self.inputs.seed,
        )
        self._results["shuffles"] = save_arrays(
            Path(runtime.cwd) / "shuffles.npz",
            {"aurocs": aurocs_of_shuffles(outputs, fold, labels), "outputs": outputs},
            {"models": self.inputs.models},
        )
        return runtime


def _shuffled(inputs: Any, examples: Examples) -> Ints:
    """(shuffle, person) the node's own outcomes, of all there are."""
    blocks = json.loads(inputs.blocks)
    return permuted_labels(examples.y, blocks, inputs.first + inputs.shuffles, inputs.seed)[
        inputs.first :
    ]


class FitPublished(SimpleInterface):
    """Networks that are trained together through the published protocol on one fold.

    The test rows choose the epoch.
    """

    input_spec = _FoldInput
    output_spec = _PredictionsOutput

    def _run_interface(self, runtime: Any) -> Any:
        setup, _ = _training(self.inputs)
        published = publish_together(
            self.inputs.models,
            load_examples(self.inputs.examples),
            _fold(self.inputs.fold),
            setup,
            seed=self.inputs.seed,
        )
        self._results["predictions"] = [
            save_fold(Path(runtime.cwd) / f"{each.model}_{selection}.npz", each)
            for one in published
            for selection, each in one.items()
        ]
        return runtime


class _FitFinalInput(_TrainInput):
    training = traits.Int(mandatory=True, desc="which of the --seeds")


class _FitFinalOutput(TraitedSpec):
    tensors = File(exists=True)
    description = File(exists=True)


class FitFinal(SimpleInterface):
    """The same procedure on everyone: what a bundle keeps."""

    input_spec = _FitFinalInput
    output_spec = _FitFinalOutput

    def _run_interface(self, runtime: Any) -> Any:
        setup, evaluation = _training(self.inputs)
        (name,) = self.inputs.models
        model = fit_final(
            name,
            load_examples(self.inputs.examples),
            setup,
            evaluation,
            seed=self.inputs.seed,
            training=self.inputs.training,
        )
        tensors, description = save_bundle_model(Path(runtime.cwd), model)
        self._results["tensors"] = str(tensors)
        self._results["description"] = str(description)
        return runtime


class _ExplainInput(_FoldInput):
    tensors = File(exists=True, mandatory=True, desc="of the fitted model")
    description = File(exists=True, mandatory=True, desc="of the fitted model")
    explain_options = traits.Str(mandatory=True, desc="ExplainOptions as JSON")


class _ExplainOutput(TraitedSpec):
    explanation = File(exists=True, desc="FoldExplanation")


class Explain(SimpleInterface):
    """What a fitted model goes by on the test people of its fold."""

    input_spec = _ExplainInput
    output_spec = _ExplainOutput

    def _run_interface(self, runtime: Any) -> Any:
        setup, _ = _training(self.inputs)
        explanation = explain_fold(
            load_fitted(Path(self.inputs.tensors), Path(self.inputs.description), setup),
            load_examples(self.inputs.examples),
            _fold(self.inputs.fold),
            ExplainOptions(**json.loads(self.inputs.explain_options)),
            encoder=_explained_encoder(self.inputs, setup.device),
            seed=self.inputs.seed,
        )
        self._results["explanation"] = save_explanation(
            Path(runtime.cwd) / "explanation.npz", explanation
        )
        return runtime


def _explained_encoder(inputs: Any, device: torch.device) -> BrainLM | None:
    """Build the encoder that a model reads, where maps go back to its input."""
    options = ModelOptions(**json.loads(inputs.model_options))
    explain = ExplainOptions(**json.loads(inputs.explain_options))
    needs = {need for name in inputs.models for need in MODELS[name].needs}
    kinds = {"encoder": options.encoder, "random encoder": "random"}
    kind = next((kinds[need] for need in kinds if need in needs), NO_ENCODER)
    if explain.explain != "parcels" or kind == NO_ENCODER:
        return None
    return build_encoder(kind, Path(inputs.weights), inputs.seed).to(device)


class _NullMapsInput(_ShuffleInput):
    epoch = traits.Int(mandatory=True, desc="epochs of the real fit")
    explain_options = traits.Str(mandatory=True, desc="ExplainOptions as JSON")


class _NullMapsOutput(TraitedSpec):
    maps = File(exists=True, desc="maps of every shuffle")


class NullMaps(SimpleInterface):
    """The same of models that are fitted to shuffled outcomes."""

    input_spec = _NullMapsInput
    output_spec = _NullMapsOutput

    def _run_interface(self, runtime: Any) -> Any:
        setup, _ = _training(self.inputs)
        examples = load_examples(self.inputs.examples)
        (name,) = self.inputs.models
        maps = explain_null(
            name,
            examples,
            _fold(self.inputs.fold),
            _shuffled(self.inputs, examples),
            self.inputs.epoch,
            setup,
            ExplainOptions(**json.loads(self.inputs.explain_options)),
            encoder=_explained_encoder(self.inputs, setup.device),
            seed=self.inputs.seed,
        )
        self._results["maps"] = save_arrays(Path(runtime.cwd) / "maps.npz", maps.arrays(), {})
        return runtime


class _PredictInput(_ComputeInput):
    examples = File(exists=True, mandatory=True)
    bundle = traits.Str(mandatory=True, hash_files=False, desc="folder of the bundle")
    bundle_digest = traits.Str(mandatory=True)


class _PredictOutput(TraitedSpec):
    predictions = File(exists=True, desc="FoldPredictions of no fold")


class Predict(SimpleInterface):
    """A bundle applied to people it has never seen."""

    input_spec = _PredictInput
    output_spec = _PredictOutput

    def _run_interface(self, runtime: Any) -> Any:
        examples = load_examples(self.inputs.examples)
        setup = _setup(self.inputs, TrainOptions())
        model = load_bundle_model(Path(self.inputs.bundle), setup)
        self._results["predictions"] = save_fold(
            Path(runtime.cwd) / "predictions.npz", predict_new(model, examples)
        )
        return runtime
