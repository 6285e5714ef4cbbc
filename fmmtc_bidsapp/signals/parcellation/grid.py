"""Voxel grids: positions, and nearest voxels of another grid."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.signals.parcellation.warp import Transform, read_transform

__all__ = ["Grid", "Lookup", "look_up"]

# Headers store float32, so equal grids differ a little; a voxel is off by this much at most.
TOLERANCE_VOXELS = 0.01

# Half-way between two voxels, rounding errors would decide; so much further is enough to go up.
TIE_VOXELS = 1e-9

# Voxels whose coordinates are in memory at once.
CHUNK = 2**14

Floats = NDArray[np.float64]
Positions = NDArray[np.intp]
"""Of voxels in a volume whose first axis runs fastest."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel grid of an image."""

    shape: tuple[int, int, int]
    affine: Floats
    """(4, 4) voxel indices to mm."""

    @property
    def n_voxels(self) -> int:
        """Voxels in one volume."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def __str__(self) -> str:
        rows = "; ".join(" ".join(f"{value:g}" for value in row) for row in self.affine[:3])
        return f"shape {self.shape} and affine [{rows}]"


@dataclass(frozen=True, eq=False)
class Lookup:
    """Nearest voxels of another grid."""

    asking: Grid
    asked: Grid
    resampling: str
    before: Floats
    """(4, 4) from a voxel of ``asking`` to where the transform begins"""
    transform: Transform | None
    after: Floats
    """(4, 4) from where the transform ends to a voxel of ``asked``"""

    def __call__(self, where: Positions) -> Positions:
        """Return positions in ``asked`` for positions in ``asking``; -1 if outside."""
        found = np.empty_like(where)
        for start in range(0, len(where), CHUNK):
            part = slice(start, start + CHUNK)
            found[part] = self._nearest(where[part])
        return found

    def carry(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return an (x, y, z) array of ``asked`` on ``asking``; 0 outside."""
        found = self(np.arange(self.asking.n_voxels))
        carried = np.where(found >= 0, values.ravel(order="F")[found], 0).astype(values.dtype)
        return carried.reshape(self.asking.shape, order="F")

    def _nearest(self, where: Positions) -> Positions:
        points = _moved(
            self.before, np.stack(np.unravel_index(where, self.asking.shape, order="F"))
        )
        if self.transform is not None:
            points = self.transform(points)
        voxels = np.floor(_moved(self.after, points) + (0.5 + TIE_VOXELS))
        limits = np.reshape(self.asked.shape, (3, 1))
        inside = ((voxels >= 0) & (voxels < limits)).all(axis=0)
        x, y, z = np.where(inside, voxels, 0).astype(np.intp)
        nearest = np.ravel_multi_index((x, y, z), self.asked.shape, order="F")
        return np.where(inside, nearest, -1)


def look_up(asking: Grid, asked: Grid, transform: Path | None = None) -> Lookup:
    """Return the lookup from voxels of ``asking`` to the nearest ones of ``asked``.

    ``transform`` carries images on ``asked`` to the template of ``asking``. Its ``resampling`` is
    ``none`` for grids that differ in axis order or direction only, else ``nearest`` or ``nearest
    through <file name>``.
    """
    if transform is not None:
        resampling = f"nearest through {transform.name}"
        to_voxel = np.linalg.inv(asked.affine).astype(np.float64)
        warp = read_transform(transform)
        return Lookup(asking, asked, resampling, asking.affine, warp, to_voxel)
    exact = _reorientation(asked, asking)
    if exact is not None:
        return Lookup(asking, asked, "none", exact, None, np.eye(4))
    return Lookup(asking, asked, "nearest", _voxel_map(asked, asking), None, np.eye(4))


def _moved(affine: Floats, points: NDArray[Any]) -> Floats:
    """Apply a (4, 4) matrix to (3, point)."""
    moved: Floats = affine[:3, :3] @ points + affine[:3, 3:]
    return moved


def _voxel_map(source: Grid, target: Grid) -> Floats:
    """Return the (4, 4) matrix from voxel indices of ``target`` to those of ``source``."""
    return np.asarray(np.linalg.solve(source.affine, target.affine), dtype=np.float64)


def _corners(grid: Grid) -> Floats:
    ends = product(*((0, length - 1) for length in grid.shape))
    return np.array([(*corner, 1) for corner in ends], dtype=np.float64).T


def _agree(a: Floats, b: Floats, grid: Grid) -> bool:
    """Return whether two voxel maps agree in all corners of ``grid``."""
    return bool(np.abs((a - b) @ _corners(grid)).max() < TOLERANCE_VOXELS)


def _reorientation(source: Grid, target: Grid) -> Floats | None:
    """Return the exact voxel map of grids that differ by flips and axis order; else None."""
    mapping = _voxel_map(source, target)
    exact = np.rint(mapping)
    if not _agree(mapping, exact, target):
        return None
    reached = (exact @ _corners(target))[:3]
    fills_source = (reached.min(axis=1) == 0).all() and (
        reached.max(axis=1) == np.subtract(source.shape, 1)
    ).all()
    return exact if fills_source and np.prod(source.shape) == np.prod(target.shape) else None
