"""Write the files of one run into the derivative dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.atlases.write_atlas import density_key, resolution_key
from fmmtc_bidsapp.bidsio.files.atomic import write_bytes, write_json
from fmmtc_bidsapp.bidsio.files.names import RunFiles, atlas_files, bids_uri
from fmmtc_bidsapp.bidsio.files.origin import join_origins, origin_keys, origin_of
from fmmtc_bidsapp.bidsio.files.sidecar import read_json
from fmmtc_bidsapp.bidsio.files.tsv import MISSING, Column, describe, tsv_bytes, write_tsv
from fmmtc_bidsapp.records import (
    CleanedSeries,
    Connectome,
    ParcelSeries,
    RunQuality,
    Strategy,
)

__all__ = ["OUTLIERS", "write_connectome", "write_run"]

Floats = NDArray[np.float64]


class _Measure(NamedTuple):
    name: str
    description: str
    non_negative: bool = False


_MEASURES = {
    "correlation": _Measure(
        "Pearson correlation coefficient",
        "Correlation of two parcels' series over the retained volumes.",
    ),
    "partial-correlation": _Measure(
        "Partial correlation coefficient",
        "Correlation of two parcels' series over the retained volumes, given all other parcels; "
        "from the Ledoit-Wolf shrunk covariance of the series at unit variance.",
    ),
    "covariance": _Measure(
        "Covariance",
        "Covariance of two parcels' series over the retained volumes, divided by their number.",
    ),
    "precision": _Measure(
        "Precision",
        "Entry of the inverse of the Ledoit-Wolf shrunk covariance over the retained volumes, "
        "shrunk at unit variance and scaled back.",
    ),
}

_NOTHING: Mapping[str, Any] = MappingProxyType({})

_ID_COLUMNS = {"sub": "participant_id", "ses": "session_id"}

OUTLIERS = {
    "fd_mm": Column("Framewise displacement of the volume.", "mm"),
    "std_dvars": Column("Standardised DVARS of the volume, as fMRIPrep wrote it.", "arbitrary"),
    "dummy": Column("Whether the volume was dropped at the start.", kind=bool),
    "censored": Column(
        "Whether the volume was left out for motion, or because a measure with a threshold is n/a.",
        kind=bool,
    ),
}
"""Columns of the table of outliers, one row per volume."""


def write_run(
    files: RunFiles,
    uncleaned: ParcelSeries,
    cleaned: CleanedSeries,
    strategy: Strategy,
    connectome: Connectome,
    quality: RunQuality,
    sidecar: Mapping[str, Any],
    confound_sources: Sequence[str] = (),
) -> None:
    """Write one run: both series, outliers, design, matrix and, last, quality.

    ``sidecar`` has keys of the series' sidecars that only the caller knows; they replace the
    defaults. ``confound_sources`` are the BIDS URIs of the confounds tables.
    """
    row = _quality_row(files, quality)
    _withdraw_other(files.qc, row)
    common = _of_both_series(files, uncleaned) | dict(sidecar)
    _write_coverage(files, uncleaned, sidecar)
    # What it says must not depend on the cleaning: all cleanings of a run share this series.
    untouched = {
        "MeanFramewiseDisplacement": _mean(cleaned.fd_mm),
        "NumberOfVolumesWithoutFramewiseDisplacement": _unknown(cleaned.fd_mm),
        **_UNTOUCHED,
    }
    _write_series(files.uncleaned, uncleaned.signal, uncleaned, common | untouched)
    if files.timeseries != files.uncleaned:
        of_cleaning = _of_cleaning(strategy, cleaned) | {
            "Sources": [bids_uri(files.uncleaned, files.output_dir), *common["Sources"]],
            "ConfoundSources": list(confound_sources),
            "MeanFramewiseDisplacement": _or_missing(quality.mean_fd),
            "NumberOfVolumesWithoutFramewiseDisplacement": _or_missing(quality.num_fd_unknown),
        }
        _write_series(files.timeseries, cleaned.signal, uncleaned, common | of_cleaning)
    _write_outliers(files, cleaned, strategy)
    _write_design(files, cleaned, confound_sources)
    write_connectome(files, connectome, sources=[files.timeseries])
    write_bytes(files.qc, row)


def _quality_row(files: RunFiles, quality: RunQuality) -> bytes:
    ids = {_ID_COLUMNS.get(key, f"{key}_id"): f"{key}-{v}" for key, v in files.entities.items()}
    what = {"space": files.space, "atlas": files.atlas, "desc": files.desc}
    row = ids | what | asdict(quality)
    return tsv_bytes({name: [value] for name, value in row.items()})


def _withdraw_other(table: Path, row: bytes) -> None:
    """Remove an old quality table with other numbers: it marks the run's files as complete."""
    if table.is_file() and table.read_bytes() != row:
        table.unlink()


def _mean(values: Floats | None) -> float | str:
    known = np.empty(0) if values is None else values[~np.isnan(values)]
    return float(known.mean()) if len(known) else MISSING


def _unknown(values: Floats | None) -> int | str:
    """Count volumes without a value, the first one aside."""
    return MISSING if values is None else int(np.isnan(values[1:]).sum())


_UNTOUCHED = {
    "Description": "Mean signal of the parcels that hold data; a column per parcel.",
    "SoftwareFilters": MISSING,
    "ConfoundRegressors": [],
    "Interpolated": False,
}


def _of_both_series(files: RunFiles, series: ParcelSeries) -> dict[str, Any]:
    n_volumes = len(series.signal)
    timing = (
        {}
        if series.tr_s is None
        else {"SamplingFrequency": 1 / series.tr_s, "RepetitionTime": series.tr_s}
    )
    return {
        "Sources": [],
        **timing,
        "Units": "arbitrary",
        "NumberOfVolumes": n_volumes,
        "NumberOfVolumesRetained": n_volumes,
        "NumberOfDummyVolumes": 0,
        "NumberOfCensoredVolumes": 0,
        "Atlas": files.atlas,
        "AtlasSpace": files.space,
        **_grid_keys(files),
        "MissingParcels": [
            name for name, gone in zip(series.parcels, series.missing, strict=True) if gone
        ],
    }


def _of_cleaning(strategy: Strategy, cleaned: CleanedSeries) -> dict[str, Any]:
    return {
        "Description": "Cleaned parcel series of the retained volumes; a column per parcel.",
        "CleaningStrategy": strategy.name,
        "CleaningTitle": strategy.title,
        "CleaningReferences": list(strategy.references),
        "CleaningNotes": list(cleaned.notes),
        "SoftwareFilters": _software_filters(strategy, cleaned) or MISSING,
        "ConfoundRegressors": list(cleaned.design),
        "SignalColumns": list(cleaned.signal_columns),
        "FramewiseDisplacementThreshold": _or_missing(strategy.fd_threshold_mm),
        "StandardisedDVARSThreshold": _or_missing(strategy.std_dvars_threshold),
        "NumberOfVolumesRetained": int(cleaned.retained.sum()),
        "NumberOfDummyVolumes": int(cleaned.dummy.sum()),
        "NumberOfCensoredVolumes": int(cleaned.censored.sum()),
        "NumberOfVolumesOfUnknownMotion": int(cleaned.unknown.sum()),
        "DegreesOfFreedom": cleaned.dof,
        "Interpolated": bool(cleaned.filtered and cleaned.censored.any()),
    }


def _software_filters(strategy: Strategy, cleaned: CleanedSeries) -> dict[str, Any]:
    trend = {"Detrend": {"Polynomial": 1}} if strategy.detrend else {}
    if not cleaned.filtered:
        return trend
    band = {
        "Type": "Butterworth",
        "LowCutoffHz": _or_missing(cleaned.high_pass_hz),
        "HighCutoffHz": _or_missing(cleaned.low_pass_hz),
    }
    return trend | {"Bandpass": band}


def _or_missing(value: float | None) -> float | str:
    return MISSING if value is None else value


def _write_series(
    path: Path, signal: Floats, series: ParcelSeries, sidecar: Mapping[str, Any]
) -> None:
    write_tsv(path, dict(zip(series.parcels, signal.T, strict=True)))
    write_json(path.with_suffix(".json"), dict(sidecar))


def _write_outliers(files: RunFiles, cleaned: CleanedSeries, strategy: Strategy) -> None:
    unknown = np.full(len(cleaned.dummy), np.nan)
    columns = {
        "fd_mm": unknown if cleaned.fd_mm is None else cleaned.fd_mm,
        "std_dvars": unknown if cleaned.std_dvars is None else cleaned.std_dvars,
        "dummy": cleaned.dummy.astype(int),
        "censored": cleaned.censored.astype(int),
    }
    write_tsv(files.outliers, columns)
    limits = {
        "FramewiseDisplacementThreshold": _or_missing(strategy.fd_threshold_mm),
        "StandardisedDVARSThreshold": _or_missing(strategy.std_dvars_threshold),
    }
    write_json(files.outliers.with_suffix(".json"), describe(OUTLIERS) | limits)


def _write_design(files: RunFiles, cleaned: CleanedSeries, sources: Sequence[str]) -> None:
    if not cleaned.design:
        return
    write_tsv(files.design, cleaned.design)
    content = {
        "Description": "Regressors of every volume before filtering, n/a filled in, and before "
        "what they share with SignalColumns of the series was taken out of them.",
        "Sources": list(sources),
    }
    write_json(files.design.with_suffix(".json"), content)


def write_connectome(
    files: RunFiles,
    connectome: Connectome,
    *,
    sources: Sequence[Path],
    about: Mapping[str, Any] = _NOTHING,
) -> None:
    """Write a (parcel, parcel) matrix made from ``sources``, and its sidecar with ``about``."""
    columns = dict(zip(connectome.parcels, connectome.matrix.T, strict=True))
    write_tsv(files.relmat, {"Node": connectome.parcels, **columns})
    measure = _MEASURES[connectome.measure]
    root = files.output_dir
    table = atlas_files(root, files.space, files.atlas, files.res, files.den)[1]
    content = {
        "RelationshipMeasure": measure.name,
        "MeasureDescription": measure.description,
        "Weighted": True,
        "Directed": False,
        "ValidDiagonal": connectome.measure in ("covariance", "precision"),
        "StorageFormat": "Full",
        "NonNegative": measure.non_negative,
        "FisherZ": connectome.fisher_z,
        "NodeFiles": [bids_uri(table, root)],
        "Sources": [bids_uri(each, root) for each in sources],
        **_origin_keys([_sidecar_of(each) for each in sources]),
        **_grid_keys(files),
        **about,
    }
    write_json(files.relmat.with_suffix(".json"), content)


_COVERAGE = {
    "Node": Column("Name of the parcel.", kind=str),
    "coverage": Column(
        "Share of the parcel's volume in the atlas that held data, 0 to 1; of grayordinates the "
        "share of those that the atlas gives it.",
    ),
}


def _write_coverage(files: RunFiles, series: ParcelSeries, sidecar: Mapping[str, Any]) -> None:
    coverage = np.full(len(series.parcels), np.nan) if series.coverage is None else series.coverage
    write_tsv(files.coverage, {"Node": series.parcels, "coverage": coverage})
    content = {
        "Description": f"Coverage: {_COVERAGE['coverage'].description}",
        **describe(_COVERAGE),
        "Sources": sidecar.get("Sources", []),
        **_origin_keys([sidecar]),
        **_grid_keys(files),
    }
    write_json(files.coverage.with_suffix(".json"), content)


def _sidecar_of(path: Path) -> dict[str, Any]:
    sidecar = path.with_suffix(".json")
    return read_json(sidecar) if sidecar.is_file() else {}


def _origin_keys(sidecars: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the provenance keys of the sources' sidecars; empty without any."""
    origins = [origin_of(each) for each in sidecars]
    return origin_keys(join_origins(origins)) if any(origins) else {}


def _grid_keys(files: RunFiles) -> dict[str, str]:
    return resolution_key(files.res) | density_key(files.den)
