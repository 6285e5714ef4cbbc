"""Where the parcels of an atlas are, for figures of the group level."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.names import parcel_table_patterns
from fmmtc_bidsapp.reports.run_brain import LabelVolume, read_labels
from fmmtc_bidsapp.reports.written import read_table

__all__ = ["Places", "drawing_places", "paint"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Places:
    """The parcels of an atlas: who they are, and where."""

    index: NDArray[np.int64]
    names: tuple[str, ...]
    networks: tuple[str, ...]
    """``n/a`` where unknown."""
    xyz_mm: Floats
    """(parcel, 3) of their middle; NaN where it is not known."""
    volume: LabelVolume | None
    """The labels as used; None where their image is not in the output."""

    @property
    def known(self) -> bool:
        """Whether there is any place to draw at."""
        return bool(np.isfinite(self.xyz_mm).all(axis=1).any())


def drawing_places(output_dir: Path, label: str) -> Places | None:
    """Read who and where the parcels of an atlas are.

    Parameters
    ----------
    output_dir
        Root of the derivative dataset.
    label
        Of the atlas.

    Returns
    -------
    Places or None
        In the order of its table; the middles are those of the labels as used where their image is
        there, since A424's own coordinates, with which BrainLM was trained, lie 3 mm off. None
        without a table.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    found = (
        path for glob in parcel_table_patterns(label) for path in sorted(output_dir.glob(glob))
    )
    path = next(found, None)
    table = None if path is None else read_table(path)
    if path is None or table is None or not {"index", "name"} <= set(table):
        return None
    index = table["index"].to_numpy(dtype=np.int64)
    unknown = ["n/a"] * len(table)
    networks = table["network"].fillna("n/a") if "network" in table else unknown
    image = path.with_suffix(".nii.gz")
    volume = read_labels(image, index) if image.exists() else None
    return Places(
        index,
        tuple(table["name"]),
        tuple(networks),
        _written_places(table) if volume is None else _middles(volume, len(index)),
        volume,
    )


def _written_places(table: Any) -> Floats:
    axes = {"x", "y", "z"}
    if not axes <= set(table):
        return np.full((len(table), 3), np.nan)
    xyz_mm: Floats = table[sorted(axes)].to_numpy(dtype=float)
    return xyz_mm


def _middles(volume: LabelVolume, n_parcels: int) -> Floats:
    """(parcel, 3) mean place of each parcel's voxels in mm; NaN of a parcel without any."""
    voxels = np.argwhere(volume.labels > 0)
    row = volume.labels[tuple(voxels.T)] - 1
    xyz_mm = nib.affines.apply_affine(volume.image.affine, voxels)
    count = np.bincount(row, minlength=n_parcels).astype(float)
    count[count == 0] = np.nan
    sums = [np.bincount(row, xyz_mm[:, axis], minlength=n_parcels) for axis in range(3)]
    middles: Floats = np.stack(sums, axis=1) / count[:, None]
    return middles


def paint(volume: LabelVolume, values: Floats) -> Any:
    """Give every voxel the value of its parcel, NaN outside: a nibabel image."""
    drawn = np.concatenate([[np.nan], values])[volume.labels].astype(np.float32)
    return nib.Nifti1Image(drawn, volume.image.affine)
