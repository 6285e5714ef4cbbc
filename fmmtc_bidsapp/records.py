"""What travels between rooms inside one process: frozen values that check themselves once.

A record holds arrays in the axis order its docstring names. Missing data is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError

__all__ = [
    "AddedValue",
    "ArmCount",
    "ArmDifference",
    "ArmRow",
    "Atlas",
    "Blocks",
    "BoldRun",
    "Calibration",
    "CalibrationBin",
    "CleanedSeries",
    "ComparisonRow",
    "Connectome",
    "Curve",
    "Difference",
    "Duplicate",
    "EligibilityStep",
    "Evaluation",
    "Examples",
    "Exclusion",
    "Explanation",
    "Fold",
    "FoldExplanation",
    "FoldPredictions",
    "Leak",
    "MapRow",
    "MetricRow",
    "ModalityShare",
    "ModalityValues",
    "OptimismRow",
    "ParcelSeries",
    "PermutationTest",
    "Person",
    "Regressor",
    "RunQuality",
    "SeriesFile",
    "Strategy",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Blocks = Sequence[Sequence[Sequence[int]]]
"""Who may exchange outcomes: by block its units, by unit its rows; units change places whole."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


@dataclass(frozen=True)
class Exclusion:
    """Someone or something left out, and why; nobody is dropped without one."""

    participant_id: str
    session_id: str | None
    stage: str
    """Where: ``find``, ``table``, ``series``, ``quality``, ``window``."""
    reason: str


@dataclass(frozen=True)
class ArmCount:
    """People of one arm, and their outcomes."""

    arm: str
    """Value of the ``--subset-by`` column, ``n/a`` where it has none."""
    n: int
    n_positive: int | None = None
    n_negative: int | None = None


@dataclass(frozen=True)
class EligibilityStep:
    """How many people a condition left, and how they divide; a row of ``_eligibility.tsv``."""

    step: str
    n: int
    n_positive: int | None = None
    """None where no outcome was asked for, or its values do not say which is positive."""
    n_negative: int | None = None
    arms: tuple[ArmCount, ...] = ()
    """The same arms in every step of a run; none without ``--subset-by``."""


@dataclass(frozen=True)
class BoldRun:
    """One preprocessed BOLD image with the mask and confounds of exactly that run."""

    entities: Mapping[str, str]
    """BIDS entities by their short key (``sub``, ``ses``, ``task``, …) without ``space``,
    ``res``, ``den``, ``desc``: those of the raw run."""
    bold: Path
    mask: Path | None
    """Brain mask on the image's grid; None for a CIFTI image, which has none."""
    confounds: Path | None
    space: str
    tr_s: float | None
    """Repetition time of the sidecar in seconds; None where no sidecar gives one."""
    res: str | None = None
    den: str | None = None
    """Density of a CIFTI image's surfaces, ``91k``."""
    start_time_s: float | None = None
    """Acquisition time of a volume's reference slice, where the sidecar gives it."""
    boldref: Path | None = None
    """Reference volume in the same space and resolution, where there is one with content."""
    aroma: Path | None = None
    """fMRIPost-AROMA's table of components of this run, where a dataset of it was given."""
    anat_mask: Path | None = None
    """Brain mask of the participant's anatomical image in the same space, at any resolution, where
    there is one with content."""

    @property
    def participant_id(self) -> str:
        """The label with its prefix, ``sub-01``."""
        return f"sub-{self.entities['sub']}"

    @property
    def file_format(self) -> str:
        """``nifti`` or ``cifti``."""
        return "cifti" if self.bold.name.endswith(".dtseries.nii") else "nifti"


MOST_PARCELS = 10_000
"""A matrix of so many takes 800 MB."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """A parcellation: a label image and one row per parcel, in the order of every output."""

    label: str
    """As in file names (``A424``); a fallback or personal atlas never carries ``A424``."""
    title: str
    image: Path
    index: Ints
    """(parcel,) label values in the image."""
    names: tuple[str, ...]
    networks: tuple[str, ...]
    """Broad network of each parcel (AA-7 for A424), ``n/a`` where unknown."""
    subnetworks: tuple[str, ...]
    """Fine network of each parcel (AA-24 for A424), ``n/a`` where unknown."""
    coordinates_mm: Floats | None
    """(parcel, 3) what the encoder is told; for A424 the file BrainLM was trained with."""
    space: str
    """TemplateFlow identifier of the template the labels are drawn in."""
    digest: str
    """sha256 over the label image and the table."""
    dlabel: Path | None = None
    """The same parcels on 91k grayordinates, where there is such a file."""
    description: str = ""
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        n = len(self.index)
        for what in ("names", "networks", "subnetworks"):
            _require(
                len(getattr(self, what)) == n,
                f"Atlas {self.label} has {n} parcels but {len(getattr(self, what))} {what}.",
            )
        _require(n > 0, f"Atlas {self.label} has no parcel.")
        _require(len(set(self.names)) == n, f"Atlas {self.label} names a parcel twice.")
        if self.coordinates_mm is not None:
            _require(
                self.coordinates_mm.shape == (n, 3),
                f"Atlas {self.label} needs ({n}, 3) coordinates, found "
                f"{self.coordinates_mm.shape}.",
            )


@dataclass(frozen=True, eq=False)
class ParcelSeries:
    """Mean signal per parcel: a column is all NaN where the parcel has no data."""

    signal: Floats
    """(time, parcel)"""
    parcels: tuple[str, ...]
    tr_s: float | None
    coverage: Floats | None = None
    """(parcel,) share of the parcel's voxels that held data, where it is known."""

    def __post_init__(self) -> None:
        _require(
            self.signal.ndim == 2 and self.signal.shape[1] == len(self.parcels),
            f"A series of shape {self.signal.shape} does not fit {len(self.parcels)} parcels.",
        )
        partly = np.isnan(self.signal).any(axis=0) & ~np.isnan(self.signal).all(axis=0)
        _require(
            not partly.any(),
            f"{int(partly.sum())} parcels have values in some volumes only, the first is "
            f"{self.parcels[int(partly.argmax())]}; a parcel must be whole or n/a throughout.",
        )

    @property
    def missing(self) -> NDArray[np.bool_]:
        """(parcel,) True where the parcel has no data."""
        return np.asarray(np.isnan(self.signal).all(axis=0))


@dataclass(frozen=True, eq=False)
class Connectome:
    """A symmetric parcel-by-parcel matrix; rows and columns of missing parcels are NaN."""

    matrix: Floats
    """(parcel, parcel)"""
    parcels: tuple[str, ...]
    measure: str
    """nilearn's name with hyphens (``partial-correlation``)."""
    fisher_z: bool = False
    """Whether the values are Fisher's z of the coefficients."""

    def __post_init__(self) -> None:
        n = len(self.parcels)
        _require(
            self.matrix.shape == (n, n),
            f"A matrix of shape {self.matrix.shape} does not fit {n} parcels.",
        )


@dataclass(frozen=True)
class Regressor:
    """Columns of a confounds table that a strategy takes: one of several spellings."""

    title: str
    """Plain words, ``the first five CSF components``."""
    alternatives: tuple[tuple[str, ...], ...]
    """Sets of patterns (regular expressions that must match a whole column name); the first set of
    which every pattern finds a column is taken."""
    optional: bool = False
    """A short run has no cosine columns, for one."""


@dataclass(frozen=True)
class Strategy:
    """A way to clean parcel series."""

    name: str
    """As in ``desc-``."""
    title: str
    regressors: tuple[Regressor, ...] = ()
    detrend: bool = True
    low_pass_hz: float | None = None
    high_pass_hz: float | None = None
    fd_threshold_mm: float | None = None
    std_dvars_threshold: float | None = None
    min_segment: int = 1
    """Shortest stretch of volumes that is kept between censored ones."""
    references: tuple[str, ...] = ()
    """Keys of ``references.bib``."""

    @property
    def cleans(self) -> bool:
        """Whether anything is done at all; the paper's ``none`` does nothing."""
        return bool(self.regressors) or self.detrend or self.filters or self.censors

    @property
    def filters(self) -> bool:
        """Whether frequencies are removed."""
        return self.low_pass_hz is not None or self.high_pass_hz is not None

    @property
    def censors(self) -> bool:
        """Whether volumes are left out for motion."""
        return self.fd_threshold_mm is not None or self.std_dvars_threshold is not None

    def takes(self, kind: str) -> bool:
        """Say whether columns of a kind, such as ``comp_cor``, are among the regressors."""
        return any(
            kind in pattern
            for regressor in self.regressors
            for patterns in regressor.alternatives
            for pattern in patterns
        )


@dataclass(frozen=True, eq=False)
class CleanedSeries:
    """Parcel series after cleaning, with everything that was done to them."""

    signal: Floats
    """(retained volume, parcel); a column is all NaN where the parcel has no data."""
    fd_mm: Floats | None
    """(time,) framewise displacement, NaN where it is not defined; None if unknown."""
    std_dvars: Floats | None
    """(time,) fMRIPrep's standardised DVARS; None if unknown."""
    dummy: NDArray[np.bool_]
    """(time,) volumes dropped at the start"""
    censored: NDArray[np.bool_]
    """(time,) volumes left out for motion, dummies not counted"""
    unknown: NDArray[np.bool_]
    """(time,) those of them that are left out because a measure that has a threshold is not known
    there"""
    design: Mapping[str, Floats] = field(default_factory=dict)
    """(time,) each regressor as it was read and filled in, by column name"""
    dof: int = 0
    """Degrees of freedom left: retained volumes less the rank of everything removed."""
    notes: tuple[str, ...] = ()
    """What a reader must know, such as columns that were computed or not there."""
    low_pass_hz: float | None = None
    """As applied: a strategy's low-pass beyond the Nyquist frequency is not."""
    high_pass_hz: float | None = None
    signal_columns: tuple[str, ...] = ()
    """Columns that were kept: the regressors were made orthogonal to them."""

    @property
    def retained(self) -> NDArray[np.bool_]:
        """(time,) volumes that are in ``signal``."""
        return ~(self.dummy | self.censored)

    @property
    def filtered(self) -> bool:
        """Whether frequencies were removed."""
        return self.low_pass_hz is not None or self.high_pass_hz is not None


def _column(title: str, unit: str = "", meaning: str = "", digits: int = 0) -> Any:
    return field(metadata={"title": title, "unit": unit, "meaning": meaning, "digits": digits})


@dataclass(frozen=True)
class RunQuality:
    """What one run is worth, in numbers; field names are the columns of ``_qc.tsv``.

    Those of XCP-D's ``linc_qc`` that apply keep its names; the metadata of a field is what the
    reports and the table's sidecar say of it. None where a value cannot be had, also because the
    version that wrote the table did not have the column yet: a column that is added later must
    admit None.
    """

    n_volumes: int = _column("Volumes", "", "Length of the run.")
    tr_s: float | None = _column("Repetition time", "s", "Time between volumes.", 3)
    tr_header_s: float | None = _column(
        "Repetition time of the header", "s", "Used only where no sidecar gives one.", 3
    )
    tr_source: str = _column(
        "Source of the repetition time", "", "sidecar or header; n/a where neither gives one."
    )
    num_dummy_volumes: int | None = _column("Dummy volumes", "", "Dropped at the start.")
    num_censored_volumes: int | None = _column("Censored volumes", "", "Left out for motion.")
    num_unknown_volumes: int | None = _column(
        "Volumes of unknown motion",
        "",
        "Of the censored: a measure that has a threshold is n/a there.",
    )
    longest_gap: int | None = _column("Longest gap", "volumes", "Most censored volumes in a row.")
    num_retained_volumes: int = _column("Retained volumes", "", "What the matrix rests on.")
    num_damaged_volumes: int | None = _column(
        "Damaged volumes", "", "Of the retained: empty, with NaN, or copies of another."
    )
    damaged_volumes: str = _column(
        "Which are damaged", "", "All but dummies, counted from 0; n/a where there are none."
    )
    retained_s: float | None = _column("Retained time", "s", "Retained volumes times TR.", 0)
    n_regressors: int | None = _column("Regressors", "", "Columns of the design.")
    dof: int | None = _column(
        "Degrees of freedom", "", "Retained volumes less the rank of what was removed."
    )
    mean_fd: float | None = _column(
        "Mean framewise displacement", "mm", "Head motion, on average.", 3
    )
    max_fd: float | None = _column("Largest framewise displacement", "mm", "The worst jump.", 2)
    num_fd_unknown: int | None = _column(
        "Volumes without framewise displacement",
        "",
        "Dummies and the first aside; mean and largest are of the others.",
    )
    mean_fd_post_censoring: float | None = _column(
        "Mean framewise displacement, retained", "mm", "Head motion in the retained volumes.", 3
    )
    mean_relative_rms: float | None = _column(
        "Mean relative RMS", "mm", "fMRIPrep's rmsd, on average.", 3
    )
    max_relative_rms: float | None = _column(
        "Largest relative RMS", "mm", "fMRIPrep's rmsd, at most.", 2
    )
    mean_dvars_initial: float | None = _column(
        "Mean DVARS before", "", "RMS change of the parcel series from volume to volume.", 2
    )
    mean_dvars_final: float | None = _column(
        "Mean DVARS after", "", "The same of the cleaned series, in retained volumes.", 2
    )
    fd_dvars_correlation_initial: float | None = _column(
        "FD and DVARS, before", "", "Correlation of motion with signal change.", 2
    )
    fd_dvars_correlation_final: float | None = _column(
        "FD and DVARS, after", "", "The same after cleaning; near 0 is good.", 2
    )
    parcel_tsnr_median: float | None = _column(
        "Median parcel tSNR", "", "Mean over SD in time of the uncleaned series.", 1
    )
    parcel_tsnr_min: float | None = _column("Lowest parcel tSNR", "", "The worst parcel.", 1)
    n_parcels: int | None = _column("Parcels in the atlas", "", "Columns of the series.")
    n_parcels_missing: int | None = _column("Missing parcels", "", "Written as n/a throughout.")
    n_parcels_low_coverage: int | None = _column(
        "Parcels of low coverage", "", "Less than --min-coverage of their volume in the atlas."
    )
    n_parcels_zero_variance: int | None = _column(
        "Parcels without variance", "", "Constant over the run."
    )
    n_parcels_shrunk: int | None = _column(
        "Parcels that shrank", "", "Lost a tenth or more of their volume on the way to the grid."
    )
    coverage_min: float | None = _column(
        "Lowest coverage", "%", "Share of the atlas's volume with data, worst parcel."
    )
    coverage_median: float | None = _column(
        "Median coverage", "%", "Share of the atlas's volume with data, typical parcel."
    )
    n_voxels_nonfinite: int | None = _column(
        "Voxels with NaN or infinity", "", "Left out of their parcels."
    )
    n_voxels_constant: int | None = _column("Constant voxels", "", "Left out of their parcels.")
    fc_mean: float | None = _column(
        "Mean connectivity", "", "Mean over all parcel pairs of the matrix.", 3
    )
    coreg_dice: float | None = _column(
        "BOLD and anatomical mask, Dice", "", "Overlap of the run's brain mask with the T1w's.", 3
    )
    coreg_correlation: float | None = _column(
        "BOLD and anatomical mask, correlation", "", "Of the two masks, voxel by voxel.", 3
    )
    coreg_overlap: float | None = _column(
        "BOLD and anatomical mask, overlap",
        "",
        "Shared voxels over those of the smaller mask.",
        3,
    )
    norm_dice: float | None = _column(
        "Mask and template, Dice", "", "Overlap of the brain mask with the template's.", 3
    )
    norm_correlation: float | None = _column(
        "Mask and template, correlation", "", "Of the two masks, voxel by voxel.", 3
    )
    norm_overlap: float | None = _column(
        "Mask and template, overlap", "", "Shared voxels over those of the smaller mask.", 3
    )
    atlas_resampling: str = _column(
        "Atlas handling", "", "How labels and image came onto one grid."
    )
    usable: bool = _column("Usable", "", "Whether the group level takes the run.")
    reasons: str = _column("Reasons", "", "Why not, or what to know.")


@dataclass(frozen=True)
class Origin:
    """Where data come from, as their dataset says; what it does not say is unknown."""

    dataset: str | None = None
    """Name of the dataset."""
    made_by: tuple[str, ...] = ()
    """Programs with their versions, ``fMRIPrep 24.1.1``; empty where it is not stated."""
    simulated: bool = False
    """Whether the data are said to be simulated."""


@dataclass(frozen=True)
class SeriesFile:
    """A written series, ours or another program's, with what its name and sidecars say."""

    path: Path
    entities: Mapping[str, str]
    tr_s: float | None
    atlas_label: str | None
    atlas_digest: str | None
    desc: str | None
    usable: bool = True
    reasons: str = "n/a"
    mean_fd_mm: float | None = None
    n_volumes_retained: int | None = None
    n_volumes: int | None = None
    """As scanned, before any was dropped or censored."""
    cleaning: str | None = None
    """The strategy, and what was different about it in this run."""
    is_matrix: bool = False
    """Whether the file holds connectivity and not series, which nobody has then."""
    fisher_z: bool = False
    """Whether a matrix holds Fisher's z of the coefficients."""
    origin: Origin | None = None
    """What its sidecar says of the images; None where it says nothing."""


@dataclass(frozen=True)
class Person:
    """One example: a participant in one session, with the runs that are merged into it."""

    participant_id: str
    session_id: str | None
    y: int | None
    """1 responder, 0 not, None where the outcome is unknown (``apply``)."""
    runs: tuple[SeriesFile, ...]
    strata: tuple[str, ...] = ()
    """Values of the ``--stratify-by`` columns."""
    group: str | None = None
    """Value of the ``--group-by`` column; None where none was asked for."""
    arm: str | None = None
    """Value of the ``--subset-by`` column; None where none was asked for."""
    covariates: tuple[str, ...] = ()
    """Values of the ``--covariates`` columns as the table spells them."""

    @property
    def key(self) -> str:
        """``sub-01`` or ``sub-01_ses-1``: unique in a cohort."""
        return "_".join(filter(None, (self.participant_id, self.session_id)))


@dataclass(frozen=True, eq=False)
class ModalityValues:
    """What a reader found of a modality of another package."""

    arrays: Mapping[str, NDArray[Any]]
    """By `Person.key`, one shape; NaN where a value is missing. Who is not here lacks it."""
    names: tuple[str, ...]
    """Of the places along the first axis, for maps."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What the models see of a cohort: one row per person."""

    keys: tuple[str, ...]
    arrays: Mapping[str, Any]
    """By source, (person, ...) with NaN where a value is missing; None and arrays of no columns are
    dropped. ``cls``, ``fc``, ``series`` and ``cls_random`` are this program's, see the properties
    of these names; others are modalities of other packages, by their names."""
    y: Ints
    """(person,) 0 or 1; -1 where the outcome is unknown."""
    strata: tuple[str, ...]
    """(person,) label that folds are balanced on (the outcome and ``--stratify-by``)."""
    present: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """By source, (person,) False for people who lack it, whose row is NaN; a source that everyone
    has is left out."""
    covariates: Floats | None = None
    """(person, column) numbers, and categories as one column a level; NaN where missing."""
    covariate_names: tuple[str, ...] = ()
    """(column,) ``age``, or ``drug=placebo`` for a level."""
    mean_fd_mm: Floats | None = None
    """(person,) mean framewise displacement over runs; NaN where unknown."""
    acquisition: Floats | None = None
    """(person, column) what the scans were like, where it differs between people: volumes,
    repetition time, runs, parcels left out, categories as one column a level; NaN where unknown."""
    acquisition_names: tuple[str, ...] = ()
    """(column,)"""
    groups: tuple[str, ...] | None = None
    """(person,) site or family that no split may cut (``--group-by``)."""
    arms: tuple[str, ...] | None = None
    """(person,) arm or drug (``--subset-by``)."""
    coordinates_mm: Floats | None = None
    """(parcel, 3) of all people; what the encoder is told of where the parcels are."""

    def __post_init__(self) -> None:
        n = len(self.keys)
        _require(len(set(self.keys)) == n, "A person appears twice in the cohort.")
        there = {name: each for name, each in self.arrays.items() if _has_columns(each)}
        object.__setattr__(self, "arrays", there)
        for name, values in there.items():
            _require(len(values) == n, f"{name} has {len(values)} rows for {n} people.")
        lacking = {name: each for name, each in self.present.items() if not each.all()}
        object.__setattr__(self, "present", lacking)
        for name, there_of_person in lacking.items():
            _require(
                name in there and len(there_of_person) == n,
                f"Who has {name} is said of {len(there_of_person)} of {n} people.",
            )
            _require(
                bool(np.isnan(there[name][~there_of_person]).all()),
                f"{name} holds values of people who lack it.",
            )
        for name in _PER_PERSON:
            value = getattr(self, name)
            found = n if value is None else len(value)
            _require(found == n, f"{name} has {found} rows for {n} people.")
        columns = 0 if self.covariates is None else self.covariates.shape[1]
        _require(
            columns == len(self.covariate_names),
            f"{columns} covariate columns have {len(self.covariate_names)} names.",
        )
        columns = 0 if self.acquisition is None else self.acquisition.shape[1]
        _require(
            columns == len(self.acquisition_names),
            f"{columns} acquisition columns have {len(self.acquisition_names)} names.",
        )

    @property
    def cls(self) -> Floats:
        """(person, hidden) encoder output, mean over runs, windows and token orders.

        Hidden is 0 where nothing was encoded.
        """
        found: Floats = self.arrays.get("cls", np.empty((len(self.keys), 0)))
        return found

    @property
    def fc(self) -> NDArray[np.float32]:
        """(person, parcel, parcel) correlation, NaN at edges of missing parcels.

        No parcel where there are no matrices.
        """
        nothing = np.empty((len(self.keys), 0, 0), dtype=np.float32)
        found: NDArray[np.float32] = self.arrays.get("fc", nothing)
        return found

    @property
    def series(self) -> NDArray[np.float32] | None:
        """(person, parcel, window) first fixed window, normalised; NaN where a parcel is missing.

        None where there are no series.
        """
        return self.arrays.get("series")

    @property
    def cls_random(self) -> Floats | None:
        """(person, hidden) as `cls`, of the encoder without pre-training.

        None where `cls` is of that encoder, or nothing was encoded.
        """
        return self.arrays.get("cls_random")

    def has(self, source: str) -> NDArray[np.bool_]:
        """(person,) who has a source; nobody has one that the cohort lacks."""
        if source not in self.arrays:
            return np.zeros(len(self.keys), dtype=bool)
        return self.present.get(source, np.ones(len(self.keys), dtype=bool))

    def with_arrays(self, **arrays: NDArray[Any] | None) -> Examples:
        """Return the same people with other arrays by source; None takes a source away."""
        kept = {name: each for name, each in self.present.items() if name not in arrays}
        return replace(self, arrays={**self.arrays, **arrays}, present=kept)

    def take(self, rows: Ints) -> Examples:
        """Return the people of some rows, in that order."""
        taken = {name: _take(getattr(self, name), rows) for name in _PER_PERSON}
        return replace(
            self,
            keys=_take(self.keys, rows),
            arrays={name: each[rows] for name, each in self.arrays.items()},
            present={name: each[rows] for name, each in self.present.items()},
            **taken,
        )


def _has_columns(values: NDArray[Any] | None) -> bool:
    return values is not None and 0 not in values.shape[1:]


_PER_PERSON = (
    "y",
    "strata",
    "covariates",
    "mean_fd_mm",
    "acquisition",
    "groups",
    "arms",
)
"""Fields of `Examples` with one row a person, besides the keys and the arrays."""


def _take(values: Any, rows: Ints) -> Any:
    if values is None:
        return None
    return tuple(values[row] for row in rows) if isinstance(values, tuple) else values[rows]


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows of one outer split."""

    repeat: int
    fold: int
    train: Ints
    test: Ints

    def __post_init__(self) -> None:
        _require(
            not set(self.train.tolist()) & set(self.test.tolist()),
            f"Fold {self.fold} of repeat {self.repeat} has a person in training and in test.",
        )


@dataclass(frozen=True)
class Calibration:
    """Map from a logit to a probability: ``expit(slope * logit + intercept)``, or the knots."""

    method: str
    slope: float
    intercept: float
    threshold: float
    """Probability from which a person counts as positive."""
    knots: tuple[tuple[float, float], ...] = ()
    """(logit, probability) points that ``isotonic`` joins by straight lines; else none."""

    def __post_init__(self) -> None:
        # JSON knows lists alone; what was written and read back must equal what was written.
        points = tuple((float(x), float(p)) for x, p in self.knots)
        object.__setattr__(self, "knots", points)


@dataclass(frozen=True, eq=False)
class FoldPredictions:
    """What one model says of the test rows of one fold, with how it got there."""

    model: str
    fold: Fold
    logit: Floats
    """(test person,) raw output"""
    calibration: Calibration
    prevalence: float
    """Share of positives among the training rows."""
    epoch: int
    """Epochs trained, as the inner folds chose (1 for models without epochs)."""
    validation_loss: Floats
    """(epoch,) mean over inner folds"""
    train_loss: Floats
    """(epoch,) of the refit"""
    notes: Mapping[str, float] = field(default_factory=dict)
    """Counts worth reporting, such as imputed edges."""
    seed: int = 0
    """Which of the ``--seeds`` trainings; 0 also where they are merged."""
    refits: Floats | None = None
    """(training, test person) calibrated probability of each of the ``--seeds`` trainings that are
    merged here; None with one."""
    raw: Floats | None = None
    """(test person,) mean output of the merged trainings before calibration; None with one, whose
    `logit` it is."""
    selection: str = "nested"
    """``nested``, or of the published protocol ``best-on-test`` (optimistic: the epoch was chosen
    on these very rows) or ``last-epoch``."""

    def __post_init__(self) -> None:
        lost = int((~np.isfinite(self.logit)).sum())
        _require(
            not lost,
            f"{self.model} gave {lost} of {len(self.logit)} people an output that is no number: "
            "training diverged (use a smaller --learning-rate or --precision float32), or these "
            "people hold values far beyond those of the training people.",
        )

    @property
    def output(self) -> Floats:
        """(test person,) output before calibration, the mean of merged trainings."""
        return self.logit if self.raw is None else self.raw


@dataclass(frozen=True)
class MetricRow:
    """One metric of one model; a row of ``_metrics.tsv``. NaN where it cannot be had."""

    model: str
    metric: str
    """``auroc``, ``average_precision``, ``balanced_accuracy``, ``f1_macro``, ``mcc``,
    ``sensitivity``, ``specificity``, ``brier``, ``brier_skill``, ``log_loss``,
    ``log_loss_skill``, ``calibration_slope``, ``calibration_intercept``, ``calibration_error``; on
    new people ``brier_skill_own_share`` and ``log_loss_skill_own_share`` as well."""
    mean: float
    """Mean of the within-fold values over folds and repeats: the headline."""
    mean_low: float
    mean_high: float
    """95 % Nadeau-Bengio corrected interval of the mean."""
    fold_sd: float
    """SD over folds, as the paper prints it."""
    pooled: float
    """The metric of all out-of-fold predictions together, mean over repeats; an AUROC counts the
    pairs of one fold."""
    pooled_low: float
    pooled_high: float
    """95 % bootstrap interval (participants; within outcome for metrics of each outcome), given
    these fits. ``calibration_error`` has none."""
    pooled_if_calibrated: float = float("nan")
    """Of ``calibration_error``: what chance alone makes of probabilities that are right."""
    pooled_if_calibrated_p: float = float("nan")
    """Share of such draws whose error is as large as the one found."""
    bound: float = float("nan")
    """Of an AUROC that has no interval because its folds or draws are all equal: the lowest true
    AUROC that such people would still give."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A line of ``_curves.tsv``: ROC or precision-recall of one fold, or the mean over folds."""

    model: str
    kind: str
    """``roc`` (x false positive rate, y true positive rate) or ``pr`` (x recall, y precision)."""
    x: Floats
    y: Floats
    repeat: int | None = None
    fold: int | None = None
    """None of the mean over folds."""


@dataclass(frozen=True)
class CalibrationBin:
    """A point of the reliability diagram; five bins of equal mass."""

    model: str
    stage: str
    """``before`` or ``after`` calibration."""
    mean_probability: float
    observed_share: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that is said of all models of one run."""

    metrics: tuple[MetricRow, ...]
    curves: tuple[Curve, ...]
    calibration: tuple[CalibrationBin, ...]
    verdict: str
    """One sentence; without a permutation run it says ``not tested``."""
    expected_half_width: float
    """Half width of the 95 % interval of an AUROC at this sample size (Hanley-McNeil)."""
    tests: tuple[PermutationTest, ...] = ()
    """Of every model, also of those that were not tested."""
    comparison: tuple[ComparisonRow, ...] = ()
    arms: tuple[ArmRow, ...] = ()
    """Empty without ``--subset-by``."""
    arm_differences: tuple[ArmDifference, ...] = ()
    selection: str = "nested"
    """``--selection`` of the run."""
    optimism: tuple[OptimismRow, ...] = ()
    """Empty with nested selection alone."""
    duplicates: tuple[Duplicate, ...] = ()


@dataclass(frozen=True)
class PermutationTest:
    """Whether a model predicts better than with shuffled outcomes."""

    model: str
    auroc: float
    """The headline: mean of the within-fold values over folds and repeats."""
    n_permutations: int
    """Shuffles that the p is of; 0 where the model was not tested."""
    p: float
    """(b + 1) / (m + 1); NaN where the model was not tested."""
    p_adjusted: float
    """The same against the best of all tested models in each shuffle."""
    verdict: str
    """Of `fmmtc_bidsapp.verdict.say_verdict`: which step is reached, and which is not."""
    added: tuple[AddedValue, ...] = ()
    """The steps beyond the first, tested or not; empty where the first was not tested."""
    not_tested: str = ""
    """Why the model was not tested; empty where it was."""
    n_people: int | None = None
    """People who were predicted out of fold."""
    n_folds: int | None = None
    """Folds that could be fitted, over all repeats."""
    n_folds_planned: int | None = None


@dataclass(frozen=True)
class AddedValue:
    """Whether the brain adds to what is known without it: a step of the verdict."""

    step: str
    """Of `fmmtc_bidsapp.verdict.STEPS`."""
    reference: tuple[str, ...] = ()
    """Columns that the brain is held against."""
    auroc_reference: float = float("nan")
    """Of these columns alone, out of fold."""
    auroc_both: float = float("nan")
    """Of these and the brain's out-of-fold score."""
    p: float = float("nan")
    """(b + 1) / (m + 1), against brains exchanged between people."""
    p_adjusted: float = float("nan")
    """The same against the best of all tested models in each exchange."""
    reached: bool | None = None
    """None where the step could not be tested."""
    reason: str = ""
    """Why not."""

    @property
    def gain(self) -> float:
        """What the brain adds to the AUROC."""
        return self.auroc_both - self.auroc_reference


@dataclass(frozen=True)
class ArmRow:
    """One metric of one model among the people of one arm, pooled over folds."""

    model: str
    metric: str
    arm: str
    n: int
    n_positive: int
    value: float
    low: float
    high: float
    """95 % bootstrap interval (participants within arm, and within outcome for metrics of each
    outcome), given these fits."""


@dataclass(frozen=True)
class ArmDifference:
    """One arm's metric minus another's."""

    model: str
    metric: str
    arm: str
    other: str
    difference: float
    low: float
    high: float
    """95 % bootstrap interval; the arms hold different people, drawn independently."""


@dataclass(frozen=True)
class OptimismRow:
    """What choosing the epoch on the test fold adds to a metric."""

    model: str
    metric: str
    nested: float
    """Mean over folds of the honest procedure, of the training that the other protocols share."""
    last_epoch: float
    """Mean over folds without any choice of epoch."""
    best_on_test: float
    """Mean over folds with the epoch chosen on the test fold: optimistic."""
    gap: float
    """``best_on_test`` minus ``nested``."""


@dataclass(frozen=True)
class Duplicate:
    """Two people whose connectomes are the same scan for all one can tell."""

    first: str
    second: str
    correlation: float
    """Over the edges that both have."""
    same_scan: bool = True
    """Whether the scan is the same for all one can tell; else the pair is far more alike than all
    others of the cohort, as two scans of one person are."""


@dataclass(frozen=True)
class Leak:
    """A covariate that predicts the outcome almost perfectly."""

    name: str
    reason: str


@dataclass(frozen=True)
class Difference:
    """The main model against another on the same folds."""

    model: str
    """The other model."""
    metric: str
    difference: float
    """Mean over folds and repeats of main model minus the other."""
    low: float
    high: float
    """95 % Nadeau-Bengio corrected interval."""
    p: float
    """Two-sided p of the corrected resampled t-test."""


@dataclass(frozen=True)
class ComparisonRow:
    """One metric of one line of a table of models; a row of ``_comparison.tsv``.

    NaN where a figure cannot be had, with the reason in `note`.
    """

    table: str | None
    """Of the paper: ``Table 1``, ``Table 3``, ``Table 4``, ``Fig. 2a``; None for a model that is in
    none of them."""
    row: int | None
    """Place in that table, from 1."""
    model: str
    title: str
    """As a reader calls the line."""
    selection: str
    """What chose the epoch: ``nested``, ``last-epoch`` or ``best-on-test`` (optimistic)."""
    train_on: str | None
    """Arm of the training people; None where everybody is in one cross-validation."""
    test_on: str | None
    """Arm of the people predicted."""
    metric: str
    mean: float
    mean_low: float
    mean_high: float
    fold_sd: float
    pooled: float
    pooled_low: float
    pooled_high: float
    """As in `MetricRow`."""
    difference: float
    difference_low: float
    difference_high: float
    difference_p: float
    """As in `Difference`; NaN for the main model itself."""
    difference_p_holm: float
    """`difference_p` adjusted by Holm's method for all differences of the table."""
    note: str | None = None
    """Why there are no figures, or what to know of them."""


@dataclass(frozen=True, eq=False)
class FoldExplanation:
    """What one fitted model goes by, on the people of one test fold."""

    model: str
    fold: Fold
    method: str
    """``integrated gradients``, or ``Haufe pattern`` of a linear model: one map, of no person."""
    streams: Floats | None = None
    """(test person, stream) sum of |attribution| over the features of each stream, from the mean
    training person, so that no feature's scale counts; None for a model of one stream."""
    replaced: Floats | None = None
    """(test person, 1 + stream) logit as it is, then with each stream replaced by its training mean
    where they meet; None for a model of one stream."""
    series: Floats | None = None
    """(map, parcel) signed attribution of the series, summed over time; NaN where a person lacks
    the parcel. ``map`` is a test person, or the one pattern."""
    series_size: Floats | None = None
    """(map, parcel) the same of the absolute attribution."""
    edges: NDArray[np.float32] | None = None
    """(map, parcel, parcel) signed attribution of an edge, symmetric, each edge's whole in both
    triangles; NaN where a person lacks it."""
    delta: Floats | None = None
    """(test person,) |sum of attributions - (f(x) - f(baseline))| / |f(x) - f(baseline)|"""
    steps: Ints | None = None
    """(test person,) steps of the integral"""
    converged: NDArray[np.bool_] | None = None
    """(test person,) whether `delta` is 0.01 or less; maps of the others are left out of sums."""
    gap: Floats | None = None
    """(test person,) |logit of the function explained - logit predicted|: the first window and one
    token order stand for all."""
    agreement: Mapping[str, float] = field(default_factory=dict)
    """By other baseline, Spearman correlation of the parcels' map with this one's; NaN where no
    person's maps from all baselines converged."""
    agreement_n: int = 0
    """People behind `agreement`."""
    others: Mapping[str, Floats] = field(default_factory=dict)
    """By modality of another package, (map, place) signed attribution, summed over all axes but the
    first; NaN where a person lacks the place."""
    others_size: Mapping[str, Floats] = field(default_factory=dict)
    """The same of the absolute attribution."""
    modalities: tuple[str, ...] = ("series", "connectivity")
    """Of each stream, its modality."""


@dataclass(frozen=True)
class ModalityShare:
    """How much one stream carries; a row of ``_modality.tsv``."""

    model: str
    modality: str
    """``series``, ``connectivity``, or the name of another package's"""
    share: float
    """Mean over people of the stream's part of |attribution|."""
    low: float
    high: float
    """95 % bootstrap interval (participants), given these fits."""
    fold_sd: float
    n: int
    auroc_lost: float = float("nan")
    """Mean over folds of the AUROC of held-out people minus that with the stream replaced by its
    training mean: what the model's ranking owes to the stream."""
    auroc_lost_low: float = float("nan")
    auroc_lost_high: float = float("nan")
    """95 % Nadeau-Bengio corrected interval."""
    null_share: float = float("nan")
    """Mean share of models fitted to shuffled outcomes."""
    null_low: float = float("nan")
    null_high: float = float("nan")
    """2.5 and 97.5 % quantiles of them."""
    n_null: int = 0


@dataclass(frozen=True)
class MapRow:
    """A place of a map; a row of ``_attributions.tsv``. NaN where a figure cannot be had."""

    model: str
    source: str
    """``series`` or ``connectivity``, what is attributed to."""
    level: str
    """``parcel``, ``network``, ``subnetwork``, ``hemisphere``, or ``edge`` (the largest)."""
    name: str
    """Of the parcel or group; of an edge both parcels."""
    index: int | None
    """Of the parcel in the atlas; of an edge its first parcel."""
    other: int | None
    """Of an edge its second parcel."""
    attribution: float
    """Mean over people and folds of |attribution|, as a share of the map's total; of groups the
    mean over their parcels, over the mean of all parcels (1 is average)."""
    signed: float
    """The same of the signed attribution: positive speaks for the positive outcome."""
    low: float
    high: float
    """95 % bootstrap interval of `attribution` (people)."""
    sign_consistency: float
    """Share of people in whom the sign is that of `signed`."""
    z: float
    """Against maps of models fitted to shuffled outcomes."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Everything that is said of how the models of one run come to their predictions."""

    shares: tuple[ModalityShare, ...] = ()
    rows: tuple[MapRow, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    """By model: method, baseline, agreement, convergence, stability over folds, null maps; ready
    for JSON."""
    held_back: str = ""
    """Why there are no maps; empty where there are."""
    unsupported: bool = False
    """Whether maps are shown though nothing supports them: every figure says so."""
