"""Choose the volumes to drop, non-steady state and motion, and bridge their gaps."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Strategy

__all__ = [
    "LONGEST_CUBIC",
    "bridge",
    "censored_volumes",
    "dummy_volumes",
    "longest_gap",
    "unknown_volumes",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LONGEST_CUBIC = 5
"""Volumes over which a cubic spline knows where a series went, as in XCP-D; over more it swings out
by several times what the series does."""

_NON_STEADY = re.compile(r"non_steady_state_outlier_?\d+")


def dummy_volumes(
    confounds: Mapping[str, Floats], dummy_scans: str, n_volumes: int
) -> tuple[Flags, tuple[str, ...]]:
    """Return (time,) volumes to drop at the start, and notes.

    ``dummy_scans`` is a number, or ``auto`` for the leading volumes that fMRIPrep calls non-steady.
    InputError if that is all of them.
    """
    notes: tuple[str, ...] = ()
    if dummy_scans == "auto":
        flagged = np.zeros(n_volumes, dtype=bool)
        for name, values in confounds.items():
            if _NON_STEADY.fullmatch(name):
                if np.isinf(values).any():
                    raise InputError(
                        f"The confounds column {name} has a cell that is not a number in volume "
                        f"{int(np.argmax(np.isinf(values)))}. Correct the table, or give the "
                        "number of dummy volumes with --dummy-scans."
                    )
                flagged |= np.nan_to_num(values) > 0
        count = n_volumes if flagged.all() else int(np.argmin(flagged))
        elsewhere = int(flagged.sum()) - count
        if elsewhere:
            notes = (f"{elsewhere} non-steady volumes that are not at the start were kept",)
    else:
        count = int(dummy_scans)
    if count >= n_volumes:
        raise InputError(
            f"{count} dummy volumes would be dropped from a run of {n_volumes}, which leaves none. "
            "Give a smaller number with --dummy-scans."
        )
    return np.arange(n_volumes) < count, notes


def unknown_volumes(values: Floats, dummy: Flags) -> Flags:
    """Return (time,) volumes without a value, dummies and the first volume aside."""
    unknown = ~np.isfinite(values) & ~dummy
    unknown[0] = False
    return unknown


def censored_volumes(
    fd_mm: Floats | None,
    std_dvars: Floats | None,
    strategy: Strategy,
    dummy: Flags,
) -> tuple[Flags, Flags]:
    """Return (time,) volumes to censor for motion, and those of them with unknown motion.

    A volume is censored if a measure (fd_mm in mm, std_dvars) is above its threshold or unknown;
    the first volume has no predecessor and is kept. Then segments shorter than ``min_segment`` are
    censored too, as in Power et al. (2014), doi:10.1016/j.neuroimage.2013.08.048. Dummies end a
    segment. InputError for a threshold on a measure that is unknown throughout.
    """
    moved, fd_unknown = _above(
        fd_mm, strategy.fd_threshold_mm, dummy, "framewise_displacement", "--fd-threshold"
    )
    changed, dvars_unknown = _above(
        std_dvars, strategy.std_dvars_threshold, dummy, "std_dvars", "--dvars-threshold"
    )
    above = (moved | changed) & ~dummy
    unknown = (fd_unknown | dvars_unknown) & ~above
    censored = above | unknown
    if not censored.any():
        return censored, unknown
    kept = ~(censored | dummy)
    stretch, _ = ndimage.label(kept)
    short = np.bincount(stretch)[stretch] < strategy.min_segment
    return np.asarray(censored | (kept & short)), unknown


def _above(
    values: Floats | None, threshold: float | None, dummy: Flags, column: str, flag: str
) -> tuple[Flags, Flags]:
    """Return (time,) volumes above a threshold, and volumes without a value."""
    if threshold is None:
        return np.zeros(len(dummy), dtype=bool), np.zeros(len(dummy), dtype=bool)
    if values is None or (len(values) > 1 and not np.isfinite(values[1:]).any()):
        found = "has no such column" if values is None else "has no value in that column"
        raise InputError(
            f"Volumes with {column} above {threshold:g} are censored, but the confounds table "
            f"{found}. Add it, or disable this with {flag} 0."
        )
    return values > threshold, unknown_volumes(values, dummy)


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
