"""Parcel means of an image that is read volume by volume, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.signals.damage import VolumeWatch

__all__ = ["SHRUNK_BELOW", "Members", "ParcelMeans", "average"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Volumes = Callable[[], Iterator[NDArray[Any]]]

# A parcel that keeps less of its volume than this on the grid counts as shrunk.
SHRUNK_BELOW = 0.9

# No scanner writes such a number, and the square of a larger one could soon not be held.
LARGEST_VALUE = 1e100


@dataclass(frozen=True, eq=False)
class ParcelMeans:
    """Parcel series of one image, and their voxels.

    A voxel is used if it has a label, lies inside the mask, is finite in every volume (changes by
    1e100 or less, in stored units) and varies over time. For a CIFTI image a voxel is a
    grayordinate.
    """

    signal: Floats
    """(time, parcel) mean over the used voxels; NaN throughout where there are too few."""
    coverage: Floats
    """(parcel,) used voxels as a share of the voxels of its volume in the atlas."""
    n_voxels_used: Ints
    """(parcel,)"""
    n_voxels_constant: int
    """Labelled voxels inside the mask that are finite but never vary."""
    n_voxels_nonfinite: int
    """Labelled voxels inside the mask that are NaN or infinite in any volume."""
    zero_variance: Bools
    """(parcel,) finite voxels inside the mask, but a mean that never varies."""
    low_coverage: Bools
    """(parcel,) coverage below the smallest that was asked for."""
    shrunk: Bools
    """(parcel,) lost more than a tenth of its volume on the way to the grid, mask aside."""
    damage: NDArray[np.int8]
    """(time,) whether a volume is whole; codes of `fmmtc_bidsapp.signals.damage`."""
    tr_header_s: float | None
    n_volumes: int


@dataclass(frozen=True, eq=False)
class Members:
    """Labelled voxels of an image, sorted by parcel."""

    where: NDArray[np.intp]
    """(voxel,) position in a volume that is laid out in one row"""
    parcel: NDArray[np.intp]
    """(voxel,) column of the output, ascending"""

    def keep(self, chosen: Bools) -> Members:
        """Return the chosen voxels."""
        return Members(self.where[chosen], self.parcel[chosen])


@dataclass(frozen=True, eq=False)
class _Pass:
    """Statistics of the labelled voxels from one pass over the file, in stored units."""

    first: Floats
    """(voxel,) value in the first volume"""
    change: Floats
    """(time, parcel) sum over voxels of the difference from the first volume"""
    varies: Bools
    """(voxel,)"""
    finite: Bools
    """(voxel,)"""


def average(
    volumes: Volumes,
    members: Members,
    n_expected: Floats | Ints,
    *,
    shrunk: Bools,
    min_coverage: float,
    tr_header_s: float | None,
    slope: float = 1.0,
    intercept: float = 0.0,
) -> ParcelMeans:
    """Average the voxels of each parcel; memory does not grow with the number of volumes.

    ``volumes`` starts a pass; a second one is made only if a voxel is not finite. ``n_expected`` is
    (parcel,) voxels of the atlas's volume; a parcel with a smaller share than ``min_coverage`` is
    NaN. ``slope`` and ``intercept`` turn stored into real values.
    """
    watch = VolumeWatch(zero=-intercept / slope)
    finite, seen = members, _read(volumes(), members, len(n_expected), watch)
    # Once is enough, unless the numbers of two such voxels made up for each other.
    while not seen.finite.all():
        finite = finite.keep(seen.finite)
        seen = _read(volumes(), finite, len(n_expected))
    n_parcels = len(n_expected)
    used = finite.keep(seen.varies)
    n_finite = np.bincount(finite.parcel, minlength=n_parcels)
    n_used = np.bincount(used.parcel, minlength=n_parcels)
    first = np.bincount(used.parcel, weights=seen.first[seen.varies], minlength=n_parcels)
    # An empty parcel divides 0 by 0: NaN is what it should hold.
    with np.errstate(invalid="ignore"):
        stored = (first + seen.change) / n_used
    # The mean is linear, so scaling it equals scaling every voxel.
    signal = slope * stored + intercept
    coverage = np.divide(n_used, n_expected, out=np.zeros(n_parcels), where=n_expected > 0)
    low_coverage = coverage < min_coverage
    signal[:, low_coverage] = np.nan
    return ParcelMeans(
        signal=signal,
        coverage=coverage,
        n_voxels_used=n_used,
        n_voxels_constant=int((~seen.varies).sum()),
        n_voxels_nonfinite=len(members.where) - len(finite.where),
        zero_variance=(n_finite > 0) & ~(seen.change != 0).any(axis=0),
        low_coverage=low_coverage,
        shrunk=shrunk,
        damage=watch.damage(),
        tr_header_s=tr_header_s,
        n_volumes=len(signal),
    )


def _read(
    volumes: Iterator[NDArray[Any]],
    members: Members,
    n_parcels: int,
    watch: VolumeWatch | None = None,
) -> _Pass:
    filled, starts = np.unique(members.parcel, return_index=True)
    varies = np.zeros(len(members.where), dtype=bool)
    finite = np.ones(len(members.where), dtype=bool)
    first = np.empty(0)
    change = []
    for n, volume in enumerate(volumes):
        values = volume.take(members.where)
        if watch is not None:
            watch.see(values)
        if n == 0:
            first = values.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            # A constant voxel adds exactly 0 here, so it need not be known beforehand.
            difference = values - first
            sums = np.add.reduceat(difference, starts) if len(starts) else np.empty(0)
        varies |= difference != 0
        if not (np.abs(sums) <= LARGEST_VALUE).all():
            finite &= np.abs(difference) <= LARGEST_VALUE
        row = np.zeros(n_parcels)
        row[filled] = sums
        change.append(row)
    return _Pass(first, np.stack(change), varies, finite)
