"""ITK transforms between templates, applied to points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.nifti_header import MAX_DEFLATE_RATIO

__all__ = ["Transform", "read_transform"]

Floats = NDArray[np.float64]
Step = Callable[[Floats], Floats]

# ITK counts millimetres to the left and to the back (LPS), NIfTI to the right and the front (RAS).
RAS_LPS: Floats = np.array([[-1.0], [-1.0], [1.0]])


@dataclass(frozen=True, eq=False)
class Transform:
    """Maps points of the target template to the source template of images."""

    path: Path
    steps: tuple[Step, ...]
    """In the order in which they are applied, each (3, point) mm LPS to the same."""

    def __call__(self, points_mm: Floats) -> Floats:
        """Map (3, point) mm RAS of the target to the same of the source."""
        points = RAS_LPS * points_mm
        for step in self.steps:
            points = step(points)
        return RAS_LPS * points


@dataclass(frozen=True, eq=False)
class _Affine:
    matrix: Floats
    """(3, 3)"""
    offset: Floats
    """(3, 1) mm"""

    def __call__(self, points: Floats) -> Floats:
        moved: Floats = self.matrix @ points + self.offset
        return moved


@dataclass(frozen=True, eq=False)
class _Field:
    shift: NDArray[np.floating[Any]]
    """(x, y, z, 3) mm, as stored: 25 million values for a template at 1 mm."""
    origin: Floats
    """(3, 1) mm"""
    to_voxel: Floats
    """(3, 3) mm from the origin to voxels"""

    def __call__(self, points: Floats) -> Floats:
        voxels = self.to_voxel @ (points - self.origin)
        # A voxel reaches half its edge beyond its centre; ITK moves nothing outside the field.
        ends = np.reshape(self.shift.shape[:3], (3, 1)) - 0.5
        inside = ((voxels >= -0.5) & (voxels < ends)).all(axis=0)
        moved = points.copy()
        for axis in range(3):
            moved[axis, inside] += map_coordinates(
                self.shift[..., axis], voxels[:, inside], np.float64, order=1, mode="nearest"
            )
        return moved


def read_transform(path: Path) -> Transform:
    """Read an ITK transform (``tpl-<target>_from-<source>_mode-image_xfm.h5``).

    Displacement fields, affine transforms and composites of them. nitransforms reads the same
    files, but interpolates the field with cubic splines, where ITK and ANTs do so linearly.
    InputError for other files and kinds.
    """
    # Most images need no transform, and this library would count in every process's memory.
    import h5py

    try:
        # It is only read: many file systems of clusters have no locks.
        with h5py.File(path, "r", locking=False) as file:
            groups = _inside(file, "TransformGroup")
            n_bytes = path.stat().st_size
            keys = sorted(groups, key=int)
            stored = [_stored(_inside(groups, key), n_bytes) for key in keys]
    except _UNREADABLE as error:
        raise InputError(
            f"{path} cannot be read as an ITK transform ({error!r}). {_AGAIN}"
        ) from error
    # A composite lists itself first, then its parts, the last of which is applied first.
    parts = stored[1:] if stored and stored[0].kind == "CompositeTransform" else stored
    return Transform(path, tuple(_step(path, part) for part in reversed(parts)))


# What h5py raises for files that are cut, damaged or something else.
_UNREADABLE = (
    *(OSError, RuntimeError, MemoryError),
    *(ValueError, LookupError, TypeError, AttributeError),
)
_AGAIN = (
    "A .h5 file of displacement fields and affine transforms, as in TemplateFlow, is needed. If "
    "it is damaged, delete it and run `fmmtc-tools fetch templates`."
)


@dataclass(frozen=True, eq=False)
class _Stored:
    """One transform of the file."""

    kind: str
    """``AffineTransform``, without the number type and dimensions that follow in the file."""
    fixed: Floats
    values: NDArray[np.floating[Any]]


def _stored(group: Any, n_bytes: int) -> _Stored:
    kind = _read(group, "TransformType", n_bytes)[0]
    return _Stored(
        kind=(kind.decode() if isinstance(kind, bytes) else str(kind)).split("_")[0],
        fixed=_parameters(group, "FixedParameters", n_bytes).astype(np.float64),
        values=_parameters(group, "Parameters", n_bytes),
    )


def _parameters(group: Any, name: str, n_bytes: int) -> NDArray[np.floating[Any]]:
    """Return an array of a group by its name, which older versions of ITK misspell."""
    for key in (f"Transform{name}", f"Tranform{name}"):  # codespell:ignore
        if key in group:
            values: NDArray[np.floating[Any]] = _read(group, key, n_bytes)
            return values
    return np.empty(0)


def _inside(group: Any, key: str) -> Any:
    """Return a member of a group that is no link, which could name any file."""
    import h5py

    if not isinstance(group.get(key, getlink=True), h5py.HardLink):
        raise ValueError(f"{key} is a link or does not exist")  # noqa: TRY004
    return group[key]


def _read(group: Any, key: str, n_bytes: int) -> Any:
    """Read an array that fits into a file of ``n_bytes``."""
    stored = _inside(group, key)
    if stored.is_virtual or stored.external:
        raise ValueError(f"the values of {key} are in another file")
    packed = stored.chunks is not None
    # What was never written takes no room in the file, and all of it once it is read.
    found = min(stored.id.get_storage_size(), n_bytes)
    most = found * MAX_DEFLATE_RATIO if packed else found
    if stored.nbytes > most:
        raise ValueError(f"{key} promises {stored.nbytes} bytes, the file has {found}")
    return stored[:]


def _affine(stored: _Stored) -> _Affine:
    values = stored.values.astype(np.float64)
    matrix, translation = values[:9].reshape(3, 3), values[9:].reshape(3, 1)
    centre = stored.fixed.reshape(3, 1)
    return _Affine(matrix, translation + centre - matrix @ centre)


def _field(stored: _Stored) -> _Field:
    size, origin, spacing, direction = np.split(stored.fixed, [3, 6, 9])
    x, y, z = size.astype(int)
    to_mm: Floats = direction.reshape(3, 3) * spacing
    return _Field(
        shift=stored.values.reshape(z, y, x, 3).transpose(2, 1, 0, 3),
        origin=origin.reshape(3, 1),
        to_voxel=np.asarray(np.linalg.inv(to_mm), dtype=np.float64),
    )


_STEPS: Mapping[str, Callable[[_Stored], Step]] = MappingProxyType(
    {
        "AffineTransform": _affine,
        "MatrixOffsetTransformBase": _affine,
        "DisplacementFieldTransform": _field,
    }
)


def _step(path: Path, stored: _Stored) -> Step:
    if stored.kind not in _STEPS:
        raise InputError(
            f"{path} has a {stored.kind}, but only {', '.join(_STEPS)} can be read. {_AGAIN}"
        )
    try:
        return _STEPS[stored.kind](stored)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise InputError(
            f"{path}: the {stored.kind} has {stored.values.size} parameters and "
            f"{stored.fixed.size} fixed parameters, which do not match ({error}). {_AGAIN}"
        ) from error
