"""The quality of a run: the columns of ``_qc.tsv``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["RunQuality"]


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
