"""Parcel positions and labels for group figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fmmtc_bidsapp.bidsio.atlases.parcel_table import find_parcel_table, read_parcel_table
from fmmtc_bidsapp.bidsio.files.names import linked_file
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Floats, Ints, ParcelTable
from fmmtc_bidsapp.reports.data.label_volume import LabelVolume, read_labels

__all__ = ["Places", "drawing_places", "paint"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Places(ParcelTable):
    """The parcels of an atlas for figures; with a label image, coordinates are its centres."""

    index: Ints
    volume: LabelVolume | None = None
    """The labels as used; None if their image is not in the output."""
    note: str = ""
    """What could not be read, in a sentence."""

    @property
    def xyz_mm(self) -> Floats:
        """(parcel, 3) of the centre; NaN if unknown."""
        unknown = np.full((len(self.names), 3), np.nan)
        return unknown if self.coordinates_mm is None else self.coordinates_mm

    @property
    def known(self) -> bool:
        """Whether any parcel has coordinates."""
        return bool(np.isfinite(self.xyz_mm).all(axis=1).any())

    @property
    def index_of(self) -> dict[str, int]:
        """Value in the label image by the parcel's name."""
        return dict(zip(self.names, self.index.tolist(), strict=True))


def drawing_places(output_dir: Path, label: str, sidecar: Mapping[str, Any]) -> Places | None:
    """Read the parcels of an atlas, in the order of its table; None without a table.

    The table and image are the ``Table`` and ``Labels`` of the maps' sidecar, else the first of the
    atlas's label. Centres are those of the label image if it exists: A424's coordinates, with which
    BrainLM was trained, are 3 mm off. InputError if the table cannot be read; an image that cannot
    be read is a ``note``.
    """
    path = _linked_file(output_dir, sidecar.get("Table")) or find_parcel_table(output_dir, label)
    if path is None:
        return None
    table = read_parcel_table(path)
    image = _linked_file(output_dir, sidecar.get("Labels")) or path.with_suffix(".nii.gz")
    index, volume, note = np.arange(1, len(table.names) + 1), None, ""
    if table.index is not None and (table.index > 0).all():
        index = table.index
        volume, note = _volume(image, index)
    found = vars(table) | {"index": index}
    if volume is not None:
        found["coordinates_mm"] = _middles(volume, len(table.names))
    return Places(**found, volume=volume, note=note)


def _linked_file(root: Path, uri: object) -> Path | None:
    """Find what a sidecar points to; None where that is not a file of this dataset."""
    if not isinstance(uri, str):
        return None
    path = linked_file(uri, root)
    return path if path.is_file() else None


def _volume(image: Path, index: Ints) -> tuple[LabelVolume | None, str]:
    """Read the labels, or say why they cannot be drawn on."""
    if not (image.is_file() and image.name.endswith(".nii.gz")):
        return None, ""
    try:
        volume = read_labels(image, index)
    except InputError as error:
        return None, f"There are no slices: {error}"
    if not volume.labels.any():
        return None, f"There are no slices: {image.name} holds none of the parcels in its table."
    return volume, ""


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
    """Return a nibabel image with the value of each voxel's parcel, NaN outside."""
    drawn = np.concatenate([[np.nan], values])[volume.labels].astype(np.float32)
    return nib.Nifti1Image(drawn, volume.image.affine)
