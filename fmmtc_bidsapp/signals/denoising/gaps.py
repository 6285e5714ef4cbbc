"""Gaps of censored volumes: their length, and their interpolation before a filter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

__all__ = ["LONGEST_CUBIC", "bridge", "longest_gap"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LONGEST_CUBIC = 5
"""Volumes over which a cubic spline knows where a series went, as in XCP-D; over more it swings out
by several times what the series does."""


def longest_gap(left_out: Flags) -> int:
    """Return the number of volumes in the longest gap of (time,) flags."""
    return int(_lengths(left_out).max(initial=0))


def bridge(values: Floats, kept: Flags) -> Floats:
    """Return (time, column) values with interpolated gaps, for a filter that needs every volume.

    Gaps of `LONGEST_CUBIC` volumes or fewer by a cubic spline, longer ones by a straight line, the
    ends by the nearest kept value.
    """
    volume = np.arange(len(values))
    good = volume[kept]
    line = np.stack([np.interp(volume, good, column) for column in values[kept].T], axis=1)
    # Long gaps are filled before the spline is fitted, which then crosses short ones only.
    known = kept | (_lengths(~kept) > LONGEST_CUBIC)
    spline = CubicSpline(volume[known], line[known])
    curve = np.where(known[:, None], line, spline(np.clip(volume, good[0], good[-1])))
    return np.where(kept[:, None], values, curve)


def _lengths(left_out: Flags) -> NDArray[np.int64]:
    """Return the length of each volume's gap: (time,), 0 for a kept volume."""
    gap, _ = ndimage.label(left_out)
    return np.where(left_out, np.bincount(gap)[gap], 0)
