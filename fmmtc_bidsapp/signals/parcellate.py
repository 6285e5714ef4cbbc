"""Mean signal of every parcel, in one streaming pass over a 4D image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.volumes import ImageInfo, iterate_volumes, read_info

__all__ = ["ParcelMeans", "parcel_means"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ParcelMeans:
    """Parcel series of one image, and what they rest on.

    A voxel is used where it has a label, lies inside the mask, is finite in every volume and
    varies over time.
    """

    signal: Floats
    """(time, parcel) mean over the used voxels; NaN throughout where there are too few."""
    coverage: Floats
    """(parcel,) used voxels as a share of the parcel's voxels on the grid of the image."""
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
    tr_header_s: float | None
    n_volumes: int


@dataclass(frozen=True, eq=False)
class _Voxels:
    """Labelled voxels, those of one parcel side by side."""

    where: NDArray[np.intp]
    """(voxel,) position in a volume whose first axis runs fastest"""
    parcel: NDArray[np.intp]
    """(voxel,) column of the output, ascending"""

    def keep(self, chosen: Bools) -> _Voxels:
        return _Voxels(self.where[chosen], self.parcel[chosen])


@dataclass(frozen=True, eq=False)
class _Pass:
    """What one pass over the file saw of the labelled voxels, in stored units."""

    first: Floats
    """(voxel,) value in the first volume"""
    change: Floats
    """(time, parcel) sum over voxels of the difference from the first volume"""
    varies: Bools
    """(voxel,)"""
    finite: Bools
    """(voxel,)"""


def parcel_means(
    image: Path,
    labels: NDArray[np.integer[Any]],
    index: NDArray[np.integer[Any]],
    *,
    mask: Bools | None,
    min_coverage: float,
) -> ParcelMeans:
    """Average a 4D image over the voxels of each parcel, reading it once, volume by volume.

    Memory does not grow with the number of volumes. Only where a voxel is NaN or infinite in some
    volume is the file read a second time, without such voxels.

    Parameters
    ----------
    image
        ``.nii`` or ``.nii.gz`` file (x, y, z, time) in any orientation and byte order.
    labels
        (x, y, z) label of each voxel, on the image's own grid.
    index
        (parcel,) label values, in the order of the output's columns.
    mask
        (x, y, z) True inside the brain, on the image's own grid; None takes every voxel.
    min_coverage
        Smallest share of a parcel's voxels that must be used; a parcel below it becomes NaN.

    Raises
    ------
    InputError
        The image is unreadable, truncated or damaged, is not 4D with two volumes or more, or has
        another grid than ``labels`` or ``mask``.
    """
    info = read_info(image)
    _require_series(info)
    _require_shape(info, labels, "atlas labels")
    if mask is not None:
        _require_shape(info, mask, "brain mask")

    labelled = _labelled_voxels(labels, index)
    inside = labelled if mask is None else labelled.keep(mask.ravel(order="F")[labelled.where])
    voxels, seen = inside, _read(info, inside, len(index))
    if not seen.finite.all():
        voxels = inside.keep(seen.finite)
        seen = _read(info, voxels, len(index))
    return _summarise(
        info,
        voxels,
        seen,
        n_voxels_nonfinite=len(inside.where) - len(voxels.where),
        n_labelled=np.bincount(labelled.parcel, minlength=len(index)),
        min_coverage=min_coverage,
    )


def _require_series(info: ImageInfo) -> None:
    if len(info.shape) != 4 or info.n_volumes < 2:
        raise InputError(
            f"{info.path} has shape {info.shape}; a 4D image with two volumes or more is needed. "
            f"Give the preprocessed BOLD series, not a single volume or a reference image."
        )


def _require_shape(info: ImageInfo, array: NDArray[Any], what: str) -> None:
    if array.shape != info.shape[:3]:
        raise InputError(
            f"The {what} have shape {array.shape}, but {info.path} has {info.shape[:3]} voxels. "
            f"Bring them to the image's own grid first."
        )


def _labelled_voxels(labels: NDArray[np.integer[Any]], index: NDArray[np.integer[Any]]) -> _Voxels:
    flat = labels.ravel(order="F")
    where = np.flatnonzero(np.isin(flat, index))
    ascending = np.argsort(index)
    parcel = ascending[np.searchsorted(index, flat[where], sorter=ascending)]
    by_parcel = np.argsort(parcel, kind="stable")
    return _Voxels(where[by_parcel], parcel[by_parcel])


def _read(info: ImageInfo, voxels: _Voxels, n_parcels: int) -> _Pass:
    filled, starts = np.unique(voxels.parcel, return_index=True)
    varies = np.zeros(len(voxels.where), dtype=bool)
    finite = np.ones(len(voxels.where), dtype=bool)
    first = np.empty(0)
    change = []
    for n, volume in enumerate(iterate_volumes(info)):
        values = volume.take(voxels.where)
        if n == 0:
            first = values.astype(np.float64)
        with np.errstate(invalid="ignore"):
            # A constant voxel adds exactly 0 here, so it need not be known beforehand.
            difference = values - first
            sums = np.add.reduceat(difference, starts) if len(starts) else np.empty(0)
        varies |= difference != 0
        if not np.isfinite(sums).all():
            finite &= np.isfinite(difference)
        row = np.zeros(n_parcels)
        row[filled] = sums
        change.append(row)
    return _Pass(first, np.stack(change), varies, finite)


def _summarise(
    info: ImageInfo,
    voxels: _Voxels,
    seen: _Pass,
    *,
    n_voxels_nonfinite: int,
    n_labelled: NDArray[np.integer[Any]],
    min_coverage: float,
) -> ParcelMeans:
    n_parcels = len(n_labelled)
    used = voxels.keep(seen.varies)
    n_finite = np.bincount(voxels.parcel, minlength=n_parcels)
    n_used = np.bincount(used.parcel, minlength=n_parcels)
    first = np.bincount(used.parcel, weights=seen.first[seen.varies], minlength=n_parcels)
    # An empty parcel divides 0 by 0: NaN is what it should hold.
    with np.errstate(invalid="ignore"):
        stored = (first + seen.change) / n_used
    # The mean is linear, so scaling it equals scaling every voxel.
    signal = info.slope * stored + info.intercept
    coverage = np.divide(n_used, n_labelled, out=np.zeros(n_parcels), where=n_labelled > 0)
    low_coverage = coverage < min_coverage
    signal[:, low_coverage] = np.nan
    return ParcelMeans(
        signal=signal,
        coverage=coverage,
        n_voxels_used=n_used,
        n_voxels_constant=int((~seen.varies).sum()),
        n_voxels_nonfinite=n_voxels_nonfinite,
        zero_variance=(n_finite > 0) & ~(seen.change != 0).any(axis=0),
        low_coverage=low_coverage,
        tr_header_s=info.tr_s,
        n_volumes=info.n_volumes,
    )
