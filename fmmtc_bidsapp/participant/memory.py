"""Memory of the steps of a run, from the header of its image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import BoldRun
from fmmtc_bidsapp.signals.parcellation.volumes import read_info

__all__ = ["DRAW_GB", "SERIES_GB", "parcellate_gb", "run_gb"]

SERIES_GB = 0.3
"""A step on series and matrices, which are small."""
DRAW_GB = 0.6
_PROGRAM_GB = 0.2
_COPIES = 10
"""Volumes held at once in float64: the placement, the mask, one volume and what is summed."""
_TRANSFORM_GB = 0.3
_UNREADABLE_GB = 0.3


def run_gb(run: BoldRun, *, warped: bool) -> float:
    """Return the memory in GB of the largest step of a run; its steps run one after another."""
    if run.file_format == "cifti":
        return DRAW_GB
    return max(DRAW_GB, parcellate_gb(run.bold, warped=warped))


def parcellate_gb(image: Path, *, warped: bool) -> float:
    """Return the memory in GB of one pass over an image: some volumes, whatever its length.

    An unreadable image gets a guess, as its node will report the error. ``warped`` adds a
    transform.
    """
    base_gb = _PROGRAM_GB + (_TRANSFORM_GB if warped else 0)
    try:
        shape = read_info(image).shape
    except InputError:
        return base_gb + _UNREADABLE_GB
    return base_gb + _COPIES * 8 * float(np.prod(shape[:3])) / 1e9
