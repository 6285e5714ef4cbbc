"""All file names that are read or written; no other module spells one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from types import MappingProxyType

from fmmtc_bidsapp.errors import InputError

__all__ = [
    "ATLAS_IMAGE_PATTERNS",
    "ENTITY_ORDER",
    "LONGEST_NAME",
    "MATRIX_PATTERNS",
    "QUALITY_PATTERN",
    "RUN_SUFFIXES",
    "SERIES_PATTERNS",
    "STATISTICS",
    "UNCLEANED",
    "GroupFiles",
    "ParsedName",
    "RunFiles",
    "anat_mask_patterns",
    "atlas_description",
    "atlas_files",
    "bids_uri",
    "build_name",
    "bundle_dir",
    "citation",
    "dataset_description",
    "finished_dir",
    "group_motion_connectivity",
    "group_quality",
    "linked_file",
    "model_card",
    "outcomes_log",
    "parcel_table_patterns",
    "parse_name",
    "parse_run_name",
    "participant_report",
    "results_patterns",
    "run_log_dir",
    "sheet_path",
    "space_entities",
    "space_of",
    "strays_log",
]

ENTITY_ORDER: tuple[str, ...] = (
    *("tpl", "sub", "ses", "cohort", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce"),
    *("trc", "stain", "rec", "dir", "run", "mod", "echo", "flip", "inv", "mt", "part", "proc"),
    *("hemi", "space", "split", "recording", "chunk", "atlas", "seg", "scale", "res", "den"),
    # BIDS has no statistic or measure yet; XCP-D and giga_connectome put them before desc.
    *("label", "stat", "meas", "desc"),
)
"""Short keys of BIDS 1.11 in the order of its schema."""

SERIES_PATTERNS = tuple(f"{level}/func/sub-*_timeseries.tsv" for level in ("sub-*", "sub-*/ses-*"))
"""Globs of the parcel series that any program writes, among other time series."""

MATRIX_PATTERNS = tuple(f"{level}/func/sub-*_relmat.tsv" for level in ("sub-*", "sub-*/ses-*"))
"""Globs of the connectivity matrices that any program writes."""

QUALITY_PATTERN = "sub-*/**/func/sub-*_qc.tsv"
"""Glob of the quality tables of a dataset of ours."""

ATLAS_IMAGE_PATTERNS = ("atlas-*_dseg.nii.gz", "*_atlas-*_dseg.nii.gz")
"""Globs of the label image in a personal atlas's folder."""

_BEFORE_1_2: Mapping[tuple[str, str], tuple[str, str]] = MappingProxyType(
    {
        ("bold", "preproc"): ("bold", "preproc"),
        ("bold", "brainmask"): ("mask", "brain"),
        ("bold", "confounds"): ("timeseries", "confounds"),
        ("T1w", "brainmask"): ("mask", "brain"),
    }
)
"""How fMRIPrep 1.0 and 1.1 ended a name with ``_bold_`` or ``_T1w_`` inside: suffix and desc of
today."""

RUN_SUFFIXES = (
    *("bold", "boldref", "mask", "timeseries", "regressors"),
    *(ending for raw, ending in _BEFORE_1_2 if raw == "bold"),
)
"""Ends of the images and tables that fMRIPrep of any version writes for a run."""

_ENTITY = re.compile(r"([a-z]+)-([0-9A-Za-z+]+)")
_SUFFIX = re.compile(r"[0-9A-Za-z]+")


@dataclass(frozen=True)
class ParsedName:
    """A BIDS file name in its parts."""

    entities: Mapping[str, str]
    suffix: str
    extension: str
    """With its leading dot, ``.nii.gz``."""


def parse_name(path: str | Path) -> ParsedName:
    """Split a BIDS file name into entities, suffix and extension; InputError if it is none.

    Names of fMRIPrep 1.0 and 1.1 (``_bold_space-T1w_preproc``) are split as today's
    (``_space-T1w_desc-preproc_bold``).
    """
    name = Path(path).name
    stem, dot, extension = name.partition(".")
    *parts, suffix = stem.split("_")
    parts, suffix = _as_since_1_2(parts, suffix)
    entities: dict[str, str] = {}
    for part in parts:
        match = _ENTITY.fullmatch(part)
        if match is None:
            raise InputError(f"{name} is not a BIDS name: '{part}' is not key-value.")
        if match[1] in entities:
            raise InputError(f"{name} is not a BIDS name: {match[1]}- occurs twice.")
        entities[match[1]] = match[2]
    if not _SUFFIX.fullmatch(suffix):
        raise InputError(f"{name} is not a BIDS name: {suffix!r} is not a suffix.")
    return ParsedName(entities, suffix, dot + extension)


def parse_run_name(path: Path) -> ParsedName:
    """Split the name of a file in ``sub-<label>/[ses-<label>/]func``.

    InputError if it is no BIDS name, has an unknown entity, or contradicts its folders.
    """
    name = parse_name(path)
    unknown = [f"{key}-" for key in name.entities if key not in ENTITY_ORDER]
    if unknown:
        raise InputError(f"BIDS has no entity {', '.join(unknown)}")
    above = path.parent.parent
    sessions = {"ses": above} if above.name.startswith("ses-") else {}
    folders = {"sub": above.parent if sessions else above} | sessions
    for key, folder in folders.items():
        own = f"{key}-{name.entities[key]}" if key in name.entities else f"no {key}-"
        if own != folder.name:
            raise InputError(f"the name has {own}, the folder is {folder.name}")
    return name


def _as_since_1_2(parts: list[str], suffix: str) -> tuple[list[str], str]:
    raw = next((part for part in parts if (part, suffix) in _BEFORE_1_2), None)
    if raw is None:
        return parts, suffix
    parts.remove(raw)
    suffix, desc = _BEFORE_1_2[raw, suffix]
    if any(part.startswith("variant-") for part in parts):
        # The AROMA image was a variant of preproc; today it has another desc.
        return [part.replace("variant-", "desc-") for part in parts], suffix
    return [*parts, f"desc-{desc}"], suffix


def build_name(entities: Mapping[str, str], suffix: str, extension: str) -> str:
    """Join entities (`ENTITY_ORDER`), suffix and extension (``.nii.gz``) to a BIDS file name."""
    unknown = sorted(set(entities) - set(ENTITY_ORDER))
    if unknown:
        known = " ".join(ENTITY_ORDER)
        raise InputError(f"Unknown BIDS entity {', '.join(unknown)}. Known are {known}.")
    parts = [f"{key}-{entities[key]}" for key in ENTITY_ORDER if key in entities]
    for part in parts:
        if not _ENTITY.fullmatch(part):
            raise InputError(
                f"{part!r} cannot be part of a BIDS name. Use letters and digits only."
            )
    return "_".join([*parts, suffix]) + extension


_COHORT = ":cohort-"


def space_of(entities: Mapping[str, str]) -> str | None:
    """Return the space of a file, ``MNIInfant:cohort-2`` if it has a cohort; None without any."""
    template = entities.get("tpl") or entities.get("space")
    cohort = entities.get("cohort")
    return template if not template or cohort is None else f"{template}{_COHORT}{cohort}"


def space_entities(space: str, key: str = "space") -> dict[str, str]:
    """Return the entities of a space of `space_of`, its template under ``key``."""
    template, _, cohort = space.partition(_COHORT)
    return {key: template} | ({"cohort": cohort} if cohort else {})


LONGEST_NAME = 223
"""Bytes: a file system allows 255, of which a temporary name takes the rest."""

UNCLEANED = "none"
"""``desc-`` of the parcel means as they are, which stand beside every cleaned series."""

STATISTICS: Mapping[str, str] = MappingProxyType(
    {
        "correlation": "pearsoncorrelation",
        "partial-correlation": "partialcorrelation",
        "covariance": "covariance",
        "precision": "precision",
    }
)
"""``stat-`` of a matrix, by the measure's name."""


@dataclass(frozen=True)
class RunFiles:
    """Paths of the files of one run; a sidecar has the same name ending in ``.json``."""

    output_dir: Path
    entities: Mapping[str, str]
    """Every entity of the raw run, none dropped."""
    space: str
    atlas: str
    desc: str
    res: str | None = None
    den: str | None = None
    measure: str = "correlation"

    @property
    def func_dir(self) -> Path:
        """Folder of the run's files."""
        folders = [f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities]
        return self.output_dir.joinpath(*folders, "func")

    @property
    def timeseries(self) -> Path:
        """Cleaned parcel series, one column per parcel."""
        return self._series(self.desc)

    @property
    def uncleaned(self) -> Path:
        """Parcel means before cleaning; the same file as `timeseries` without cleaning."""
        return self._series(UNCLEANED)

    @property
    def relmat(self) -> Path:
        """Connectivity matrix with a first column ``Node``."""
        statistic = {"stat": STATISTICS[self.measure], "desc": self.desc}
        return self._path("relmat", self._grid() | statistic)

    @property
    def coverage(self) -> Path:
        """Share of each parcel's volume that held data."""
        return self._path("bold", self._grid() | {"stat": "coverage"})

    @property
    def outliers(self) -> Path:
        """Motion of every volume, and which volumes were excluded."""
        return self._path("outliers", {"desc": self.desc})

    @property
    def design(self) -> Path:
        """Regressors of every volume."""
        return self._path("design", {"desc": self.desc})

    @property
    def qc(self) -> Path:
        """Quality of the run in one row."""
        return self._path("qc", self._kind())

    def figure(self, kind: str) -> Path:
        """Return the path of a figure of the run, such as ``carpet``."""
        name = build_name({**self.entities, **self._kind()}, kind, ".svg")
        return self.output_dir / f"sub-{self.entities['sub']}" / "figures" / name

    def always(self) -> list[Path]:
        """Return the files that every run has."""
        tables = (self.timeseries, self.uncleaned, self.relmat, self.coverage, self.outliers)
        pairs = (path for table in tables for path in (table, table.with_suffix(".json")))
        return list(dict.fromkeys((*pairs, self.qc)))

    def there(self) -> list[Path]:
        """Return the existing files of this run, with sidecars and figures."""
        named = dict.fromkeys(
            path for table in self._tables() for path in (table, table.with_suffix(".json"))
        )
        pictures = self.figure("*")
        return [
            *(path for path in named if path.is_file()),
            *sorted(pictures.parent.glob(pictures.name)),
        ]

    def longest_name(self) -> str:
        """Return the longest name of a file of this run."""
        pictures = (self.figure("connectivity"), self.figure("coverage"))
        sidecars = (table.with_suffix(".json") for table in self._tables())
        return max((path.name for path in (*sidecars, *pictures)), key=len)

    def _tables(self) -> tuple[Path, ...]:
        return (
            self.timeseries,
            self.uncleaned,
            self.relmat,
            self.coverage,
            self.outliers,
            self.design,
            self.qc,
        )

    def combined(self) -> RunFiles:
        """Return the names of the files over all runs of the task."""
        whole = {key: value for key, value in self.entities.items() if key != "run"}
        return replace(self, entities=whole)

    def _kind(self) -> dict[str, str]:
        return {**space_entities(self.space), "atlas": self.atlas, "desc": self.desc}

    def _grid(self) -> dict[str, str]:
        detail = {"atlas": self.atlas, "res": self.res, "den": self.den}
        known = {key: value for key, value in detail.items() if value is not None}
        return space_entities(self.space) | known

    def _series(self, desc: str) -> Path:
        return self._path("timeseries", self._grid() | {"stat": "mean", "desc": desc})

    def _path(self, suffix: str, extra: Mapping[str, str]) -> Path:
        return self.func_dir / build_name({**self.entities, **extra}, suffix, ".tsv")


@dataclass(frozen=True)
class GroupFiles:
    """Paths of the files of the group level for one label."""

    output_dir: Path
    label: str

    @property
    def eligibility(self) -> Path:
        """Number of participants after each step."""
        return self._path("eligibility")

    @property
    def exclusions(self) -> Path:
        """Excluded participants, with reasons."""
        return self._path("exclusions")

    @property
    def folds(self) -> Path:
        """Test fold of each participant."""
        return self._path("folds")

    @property
    def predictions(self) -> Path:
        """One row per repeat and participant."""
        return self._path("predictions")

    @property
    def metrics(self) -> Path:
        """One row per model and metric."""
        return self._path("metrics")

    @property
    def comparison(self) -> Path:
        """Models compared on the same folds."""
        return self._path("comparison")

    @property
    def arms(self) -> Path:
        """Performance within each arm, and the differences."""
        return self._path("arms")

    @property
    def curves(self) -> Path:
        """Points of the ROC and precision-recall curves."""
        return self._path("curves")

    @property
    def calibration(self) -> Path:
        """Points of the reliability diagrams."""
        return self._path("calibration")

    @property
    def learning(self) -> Path:
        """Loss per epoch and fold."""
        return self._path("learning")

    @property
    def modality(self) -> Path:
        """Contribution of series and connectivity."""
        return self._path("modality")

    @property
    def attributions(self) -> Path:
        """Importance of parcels, networks and edges."""
        return self._path("attributions")

    @property
    def attribution_map(self) -> Path:
        """The main model's parcel attributions as an image in the atlas's space."""
        return self._path("attributions", ".nii.gz")

    @property
    def ranges(self) -> Path:
        """Scans of new participants relative to the range of the training scans."""
        return self._path("ranges")

    @property
    def report(self) -> Path:
        """The HTML report of the group."""
        return self._path("report", ".html")

    @property
    def sheets_dir(self) -> Path:
        """Folder that holds nothing but the prediction sheets of new participants."""
        return self._path("sheets", "")

    def log_dir(self, run_id: str) -> Path:
        """Folder with the plan and the crash files of one run of the program."""
        return self.output_dir / "group" / "log" / run_id

    @property
    def bundle_dir(self) -> Path:
        """Folder of the trained model."""
        return bundle_dir(self.output_dir, self.label)

    @property
    def model_card(self) -> Path:
        """The model card."""
        return model_card(self.output_dir, self.label)

    def _path(self, suffix: str, extension: str = ".tsv") -> Path:
        return self.output_dir / "group" / f"group_desc-{self.label}_{suffix}{extension}"


def anat_mask_patterns(participant_id: str, space: str) -> tuple[str, ...]:
    """Return globs of a participant's (``sub-01``) anatomical masks in a space, of any fMRIPrep."""
    name = f"{participant_id}_*space-{space_entities(space)['space']}_*mask.nii*"
    levels = (participant_id, f"{participant_id}/ses-*")
    return tuple(f"{level}/anat/{name}" for level in levels)


def group_quality(output_dir: Path) -> Path:
    """Return the path of the quality table of all runs."""
    return output_dir / "group" / "group_qc.tsv"


def group_motion_connectivity(output_dir: Path) -> Path:
    """Return the path of the table of QC-FC: correlation of head motion and connectivity."""
    return output_dir / "group" / "group_qcfc.tsv"


def participant_report(output_dir: Path, participant_id: str) -> Path:
    """Return the path of the HTML report of a participant (``sub-01``)."""
    return output_dir / f"{participant_id}.html"


def sheet_path(files: GroupFiles, key: str) -> Path:
    """Return the path of a new participant's prediction sheet (``sub-01``, ``sub-01_ses-1``).

    InputError if the key would lead to another folder.
    """
    if PurePath(key).name != key:
        raise InputError(
            f"{files.predictions} has the participant {key!r}, which is not a file name. Apply the "
            "model again."
        )
    return files.sheets_dir / f"{key}_desc-{files.label}_sheet.html"


def run_log_dir(output_dir: Path, participant_id: str, run_id: str) -> Path:
    """Return the folder with the plan and crash files of one run of the program."""
    return output_dir / participant_id / "log" / run_id


def outcomes_log(output_dir: Path, run_id: str) -> Path:
    """Return the path of the table of each participant's status in one run of the program."""
    return output_dir / "logs" / f"{run_id}_outcomes.tsv"


def strays_log(output_dir: Path, run_id: str) -> Path:
    """Return the path of the table of files that belong to no run."""
    return output_dir / "logs" / f"{run_id}_strays.tsv"


def citation(output_dir: Path) -> Path:
    """Return the path of the methods text; its bibliography ends in ``.bib``."""
    return output_dir / "logs" / "CITATION.md"


def finished_dir(output_dir: Path) -> Path:
    """Return the folder that records which runs and reports are complete."""
    return output_dir / "logs" / "finished"


def results_patterns(desc: str) -> tuple[str, ...]:
    """Return globs of finished results under a ``desc-`` or ``group-<label>``."""
    if desc.startswith("group-"):
        return (f"group/group_desc-{desc.removeprefix('group-')}_predictions.tsv",)
    table = f"sub-*_desc-{desc}_qc.tsv" if desc.isalnum() else "sub-*_qc.tsv"
    return (f"sub-*/func/{table}", f"sub-*/ses-*/func/{table}")


def bundle_dir(output_dir: Path, label: str) -> Path:
    """Return the folder of the trained model with a label."""
    return output_dir / "models" / label


def model_card(output_dir: Path, label: str) -> Path:
    """Return the path of the model card of the trained model with a label."""
    return bundle_dir(output_dir, label) / "MODEL_CARD.md"


def atlas_files(
    output_dir: Path, space: str, label: str, res: str | None = None, den: str | None = None
) -> tuple[Path, Path, Path]:
    """Return label image (``.dlabel.nii`` for a density), table and sidecar, as used in a space."""
    named = {**space_entities(space, "tpl"), "atlas": label, "res": res, "den": den}
    entities = {key: value for key, value in named.items() if value is not None}
    folder = output_dir / f"tpl-{entities['tpl']}"
    extensions = (".nii.gz" if den is None else ".dlabel.nii", ".tsv", ".json")
    image, table, sidecar = (folder / build_name(entities, "dseg", each) for each in extensions)
    return image, table, sidecar


def parcel_table_patterns(label: str) -> list[str]:
    """Return globs of an atlas's table: ours first, then those of XCP-D and others."""
    return [
        f"tpl-*/tpl-*_atlas-{label}_dseg.tsv",
        f"tpl-*/tpl-*_atlas-{label}_res-*_dseg.tsv",
        f"atlas-{label}_dseg.tsv",
        f"atlases/atlas-{label}/atlas-{label}_dseg.tsv",
        f"sourcedata/atlases/atlas-{label}/atlas-{label}_dseg.tsv",
        f"seg-{label}_dseg.tsv",
        f"atlases/seg-{label}_dseg.tsv",
    ]


def atlas_description(output_dir: Path, label: str) -> Path:
    """Return the path of the file with author and licence of an atlas."""
    return output_dir / build_name({"atlas": label}, "description", ".json")


def dataset_description(root: Path) -> Path:
    """Return the path of a dataset's description."""
    return root / "dataset_description.json"


def bids_uri(path: Path, root: Path, dataset: str = "") -> str:
    """Return the BIDS URI of a file below ``root``; ``dataset`` is a key of ``DatasetLinks``."""
    return f"bids:{dataset}:{path.relative_to(root).as_posix()}"


def linked_file(uri: str, root: Path) -> Path:
    """Return the file of a BIDS URI without dataset name; InputError outside the dataset."""
    path = root / uri.removeprefix("bids::")
    if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
        raise InputError(f"{uri!r} points outside the dataset {root}. Correct the sidecar.")
    return path
