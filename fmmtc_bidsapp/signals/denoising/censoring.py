"""Choose the volumes to leave out: non-steady state and motion."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Strategy

__all__ = ["censored_volumes", "dummy_volumes", "unknown_volumes"]

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
        If that is all of them, or fMRIPrep's columns cannot be read.
    """
    notes: tuple[str, ...] = ()
    if dummy_scans == "auto":
        flagged = np.zeros(n_volumes, dtype=bool)
        for name, values in confounds.items():
            if _NON_STEADY.fullmatch(name):
                if np.isinf(values).any():
                    raise InputError(
                        f"The confounds column {name} holds something that is no number in volume "
                        f"{int(np.argmax(np.isinf(values)))}. Repair the table, or give the number "
                        "of dummy volumes with --dummy-scans."
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
            f"{count} dummy volumes are to be dropped from a run of {n_volumes}: nothing is left. "
            "Give a smaller number with --dummy-scans."
        )
    return np.arange(n_volumes) < count, notes


def unknown_volumes(values: Floats, dummy: Flags) -> Flags:
    """Find the volumes in which a measure of motion is not known.

    Parameters
    ----------
    values
        (time,) the measure. That the first volume of a scan has none, as it has no predecessor,
        is no gap in what is known.
    dummy
        (time,) volumes that are dropped anyway.

    Returns
    -------
    (time,) array of bool
        The volumes without a value.
    """
    unknown = ~np.isfinite(values) & ~dummy
    unknown[0] = False
    return unknown


def censored_volumes(
    fd_mm: Floats | None,
    std_dvars: Floats | None,
    strategy: Strategy,
    dummy: Flags,
) -> tuple[Flags, Flags]:
    """Find the volumes to leave out for motion.

    A volume goes when one of the measures is above its threshold, or is not known there: nobody
    can say that it is below. The first volume, which has no predecessor, stays. Then stretches that
    are too short between such volumes go too, as in Power et al. (2014),
    doi:10.1016/j.neuroimage.2013.08.048.

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
    censored : (time,) array of bool
        The volumes to leave out.
    unknown : (time,) array of bool
        Those of them that go because a measure is not known.

    Raises
    ------
    InputError
        If a threshold is given for a measure that is unknown, or unknown throughout.
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
    """Say of each volume whether a measure is above its threshold, and whether it is unknown."""
    if threshold is None:
        return np.zeros(len(dummy), dtype=bool), np.zeros(len(dummy), dtype=bool)
    if values is None or (len(values) > 1 and not np.isfinite(values[1:]).any()):
        found = "has no such column" if values is None else "has no value in that column"
        raise InputError(
            f"Volumes above {threshold:g} in {column} are to be left out, but the confounds table "
            f"{found}. Add it, or switch this off with {flag} 0."
        )
    return values > threshold, unknown_volumes(values, dummy)
