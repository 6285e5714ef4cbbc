"""Parcel series, as extracted and cleaned, and their connectivity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import require
from fmmtc_bidsapp.records.arrays import Floats

__all__ = ["CleanedSeries", "Connectome", "ParcelSeries"]


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
        require(
            self.signal.ndim == 2 and self.signal.shape[1] == len(self.parcels),
            f"A series of shape {self.signal.shape} does not fit {len(self.parcels)} parcels.",
        )
        partly = np.isnan(self.signal).any(axis=0) & ~np.isnan(self.signal).all(axis=0)
        require(
            not partly.any(),
            f"{int(partly.sum())} parcels have values in some volumes only, the first is "
            f"{self.parcels[int(partly.argmax())]}; a parcel must be whole or n/a throughout.",
        )

    @property
    def missing(self) -> NDArray[np.bool_]:
        """(parcel,) True where the parcel has no data."""
        return np.asarray(np.isnan(self.signal).all(axis=0))


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
        require(
            self.matrix.shape == (n, n),
            f"A matrix of shape {self.matrix.shape} does not fit {n} parcels.",
        )
