"""Assign the voxels of an image to the parcels of an atlas."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp._version import __version__
from fmmtc_bidsapp.digest import digest_of
from fmmtc_bidsapp.errors import InputError, OutputError
from fmmtc_bidsapp.signals.parcellation.grid import Grid, look_up
from fmmtc_bidsapp.signals.parcellation.space import labels_on_grid, read_grid, read_labels

__all__ = ["PlacedVoxels", "place_parcels", "placed_once"]

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]
Positions = NDArray[np.intp]

# A kept placement begins with a digest of the rest, so that a damaged one is never trusted.
_SEAL_BYTES = 32


@dataclass(frozen=True, eq=False)
class PlacedVoxels:
    """Voxels of an image by parcel."""

    shape: tuple[int, int, int]
    """Of the image's volumes."""
    where: Positions
    """(voxel,) position in a volume whose first axis runs fastest; several voxels of an atlas may
    lie in one of the image."""
    parcel: Positions
    """(voxel,) column of the output, ascending"""
    n_expected: Floats
    """(parcel,) voxels of the parcel's volume in the atlas; never below n_placed."""
    n_placed: NDArray[np.int64]
    """(parcel,) voxels that it has on the grid, inside or outside the brain mask."""
    resampling: str
    """``none``, ``nearest`` or ``nearest through <file name of the transform>``."""
    labels: Labels
    """(x, y, z) as used: on the image's grid for target data, on the atlas's for target atlas."""
    labels_affine: Floats
    """(4, 4) voxel indices of ``labels`` to mm."""


def place_parcels(
    atlas_image: Path,
    index: NDArray[np.integer[Any]],
    grid: Grid,
    *,
    target: str,
    transform: Path | None,
) -> PlacedVoxels:
    """Find the voxels of every parcel of ``index`` in an image, in the same order for any storage.

    ``target`` is ``data`` (each voxel of the image has the nearest label) or ``atlas`` (each
    labelled voxel of the atlas has the nearest voxel of the image). ``transform`` carries images
    from the atlas's template to the image's for ``data``, the other way for ``atlas``. InputError
    if a file is unreadable or no parcel is on the grid.
    """
    place = {"data": _place_on_data, "atlas": _place_on_atlas}[target]
    placed = place(atlas_image, index, grid, transform)
    if not len(placed.where):
        raise InputError(
            f"No parcel of {atlas_image} is on the image's grid ({grid}). Both must be in the same "
            "template space, or in two that a transform connects."
        )
    return placed


def placed_once(
    cache_dir: Path,
    atlas_image: Path,
    index: NDArray[np.integer[Any]],
    grid: Grid,
    *,
    target: str,
    transform: Path | None,
) -> PlacedVoxels:
    """Return the result of `place_parcels`, cached by content in ``cache_dir``.

    A transform takes a second or two and 0.4 GB, and most runs share one grid. Concurrent processes
    may compute it twice; a damaged cache file is computed again.
    """
    name = _digest(atlas_image, index, grid, target, transform)
    path = cache_dir / f"placed-{name}"
    placed = _load(path)
    if placed is None:
        placed = place_parcels(atlas_image, index, grid, target=target, transform=transform)
        _save(placed, path)
    return placed


def _place_on_data(
    atlas_image: Path, index: NDArray[np.integer[Any]], grid: Grid, transform: Path | None
) -> PlacedVoxels:
    labels, resampling = labels_on_grid(atlas_image, grid, transform)
    where, parcel = _labelled(labels, grid, index)
    n_placed = np.bincount(parcel, minlength=len(index))
    own_grid = read_grid(atlas_image)
    _, own_parcel = _labelled(read_labels(atlas_image), own_grid, index)
    # Rounded, since headers store float32; and a reoriented atlas keeps every voxel.
    scale = round(own_grid.voxel_mm3 / grid.voxel_mm3, 6) if resampling != "none" else 1.0
    volume = scale * np.bincount(own_parcel, minlength=len(index))
    return PlacedVoxels(
        shape=grid.shape,
        where=where,
        parcel=parcel,
        n_expected=np.maximum(n_placed, volume),
        n_placed=n_placed,
        resampling=resampling,
        labels=labels,
        labels_affine=grid.affine,
    )


def _place_on_atlas(
    atlas_image: Path, index: NDArray[np.integer[Any]], grid: Grid, transform: Path | None
) -> PlacedVoxels:
    own_grid, labels = read_grid(atlas_image), read_labels(atlas_image)
    lookup = look_up(own_grid, grid, transform)
    own_where, parcel = _labelled(labels, own_grid, index)
    where = lookup(own_where)
    inside = where >= 0
    return PlacedVoxels(
        shape=grid.shape,
        where=where[inside],
        parcel=parcel[inside],
        n_expected=np.bincount(parcel, minlength=len(index)).astype(np.float64),
        n_placed=np.bincount(parcel[inside], minlength=len(index)),
        resampling=lookup.resampling,
        labels=labels,
        labels_affine=own_grid.affine,
    )


def _labelled(
    labels: Labels, grid: Grid, index: NDArray[np.integer[Any]]
) -> tuple[Positions, Positions]:
    """Return position and column of every voxel with a label of ``index``, sorted by column."""
    flat = labels.ravel(order="F")
    where = np.flatnonzero(np.isin(flat, index))
    ascending = np.argsort(index)
    parcel = ascending[np.searchsorted(index, flat[where], sorter=ascending)]
    # From left to right, back to front, bottom to top, however the image is stored: so a flipped
    # copy adds up the same numbers in the same order, and its means are equal to the last bit.
    world_axis, direction = nib.io_orientation(grid.affine).T
    steps = np.stack(np.unravel_index(where, grid.shape, order="F")) * direction[:, None]
    order = np.lexsort((*steps[np.argsort(world_axis)], parcel))
    return where[order], parcel[order]


def _digest(
    atlas_image: Path,
    index: NDArray[np.integer[Any]],
    grid: Grid,
    target: str,
    transform: Path | None,
) -> str:
    """Return a digest of all that a placement depends on, this program's version included."""
    texts = [__version__, target, repr(grid.shape), repr(grid.affine.tolist())]
    texts += [repr(index.tolist()), digest_of(atlas_image)]
    texts += [] if transform is None else [transform.name, digest_of(transform)]
    return hashlib.blake2b("\n".join(texts).encode(), digest_size=16).hexdigest()


def _load(path: Path) -> PlacedVoxels | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    seal, arrays = content[:_SEAL_BYTES], content[_SEAL_BYTES:]
    if _seal(arrays) != seal:
        return None
    with np.load(BytesIO(arrays)) as file:
        values = dict(file)
    x, y, z = values.pop("shape").tolist()
    return PlacedVoxels(shape=(x, y, z), resampling=str(values.pop("resampling")), **values)


def _save(placed: PlacedVoxels, path: Path) -> None:
    arrays = BytesIO()
    np.savez(arrays, **vars(placed))
    temporary = path.with_name(f".{uuid4().hex}_{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(_seal(arrays.getvalue()) + arrays.getvalue())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}. Free disk space or choose another "
            "work folder, then run again."
        ) from error


def _seal(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_SEAL_BYTES).digest()
