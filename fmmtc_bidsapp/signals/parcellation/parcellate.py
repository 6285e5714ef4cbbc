"""Parcel means of a 4D image, in one streaming pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.parcellation.means import SHRUNK_BELOW, Members, ParcelMeans, average
from fmmtc_bidsapp.signals.parcellation.placement import PlacedVoxels
from fmmtc_bidsapp.signals.parcellation.volumes import ImageInfo, iterate_volumes, read_info

__all__ = ["ParcelMeans", "parcel_means"]

Bools = NDArray[np.bool_]


def parcel_means(
    image: Path,
    placed: PlacedVoxels,
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
    placed
        Which of its voxels belong to which parcel.
    mask
        (x, y, z) True inside the brain, on the image's own grid; None takes every voxel.
    min_coverage
        Smallest share of a parcel's volume that must be used; a parcel below it becomes NaN.

    Raises
    ------
    InputError
        The image is unreadable, truncated or damaged, is not 4D with two volumes or more, or has
        another shape than ``placed`` or ``mask``.
    """
    info = read_info(image)
    _require_series(info)
    _require_shape(info, placed.shape, "grid the atlas was placed on")
    if mask is not None:
        _require_shape(info, mask.shape, "brain mask")

    labelled = Members(placed.where, placed.parcel)
    inside = labelled if mask is None else labelled.keep(mask.ravel(order="F")[labelled.where])
    return average(
        lambda: iterate_volumes(info),
        inside,
        placed.n_expected,
        shrunk=placed.n_placed < SHRUNK_BELOW * placed.n_expected,
        min_coverage=min_coverage,
        tr_header_s=info.tr_s,
        slope=info.slope,
        intercept=info.intercept,
    )


def _require_series(info: ImageInfo) -> None:
    if len(info.shape) != 4 or info.n_volumes < 2:
        raise InputError(
            f"{info.path} has shape {info.shape}; a 4D image with two volumes or more is needed. "
            "Use the preprocessed BOLD series, not a single volume or a reference image."
        )


def _require_shape(info: ImageInfo, shape: tuple[int, ...], what: str) -> None:
    if shape != info.shape[:3]:
        raise InputError(
            f"The {what} has shape {shape}, but {info.path} has {info.shape[:3]} voxels. "
            f"Resample it to the grid of the image first."
        )
