"""The steps of the participant level, each a function that a `Task` calls.

A record that a step returns is written by the task, and read for the step that takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmmtc_bidsapp.bidsio.atlases.atlas import require_dlabel, resolve_atlas
from fmmtc_bidsapp.bidsio.derivatives.write import write_run
from fmmtc_bidsapp.bidsio.files.names import RunFiles
from fmmtc_bidsapp.bidsio.tables.read_series import read_component_masks, read_run_confounds
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.participant.combine import combine_runs
from fmmtc_bidsapp.records import CleanedSeries, Connectome, Floats, ParcelSeries, Strategy
from fmmtc_bidsapp.reports.figures.run_figures import draw_combined
from fmmtc_bidsapp.signals.connectivity import connect, fisher_z
from fmmtc_bidsapp.signals.denoising.confounds import motion_measure
from fmmtc_bidsapp.signals.denoising.denoise import clean
from fmmtc_bidsapp.signals.parcellation.cifti import cifti_parcel_means
from fmmtc_bidsapp.signals.parcellation.grid import Grid
from fmmtc_bidsapp.signals.parcellation.means import ParcelMeans
from fmmtc_bidsapp.signals.parcellation.parcellate import parcel_means
from fmmtc_bidsapp.signals.parcellation.placement import placed_once
from fmmtc_bidsapp.signals.parcellation.space import (
    header_remarks,
    mask_overlap,
    read_grid,
    read_mask,
)
from fmmtc_bidsapp.signals.quality import assess

__all__ = [
    "RunMeans",
    "clean_run",
    "combine_and_draw",
    "connect_run",
    "parcellate",
    "parcellate_cifti",
    "write_files",
]


@dataclass(frozen=True, eq=False)
class RunMeans:
    """Parcel means of one run, and how its image fits labels and other masks."""

    means: ParcelMeans
    resampling: str = "none"
    template_overlap: Mapping[str, float] | None = None
    anat_overlap: Mapping[str, float] | None = None
    remarks: Sequence[str] = ()
    """What is odd in the headers, in sentences."""


def parcellate(
    bold: Path,
    mask: Path,
    atlas: Path,
    placement_dir: Path,
    *,
    target: str,
    min_coverage: float,
    transform: Path | None = None,
    template_mask: Path | None = None,
    anat_mask: Path | None = None,
) -> RunMeans:
    """Compute the parcel means of one image, in one pass over the file."""
    labels = resolve_atlas(str(atlas))
    grid = read_grid(bold)
    placed = placed_once(
        placement_dir, labels.image, labels.index, grid, target=target, transform=transform
    )
    inside = read_mask(mask, grid)
    return RunMeans(
        parcel_means(bold, placed, mask=inside, min_coverage=min_coverage),
        placed.resampling,
        _overlap(inside, grid, template_mask),
        _overlap(inside, grid, anat_mask),
        header_remarks([bold, mask, labels.image]),
    )


def _overlap(mask: Any, grid: Grid, other_mask: Path | None) -> dict[str, float] | None:
    return None if other_mask is None else vars(mask_overlap(mask, grid, other_mask))


def parcellate_cifti(bold: Path, atlas: Path, *, min_coverage: float) -> RunMeans:
    """Compute the parcel means of one series of grayordinates."""
    labels = resolve_atlas(str(atlas))
    return RunMeans(
        cifti_parcel_means(bold, require_dlabel(labels), labels.index, min_coverage=min_coverage)
    )


def clean_run(
    means: RunMeans,
    *,
    strategy: Strategy,
    dummy_scans: str,
    tr_s: float | None = None,
    confounds: Path | None = None,
    aroma: Path | None = None,
) -> CleanedSeries:
    """Clean the parcel series of one run."""
    tables = _tables(confounds, aroma)
    series = means.means
    # Where the strategy takes no component, no sidecar that says what they are of is needed.
    wanted = confounds is not None and strategy.takes("comp_cor")
    masks = read_component_masks(confounds) if confounds is not None and wanted else {}
    with _naming(tables):
        return clean(
            series.signal,
            read_run_confounds(tables, series.n_volumes),
            strategy,
            tr_s=tr_s or series.tr_header_s,
            dummy_scans=dummy_scans,
            masks=masks,
        )


def _tables(*paths: Path | None) -> list[Path]:
    return [each for each in paths if each is not None]


@contextmanager
def _naming(tables: Sequence[Path]) -> Iterator[None]:
    """Add the confounds tables to an error of cleaning, which has arrays only."""
    try:
        yield
    except InputError as error:
        if not tables:
            raise
        raise InputError(f"{error} Confounds: {', '.join(map(str, tables))}") from error


def connect_run(cleaned: CleanedSeries, *, measure: str) -> Floats:
    """Compute the connectivity of one series, (parcel, parcel)."""
    return connect(cleaned.signal, measure)


def write_files(
    means: RunMeans,
    cleaned: CleanedSeries,
    matrix: Floats,
    atlas: Path,
    *,
    files: RunFiles,
    strategy: Strategy,
    fisher_z_written: bool,
    min_volumes: int,
    min_dof: int,
    sidecar: Mapping[str, Any],
    confound_sources: Sequence[str],
    tr_s: float | None = None,
    confounds: Path | None = None,
    aroma: Path | None = None,
) -> Path:
    """Write series, matrix, coverage and quality of one run; return the quality table."""
    names, series = resolve_atlas(str(atlas)).names, means.means
    table = read_run_confounds(_tables(confounds, aroma), series.n_volumes)
    quality = assess(
        series,
        cleaned,
        matrix,
        tr_sidecar_s=tr_s,
        relative_rms_mm=motion_measure(table or {}, "rmsd"),
        atlas_resampling=means.resampling,
        template_overlap=means.template_overlap,
        anat_overlap=means.anat_overlap,
        image_remarks=means.remarks,
        measure=files.measure,
        min_volumes=min_volumes,
        min_dof=min_dof,
    )
    shown = fisher_z(matrix) if fisher_z_written else matrix
    write_run(
        files,
        ParcelSeries(series.signal, names, quality.tr_s, series.coverage),
        cleaned,
        strategy,
        Connectome(shown, names, files.measure, fisher_z_written),
        quality,
        {
            **sidecar,
            "AtlasResampling": means.resampling,
            "ImageNotes": list(means.remarks),
        },
        confound_sources,
    )
    return files.qc


def combine_and_draw(runs: Sequence[RunFiles]) -> tuple[Path, Path]:
    """Write the combined matrix of a task, and its figure."""
    return combine_runs(runs), draw_combined(runs[0].combined())
