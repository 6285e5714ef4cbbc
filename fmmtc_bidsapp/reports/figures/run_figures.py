"""All figures of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from matplotlib.figure import Figure

from fmmtc_bidsapp.bidsio.files.names import RunFiles, atlas_files
from fmmtc_bidsapp.errors import InputError, OutputError
from fmmtc_bidsapp.reports.data.label_volume import LabelVolume, read_labels
from fmmtc_bidsapp.reports.data.outputs import read_json, read_table
from fmmtc_bidsapp.reports.data.run_tables import (
    read_coverage,
    read_matrix,
    read_motion,
    read_parcels,
    read_series,
)
from fmmtc_bidsapp.reports.figures.run_brain import coverage_figure, outline_figure
from fmmtc_bidsapp.reports.figures.run_motion import design_figure, motion_figure
from fmmtc_bidsapp.reports.figures.run_series import carpet_figure, connectivity_figure
from fmmtc_bidsapp.reports.figures.style import write_svg

__all__ = ["COMBINED_KIND", "KINDS", "draw_combined", "draw_run", "why_not_drawn"]


@dataclass(frozen=True)
class _Kind:
    """One kind of picture."""

    draw: Callable[[RunFiles, Path | None], tuple[Figure, str]]
    why_not: Callable[[RunFiles], str | None]
    """Why a run has no such picture; None where it should have one."""


def draw_run(files: RunFiles, boldref: Path | None = None) -> list[Path]:
    """Draw every picture of a run that its files allow, and delete those that no longer apply."""
    drawn = []
    for name, kind in _KINDS.items():
        path = files.figure(name)
        if kind.why_not(files) is not None:
            _remove(path)
            continue
        figure, alt = kind.draw(files, boldref)
        write_svg(path, figure, alt)
        drawn.append(path)
    return drawn


def draw_combined(files: RunFiles) -> Path:
    """Draw the picture of a matrix over several runs."""
    figure, alt = _connectivity(files, None)
    path = files.figure(COMBINED_KIND)
    write_svg(path, figure, alt)
    return path


def why_not_drawn(files: RunFiles, kind: str) -> str:
    """State why a run has no picture of a kind."""
    name = files.figure(kind).name
    return _KINDS[kind].why_not(files) or (
        f"{name} was not drawn: drawing failed or was interrupted (see Errors). Run again to draw "
        "it."
    )


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot remove {path}: {error.strerror or error}.") from error


def _motion(files: RunFiles, _: Path | None) -> tuple[Figure, str]:
    return motion_figure(read_motion(files))


def _no_motion(files: RunFiles) -> str | None:
    if read_motion(files).known:
        return None
    return "The head motion of this run is not known: no confounds table has it."


def _design(files: RunFiles, _: Path | None) -> tuple[Figure, str]:
    signal = read_series(files).uncleaned
    known = signal[:, ~np.isnan(signal).all(axis=0)]
    return design_figure(read_table(files.design), known.mean(axis=1))


def _no_design(files: RunFiles) -> str | None:
    return None if files.design.exists() else "No regressor was used, so there is no design."


def _carpet(files: RunFiles, _: Path | None) -> tuple[Figure, str]:
    return carpet_figure(read_series(files))


def _outline(files: RunFiles, boldref: Path | None) -> tuple[Figure, str]:
    table = read_parcels(files)
    return outline_figure(_labels(files, table.names), table.networks, boldref)


def _no_image(files: RunFiles) -> str | None:
    if files.den is not None:
        return "This run is on grayordinates (CIFTI), so there is no image for outlines."
    absent = next((path for path in _atlas(files)[:2] if not path.exists()), None)
    return None if absent is None else f"{absent.name} is missing, so no parcel is outlined."


def _coverage(files: RunFiles, _: Path | None) -> tuple[Figure, str]:
    series = read_series(files)
    volume = None if _no_image(files) else _labels(files, series.parcels)
    return coverage_figure(
        read_coverage(files, series.parcels),
        series.missing,
        read_json(files.timeseries.with_suffix(".json")).get("MinimumCoverage"),
        volume,
    )


def _no_coverage(files: RunFiles) -> str | None:
    table = read_table(files.coverage)
    if not table.empty and table["coverage"].notna().any():
        return None
    return "The coverage of the parcels is not known."


def _connectivity(files: RunFiles, _: Path | None) -> tuple[Figure, str]:
    matrix, parcels = read_matrix(files)
    sidecar = read_json(files.relmat.with_suffix(".json"))
    measure = str(sidecar.get("RelationshipMeasure", files.measure))
    transformed = sidecar.get("FisherZ") is True
    plain = files.measure == "correlation" and not transformed
    name = f"{measure} (Fisher z)" if transformed else measure
    networks = read_parcels(files, parcels).networks
    return connectivity_figure(matrix, networks, name, 1.0 if plain else None)


def _no_matrix(files: RunFiles) -> str | None:
    return None if files.relmat.exists() else f"{files.relmat.name} is missing."


def _always(_: RunFiles) -> None:
    return None


def _atlas(files: RunFiles) -> tuple[Path, Path, Path]:
    return atlas_files(files.output_dir, files.space, files.atlas, files.res, files.den)


def _labels(files: RunFiles, parcels: tuple[str, ...]) -> LabelVolume:
    index = read_parcels(files, parcels).index
    if index is None:
        raise InputError(
            f"{_atlas(files)[1]} does not number these parcels. Run the participant level again."
        )
    return read_labels(_atlas(files)[0], index)


_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "motion": _Kind(_motion, _no_motion),
        "design": _Kind(_design, _no_design),
        "carpet": _Kind(_carpet, _always),
        "outline": _Kind(_outline, _no_image),
        "coverage": _Kind(_coverage, _no_coverage),
        "connectivity": _Kind(_connectivity, _no_matrix),
    }
)

KINDS = tuple(_KINDS)
"""Kinds of pictures of a run, in the order of the report."""

COMBINED_KIND = "connectivity"
"""The kind of picture that a matrix over several runs has."""
