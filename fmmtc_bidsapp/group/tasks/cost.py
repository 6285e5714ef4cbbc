"""What the fits of an analysis will cost: memory of a node, time of the whole.

Figures are processor seconds of one thread of a 2-core Xeon with AMX, in float32, on noise of the
size of a real trial: 33 people in training, 419 parcels, 200 volumes. They say "about": another
machine is twice as fast or slow, bfloat16 three times faster where there are instructions for it,
and the progress corrects them as soon as steps have ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fmmtc_bidsapp.engine import duration
from fmmtc_bidsapp.group.encode.encoder_config import NO_ENCODER
from fmmtc_bidsapp.group.tasks.fit_steps import (
    EXPLAIN,
    NULL_MAPS,
    PUBLISHED,
    ROLLOUT,
    SHUFFLES,
    ExplainStep,
    Step,
)
from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.preprocessing.encode_series import window_starts
from fmmtc_bidsapp.options import ExplainOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples

__all__ = [
    "encode_s",
    "expected_s",
    "explain_gb",
    "explain_s",
    "say_cost",
    "say_explain_cost",
    "say_kept",
    "say_scales",
    "scale_gb",
    "step_gb",
    "step_s",
]

_PEOPLE, _PARCELS = 33, 419
"""Training people and parcels that the figures are of."""


@dataclass(frozen=True)
class _Network:
    """Seconds that one person takes in one epoch of training."""

    person_s: float
    """With as many parcels as above, and growing with their square."""
    least_s: float
    """However few there are."""


@dataclass(frozen=True)
class _Columns:
    """Seconds of a classifier on rows of numbers."""

    fit_s: float
    """Once, features included; grows with people and with the square of the parcels."""
    shuffle_s: float
    """For every shuffle of the outcome, on the same features."""


_RESNET = _Network(0.3, 0.02)
_NETWORKS: Mapping[str, _Network] = {
    "resnet-ts": _Network(0.15, 0.02),
    "bnt": _Network(0.12, 0.002),
    "lstm": _Network(0.002, 0.0005),
    "brainlm": _Network(0.0005, 0.0005),
    "brainlm-untrained": _Network(0.0005, 0.0005),
    "brainlm-tuned": _Network(3.0, 0.1),
    "brainlm-scratch": _Network(3.0, 0.1),
}
"""By family; the others have a ResNet-18 of connectivity, which all their time goes into."""
_COLUMNS: Mapping[str, _Columns] = {
    "dummy": _Columns(0.0, 0.0001),
    "covariates": _Columns(0.01, 0.003),
    "motion": _Columns(0.01, 0.003),
    "acquisition": _Columns(0.01, 0.003),
    "fc-logistic": _Columns(4.0, 0.005),
    **{
        f"{head}-{features}": _Columns(0.8, shuffle_s)
        for head, shuffle_s in {"svm": 0.002, "ridge": 0.0005, "knn": 0.0005}.items()
        for features in ("ts", "fc", "pca-ts", "pca-fc", "encoder")
    },
    "xgboost-ts": _Columns(0.3, 0.1),
    "xgboost-fc": _Columns(0.4, 0.1),
    "xgboost-pca-ts": _Columns(0.8, 0.015),
    "xgboost-pca-fc": _Columns(0.8, 0.015),
    "xgboost-encoder": _Columns(0.1, 0.025),
}
_OTHER_COLUMNS = _Columns(0.8, 0.005)

_FORWARD = 1 / 3
"""Share of a training step that a prediction costs; after every epoch of an inner fold BatchNorm is
estimated anew, and the people left out are predicted."""
_STEP_S = 0.3
"""Of a node's own: reading the cohort, writing the results."""


def step_s(step: Step, examples: Examples, train: TrainOptions) -> float:
    """Estimate the seconds of one step on one thread.

    Parameters
    ----------
    step
        What is fitted.
    examples
        The cohort.
    train
        Epochs, inner folds and trainings.
    """
    n = len(examples.keys) if step.fold is None else len(step.fold.train)
    size = examples.fc.shape[1] / _PARCELS
    cost = _network_s if step.is_network else _columns_s
    return _STEP_S + cost(step, n, size, train)


def _network_s(step: Step, n: int, size: float, train: TrainOptions) -> float:
    own = _NETWORKS.get(step.family, _RESNET)
    followed = 1 + _FORWARD
    # Together the inner folds train on everyone as often as there are folds but one.
    nested = 1 + (train.inner_folds - 1) * followed
    passes = followed if step.kind == PUBLISHED else nested
    fits = step.shuffles * train.seeds if step.kind == SHUFFLES else 1
    return float(fits * passes * train.epochs * n * max(own.least_s, own.person_s * size**2))


def _columns_s(step: Step, n: int, size: float, train: TrainOptions) -> float:
    own = _COLUMNS.get(step.family, _OTHER_COLUMNS)
    fits = 1 if step.kind == SHUFFLES else 1 + train.inner_folds
    return fits * own.fit_s * n / _PEOPLE * size**2 + step.shuffles * own.shuffle_s


_WINDOW_S, _WINDOW_VALUES = 1.5, 424 * 200
"""Of one window in one token order, and the parcels x volumes it has; attention makes the time grow
with their square."""


def encode_s(n_volumes: int, tr_s: float | None, n_parcels: int, options: ModelOptions) -> float:
    """Estimate the seconds that one scan takes to be encoded on one thread, in float32.

    Parameters
    ----------
    n_volumes
        Of the series as they are.
    tr_s
        Their repetition time; it matters with ``--resample-tr``.
    n_parcels
        Of the atlas.
    options
        Window, token orders, repetition time.
    """
    if options.resample_tr is not None and tr_s is not None:
        n_volumes = round(n_volumes * tr_s / options.resample_tr)
    if options.same_input:
        n_volumes = min(n_volumes, options.window)
    n_windows = len(window_starts(n_volumes, options.window))
    values = n_parcels * min(n_volumes, options.window)
    return n_windows * options.token_orders * _WINDOW_S * (values / _WINDOW_VALUES) ** 2


def say_scales(
    n_scales: int,
    *,
    encodings: int,
    once: int,
    seconds: float,
    encoder: str,
    device: str,
    n_procs: int,
) -> None:
    """Print what it costs to encode everyone anew with the scale of every fold's training people.

    Parameters
    ----------
    n_scales
        Sets of training people: of the folds, and everyone where a model of them is kept.
    encodings, once
        Scans to be encoded in all, and with a scale of the scan's own.
    seconds
        Of all encodings, of `encode_s`.
    encoder, device
        As ``--encoder``, and as `check_device` names it.
    n_procs
        Processes at once.
    """
    is_there = encoder != NO_ENCODER
    whole_s = (seconds + _STEP_S * encodings) / n_procs
    told = f", about {duration(whole_s)} with --nprocs {n_procs} in float32"
    print(
        f"--normalisation robust takes its scale from the training people, of whom there are "
        f"{n_scales} sets: {encodings} {'encodings' if is_there else 'scans to bring to it'} in "
        f"place of {once}{told if is_there and device == 'cpu' else ''}; what an earlier run "
        "finished is taken over.",
        flush=True,
    )


def expected_s(seconds: Sequence[float], n_procs: int) -> float:
    """Estimate how long steps take side by side: never less than the longest."""
    return max(sum(seconds) / n_procs, max(seconds, default=0.0))


def say_cost(seconds: Mapping[Step, float], device: str, n_procs: int) -> None:
    """Print how much is to be fitted, and about how long that takes.

    Parameters
    ----------
    seconds
        By step, of `step_s`.
    device
        Of the networks. The figures are of a processor: for another device no time is named.
    n_procs
        Processes at once.
    """
    models = dict.fromkeys(name for step in seconds for name in step.models)
    print(f"Fitting {len(models)} models in {len(seconds)} steps: {', '.join(models)}")
    if device != "cpu" and any(step.is_network for step in seconds):
        print(f"How long networks take on {device} the progress will tell.", flush=True)
        return
    shuffled = [each for step, each in seconds.items() if step.kind == SHUFFLES]
    fitted = [each for step, each in seconds.items() if step.kind != SHUFFLES]
    parts = {"fits": fitted, "fits with shuffled outcomes": shuffled}
    told = [f"{name} about {duration(sum(each) / n_procs)}" for name, each in parts.items() if each]
    whole = duration(expected_s(list(seconds.values()), n_procs))
    print(
        f"About {whole} with --nprocs {n_procs} ({', '.join(told)}); what an earlier run finished "
        "is taken over.",
        flush=True,
    )


_NETWORK_GB = 2.5
_PROGRAM_GB = 0.6
_COPIES = 10
"""Of everyone's matrices in float64, while a classifier's features are made."""


def scale_gb(n_volumes: int, n_parcels: int) -> float:
    """Estimate the memory of learning a scale: all series of the training people, in float64."""
    return _PROGRAM_GB + float(8 * n_volumes * n_parcels) / 1e9


def step_gb(step: Step, examples: Examples) -> float:
    """Estimate the memory of one step."""
    if step.is_network:
        return _NETWORK_GB
    n, parcels = len(examples.keys), examples.fc.shape[1]
    return _PROGRAM_GB + float(_COPIES * 8 * n * parcels**2) / 1e9


@dataclass(frozen=True)
class _Map:
    """Seconds that the map of one person takes, with as many parcels as above.

    They grow with the square of the parcels; windows are taken to be of 200 volumes. Timed on a
    busy machine: two streams on 60 parcels and 120 volumes (1.5 s), ResNet-18 alone on 424 parcels
    (over 33 s: a model of few epochs needs many steps); the others are guesses from a training
    step. The progress corrects them.
    """

    series_s: float
    connectivity_s: float


_RESNET_MAP = _Map(0.0, 40.0)
_MAPS: Mapping[str, _Map] = {
    "resnet-fc": _RESNET_MAP,
    "bnt": _Map(0.0, 3.0),
    "lstm": _Map(0.5, 0.0),
    "resnet-ts": _Map(10.0, 0.0),
    "brainlm": _Map(30.0, 0.0),
    "brainlm-untrained": _Map(30.0, 0.0),
    "brainlm-tuned": _Map(30.0, 0.0),
    "brainlm-scratch": _Map(30.0, 0.0),
}
_TWO_STREAMS_MAP = _Map(30.0, 40.0)
_LEAST_MAP_S = 0.2
_COMPARED = 6
"""Maps of a fold from other baselines: of three people, from two."""
_STREAMS_S = 0.1
"""Of a person, to where the streams of a network meet."""
_ROLLOUT_S = 4.0
"""Of a person, with explicit attention in every layer."""
_PATTERN_S = 0.02
"""Of one Haufe pattern."""
_EXPLAIN_GB = 3.0
_KEPT_GB = 0.05
"""Of a network's weights on disk: a ResNet-18, or BrainLM."""
_LATE, _LATE_ENCODER = 40, 10
"""Steps of the integrals begin at 16 and double, each time from the start; most end with the
second. All of them, to 1024 and through the encoder to 256, are about so many times these two."""


def explain_s(
    step: ExplainStep, examples: Examples, options: ExplainOptions, train: TrainOptions
) -> float:
    """Estimate the seconds of one step of the explanations on one thread.

    Parameters
    ----------
    step
        What is explained.
    examples
        The cohort.
    options
        Whether networks are mapped, and over how many noisy copies.
    train
        Epochs, of null maps.
    """
    size = examples.fc.shape[1] / _PARCELS
    cost = _map_network_s if step.is_network else _map_columns_s
    return _STEP_S + cost(step, size, options, train)


def _map_network_s(
    step: ExplainStep, size: float, options: ExplainOptions, train: TrainOptions
) -> float:
    n_train, n_test = len(step.kept.fold.train), len(step.kept.fold.test)
    family = MODELS[step.kept.model].family or step.kept.model
    own, network = _MAPS.get(family, _TWO_STREAMS_MAP), _NETWORKS.get(family, _RESNET)
    if step.kind == ROLLOUT:
        return _ROLLOUT_S * n_test * size**2
    streams_s = _STREAMS_S * (n_train + n_test) * size**2
    fit_s = train.epochs * n_train * max(network.least_s, network.person_s * size**2)
    if options.explain != "parcels":
        return streams_s if step.kind == EXPLAIN else step.maps * (fit_s + streams_s)
    person_s = max(_LEAST_MAP_S, (own.series_s + own.connectivity_s) * size**2)
    noisy_s = person_s * max(options.smoothgrad, 1)
    if step.kind == EXPLAIN:
        return streams_s + n_test * noisy_s + _COMPARED * person_s
    return step.maps * (fit_s + n_test * noisy_s)


def _map_columns_s(
    step: ExplainStep, size: float, options: ExplainOptions, train: TrainOptions
) -> float:
    own = _COLUMNS.get(step.kept.model, _OTHER_COLUMNS)
    features_s = own.fit_s * len(step.kept.fold.train) / _PEOPLE * size**2
    return features_s + step.maps * (own.shuffle_s + _PATTERN_S * size**2)


def explain_gb(step: ExplainStep, examples: Examples) -> float:
    """Estimate the memory of one step of the explanations."""
    if step.is_network:
        return _EXPLAIN_GB
    n, parcels = len(examples.keys), examples.fc.shape[1]
    return _PROGRAM_GB + float(_COPIES * 8 * n * parcels**2) / 1e9


def say_explain_cost(
    seconds: Mapping[ExplainStep, float], device: str, n_procs: int, *, parcels: bool
) -> None:
    """Print how much is to be explained, and about how long that takes.

    Parameters
    ----------
    seconds
        By step, of `explain_s`.
    device
        Of the networks. The figures are of a processor: for another device no time is named.
    n_procs
        Processes at once.
    parcels
        Whether networks are mapped.
    """
    models = dict.fromkeys(step.kept.model for step in seconds)
    n_maps = sum(step.maps for step in seconds if step.kind == NULL_MAPS)
    print(
        f"Explaining {', '.join(models)} in {len(seconds)} steps, with {n_maps} maps of shuffled "
        "outcomes among them."
        if n_maps
        else f"Explaining {', '.join(models)} in {len(seconds)} steps.",
        flush=True,
    )
    if device != "cpu" and any(step.is_network for step in seconds):
        print(f"How long networks take on {device} the progress will tell.", flush=True)
        return
    whole = duration(expected_s(list(seconds.values()), n_procs))
    late = (
        f" A person whose integral is not complete at first takes up to {_LATE} times as long, and "
        f"{_LATE_ENCODER} times where it goes through the encoder."
        if parcels and any(step.is_network for step in seconds)
        else ""
    )
    print(
        f"About {whole} with --nprocs {n_procs}; what an earlier run finished is taken over.{late}",
        flush=True,
    )


def say_kept(steps: Sequence[Step]) -> None:
    """Print how much room the weights that are kept to be explained take, where it is much.

    Parameters
    ----------
    steps
        Everything that is to be fitted.
    """
    n = sum(len(step.keep) for step in steps if step.is_network)
    if n * _KEPT_GB > 1:
        print(
            f"The weights of {n} fits are kept in the work folder to be explained, up to "
            f"{n * _KEPT_GB:.1f} GB. --explain none keeps none.",
            flush=True,
        )
