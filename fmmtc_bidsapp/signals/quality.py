"""Say what a run is worth: its quality in numbers, and whether it should be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.records import RunQuality
from fmmtc_bidsapp.signals.parcellate import ParcelMeans

__all__ = ["RULES", "Rule", "assess"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """Something worth telling about a run."""

    applies: Callable[[RunQuality], bool]
    reason: str
    """Plain words; fields of `RunQuality` stand in braces."""
    excludes: bool
    """Whether a run it applies to is unusable."""


RULES = (
    Rule(
        lambda run: run.n_parcels_missing > run.n_parcels / 2,
        "{n_parcels_missing} of {n_parcels} parcels have no data, at least half must have some",
        excludes=True,
    ),
    Rule(
        lambda run: run.fc_mean is None,
        "fewer than two parcels have a series that varies",
        excludes=True,
    ),
    Rule(lambda run: run.tr_s is None, "repetition time unknown", excludes=False),
    Rule(lambda run: run.mean_fd_mm is None, "head motion unknown", excludes=False),
)


def assess(
    means: ParcelMeans,
    connectome: Floats,
    fd_mm: Floats | None,
    *,
    tr_s: float | None,
    atlas_resampled: bool,
) -> RunQuality:
    """Judge one run from its parcel series, its connectivity and its head motion.

    Parameters
    ----------
    means
        Parcel series and what they rest on.
    connectome
        (parcel, parcel) correlation, NaN for parcels that take no part.
    fd_mm
        (time,) framewise displacement in mm, NaN where it is not defined; None if unknown.
    tr_s
        Repetition time in seconds that is used; None if unknown.
    atlas_resampled
        Whether the atlas was resampled to the data's grid.

    Returns
    -------
    RunQuality
        ``usable`` is False where one of `RULES` that excludes applies; ``reasons`` lists
        everything that applies.
    """
    moved = _finite(fd_mm) if fd_mm is not None else np.empty(0)
    edges = _finite(connectome[np.triu_indices_from(connectome, k=1)])
    measured = RunQuality(
        n_volumes=means.n_volumes,
        tr_s=tr_s,
        mean_fd_mm=_or_none(np.mean, moved),
        max_fd_mm=_or_none(np.max, moved),
        n_parcels=len(means.coverage),
        n_parcels_missing=int(np.isnan(means.signal).all(axis=0).sum()),
        n_parcels_low_coverage=int(means.low_coverage.sum()),
        n_parcels_zero_variance=int(means.zero_variance.sum()),
        coverage_min=_or_none(np.min, means.coverage),
        coverage_median=_or_none(np.median, means.coverage),
        n_voxels_nonfinite=means.n_voxels_nonfinite,
        n_voxels_constant=means.n_voxels_constant,
        fc_mean=_or_none(np.mean, edges),
        atlas_resampled=atlas_resampled,
        usable=True,
    )
    return _judge(measured)


def _judge(run: RunQuality) -> RunQuality:
    applying = [rule for rule in RULES if rule.applies(run)]
    return replace(
        run,
        usable=not any(rule.excludes for rule in applying),
        reasons="; ".join(rule.reason.format_map(vars(run)) for rule in applying) or "n/a",
    )


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _or_none(statistic: Callable[[Floats], Floats], values: Floats) -> float | None:
    return float(statistic(values)) if len(values) else None
