"""Read the table of an atlas, and draw values into its label image."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.atlases.write_atlas import map_bytes
from fmmtc_bidsapp.bidsio.files.images import open_image
from fmmtc_bidsapp.bidsio.files.names import atlas_files, parcel_table_patterns, space_of
from fmmtc_bidsapp.bidsio.files.tsv import MISSING, read_table
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Floats, Ints, ParcelTable, SeriesFile

__all__ = ["find_parcel_table", "label_image", "paint", "read_atlas_table", "read_parcel_table"]

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "names": ("name", "label"),
    "networks": ("network", "network_label", "network_id"),
    "subnetworks": ("subnetwork",),
    "hemispheres": ("hemisphere", "hemi"),
}
"""Columns of ours and of other programs; the first that exists is read."""
_SIDES: Mapping[str, str] = {"l": "left", "left": "left", "lh": "left"} | {
    "r": "right",
    "right": "right",
    "rh": "right",
}
_LARGEST_LABEL = np.iinfo(np.int32).max


def find_parcel_table(folder: Path, label: str) -> Path | None:
    """Return the table of an atlas in a derivative dataset, where we or other programs put it."""
    return next(
        (path for glob in parcel_table_patterns(label) for path in sorted(folder.glob(glob))), None
    )


def read_atlas_table(folder: Path, label: str | None) -> ParcelTable | None:
    """Read the table of an atlas of a derivative dataset; None if it has none."""
    path = None if label is None else find_parcel_table(folder, label)
    return None if path is None else read_parcel_table(path)


def read_parcel_table(path: Path) -> ParcelTable:
    """Read the table of an atlas, of any program.

    Hemispheres are those of a column, else the sign of x. An index that is not unique whole
    numbers is None. InputError without a column of names, or if coordinates are not numbers.
    """
    table = read_table(path, text=[column for columns in _COLUMNS.values() for column in columns])
    found = {field: _texts(columns, table) for field, columns in _COLUMNS.items()}
    if found["names"] is None:
        raise InputError(f"{path} has no column name. Add one with the names of the parcels.")
    xyz_mm = _coordinates_mm(table, path)
    return ParcelTable(
        names=found["names"],
        index=_index(table),
        networks=found["networks"] or (),
        subnetworks=found["subnetworks"] or (),
        hemispheres=_hemispheres(found["hemispheres"], xyz_mm),
        coordinates_mm=xyz_mm,
        path=path,
    )


def _texts(columns: tuple[str, ...], table: pd.DataFrame) -> tuple[str, ...] | None:
    column = next((name for name in columns if name in table), None)
    return None if column is None else tuple(table[column].fillna(MISSING))


def _index(table: pd.DataFrame) -> Ints | None:
    values = pd.to_numeric(table.get("index", pd.Series(dtype=float)), errors="coerce")
    whole = (values % 1 == 0) & (values.abs() <= _LARGEST_LABEL)
    known = len(values) == len(table) and bool(whole.all() and values.is_unique)
    return values.to_numpy(np.int64) if known else None


def _coordinates_mm(table: pd.DataFrame, path: Path) -> Floats | None:
    if not {"x", "y", "z"} <= set(table):
        return None
    try:
        return table[["x", "y", "z"]].to_numpy(float)
    except ValueError as error:
        raise InputError(
            f"{path} has coordinates that are not numbers ({error}). Columns x, y and z need mm, "
            "or n/a if unknown."
        ) from error


def _hemispheres(sides: tuple[str, ...] | None, xyz_mm: Floats | None) -> tuple[str, ...]:
    if sides is not None:
        return tuple(_SIDES.get(each.casefold(), MISSING) for each in sides)
    if xyz_mm is None:
        return ()
    names = {-1.0: "left", 1.0: "right"}
    return tuple(names.get(sign, MISSING) for sign in np.sign(xyz_mm[:, 0]).tolist())


def label_image(folder: Path, series: SeriesFile) -> Path | None:
    """Return the label image that the participant level wrote for a series, if it exists.

    Labels on grayordinates are no image, and other programs store theirs elsewhere.
    """
    named = series.entities
    space = space_of(named)
    if series.atlas_label is None or space is None:
        return None
    image, _, _ = atlas_files(folder, space, series.atlas_label, named.get("res"), named.get("den"))
    return image if image.is_file() and image.name.endswith(".nii.gz") else None


def paint(labels: Path, index: Ints, values: NDArray[np.float64], description: str = "") -> bytes:
    """Return a ``.nii.gz`` image of float32 with one value for each label of (parcel,) ``index``.

    0 in the background, NaN in parcels without value; ``description`` (ASCII) is in the header.
    InputError if the label image cannot be read.
    """
    try:
        image = open_image(labels)
        found = np.asanyarray(image.dataobj).astype(np.int64)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(
            f"{labels} cannot be read ({error!r}). Run the participant level again."
        ) from error
    value_of = dict(zip(index.tolist(), values.tolist(), strict=True)) | {0: 0.0}
    there, place = np.unique(found, return_inverse=True)
    drawn = np.array([value_of.get(label, np.nan) for label in there.tolist()], dtype=np.float32)
    return map_bytes(drawn[place].reshape(found.shape), image.affine, description)
