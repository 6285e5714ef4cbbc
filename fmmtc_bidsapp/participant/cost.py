"""What a run will cost: memory from the header of its image, time from the size of the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.parcellation.volumes import read_info

__all__ = ["expected_s", "parcellate_gb"]

_PROGRAM_GB = 0.2
_COPIES = 10
"""Volumes held at once in float64: the placement, the mask, one volume and what is summed."""
_TRANSFORM_GB = 0.3
_UNREADABLE_GB = 0.3


def parcellate_gb(image: Path, *, warped: bool) -> float:
    """Estimate the memory of one pass over an image: some volumes of it, whatever its length.

    Parameters
    ----------
    image
        A NIfTI file. One that cannot be read gets a guess; its node will say what is wrong.
    warped
        Whether the labels come through a transform between templates.
    """
    base_gb = _PROGRAM_GB + (_TRANSFORM_GB if warped else 0)
    try:
        shape = read_info(image).shape
    except InputError:
        return base_gb + _UNREADABLE_GB
    return base_gb + _COPIES * 8 * float(np.prod(shape[:3])) / 1e9


_BYTES_PER_S = 50e6
_PICTURES_S = 8.0
"""Both as measured for `docs/performance.md`: reading and cleaning, pictures and report."""


def expected_s(images: Sequence[Path], n_procs: int) -> float:
    """Estimate how long runs will take, in seconds.

    Parameters
    ----------
    images
        Their files.
    n_procs
        Processes at once.
    """
    work_s = [path.stat().st_size / _BYTES_PER_S + _PICTURES_S for path in images]
    return sum(work_s) / n_procs
