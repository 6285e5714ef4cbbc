"""A run: its BOLD image, its written series, and the dataset that both come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BoldRun", "Origin", "SeriesFile"]


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
