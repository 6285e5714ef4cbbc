"""The label image of a run, in RAS orientation."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from fmmtc_bidsapp.bidsio.files.images import open_image
from fmmtc_bidsapp.errors import InputError

__all__ = ["LabelVolume", "read_from_the_front", "read_labels"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DAMAGES = (OSError, EOFError, ValueError, zlib.error, ImageFileError)
"""What nibabel raises of an image that is cut off or is none."""


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """The labels as used, seen from the front: axes run to the right, the front and up."""

    labels: Ints
    """(x, y, z) row of the parcel counted from 1; 0 outside."""
    image: Any
    """The same as a nibabel image, for its grid."""

    @property
    def zooms_mm(self) -> Floats:
        """(3,) size of a voxel."""
        return np.array(self.image.header.get_zooms()[:3], dtype=np.float64)


def read_labels(path: Path, index: Ints) -> LabelVolume:
    """Read ``_dseg.nii.gz``, label values (parcel,) replaced by rows counted from 1."""
    image = read_from_the_front(path)
    try:
        values = np.rint(np.asanyarray(image.dataobj)).astype(np.int64)
    except _DAMAGES as error:
        raise _unreadable(path, error) from error
    row_of = np.zeros(max(int(values.max()), int(index.max())) + 1, dtype=np.int64)
    row_of[index] = np.arange(1, len(index) + 1)
    return LabelVolume(row_of[np.clip(values, 0, None)], image)


def read_from_the_front(path: Path) -> Any:
    """Read an image, its axes turned to run to the right, the front and up."""
    try:
        return nib.as_closest_canonical(open_image(path))
    except _DAMAGES as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be read as an image ({error!r}). Run the participant level again."
    )
