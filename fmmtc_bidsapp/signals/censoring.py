"""Which volumes are left out: those before the steady state, and those with motion."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Strategy

__all__ = ["censored_volumes", "dummy_volumes"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_NON_STEADY = re.compile(r"non_steady_state_outlier_?\d+")


def dummy_volumes(
    confounds: Mapping[str, Floats], dummy_scans: str, n_volumes: int
) -> tuple[Flags, tuple[str, ...]]:
    """Find the volumes to drop at the start.

    Parameters
    ----------
    confounds
        Columns (time,) under today's names.
    dummy_scans
        A number, or ``auto`` for the leading run of volumes that fMRIPrep calls non-steady.
    n_volumes
        Length of the run.

    Returns
    -------
    (time,) array of bool
        The volumes to drop.
    tuple of str
        What a reader must know.

    Raises
    ------
    InputError
        If that is all of them.
    """
    notes: tuple[str, ...] = ()
    if dummy_scans == "auto":
        flagged = np.zeros(n_volumes, dtype=bool)
        for name, values in confounds.items():
            if _NON_STEADY.fullmatch(name):
                flagged |= np.nan_to_num(values) > 0
        count = n_volumes if flagged.all() else int(np.argmin(flagged))
        elsewhere = int(flagged.sum()) - count
        if elsewhere:
            notes = (f"{elsewhere} non-steady volumes that are not at the start were kept",)
    else:
        count = int(dummy_scans)
    if count >= n_volumes:
        raise InputError(
            f"{count} dummy volumes are to be dropped from a run of {n_volumes}: nothing is left. "
            "Give a smaller number with --dummy-scans."
        )
    return np.arange(n_volumes) < count, notes


def censored_volumes(
    fd_mm: Floats | None,
    std_dvars: Floats | None,
    strategy: Strategy,
    dummy: Flags,
) -> Flags:
    """Find the volumes to leave out for motion.

    A volume goes when one of the measures is above its threshold; a measure that is not defined
    (the first volume has no predecessor) is above none. Then stretches that are too short between
    such volumes go too, as in Power et al. (2014), doi:10.1016/j.neuroimage.2013.08.048.

    Parameters
    ----------
    fd_mm, std_dvars
        (time,) framewise displacement and standardised DVARS; None if unknown.
    strategy
        Its thresholds are the largest values that are kept, its ``min_segment`` the shortest
        stretch that is kept in a run with outliers.
    dummy
        (time,) volumes that are dropped anyway; they end a stretch and are never censored.

    Returns
    -------
    (time,) array of bool
        The volumes to leave out.

    Raises
    ------
    InputError
        If a threshold is given for a measure that is unknown.
    """
    moved = _above(fd_mm, strategy.fd_threshold_mm, "framewise_displacement", "--fd-threshold")
    changed = _above(std_dvars, strategy.std_dvars_threshold, "std_dvars", "--dvars-threshold")
    censored = (moved | changed) & ~dummy
    if not censored.any():
        return censored
    kept = ~(censored | dummy)
    stretch, _ = ndimage.label(kept)
    short = np.bincount(stretch)[stretch] < strategy.min_segment
    return np.asarray(censored | (kept & short))


def _above(values: Floats | None, threshold: float | None, column: str, flag: str) -> Flags:
    if threshold is None:
        return np.zeros(1, dtype=bool)
    if values is None:
        raise InputError(
            f"Volumes above {threshold:g} in {column} are to be left out, but the confounds table "
            f"has no such column. Add it, or switch this off with {flag} 0."
        )
    return np.asarray(values > threshold)
