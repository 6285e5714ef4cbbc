"""Records -> files of our derivative dataset."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from fmmtc_bidsapp.bidsio.atomic import (
    MISSING,
    atomic_path,
    write_bytes,
    write_json,
    write_text,
    write_tsv,
)
from fmmtc_bidsapp.bidsio.dataset import check_output_dir, check_work_dir, prepare_output
from fmmtc_bidsapp.bidsio.names import RunFiles, atlas_description, atlas_files, bids_uri
from fmmtc_bidsapp.records import Atlas, Connectome, ParcelSeries, RunQuality

__all__ = [
    "atomic_path",
    "check_output_dir",
    "check_work_dir",
    "prepare_output",
    "write_atlas",
    "write_bytes",
    "write_json",
    "write_run",
    "write_text",
    "write_tsv",
]


class _Measure(NamedTuple):
    name: str
    description: str
    valid_diagonal: bool
    non_negative: bool


_MEASURES = {
    "correlation": _Measure(
        "Pearson correlation coefficient",
        "Correlation of two parcels' series over the retained volumes.",
        valid_diagonal=False,
        non_negative=False,
    ),
}

_ID_COLUMNS = {"sub": "participant_id", "ses": "session_id"}


def write_run(
    files: RunFiles,
    series: ParcelSeries,
    connectome: Connectome,
    quality: RunQuality,
    sidecar: Mapping[str, Any],
) -> None:
    """Write what one run gives: series, matrix, coverage and, last, its quality.

    Parameters
    ----------
    files
        Names of the run's files.
    series
        (time, parcel)
    connectome
        (parcel, parcel)
    quality
        One row.
    sidecar
        Keys of the series' sidecar that only the caller knows (``Sources``, ``AtlasDigest``,
        ``AtlasSpace``, ``AtlasResampling``, ``SoftwareFilters``, …); they replace our defaults.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    _write_coverage(files, series, sidecar)
    _write_series(files, series, quality, sidecar)
    _write_connectome(files, connectome)
    ids = {_ID_COLUMNS.get(key, f"{key}_id"): f"{key}-{v}" for key, v in files.entities.items()}
    write_tsv(files.qc, {name: [value] for name, value in (ids | asdict(quality)).items()})


def _write_series(
    files: RunFiles, series: ParcelSeries, quality: RunQuality, sidecar: Mapping[str, Any]
) -> None:
    write_tsv(files.timeseries, dict(zip(series.parcels, series.signal.T, strict=True)))
    timing = (
        {}
        if series.tr_s is None
        else {
            "SamplingFrequency": 1 / series.tr_s,
            "RepetitionTime": series.tr_s,
        }
    )
    n_volumes = len(series.signal)
    content = {
        "Description": "Mean signal of the parcels that hold data; a column per parcel.",
        "Sources": [],
        **timing,
        "Units": "arbitrary",
        "SoftwareFilters": MISSING,
        "ConfoundRegressors": [],
        "NumberOfVolumes": n_volumes,
        "NumberOfVolumesRetained": n_volumes,
        "NumberOfDummyVolumes": 0,
        "Interpolated": False,
        "MeanFramewiseDisplacement": MISSING if quality.mean_fd_mm is None else quality.mean_fd_mm,
        "Atlas": files.atlas,
        "AtlasSpace": files.space,
        **_resolution(files.res),
        "MissingParcels": [
            name for name, gone in zip(series.parcels, series.missing, strict=True) if gone
        ],
    }
    write_json(files.timeseries.with_suffix(".json"), content | dict(sidecar))


def _write_connectome(files: RunFiles, connectome: Connectome) -> None:
    columns = dict(zip(connectome.parcels, connectome.matrix.T, strict=True))
    write_tsv(files.relmat, {"Node": connectome.parcels, **columns})
    measure = _MEASURES[connectome.measure]
    root = files.output_dir
    table = atlas_files(root, files.space, files.atlas, files.res)[1]
    content = {
        "RelationshipMeasure": measure.name,
        "MeasureDescription": measure.description,
        "Weighted": True,
        "Directed": False,
        "ValidDiagonal": measure.valid_diagonal,
        "StorageFormat": "Full",
        "NonNegative": measure.non_negative,
        "FisherZ": False,
        "NodeFiles": [bids_uri(table, root)],
        "Sources": [bids_uri(files.timeseries, root)],
        **_resolution(files.res),
    }
    write_json(files.relmat.with_suffix(".json"), content)


def _write_coverage(files: RunFiles, series: ParcelSeries, sidecar: Mapping[str, Any]) -> None:
    coverage = np.full(len(series.parcels), np.nan) if series.coverage is None else series.coverage
    write_tsv(files.coverage, {"Node": series.parcels, "coverage": coverage})
    content = {
        "Description": "Share of each parcel's voxels that held data.",
        "Node": {"Description": "Name of the parcel."},
        "coverage": {"Description": "Share of the parcel's voxels that held data, 0 to 1."},
        "Sources": sidecar.get("Sources", []),
        **_resolution(files.res),
    }
    write_json(files.coverage.with_suffix(".json"), content)


def _resolution(res: str | None) -> dict[str, str]:
    """Say what ``res-`` means, as BIDS asks of every file that carries it."""
    return (
        {} if res is None else {"Resolution": "That of the preprocessed image (res-" + res + ")."}
    )


def write_atlas(
    output_dir: Path,
    atlas: Atlas,
    image_used: Path | nib.Nifti1Image,
    space: str,
    res: str | None,
) -> None:
    """Write the labels as they were used, their table and their description.

    Parameters
    ----------
    output_dir
        Root of the derivative dataset.
    atlas
        Names, networks and coordinates of the parcels.
    image_used
        Label image on the grid of the data, or its path.
    space, res
        Space and resolution of the series that were made with it.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    image, table, sidecar = atlas_files(output_dir, space, atlas.label, res)
    write_bytes(image, _label_bytes(image_used))
    write_tsv(table, _parcel_columns(atlas))
    description = f"{atlas.title} on the grid of the series that were made with it."
    write_json(sidecar, {"Description": description, "Manual": False, **_resolution(res)})
    write_json(
        atlas_description(output_dir, atlas.label),
        {
            "Name": atlas.title,
            "Description": atlas.description,
            "License": atlas.licence or MISSING,
            "ReferencesAndLinks": [atlas.source] if atlas.source else [],
            "SpatialReference": atlas.space,
            "Digest": atlas.digest,
        },
    )


def _label_bytes(image_used: Path | nib.Nifti1Image) -> bytes:
    image: Any = nib.load(image_used) if isinstance(image_used, Path) else image_used
    labels = np.rint(np.asanyarray(image.dataobj)).astype(np.int32)
    plain: Any = nib.Nifti1Image(labels, image.affine)
    plain.header.set_xyzt_units("mm")
    # A fixed date, so that the same labels are the same bytes.
    return gzip.compress(plain.to_bytes(), compresslevel=6, mtime=0)


def _parcel_columns(atlas: Atlas) -> dict[str, Any]:
    unknown = np.full((len(atlas.index), 3), np.nan)
    xyz_mm = unknown if atlas.coordinates_mm is None else atlas.coordinates_mm
    return {
        "index": atlas.index,
        "name": atlas.names,
        "network": atlas.networks,
        "subnetwork": atlas.subnetworks,
        "x": xyz_mm[:, 0],
        "y": xyz_mm[:, 1],
        "z": xyz_mm[:, 2],
    }
