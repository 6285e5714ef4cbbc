"""Read grids, labels and masks, and resample them to an image's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.parcellation.grid import Grid, look_up
from fmmtc_bidsapp.signals.parcellation.volumes import ImageInfo, iterate_volumes, read_info

__all__ = [
    "Grid",
    "MaskOverlap",
    "header_remarks",
    "labels_on_grid",
    "mask_overlap",
    "read_grid",
    "read_labels",
    "read_mask",
]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Labels = NDArray[np.int32]


MASK_ROUNDING = 0.01
"""Largest difference of a mask's voxel from 0 or 1."""


@dataclass(frozen=True)
class MaskOverlap:
    """Agreement of two brain masks; 1 for equal ones."""

    dice: float
    """Twice the shared voxels over the sum of both."""
    correlation: float
    """Pearson's, over all voxels of the grid."""
    overlap: float
    """Shared voxels over those of the smaller mask (Szymkiewicz-Simpson)."""


def read_grid(image: Path) -> Grid:
    """Return the grid of an image, of a 4D one its first three axes."""
    info = read_info(image)
    x, y, z = info.shape[:3]
    return Grid((x, y, z), info.affine)


def header_remarks(images: Sequence[Path]) -> list[str]:
    """Return remarks on the headers of images, each with its file name."""
    return [f"{each.name}: {remark}" for each in images for remark in read_info(each).remarks]


def read_labels(image: Path) -> Labels:
    """Return the (x, y, z) whole-number labels of an image on its grid; 0 is background."""
    values = _read_volume(read_info(image))
    labels = np.rint(values)
    if not np.array_equal(values, labels):
        odd = values[values != labels][0]
        raise InputError(
            f"{image} has the value {odd:g}, but labels are whole numbers. Use a label image "
            "(dseg), not a probability map or an interpolated image."
        )
    if np.abs(labels).max() > np.iinfo(np.int32).max:
        raise InputError(
            f"{image} has labels beyond 32 bits ({np.abs(labels).max():g}). Use smaller labels."
        )
    return labels.astype(np.int32)


def labels_on_grid(
    atlas_image: Path, grid: Grid, transform: Path | None = None
) -> tuple[Labels, str]:
    """Return a label image on another grid by the nearest voxel in mm, and the resampling.

    ``none`` for grids that differ in axis order or direction only, else ``nearest`` or ``nearest
    through <file name>``. InputError if no label lies on the grid.
    """
    own_grid = read_grid(atlas_image)
    lookup = look_up(grid, own_grid, transform)
    on_grid = lookup.carry(read_labels(atlas_image))
    if not on_grid.any():
        raise InputError(
            f"No label of {atlas_image} is on the image's grid: the atlas has {own_grid}, the "
            f"image {grid}. Both must be in the same template space, or in two that a transform "
            "connects."
        )
    return on_grid, lookup.resampling


def read_mask(image: Path, grid: Grid) -> Bools:
    """Return a brain mask as (x, y, z) of the data's grid, reoriented if needed.

    InputError if it is empty, holds anything but 0 and 1 (rounding aside), or lies on another grid.
    """
    own_grid = read_grid(image)
    lookup = look_up(grid, own_grid)
    if lookup.resampling != "none":
        raise InputError(
            f"{image} has another grid than the BOLD image: the mask has {own_grid}, the image "
            f"{grid}. Use fMRIPrep's mask of this run, space and resolution."
        )
    inside = lookup.carry(_read_inside(image))
    if not inside.any():
        raise InputError(f"{image} has no voxel above 0. Run fMRIPrep again on this run.")
    return inside


def mask_overlap(mask: Bools, grid: Grid, other_mask: Path) -> MaskOverlap:
    """Compare a run's brain mask with its template's or its participant's, as XCP-D does.

    ``norm_dice`` and the like are of the template's mask, ``coreg_dice`` and the like of the
    anatomical image's, which XCP-D takes in the space of that image. The other mask is resampled to
    the nearest voxel.
    """
    own_grid = read_grid(other_mask)
    other = look_up(grid, own_grid).carry(_read_inside(other_mask))
    n_smaller = min(mask.sum(), other.sum())
    if n_smaller == 0:
        raise InputError(
            f"The brain mask has {mask.sum()} voxels and {other_mask} has {other.sum()} on its "
            f"grid ({grid}); both need voxels. Both must be in the same space."
        )
    n_shared = (mask & other).sum()
    # A mask that fills the grid has no variance, so no correlation: NaN.
    with np.errstate(invalid="ignore"):
        correlation = np.corrcoef(mask.ravel(), other.ravel())[0, 1]
    return MaskOverlap(
        dice=float(2 * n_shared / (mask.sum() + other.sum())),
        correlation=float(correlation),
        overlap=float(n_shared / n_smaller),
    )


def _read_inside(mask: Path) -> Bools:
    """Return (x, y, z) of a mask on its grid, True inside."""
    values = _read_volume(read_info(mask))
    inside = values > 0.5
    wrong = ~(np.abs(values - inside) <= MASK_ROUNDING)
    if wrong.any():
        raise InputError(
            f"{mask} has the value {values[wrong][0]:g}, and {wrong.sum()} voxels in all that are "
            "neither 0 nor 1. Use a mask of 0 and 1, not a probability map or an interpolated mask."
        )
    return inside


def _read_volume(info: ImageInfo) -> Floats:
    if info.n_volumes != 1:
        raise InputError(f"{info.path} has shape {info.shape}; a 3D image is needed.")
    (volume,) = iterate_volumes(info)
    return info.slope * volume.reshape(info.shape[:3], order="F") + info.intercept
