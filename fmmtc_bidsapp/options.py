"""Every choice a user can make about the method, as frozen values.

The text under a field is the help of its flag (see `fmmtc_bidsapp.cli.parser`); the default is the
flag's default. ``metadata={"choices": ...}`` lists the allowed values, checked on construction.
Paths of inputs and outputs are not options: they live in `fmmtc_bidsapp.plan`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from fmmtc_bidsapp import extensions
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.extensions import ENCODERS, outside

__all__ = [
    "LONGEST_WINDOW",
    "MOST_TOKEN_ORDERS",
    "STRATEGIES",
    "CohortOptions",
    "ConnectivityOptions",
    "DenoiseOptions",
    "EvaluationOptions",
    "ExplainOptions",
    "ModelOptions",
    "ParcelOptions",
    "ProtocolOptions",
    "TrainOptions",
]


def _one_of(default: str, *choices: str, group: str = "") -> Any:
    """Declare a choice; other packages may add to it by entry points of the group."""
    return field(default=default, metadata={"choices": choices, "group": group})


def _registered(default: Any, group: str) -> Any:
    """Make a field whose help lists what other packages register in a group of entry points."""
    return field(default=default, metadata={"extensions": group})


def _check_choices(options: Any) -> None:
    for each in fields(options):
        choices: tuple[str, ...] = each.metadata.get("choices", ())
        value = getattr(options, each.name)
        if not choices or value in choices:
            continue
        # Looked for only now: it reads the metadata of every installed package.
        group = each.metadata["group"]
        added = [extension.name for extension in outside(group)] if group else []
        if value not in added:
            allowed = ", ".join(dict.fromkeys([*choices, *added]))
            raise UsageError(
                f"--{each.name.replace('_', '-')} is {value!r}; allowed are {allowed}."
            )


def _check_positive(options: Any, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if not (value > 0 and math.isfinite(value)):
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be a number above 0.")


@dataclass(frozen=True)
class ParcelOptions:
    """How a BOLD image becomes parcel series."""

    atlas: str = "A424"
    """Atlas: A424, or the path of a label image (or of the folder that holds it) with a table of
    the same name ending in .tsv that has the columns index and name. At the group level: the label
    of the atlas whose series are read, where there are several."""

    file_format: str = _one_of("auto", "auto", "nifti", "cifti")
    """Read NIfTI images or CIFTI dense series (fsLR 91k); auto takes NIfTI where a run has both."""

    min_coverage: float = 0.5
    """Smallest share of a parcel's volume in the atlas that must hold data; a parcel below it
    becomes n/a."""

    resampling_target: str = _one_of("data", "data", "atlas")
    """Where parcel and image meet: data carries the labels to the grid of the image, atlas looks
    the image up at every voxel of the atlas (the nearest voxel either way)."""

    def __post_init__(self) -> None:
        _check_choices(self)
        if not 0 <= self.min_coverage <= 1:
            raise UsageError(f"--min-coverage is {self.min_coverage}; it must lie in 0 to 1.")


STRATEGIES = ("simple", "none", "simpleGSR", "p36", "acompcor", "scrubbing", "aroma")
"""Names of the cleaning strategies this program brings."""


@dataclass(frozen=True)
class DenoiseOptions:
    """How parcel series are cleaned; a setting left out is the strategy's own."""

    denoise_strategy: str = _registered("simple", extensions.STRATEGIES)
    """Cleaning of the parcel series: simple (24 motion parameters, white matter, CSF, cosines),
    none (the paper's), simpleGSR, p36, acompcor, scrubbing, aroma, or the path of a .yml in XCP-D's
    form. The uncleaned series is written beside it in any case."""

    fd_threshold: float | None = None
    """Censor volumes with more framewise displacement than this, in mm; 0 censors none."""

    dvars_threshold: float | None = None
    """Censor volumes with more standardised DVARS than this; 0 censors none."""

    low_pass: float | None = None
    """Highest frequency that is kept, in Hz; 0 switches the filter off."""

    high_pass: float | None = None
    """Lowest frequency that is kept, in Hz; 0 switches the filter off."""

    dummy_scans: str = "auto"
    """Volumes dropped at the start: a number, or auto for those that fMRIPrep calls non-steady."""

    min_volumes: int = 50
    """Retained volumes below which a run is written but marked unusable."""

    min_dof: int = 20
    """Degrees of freedom left after cleaning below which a run is written but marked unusable."""

    def __post_init__(self) -> None:
        for name in ("fd_threshold", "dvars_threshold", "low_pass", "high_pass"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be 0 or more.")
        if self.dummy_scans != "auto" and not self.dummy_scans.isdecimal():
            raise UsageError(f"--dummy-scans is {self.dummy_scans!r}; give auto or a number.")
        if self.low_pass and self.high_pass and self.low_pass <= self.high_pass:
            raise UsageError(
                f"--low-pass is {self.low_pass} Hz and --high-pass {self.high_pass} Hz: nothing "
                "lies between them."
            )
        for name in ("min_volumes", "min_dof"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be 1 or more.")
        if self.denoise_strategy == "none" and self._own():
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in self._own())
            raise UsageError(f"{flags} has no meaning with --denoise-strategy none; leave it out.")

    def _own(self) -> list[str]:
        names = ("fd_threshold", "dvars_threshold", "low_pass", "high_pass")
        own = [name for name in names if getattr(self, name) is not None]
        return own if self.dummy_scans == "auto" else [*own, "dummy_scans"]


@dataclass(frozen=True)
class ConnectivityOptions:
    """How parcel series become a matrix."""

    fc_measure: str = _one_of(
        "correlation", "correlation", "partial-correlation", "covariance", "precision"
    )
    """Functional connectivity between parcels (nilearn's kinds)."""

    fisher_z: bool = False
    """Write Fisher's z of the coefficients (correlation and partial correlation only)."""

    combine_runs: bool = False
    """Also write one matrix over the runs of a task, the mean weighted by retained volumes (of
    Fisher's z for correlations)."""

    def __post_init__(self) -> None:
        _check_choices(self)
        if self.fisher_z and self.fc_measure not in ("correlation", "partial-correlation"):
            raise UsageError(
                f"--fisher-z needs coefficients within -1 and 1; --fc-measure is {self.fc_measure}."
            )


@dataclass(frozen=True)
class CohortOptions:
    """Who enters the analysis, and what is predicted."""

    target: str | None = None
    """Column of the participants table to predict (two values)."""

    positive_value: str | None = None
    """The value of the target column that counts as 1; needed when the two values are text."""

    where: tuple[str, ...] = ()
    """Keep participants whose column equals a value, as COLUMN=VALUE; repeatable."""

    stratify_by: tuple[str, ...] = ()
    """Columns that, together with the target, every fold should hold in equal shares."""

    group_by: str | None = None
    """Column of sites or families that no split may cut: whoever shares a value is tested
    together."""

    covariates: tuple[str, ...] = ()
    """Columns that the covariates-only baseline predicts from, to show what the brain adds to them;
    a column that predicts the outcome almost perfectly is refused (target leakage)."""

    adjust: bool = False
    """Regress the covariates out of the columns of linear models, fitted on the training rows of
    each fold."""

    desc: str | None = None
    """Which cleaning's series to read (the desc- of their names); needed when there are several. At
    the participant level: the name to write under (default: the strategy's)."""

    keep_unusable: bool = False
    """Keep runs whose quality table says usable = false."""


LONGEST_WINDOW, MOST_TOKEN_ORDERS = 100_000, 1_000
"""More would ask for more memory or time than any machine has."""
_RESAMPLED_S = (0.01, 100.0)


@dataclass(frozen=True)
class ModelOptions:
    """What the network is made of and what it is shown."""

    fusion: str = _one_of(
        "concat",
        "concat",
        "sum",
        "cross-attention",
        "bidirectional-cross-attention",
        "mixture-of-experts",
    )
    """How the series and the connectivity features meet (Table 1 of the paper)."""

    encoder: str = _one_of("brainlm", "brainlm", "random", "none", group=ENCODERS)
    """Encoder of the parcel series: the pre-trained BrainLM, the same network with random weights
    (the paper's "without pre-training"), one that an installed package adds, or none, for models
    that read connectivity alone."""

    encoder_weights: str | None = None
    """Folder of the encoder's weights, for BrainLM config.json and pytorch_model.bin or
    model.safetensors; by default brainlm/old_13M in the cache (FMMTC_CACHE_DIR)."""

    normalisation: str = _one_of("scan", "scan", "zscore", "robust", "none")
    """Scale of the series the encoder sees: scan centres each parcel and divides the scan by its
    median parcel SD, zscore divides each parcel by its own SD, robust brings each parcel to the
    median and interquartile range of the training people (encoding everyone anew for every fold),
    none keeps scanner units."""

    window: int = 200
    """Volumes the encoder sees at once."""

    resample_tr: float | None = None
    """Bring the series to this repetition time, in seconds, before the encoder sees them (BrainLM
    was trained at 0.735); connectivity stays that of the series as they are."""

    same_input: bool = False
    """Give every model the same volumes: the first window of each person's first run, connectivity
    and encoder included. Without it, connectivity and the frozen encoder see all runs whole, and
    models of series see that window."""

    short_series: str = _one_of("drop-patches", "drop-patches", "zero-pad", "refuse")
    """A series shorter than the window: leave the empty patches out, pad with zeros (the paper),
    or exclude the scan."""

    token_orders: int = 8
    """Seeded token orders averaged per window (the encoder's convolution depends on the order)."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_positive(self, "window", "token_orders")
        for name, most in (("window", LONGEST_WINDOW), ("token_orders", MOST_TOKEN_ORDERS)):
            if getattr(self, name) > most:
                raise UsageError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be {most} or "
                    "less."
                )
        low, high = _RESAMPLED_S
        if self.resample_tr is not None and not low <= self.resample_tr <= high:
            raise UsageError(
                f"--resample-tr is {self.resample_tr} s; it must lie in {low:g} to {high:g}."
            )


@dataclass(frozen=True)
class TrainOptions:
    """How a network is trained."""

    folds: int = 5
    """Outer folds: every participant is predicted by a network that never saw them."""

    repeats: int = 1
    """Repeats of the outer cross-validation, each with its own split."""

    inner_folds: int = 3
    """Inner folds, within the training rows, that choose the epoch and fit the calibration."""

    seeds: int = 1
    """Trainings of every network, each with a seed of its own; their mean predicts, their spread is
    the interval of a person's probability."""

    epochs: int = 100
    """Longest training; the inner folds choose the epoch that is used."""

    batch_size: int = 8
    """Participants in one step; 3 or more, so that nobody is normalised alone."""

    learning_rate: float = 5e-4
    """Learning rate of AdamW at the first step, falling to 1e-7 along a cosine."""

    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""

    precision: str = _one_of("auto", "auto", "float32", "bfloat16")
    """Arithmetic in which networks are trained; auto takes bfloat16 where the processor has
    instructions for it. Scans are encoded and people predicted in float32 always."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_positive(self, "repeats", "seeds", "epochs", "batch_size", "learning_rate")
        for name in ("folds", "inner_folds"):
            if getattr(self, name) < 2:
                raise UsageError(f"--{name.replace('_', '-')} must be 2 or more.")
        if self.batch_size < 3:
            raise UsageError(
                f"--batch-size is {self.batch_size} and must be 3 or more: the network normalises "
                "each participant by the others in the step."
            )


@dataclass(frozen=True)
class EvaluationOptions:
    """How predictions are calibrated and judged."""

    bootstrap: int = 2000
    """Bootstrap draws of participants behind the pooled intervals."""

    calibration: str = _one_of("sigmoid", "sigmoid", "temperature", "isotonic", "none")
    """Map from the network's output to a probability, fitted on inner out-of-fold outputs; isotonic
    needs 200 people to train on."""

    threshold: str = _one_of("0.5", "0.5", "tuned")
    """Probability from which a person counts as positive: 0.5, or the one with the best balanced
    accuracy on inner out-of-fold outputs."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_positive(self, "bootstrap")


@dataclass(frozen=True)
class ExplainOptions:
    """How models are explained; no model is fitted differently for it."""

    explain: str = _one_of("features", "features", "parcels", "none")
    """Explanation: features, the shares of series and connectivity (Fig. 2b of the paper); parcels,
    also maps of parcels and edges (tens of seconds per participant on a CPU); none. Maps are
    computed only for a model with evidence of prediction. A later run that asks for more may fit
    the first repeat of the main model and of fc-logistic again, with the same result."""

    show_unsupported_maps: bool = False
    """Compute and show maps also for a model without evidence of prediction, with a watermark."""

    explain_baseline: str = _one_of("zero", "zero", "mean", "surrogate")
    """Baseline of integrated gradients: zero (centred series and connectivity of zero), the mean of
    the training participants, or a phase-randomised surrogate of each participant. The agreement
    with the maps of the other two baselines is reported."""

    null_maps: str = "auto"
    """Number of models fitted to permuted outcomes, which give the z of a parcel and the null
    shares of the streams. auto: 99 for models without epochs; for networks 20 on CUDA and 0 on a
    CPU."""

    def __post_init__(self) -> None:
        _check_choices(self)
        if self.null_maps != "auto" and not self.null_maps.isdecimal():
            raise UsageError(
                f"--null-maps is {self.null_maps!r}; give auto or a whole number, 0 or more."
            )

    def n_null_maps(self, *, is_network: bool, device: str) -> int:
        """Return the number of permuted fits for the maps of one model."""
        if self.null_maps != "auto":
            return int(self.null_maps)
        if not is_network:
            return 99
        return 20 if device.startswith("cuda") else 0


_LEAST_PERMUTATIONS = 19
"""Permutations with which the smallest p, 1 / (permutations + 1), is 0.05."""


def _check_permutations(flag: str, value: str) -> None:
    if value == "auto":
        return
    if not value.isdecimal():
        raise UsageError(f"{flag} is {value!r}; give auto or a whole number, 0 or more.")
    if 0 < int(value) < _LEAST_PERMUTATIONS:
        raise UsageError(
            f"{flag} is {value}: the smallest possible p is {1 / (int(value) + 1):.3f}, "
            f"too large for evidence. Give {_LEAST_PERMUTATIONS} or more, or 0 for no test."
        )


@dataclass(frozen=True)
class ProtocolOptions:
    """Which models are fitted and how they are tested; no single fit depends on it."""

    network: tuple[str, ...] = _registered((), extensions.NETWORKS)
    """Models to evaluate, the main one first: fmmtc, brainlm, lstm, resnet-ts, resnet-fc, bnt, or
    svm, ridge, knn, xgboost on each of --features. Default: fmmtc for train, every model of the
    paper for compare. The dummy, covariates-only, motion-only and FC-logistic baselines are always
    added."""

    features: tuple[str, ...] = ()
    """Inputs of svm, ridge, knn and xgboost: ts, fc, pca-ts, pca-fc, encoder, fused. Default: fc
    for train, all for compare."""

    subset_by: str | None = None
    """Column of arms or drugs: performance within each, and their difference; compare also trains
    on each and tests on the others."""

    selection: str = _one_of("nested", "nested", "last-epoch", "best-on-test")
    """How the epoch is chosen: nested, by the inner folds; last-epoch, not at all; best-on-test, by
    the test fold (the published protocol, optimistic). The last two are reported beside nested.
    Models without epochs are not affected."""

    permutations: str = "auto"
    """Number of permutations of the outcome for the verdict. auto: 999 for models without epochs;
    for networks 99 on CUDA and 0 on a CPU."""

    network_permutations: str = "auto"
    """Number of permutations for networks, if it differs. auto: as --permutations. With
    --permutations 99 --network-permutations 0 only models without epochs are tested, in seconds."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_permutations("--permutations", self.permutations)
        _check_permutations("--network-permutations", self.network_permutations)

    def n_permutations(self, *, is_network: bool, device: str) -> int:
        """Return the number of permutations of one model."""
        if is_network and self.network_permutations != "auto":
            return int(self.network_permutations)
        if self.permutations != "auto":
            return int(self.permutations)
        if not is_network:
            return 999
        return 99 if device.startswith("cuda") else 0
