"""Parcel positions and labels for group figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.files.names import linked_file, parcel_table_patterns
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.reports.data.label_volume import LabelVolume, read_labels
from fmmtc_bidsapp.reports.data.outputs import read_table

__all__ = ["Places", "drawing_places", "paint"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_NAMES = ("name", "label")
_NETWORKS = ("network", "network_label", "network_id")
"""Columns by the usage of this program and of others, the first of them that there is."""


@dataclass(frozen=True, eq=False)
class Places:
    """The parcels of an atlas: who they are, and where."""

    index: Ints
    names: tuple[str, ...]
    networks: tuple[str, ...]
    """``n/a`` where unknown."""
    xyz_mm: Floats
    """(parcel, 3) of their middle; NaN where it is not known."""
    volume: LabelVolume | None
    """The labels as used; None where their image is not in the output."""
    note: str = ""
    """What could not be read, in a sentence."""

    @property
    def known(self) -> bool:
        """Whether there is any place to draw at."""
        return bool(np.isfinite(self.xyz_mm).all(axis=1).any())

    @property
    def index_of(self) -> dict[str, int]:
        """Value in the label image by the parcel's name."""
        return dict(zip(self.names, self.index.tolist(), strict=True))


def drawing_places(output_dir: Path, label: str, told: Mapping[str, Any]) -> Places | None:
    """Read the parcels in the order of the atlas's table, None where no table names them.

    Of several tables the one that the sidecar names counts. Centres come from the labels as used
    where they are there, since A424's own coordinates lie 3 mm off.
    """
    path = _told_file(output_dir, told.get("Table")) or next(
        (path for glob in parcel_table_patterns(label) for path in sorted(output_dir.glob(glob))),
        None,
    )
    if path is None:
        return None
    table = read_table(path)
    names = _first(_NAMES, table)
    if names is None:
        return None
    index = _index(table)
    image = _told_file(output_dir, told.get("Labels")) or path.with_suffix(".nii.gz")
    volume, note = (None, "") if index is None else _volume(image, index)
    networks = _first(_NETWORKS, table)
    return Places(
        np.arange(1, len(table) + 1) if index is None else index,
        tuple(names.astype(str)),
        tuple(["n/a"] * len(table) if networks is None else networks.fillna("n/a").astype(str)),
        _written_places(table) if volume is None else _middles(volume, len(table)),
        volume,
        note,
    )


def _told_file(root: Path, uri: object) -> Path | None:
    """Find what a sidecar points to; None where that is not a file of this dataset."""
    if not isinstance(uri, str):
        return None
    path = linked_file(uri, root)
    return path if path.is_file() else None


def _first(columns: tuple[str, ...], table: pd.DataFrame) -> pd.Series | None:
    return next((table[each] for each in columns if each in table), None)


def _index(table: pd.DataFrame) -> Ints | None:
    """(parcel,) values in the label image; None where the table does not give them."""
    values = pd.to_numeric(table.get("index", pd.Series(dtype=float)), errors="coerce")
    sound = len(values) == len(table) and bool((values % 1 == 0).all() and (values > 0).all())
    return values.to_numpy(dtype=np.int64) if sound else None


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


def _written_places(table: pd.DataFrame) -> Floats:
    axes = ["x", "y", "z"]
    if not set(axes) <= set(table):
        return np.full((len(table), 3), np.nan)
    xyz_mm: Floats = table[axes].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
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
