"""Paint parcel series into voxels, and write them as NIfTI."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nilearn.datasets import load_mni152_brain_mask
from nilearn.image import resample_img
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.files.atomic import atomic_path
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.records import Atlas
from fmmtc_bidsapp.signals.parcellation.grid import Grid
from fmmtc_bidsapp.signals.parcellation.space import labels_on_grid
from fmmtc_bidsapp.simulate.options import SimulationOptions

__all__ = ["SPACE", "Canvas", "make_canvas", "mni_grid", "paint", "write_image"]

SPACE = "MNI152NLin6Asym"
Volume = NDArray[np.float32]

# Centres of the first and last voxel of MNI152NLin6Asym at 2 mm.
_FIRST_MM = np.array([-90.0, -126.0, -72.0])
_EXTENT_MM = np.array([180.0, 216.0, 180.0])
_COMPRESSION = 1


@dataclass(frozen=True, eq=False)
class Canvas:
    """Which voxel of an image belongs to which parcel, and which to the brain."""

    grid: Grid
    parcel: NDArray[np.int64]
    """(x, y, z) column of the parcel in the series, -1 where there is none"""
    brain: NDArray[np.bool_]
    """(x, y, z) the brain mask, which holds every parcel"""


def mni_grid(voxel_size_mm: float) -> Grid:
    """Return the grid of cubic voxels (1 to 20 mm) over MNI152NLin6Asym, in RAS order."""
    if not 1 <= voxel_size_mm <= 20:
        raise UsageError(f"--voxel-size-mm is {voxel_size_mm:g}; it must lie in 1 to 20.")
    x, y, z = (np.floor(_EXTENT_MM / voxel_size_mm) + 1).astype(int).tolist()
    affine = np.diag([voxel_size_mm] * 3 + [1.0])
    affine[:3, 3] = _FIRST_MM
    return Grid((x, y, z), affine)


def make_canvas(atlas: Atlas, voxel_size_mm: float) -> Canvas:
    """Return an atlas and nilearn's brain mask on a grid; small parcels may have no voxel."""
    if atlas.space != SPACE:
        raise UsageError(
            f"Atlas {atlas.label} is drawn in {atlas.space}; the simulation needs one in {SPACE}."
        )
    grid = mni_grid(voxel_size_mm)
    labels, _ = labels_on_grid(atlas.image, grid)
    order = np.argsort(atlas.index)
    place = np.searchsorted(atlas.index, labels, sorter=order).clip(max=len(order) - 1)
    parcel = np.where(atlas.index[order[place]] == labels, order[place], -1)
    template = resample_img(
        load_mni152_brain_mask(resolution=2),
        target_affine=grid.affine,
        target_shape=grid.shape,
        interpolation="nearest",
        force_resample=True,
        copy_header=True,
    )
    return Canvas(grid, parcel, (template.get_fdata() > 0) | (parcel >= 0))


def paint(
    canvas: Canvas,
    series: NDArray[np.float32],
    options: SimulationOptions,
    rng: np.random.Generator,
) -> Iterator[Volume]:
    """Yield volumes (x, y, z) in scanner units from ``series`` (time, parcel).

    Voxel noise is centred in each parcel, so that its mean is the series; the rest of the brain is
    noise, the outside 0.
    """
    flat = canvas.parcel.ravel()
    voxels = np.flatnonzero(flat >= 0)
    voxels = voxels[np.argsort(flat[voxels], kind="stable")]
    parcel, first, count = np.unique(flat[voxels], return_index=True, return_counts=True)
    rest = np.flatnonzero(canvas.brain.ravel() & (flat < 0))
    for means in series:
        noise = options.voxel_noise * rng.standard_normal(len(voxels), dtype=np.float32)
        noise_mean = np.add.reduceat(noise, first) / count
        volume = np.zeros(flat.size, dtype=np.float32)
        volume[voxels] = noise + np.repeat(means[parcel] - noise_mean, count)
        volume[rest] = options.baseline + options.voxel_noise * rng.standard_normal(
            len(rest), dtype=np.float32
        )
        yield volume.reshape(canvas.grid.shape)


def write_image(
    path: Path,
    volumes: Iterable[NDArray[Any]],
    grid: Grid,
    *,
    dtype: str,
    time: tuple[int, float] | None = None,
) -> None:
    """Write volumes (x, y, z) one by one; ``time`` is their number and TR in s, None in 3D."""
    kind = np.dtype(dtype)
    header = _header(grid, kind, time)
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as raw,
        # Neither name nor date in the file, so that the same voxels are the same bytes.
        gzip.GzipFile("", "wb", _COMPRESSION, raw, mtime=0) as file,
    ):
        header.write_to(file)
        for volume in volumes:
            rounded = np.rint(volume) if kind.kind in "iu" else volume
            file.write(rounded.astype(kind).tobytes(order="F"))


def _header(grid: Grid, kind: np.dtype[Any], time: tuple[int, float] | None) -> Any:
    header: Any = nib.Nifti1Header()
    header.set_data_dtype(kind)
    size_mm = np.diag(grid.affine)[:3]
    if time is None:
        header.set_data_shape(grid.shape)
        header.set_zooms(size_mm)
        header.set_xyzt_units("mm")
    else:
        n_volumes, tr_s = time
        header.set_data_shape((*grid.shape, n_volumes))
        header.set_zooms((*size_mm, tr_s))
        header.set_xyzt_units("mm", "sec")
    header.set_sform(grid.affine, code="mni")
    header.set_qform(grid.affine, code="mni")
    header.set_slope_inter(1, 0)
    return header
