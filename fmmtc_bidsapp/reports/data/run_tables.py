"""The written tables of one run, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.atlases.parcel_table import read_parcel_table
from fmmtc_bidsapp.bidsio.derivatives.write import OUTLIERS
from fmmtc_bidsapp.bidsio.files.names import RunFiles, atlas_files
from fmmtc_bidsapp.bidsio.files.tsv import with_columns
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import ParcelTable
from fmmtc_bidsapp.reports.data.outputs import read_json, read_table

__all__ = ["Motion", "Series", "read_coverage", "read_matrix", "read_motion", "read_series"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Motion:
    """Head motion of every volume, and what was left out for it."""

    fd_mm: Floats
    """(time,) NaN where it is not defined, or not known at all."""
    std_dvars: Floats
    """(time,) the same"""
    dummy: Flags
    censored: Flags
    fd_threshold_mm: float | None
    std_dvars_threshold: float | None

    @property
    def retained(self) -> Flags:
        """(time,) volumes that are in the cleaned series."""
        return ~(self.dummy | self.censored)

    @property
    def known(self) -> bool:
        """Whether there is any motion to show."""
        return bool(np.isfinite(self.fd_mm).any() or np.isfinite(self.std_dvars).any())


@dataclass(frozen=True, eq=False)
class Series:
    """The series of a run before and after cleaning, on one time axis."""

    parcels: tuple[str, ...]
    networks: tuple[str, ...]
    """(parcel,) ``n/a`` where unknown."""
    uncleaned: Floats
    """(time, parcel) NaN where a parcel has no data."""
    cleaned: Floats | None
    """(time, parcel) NaN in volumes that were left out too; None where nothing was cleaned."""
    dummy: Flags
    censored: Flags
    tr_s: float | None

    @property
    def missing(self) -> Flags:
        """(parcel,) True where a parcel has no data."""
        return np.asarray(np.isnan(self.uncleaned).all(axis=0))


def read_motion(files: RunFiles, n_volumes: int | None = None) -> Motion:
    """Read the motion of a run, one value per volume; unknown without a table of outliers."""
    table = read_table(files.outliers)
    if table.empty:
        table = pd.DataFrame(index=range(n_volumes or 0))
    known = with_columns(table, OUTLIERS)
    sidecar = read_json(files.timeseries.with_suffix(".json"))
    return Motion(
        fd_mm=known["fd_mm"].to_numpy(),
        std_dvars=known["std_dvars"].to_numpy(),
        dummy=known["dummy"].to_numpy(),
        censored=known["censored"].to_numpy(),
        fd_threshold_mm=_number(sidecar.get("FramewiseDisplacementThreshold")),
        std_dvars_threshold=_number(sidecar.get("StandardisedDVARSThreshold")),
    )


def read_series(files: RunFiles) -> Series:
    """Read the series of a run, the cleaned one placed on all volumes.

    An InputError if the files differ in their volumes.
    """
    cleaned = read_table(files.timeseries)
    same = files.uncleaned == files.timeseries
    # An output of an earlier version may hold the cleaned series alone.
    raw = cleaned if same or not files.uncleaned.exists() else read_table(files.uncleaned)
    motion = read_motion(files, len(raw))
    parcels = tuple(raw.columns)
    return Series(
        parcels,
        read_parcels(files, parcels).networks,
        raw.to_numpy(dtype=float),
        None if raw is cleaned else _spread(files, cleaned, motion.retained, len(raw)),
        motion.dummy,
        motion.censored,
        _number(read_json(files.timeseries.with_suffix(".json")).get("RepetitionTime")),
    )


def _spread(files: RunFiles, cleaned: pd.DataFrame, retained: Flags, n_volumes: int) -> Floats:
    if len(retained) != n_volumes or len(cleaned) != retained.sum():
        raise InputError(
            f"{files.timeseries} has {len(cleaned)} volumes, {files.uncleaned.name} {n_volumes}, "
            f"and {files.outliers.name} keeps {int(retained.sum())} of {len(retained)}. They are "
            "of different runs: delete them and run again."
        )
    whole = np.full((n_volumes, cleaned.shape[1]), np.nan)
    whole[retained] = cleaned.to_numpy(dtype=float)
    return whole


def read_parcels(files: RunFiles, parcels: tuple[str, ...] = ()) -> ParcelTable:
    """Read the atlas's table of a run: these parcels, or all; only their names without a table."""
    path = atlas_files(files.output_dir, files.space, files.atlas, files.res, files.den)[1]
    if not path.exists():
        return ParcelTable(parcels)
    table = read_parcel_table(path)
    return table.of(parcels) if parcels else table


def read_coverage(files: RunFiles, parcels: tuple[str, ...]) -> Floats:
    """Read the share of each parcel's volume that held data; NaN where it is not known."""
    table = read_table(files.coverage)
    if table.empty:
        return np.full(len(parcels), np.nan)
    share = table.set_index("Node")["coverage"].reindex(list(parcels))
    return np.asarray(share.to_numpy(dtype=float))


def read_matrix(files: RunFiles) -> tuple[Floats, tuple[str, ...]]:
    """Read the matrix of a run and the names of its parcels."""
    table = read_table(files.relmat).set_index("Node")
    return table.to_numpy(dtype=float), tuple(table.index)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
