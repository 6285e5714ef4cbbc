"""Bring labels and masks to the grid of an image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.volumes import ImageInfo, iterate_volumes, read_info

__all__ = [
    "Grid",
    "labels_on_grid",
    "read_grid",
    "read_labels",
    "read_mask",
]

# Headers store float32, so equal grids differ a little; a voxel is off by this much at most.
TOLERANCE_VOXELS = 0.01

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an image lie."""

    shape: tuple[int, int, int]
    affine: Floats
    """(4, 4) voxel indices to mm."""

    def __str__(self) -> str:
        rows = "; ".join(" ".join(f"{value:g}" for value in row) for row in self.affine[:3])
        return f"shape {self.shape} and affine [{rows}]"


def read_grid(image: Path) -> Grid:
    """Return the grid of an image, the first three axes of a 4D one.

    Raises
    ------
    InputError
        The file is not a readable NIfTI image.
    """
    return _grid(read_info(image))


def read_labels(image: Path) -> Labels:
    """Return the (x, y, z) labels of a label image on its own grid; 0 is background.

    Raises
    ------
    InputError
        The file is not a readable 3D NIfTI image, or holds values that are not whole numbers.
    """
    values = _read_volume(read_info(image))
    labels = np.rint(values)
    if not np.array_equal(values, labels):
        odd = values[values != labels][0]
        raise InputError(
            f"{image} holds {odd:g}, but labels are whole numbers. Give a label image (dseg), not "
            f"a probability map or one that was resampled with interpolation."
        )
    if np.abs(labels).max() > np.iinfo(np.int32).max:
        raise InputError(
            f"{image} holds labels beyond 32 bits ({np.abs(labels).max():g}). Number the parcels "
            f"with smaller values."
        )
    return labels.astype(np.int32)


def labels_on_grid(atlas_image: Path, grid: Grid) -> tuple[Labels, bool]:
    """Return a label image on another grid, by the nearest voxel in mm.

    Parameters
    ----------
    atlas_image
        3D label image in the template space of the data.
    grid
        Grid of the data.

    Returns
    -------
    labels
        (x, y, z) of ``grid``; 0 is background.
    resampled
        False where the grids differ in axis order or direction only, so that every voxel is
        carried over unchanged.

    Raises
    ------
    InputError
        The atlas is not a readable label image, or no label lies on the grid.
    """
    own_grid = read_grid(atlas_image)
    labels = read_labels(atlas_image)
    exact = _reorientation(own_grid, grid)
    mapping = _voxel_map(own_grid, grid) if exact is None else exact
    on_grid = _nearest(labels, mapping, grid)
    if not on_grid.any():
        raise InputError(
            f"No label of {atlas_image} lies on the image's grid: the atlas has {own_grid}, the "
            f"image {grid}. Both must be in the same template space."
        )
    return on_grid, exact is None


def read_mask(image: Path, grid: Grid) -> NDArray[np.bool_]:
    """Return a brain mask as (x, y, z) of the data's grid; above 0 is inside.

    A mask that differs in axis order or direction only is reoriented.

    Raises
    ------
    InputError
        The file is not a readable 3D NIfTI image, is empty, or lies on another grid.
    """
    own_grid = read_grid(image)
    exact = _reorientation(own_grid, grid)
    if exact is None:
        raise InputError(
            f"{image} is on another grid than the BOLD image: the mask has {own_grid}, the image "
            f"{grid}. Give the mask that fMRIPrep wrote for this run, space and resolution."
        )
    inside = _nearest((_read_volume(read_info(image)) > 0).astype(np.uint8), exact, grid) > 0
    if not inside.any():
        raise InputError(f"{image} has no voxel above 0. Run fMRIPrep again for this run.")
    return inside


def _grid(info: ImageInfo) -> Grid:
    x, y, z = info.shape[:3]
    return Grid((x, y, z), info.affine)


def _read_volume(info: ImageInfo) -> Floats:
    if info.n_volumes != 1:
        raise InputError(f"{info.path} has shape {info.shape}; a 3D image is needed.")
    (volume,) = iterate_volumes(info)
    return info.slope * volume.reshape(info.shape[:3], order="F") + info.intercept


def _voxel_map(source: Grid, target: Grid) -> Floats:
    """Return the (4, 4) matrix from voxel indices of ``target`` to those of ``source``."""
    return np.asarray(np.linalg.solve(source.affine, target.affine), dtype=np.float64)


def _corners(grid: Grid) -> Floats:
    ends = product(*((0, length - 1) for length in grid.shape))
    return np.array([(*corner, 1) for corner in ends], dtype=np.float64).T


def _agree(a: Floats, b: Floats, grid: Grid) -> bool:
    """Return whether two voxel maps send every voxel of ``grid`` to the same place."""
    return bool(np.abs((a - b) @ _corners(grid)).max() < TOLERANCE_VOXELS)


def _reorientation(source: Grid, target: Grid) -> Floats | None:
    """Return the exact voxel map where the grids differ by flips and axis order, else None."""
    mapping = _voxel_map(source, target)
    exact = np.rint(mapping)
    if not _agree(mapping, exact, target):
        return None
    reached = (exact @ _corners(target))[:3]
    fills_source = (reached.min(axis=1) == 0).all() and (
        reached.max(axis=1) == np.subtract(source.shape, 1)
    ).all()
    return exact if fills_source and np.prod(source.shape) == np.prod(target.shape) else None


def _nearest(values: NDArray[Any], mapping: Floats, grid: Grid) -> NDArray[Any]:
    sampled: NDArray[Any] = affine_transform(
        values, mapping, output_shape=grid.shape, order=0, mode="grid-constant", cval=0
    )
    return sampled
