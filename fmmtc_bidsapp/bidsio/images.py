"""Images of others, opened without making room for more than their file can hold."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

__all__ = ["open_image"]

_DEFLATE_RATIO = 1032
"""A byte cannot expand to more than this, so a header that promises more is wrong."""
_MOST_BEFORE_DATA = 64 * 2**20
"""Bytes of a header with its extensions; nibabel would read whatever a file says."""
_START_BYTES = 348 + 192
"""The longest header."""


def open_image(path: Path) -> Any:
    """Open a NIfTI or CIFTI image by nibabel; no voxel is read.

    Raises
    ------
    ValueError
        If its header promises more than the file can hold.
    OSError, nibabel's own
        As `nibabel.load`.
    """
    offset = _data_offset(path)
    if offset > _MOST_BEFORE_DATA:
        raise ValueError(f"its header says that data begin at byte {offset:.0f}")
    image: Any = nib.load(path)
    promised = math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize
    ratio = _DEFLATE_RATIO if _is_gzip(path) else 1
    found = path.stat().st_size
    if promised > found * ratio:
        raise ValueError(f"its header promises {promised} bytes, the file has {found}")
    return image


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _data_offset(path: Path) -> float:
    """Read where data begin, of either NIfTI in either byte order; 0 of anything else."""
    try:
        with gzip.open(path) if _is_gzip(path) else path.open("rb") as stream:
            start = stream.read(_START_BYTES)
    except (EOFError, zlib.error):
        return 0
    for kind, size, place, number in (("f4", 348, 108, 4), ("i8", 540, 168, 8)):
        for order in "<>":
            if len(start) >= size and np.frombuffer(start[:4], f"{order}i4")[0] == size:
                return float(np.frombuffer(start[place : place + number], f"{order}{kind}")[0])
    return 0
