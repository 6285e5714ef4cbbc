"""Parcel means of a CIFTI dense series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.cifti2.cifti2_axes import LabelAxis, SeriesAxis
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.parcellation.grayordinates import Cifti, open_cifti, positions
from fmmtc_bidsapp.signals.parcellation.means import SHRUNK_BELOW, Members, ParcelMeans, average
from fmmtc_bidsapp.signals.parcellation.volumes import READ_AGAIN, plausible_tr_s

__all__ = ["cifti_parcel_means"]

Indices = NDArray[np.intp]

_SERIES = (
    "a dense series (.dtseries.nii, volumes by grayordinates) is needed, as fMRIPrep writes with "
    f"--cifti-output 91k. {READ_AGAIN}"
)
_LABELS = (
    "one map of labels on grayordinates (.dlabel.nii) is needed. For A424 run `fmmtc-tools fetch "
    "atlas`."
)
_VOLUMES_AT_ONCE = 32
"""About 12 MB of 91k grayordinates: reading stays fast, and memory flat."""


def cifti_parcel_means(
    image: Path, dlabel: Path, index: NDArray[np.integer[Any]], *, min_coverage: float
) -> ParcelMeans:
    """Average a CIFTI dense series (time, grayordinate) over each parcel of ``index``.

    Grayordinates match by structure and vertex, or structure and voxel position, in any order.
    Constant and non-finite ones are left out, as voxels are. Coverage is a share of the atlas's
    grayordinates; a parcel below ``min_coverage`` is NaN. The file is read in slabs of volumes, so
    memory does not grow with its length. InputError for unreadable files, other kinds of CIFTI,
    unknown labels and other surfaces. https://www.nitrc.org/projects/cifti
    """
    series = open_cifti(image, SeriesAxis, _SERIES)
    _require_series(series)
    atlas = open_cifti(dlabel, LabelAxis, _LABELS)
    labelled, parcel = _labelled(atlas, index)
    where = positions(atlas, series)[labelled]
    if not (where >= 0).any():
        raise InputError(
            f"{image} has no grayordinate with a label in {dlabel}. Both need fsLR surfaces of 32k "
            "vertices and MNI152NLin6Asym voxels of 2 mm (91k)."
        )

    there = Members(where, parcel).keep(where >= 0)
    n_there = np.bincount(there.parcel, minlength=len(index))
    n_labelled = np.bincount(parcel, minlength=len(index))
    return average(
        lambda: _volumes(series),
        there,
        n_labelled,
        shrunk=n_there < SHRUNK_BELOW * n_labelled,
        min_coverage=min_coverage,
        tr_header_s=_tr_s(series.rows),
    )


def _require_series(series: Cifti) -> None:
    if len(series.rows) < 2:
        raise InputError(
            f"{series.path} has {len(series.rows)} volume; two or more are needed. Give the "
            "preprocessed BOLD series, not a single map."
        )


def _labelled(atlas: Cifti, index: NDArray[np.integer[Any]]) -> tuple[Indices, Indices]:
    """Return the positions of the atlas's labelled grayordinates by parcel, and their parcels."""
    if len(atlas.rows) != 1:
        raise InputError(f"{atlas.path} has {len(atlas.rows)} maps; {_LABELS}")
    labels = np.asarray(atlas.image.dataobj)[0]
    unnamed = np.setdiff1d(labels, [0, *index])
    if len(unnamed):
        raise InputError(
            f"{atlas.path} has {len(unnamed)} values that are not labels of the atlas, the first "
            f"is {unnamed[0]}. Image, table and grayordinates must have the same parcels."
        )
    ascending = np.argsort(index)
    where = np.flatnonzero(np.isin(labels, index) & (labels != 0))
    parcel = ascending[np.searchsorted(index, labels[where], sorter=ascending)]
    by_parcel = np.argsort(parcel, kind="stable")
    return where[by_parcel], parcel[by_parcel]


def _volumes(series: Cifti) -> Iterator[NDArray[Any]]:
    """Yield every volume, (grayordinate,), reading a few at a time."""
    for begin in range(0, len(series.rows), _VOLUMES_AT_ONCE):
        yield from np.asarray(series.image.dataobj[begin : begin + _VOLUMES_AT_ONCE])


def _tr_s(rows: Any) -> float | None:
    # CIFTI knows seconds only; milliseconds are an exponent, which nibabel has applied.
    return plausible_tr_s(float(rows.step)) if rows.unit == "SECOND" else None
