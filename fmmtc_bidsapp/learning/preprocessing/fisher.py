"""Fisher's z of correlations, with one clip for all uses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.records import Floats

__all__ = ["fisher_z"]

_LARGEST_R = 1 - 1e-6
"""Keeps it finite (7.25) where two parcels have the same series."""


def fisher_z(edges: NDArray[Any]) -> Floats:
    """Correlations to Fisher's z in double precision; NaN stays."""
    z: Floats = np.arctanh(np.clip(edges.astype(np.float64), -_LARGEST_R, _LARGEST_R))
    return z
