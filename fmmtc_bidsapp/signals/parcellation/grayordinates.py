"""Open CIFTI-2 files, and match the grayordinates of two files."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import nibabel as nib
import numpy as np
from nibabel.cifti2.cifti2 import Cifti2HeaderError, Cifti2Image
from nibabel.cifti2.cifti2_axes import Axis, BrainModelAxis
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.parcellation.volumes import READ_AGAIN

__all__ = ["Cifti", "open_cifti", "positions"]

# nibabel does not check headers, so a damaged one raises errors of Python: a size that is NaN or
# infinite, an absent attribute, more bytes than memory.
_UNREADABLE = (
    *(ImageFileError, HeaderDataError, Cifti2HeaderError, ExpatError),
    *(OSError, EOFError, MemoryError),
    *(ValueError, ArithmeticError, LookupError, TypeError, AttributeError),
)

_HEADER_BYTES = 540
_LONGEST_XML = 64 * 2**20
_INDEX_COUNT = re.compile(rb"IndexCount\s*=\s*[\"'](\d{1,18})")
_SIDE = 1024
"""Longer than any side of a volume of grayordinates, in voxels."""

_OFF_GRID = 0.05
"""Share of a voxel that rounding in a header may move a voxel's centre."""


@dataclass(frozen=True, eq=False)
class Cifti:
    """A CIFTI file with its header; its data is not read."""

    path: Path
    image: Any
    rows: Any
    """Axis of the volumes or maps."""
    models: Any
    """Axis of the grayordinates."""


def open_cifti(path: Path, rows: type[Axis], needed: str) -> Cifti:
    """Read the header of a CIFTI-2 file with rows of one kind (`SeriesAxis`, `LabelAxis`).

    ``needed`` is the end of the error's sentence. InputError if it is unreadable, truncated or of
    another kind.
    """
    try:
        _require_room(path)
        loaded: Any = nib.load(path)
        cifti = isinstance(loaded, Cifti2Image)
        axes = [loaded.header.get_axis(n) for n in range(loaded.ndim)] if cifti else []
    except _UNREADABLE as error:
        raise InputError(f"{path} cannot be read as CIFTI-2 ({error!r}); {needed}") from error
    if not cifti:
        raise InputError(f"{path} is a {type(loaded).__name__}, not CIFTI-2; {needed}")
    if [type(axis) for axis in axes] != [rows, BrainModelAxis]:
        found = " by ".join(type(axis).__name__.removesuffix("Axis") for axis in axes)
        raise InputError(f"{path} is CIFTI-2 of {found}; {needed}")
    opened = Cifti(path, loaded, *axes)
    _require_whole(opened)
    return opened


def _require_room(path: Path) -> None:
    """Raise ValueError for axes longer than the data, before nibabel allocates memory."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
        order = next((each for each in "<>" if start[:4] == struct.pack(f"{each}i", 540)), None)
        if order is None or len(start) < _HEADER_BYTES:
            return
        n_axes, *lengths = struct.unpack_from(f"{order}8q", start, 16)
        (data_begin,) = struct.unpack_from(f"{order}q", start, 168)
        xml = stream.read(max(0, min(data_begin, size, _LONGEST_XML) - _HEADER_BYTES))
    axes = lengths[: max(0, min(n_axes, len(lengths)))]
    if max(axes, default=0) > size:
        raise ValueError(f"its header promises an axis of {max(axes)}, the file has {size} bytes")
    listed = sum(int(each) for each in _INDEX_COUNT.findall(xml))
    if listed > sum(axes):
        raise ValueError(f"its header lists {listed} grayordinates, its data has {max(axes)}")


def _require_whole(cifti: Cifti) -> None:
    shape, data = cifti.image.shape, cifti.image.dataobj
    if shape != (len(cifti.rows), len(cifti.models)):
        raise InputError(
            f"{cifti.path} is damaged: its data has shape {shape}, its axes "
            f"{(len(cifti.rows), len(cifti.models))}. {READ_AGAIN}"
        )
    promised = data.offset + int(np.prod(shape)) * data.dtype.itemsize
    found = cifti.path.stat().st_size
    if found != promised:
        state = "truncated" if found < promised else "too long"
        raise InputError(
            f"{cifti.path} is {state}: it has {found} bytes, its header promises {promised} for "
            f"{shape[0]} volumes of {shape[1]} grayordinates. {READ_AGAIN}"
        )
    if data.dtype.kind not in "iuf":
        raise InputError(
            f"{cifti.path} has values of type {data.dtype}; integers or floats are needed. "
            f"{READ_AGAIN}"
        )


def positions(atlas: Cifti, series: Cifti) -> NDArray[np.intp]:
    """Return each atlas grayordinate's column in an image: (grayordinate,), -1 if absent.

    They match by structure and vertex, or structure and voxel position. InputError for surfaces
    with other vertices or voxels on another grid.
    """
    _require_same_surfaces(atlas, series)
    structures = np.unique(np.concatenate([atlas.models.name, series.models.name]))
    keys = _keys(atlas.models, structures, atlas.models.voxel)
    others = _keys(series.models, structures, _voxels_on_grid(atlas, series))
    _, here, there = np.intersect1d(keys, others, return_indices=True)
    position = np.full(len(keys), -1, dtype=np.intp)
    position[here] = there
    return position


def _require_same_surfaces(atlas: Cifti, series: Cifti) -> None:
    for name, n_vertices in atlas.models.nvertices.items():
        found = series.models.nvertices.get(name, n_vertices)
        if found != n_vertices:
            raise InputError(
                f"{series.path} has {found} vertices in {name}, {atlas.path} has {n_vertices}. Use "
                "a series of the atlas's density (fMRIPrep's --cifti-output 91k)."
            )


def _voxels_on_grid(atlas: Cifti, series: Cifti) -> NDArray[np.int64]:
    """Return the image's voxel indices on the atlas's grid: (grayordinate, 3)."""
    voxel: NDArray[np.int64] = series.models.voxel
    if atlas.models.affine is None or series.models.affine is None:
        return voxel
    carry = np.linalg.solve(atlas.models.affine, series.models.affine)
    carried = voxel @ carry[:3, :3].T + carry[:3, 3]
    nearest = np.rint(carried).astype(np.int64)
    is_voxel = ~series.models.surface_mask
    if np.abs(carried - nearest)[is_voxel].max(initial=0.0) > _OFF_GRID:
        raise InputError(
            f"The voxels of {series.path} (affine {series.models.affine.tolist()}) are not those "
            f"of {atlas.path} ({atlas.models.affine.tolist()}). Use a series on the atlas's grid "
            "(fMRIPrep's --cifti-output 91k)."
        )
    return nearest


def _keys(models: Any, structures: NDArray[Any], voxel: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number per grayordinate; equal numbers are equal positions."""
    surface = models.surface_mask
    inside = ((voxel >= 0) & (voxel < _SIDE)).all(axis=1, keepdims=True)
    # Voxels outside go to a corner that no atlas fills.
    i, j, k = np.where(inside, voxel, _SIDE - 1).T
    place = np.where(surface, models.vertex, (i * _SIDE + j) * _SIDE + k)
    kind = 2 * np.searchsorted(structures, models.name) + surface
    return np.asarray(kind * _SIDE**3 + place, dtype=np.int64)
