"""Open images whose header promises no more data than the file can hold."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib

from fmmtc_bidsapp.nifti_header import (
    LONGEST_HEADER_BYTES,
    MAX_DEFLATE_RATIO,
    data_offset_problem,
    placement_problem,
)

__all__ = ["open_image"]


def open_image(path: Path) -> Any:
    """Open a NIfTI or CIFTI image by nibabel without reading voxels.

    ValueError if the header promises more than the file can hold or gives no affine; else nibabel's
    own errors.
    """
    start = _start_of(path)
    problem = data_offset_problem(start) or placement_problem(start)
    if problem is not None:
        raise ValueError(problem)
    image: Any = nib.load(path)
    promised = math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize
    ratio = MAX_DEFLATE_RATIO if _is_gzip(path) else 1
    found = path.stat().st_size
    if promised > found * ratio:
        raise ValueError(f"its header promises {promised} bytes, the file has {found}")
    return image


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _start_of(path: Path) -> bytes:
    """Read the longest possible header; empty if the gzip stream is damaged."""
    try:
        with gzip.open(path) if _is_gzip(path) else path.open("rb") as stream:
            return stream.read(LONGEST_HEADER_BYTES)
    except (EOFError, zlib.error):
        return b""
