"""Networks, hemispheres and the label image of a cohort's parcels."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.atlases.write_atlas import map_bytes
from fmmtc_bidsapp.bidsio.cohort.series import ParcelTable, read_parcel_table
from fmmtc_bidsapp.bidsio.files.images import open_image
from fmmtc_bidsapp.bidsio.files.names import atlas_files, space_of
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import SeriesFile

__all__ = ["ParcelPlaces", "label_image", "paint", "read_places"]

_UNKNOWN = "n/a"
_SIDES: Mapping[str, str] = {"l": "left", "left": "left", "lh": "left"} | {
    "r": "right",
    "right": "right",
    "rh": "right",
}


@dataclass(frozen=True, eq=False)
class ParcelPlaces:
    """What is known of where parcels are."""

    index: NDArray[np.int64]
    """(parcel,) value in the label image; without a table the place in the series, from 1."""
    groups: Mapping[str, tuple[str, ...]]
    """(parcel,) by level, ``network``, ``subnetwork`` and ``hemisphere``: the group's name, or n/a.
    A level that the table does not tell is absent."""
    is_of_table: bool
    """Whether `index` is the table's, and not the order of the series alone: only then may it be
    looked up in a label image."""
    table: Path | None = None
    """That all of it comes from; None without one that names these parcels."""


def read_places(folder: Path, series: SeriesFile, parcels: Sequence[str]) -> ParcelPlaces:
    """Read what the atlas's table says of where parcels are.

    Parameters
    ----------
    folder
        Root of the dataset that holds the series.
    series
        One of its series or matrices.
    parcels
        Names, in the order that is wanted.

    Returns
    -------
    ParcelPlaces
        Hemispheres are those of a column ``hemisphere``, else the sign of x; a parcel on the
        midline (x = 0) is in neither.

    Raises
    ------
    InputError
        If the table is there but is damaged.
    """
    table = read_parcel_table(folder, series)
    if table is None or not set(parcels) <= set(table.names):
        return ParcelPlaces(np.arange(1, len(parcels) + 1), {}, is_of_table=False)
    order = [table.names.index(name) for name in parcels]
    levels = {
        "network": table.networks,
        "subnetwork": table.subnetworks,
        "hemisphere": _hemispheres(table),
    }
    groups = {
        level: tuple(names[row] for row in order)
        for level, names in levels.items()
        if names is not None and set(names) != {_UNKNOWN}
    }
    if table.index is None:
        return ParcelPlaces(np.arange(1, len(parcels) + 1), groups, False, table.path)
    return ParcelPlaces(table.index[order], groups, True, table.path)


def _hemispheres(table: ParcelTable) -> tuple[str, ...] | None:
    if table.hemispheres is not None:
        return tuple(_SIDES.get(each.casefold(), _UNKNOWN) for each in table.hemispheres)
    if table.coordinates_mm is None:
        return None
    names = {-1.0: "left", 1.0: "right", 0.0: _UNKNOWN}
    return tuple(names[sign] for sign in np.sign(table.coordinates_mm[:, 0]).tolist())


def label_image(folder: Path, series: SeriesFile) -> Path | None:
    """Find the labels that the participant level wrote for a series; None where there are none.

    Labels on grayordinates are no image, and other programs keep theirs elsewhere.
    """
    named = series.entities
    space = space_of(named)
    if series.atlas_label is None or space is None:
        return None
    image, _, _ = atlas_files(folder, space, series.atlas_label, named.get("res"), named.get("den"))
    return image if image.is_file() and image.name.endswith(".nii.gz") else None


def paint(
    labels: Path, index: NDArray[np.int64], values: NDArray[np.float64], description: str = ""
) -> bytes:
    """Draw one value a parcel into a label image.

    Parameters
    ----------
    labels
        Of `label_image`.
    index
        (parcel,) labels.
    values
        (parcel,) what to draw; NaN stays NaN.
    description
        Kept in the image's header, so that it goes wherever the image is copied; ASCII.

    Returns
    -------
    bytes
        A ``.nii.gz`` file of float32: 0 in the background, NaN in parcels that have no value.

    Raises
    ------
    InputError
        If the image cannot be read.
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
