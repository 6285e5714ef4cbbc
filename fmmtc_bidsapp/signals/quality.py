"""Quality metrics of a run, and whether it is usable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.records import CleanedSeries, RunQuality
from fmmtc_bidsapp.signals.damage import WHOLE, describe_damage
from fmmtc_bidsapp.signals.denoising.censoring import longest_gap, unknown_volumes
from fmmtc_bidsapp.signals.parcellation.means import ParcelMeans

__all__ = ["RULES", "Limits", "Rule", "assess"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_COEFFICIENTS = ("correlation", "partial-correlation")

# Two brains 2 cm apart, or a scan without the upper third, have about 0.8; runs that fMRIPrep
# normalised well have 0.9.
SMALLEST_DICE = 0.8

# Raw series with drifts and a strong global signal have about 0.6; a step in all parcels, such as
# volumes without a brain, gives nearly 1.
LARGEST_FC_MEAN = 0.8

# The mean of a parcel's voxels has 50 to 500, also in fast scans of small voxels.
SMALLEST_TSNR = 20.0

# A straight line stands for a gap in a filter; of a cycle of 30 s, at 2 s a volume, none is left.
LONGEST_GAP = 15

FEWEST_PAIRS = 3
"""A correlation over fewer volumes says nothing."""


_TR_ROUNDING_S = 0.001
"""Headers hold times in single precision, some in whole milliseconds."""


@dataclass(frozen=True)
class Limits:
    """Limits of a usable run."""

    min_volumes: int
    min_dof: int
    min_dice: float = SMALLEST_DICE
    max_gap: float = LONGEST_GAP
    """In volumes; infinite where no filter has to cross a gap."""
    min_tsnr: float = SMALLEST_TSNR
    max_fc_mean: float = LARGEST_FC_MEAN
    """Infinite for a measure that is no coefficient."""


@dataclass(frozen=True)
class Rule:
    """A remark on a run."""

    applies: Callable[[RunQuality, Limits], bool]
    reason: str
    """Plain words; fields of `RunQuality` and `Limits` stand in braces."""
    excludes: bool
    """Whether a run it applies to is unusable."""


def _disagree(tr_s: float | None, tr_header_s: float | None) -> bool:
    return tr_s is not None and tr_header_s is not None and abs(tr_s - tr_header_s) > _TR_ROUNDING_S


RULES = (
    Rule(
        lambda run, limits: run.num_retained_volumes < limits.min_volumes,
        "{num_retained_volumes} of {n_volumes} volumes are retained, at least {min_volumes} are "
        "needed (--min-volumes)",
        excludes=True,
    ),
    Rule(
        lambda run, limits: run.dof is not None and run.dof < limits.min_dof,
        "cleaning leaves {dof} degrees of freedom, at least {min_dof} are needed (--min-dof)",
        excludes=True,
    ),
    Rule(
        lambda run, _: (run.n_parcels_missing or 0) > (run.n_parcels or 0) / 2,
        "{n_parcels_missing} of {n_parcels} parcels have no data, at least half must have some",
        excludes=True,
    ),
    Rule(
        lambda run, _: run.fc_mean is None,
        "fewer than two parcels have a series that varies",
        excludes=True,
    ),
    Rule(
        lambda run, _: bool(run.num_damaged_volumes),
        "{num_damaged_volumes} retained volumes are damaged ({damaged_volumes}, counted from 0): "
        "cut them off image and confounds, or leave the run out",
        excludes=True,
    ),
    Rule(
        lambda run, _: run.num_damaged_volumes == 0 and run.damaged_volumes != "n/a",
        "volumes that were censored are damaged ({damaged_volumes}, counted from 0)",
        excludes=False,
    ),
    Rule(
        lambda run, limits: run.longest_gap is not None and run.longest_gap > limits.max_gap,
        "{longest_gap} volumes in a row are censored, more than {max_gap}: a straight line stands "
        "for them in the filter",
        excludes=False,
    ),
    Rule(
        lambda run, limits: run.fc_mean is not None and run.fc_mean > limits.max_fc_mean,
        "the mean connectivity of {fc_mean:.2f} is above {max_fc_mean:g}, which no brain has: look "
        "for a step or spike that all parcels share",
        excludes=False,
    ),
    Rule(
        lambda run, limits: (
            run.parcel_tsnr_median is not None and run.parcel_tsnr_median < limits.min_tsnr
        ),
        "the median parcel tSNR of {parcel_tsnr_median:.1f} is below {min_tsnr:g}: look for steps "
        "and spikes, or a mean that was removed",
        excludes=False,
    ),
    Rule(lambda run, _: run.tr_s is None, "repetition time unknown", excludes=False),
    Rule(
        lambda run, _: run.tr_source == "header",
        "the repetition time of {tr_s:g} s is that of the image's header, no sidecar confirms it",
        excludes=False,
    ),
    Rule(
        lambda run, _: _disagree(run.tr_s, run.tr_header_s),
        "the image's header says a repetition time of {tr_header_s:g} s, its sidecar {tr_s:g} s, "
        "which is used",
        excludes=False,
    ),
    Rule(lambda run, _: run.mean_fd is None, "head motion unknown", excludes=False),
    Rule(
        lambda run, _: run.mean_fd is not None and bool(run.num_fd_unknown),
        "framewise displacement is unknown in {num_fd_unknown} of {n_volumes} volumes: its mean "
        "and maximum are those of the others",
        excludes=False,
    ),
    Rule(
        lambda run, _: bool(run.num_unknown_volumes),
        "{num_unknown_volumes} volumes are left out because their motion is unknown, so no "
        "threshold can be applied to them",
        excludes=False,
    ),
    Rule(
        lambda run, limits: run.norm_dice is not None and run.norm_dice < limits.min_dice,
        "the brain mask and the template's overlap with a Dice of {norm_dice:.2f} only: look at "
        "the registration and the field of view",
        excludes=False,
    ),
)


def assess(
    means: ParcelMeans,
    cleaned: CleanedSeries,
    connectome: Floats,
    *,
    tr_sidecar_s: float | None,
    relative_rms_mm: Floats | None,
    atlas_resampling: str,
    template_overlap: Mapping[str, float] | None,
    anat_overlap: Mapping[str, float] | None,
    image_remarks: Sequence[str] = (),
    measure: str = "correlation",
    min_volumes: int,
    min_dof: int,
) -> RunQuality:
    """Judge one run from its parcel series before and after cleaning, and its head motion.

    The figures are those of XCP-D's ``linc_qc`` where they have its names: motion and DVARS leave
    dummy volumes out, relative RMS and what is called final or post-censoring the censored ones as
    well. DVARS is the RMS over parcels of the change from one volume to the next, in the units of
    the image; after cleaning only over volumes that follow each other in the scan.

    Parameters
    ----------
    means
        Uncleaned parcel series and what they rest on.
    cleaned
        The same cleaned, and what was done.
    connectome
        (parcel, parcel), NaN for parcels that take no part.
    tr_sidecar_s
        Repetition time in seconds that a sidecar gives; None where none does, and the one of the
        image's header is used.
    relative_rms_mm
        (time,) fMRIPrep's ``rmsd`` in mm, NaN where it is not defined; None if unknown.
    atlas_resampling
        How labels and image came onto one grid.
    template_overlap, anat_overlap
        ``dice``, ``correlation`` and ``overlap`` of the brain mask with the template's and with the
        anatomical image's; None where it was not measured.
    image_remarks
        What a reader must know of the images' headers.
    measure
        What the matrix holds; a mean of coefficients has a limit.
    min_volumes, min_dof
        Retained volumes and degrees of freedom below which the run is unusable.

    Returns
    -------
    RunQuality
        ``usable`` is False where one of `RULES` that excludes applies; ``reasons`` lists
        everything that applies.

    References
    ----------
    Power et al. 2012, doi:10.1016/j.neuroimage.2011.10.018 (FD and DVARS).
    """
    timing = _timing(means, tr_sidecar_s)
    measured = RunQuality(
        **timing,
        **_volumes(cleaned, timing["tr_s"]),
        **_damaged(means, cleaned),
        **_motion(means, cleaned, relative_rms_mm),
        **_parcels(means, ~cleaned.dummy),
        **_masks("coreg", anat_overlap),
        **_masks("norm", template_overlap),
        fc_mean=_or_none(np.mean, connectome[np.triu_indices_from(connectome, k=1)]),
        atlas_resampling=atlas_resampling,
        usable=True,
        reasons="n/a",
    )
    limits = Limits(
        min_volumes,
        min_dof,
        max_gap=LONGEST_GAP if cleaned.filtered else np.inf,
        max_fc_mean=LARGEST_FC_MEAN if measure in _COEFFICIENTS else np.inf,
    )
    return _judge(measured, limits, image_remarks)


def _timing(means: ParcelMeans, tr_sidecar_s: float | None) -> dict[str, Any]:
    known = {"sidecar": tr_sidecar_s, "header": means.tr_header_s}
    source = next((each for each, tr_s in known.items() if tr_s is not None), "n/a")
    return {
        "n_volumes": means.n_volumes,
        "tr_s": known.get(source),
        "tr_header_s": means.tr_header_s,
        "tr_source": source,
    }


def _volumes(cleaned: CleanedSeries, tr_s: float | None) -> dict[str, Any]:
    n_retained = int(cleaned.retained.sum())
    return {
        "num_dummy_volumes": int(cleaned.dummy.sum()),
        "num_censored_volumes": int(cleaned.censored.sum()),
        "num_unknown_volumes": int(cleaned.unknown.sum()),
        "longest_gap": longest_gap(cleaned.censored),
        "num_retained_volumes": n_retained,
        "retained_s": None if tr_s is None else n_retained * tr_s,
        "n_regressors": len(cleaned.design),
        "dof": cleaned.dof,
    }


def _damaged(means: ParcelMeans, cleaned: CleanedSeries) -> dict[str, Any]:
    """Count damaged retained volumes; describe all damaged volumes that are no dummies."""
    steady = np.where(cleaned.dummy, WHOLE, means.damage)
    return {
        "num_damaged_volumes": int((steady[cleaned.retained] != WHOLE).sum()),
        "damaged_volumes": describe_damage(steady),
    }


def _motion(
    means: ParcelMeans, cleaned: CleanedSeries, relative_rms_mm: Floats | None
) -> dict[str, Any]:
    retained, shown = cleaned.retained, ~cleaned.dummy
    fd_mm = cleaned.fd_mm if cleaned.fd_mm is not None else np.full(len(shown), np.nan)
    rms_mm = relative_rms_mm if relative_rms_mm is not None else np.full(len(shown), np.nan)
    before = _dvars(means.signal, shown)
    after = _dvars(_in_place(cleaned), retained)
    return {
        "mean_fd": _or_none(np.mean, fd_mm[shown]),
        "max_fd": _or_none(np.max, fd_mm[shown]),
        "num_fd_unknown": int(unknown_volumes(fd_mm, cleaned.dummy).sum()),
        "mean_fd_post_censoring": _or_none(np.mean, fd_mm[retained]),
        "mean_relative_rms": _or_none(np.mean, rms_mm[retained]),
        "max_relative_rms": _or_none(np.max, rms_mm[retained]),
        "mean_dvars_initial": _or_none(np.mean, before),
        "mean_dvars_final": _or_none(np.mean, after),
        "fd_dvars_correlation_initial": _correlation(fd_mm, before),
        "fd_dvars_correlation_final": _correlation(fd_mm, after),
    }


def _parcels(means: ParcelMeans, shown: Bools) -> dict[str, Any]:
    tsnr = _tsnr(means.signal[shown])
    return {
        "parcel_tsnr_median": _or_none(np.median, tsnr),
        "parcel_tsnr_min": _or_none(np.min, tsnr),
        "n_parcels": len(means.coverage),
        "n_parcels_missing": int(np.isnan(means.signal).all(axis=0).sum()),
        "n_parcels_low_coverage": int(means.low_coverage.sum()),
        "n_parcels_zero_variance": int(means.zero_variance.sum()),
        "n_parcels_shrunk": int(means.shrunk.sum()),
        "coverage_min": _or_none(np.min, means.coverage),
        "coverage_median": _or_none(np.median, means.coverage),
        "n_voxels_nonfinite": means.n_voxels_nonfinite,
        "n_voxels_constant": means.n_voxels_constant,
    }


def _masks(kind: str, overlap: Mapping[str, float] | None) -> dict[str, Any]:
    names = ("dice", "correlation", "overlap")
    return {f"{kind}_{name}": None if overlap is None else overlap[name] for name in names}


def _judge(run: RunQuality, limits: Limits, remarks: Sequence[str]) -> RunQuality:
    applying = [rule for rule in RULES if rule.applies(run, limits)]
    figures = vars(run) | vars(limits)
    reasons = [*(rule.reason.format_map(figures) for rule in applying), *remarks]
    return replace(
        run,
        usable=not any(rule.excludes for rule in applying),
        reasons="; ".join(reasons) or "n/a",
    )


def _in_place(cleaned: CleanedSeries) -> Floats:
    """Return retained volumes at their place in the scan: (time, parcel)."""
    signal = np.full((len(cleaned.retained), cleaned.signal.shape[1]), np.nan)
    signal[cleaned.retained] = cleaned.signal
    return signal


def _dvars(signal: Floats, shown: Bools) -> Floats:
    """Return the RMS over parcels of the backward difference: (time,), NaN without both volumes."""
    dvars = np.full(len(signal), np.nan)
    there = ~np.isnan(signal[shown]).any(axis=0)
    if there.any():
        dvars[1:] = np.sqrt(np.mean(np.diff(signal[:, there], axis=0) ** 2, axis=1))
    pairs = shown & np.concatenate([[False], shown[:-1]])
    return np.where(pairs, dvars, np.nan)


def _tsnr(signal: Floats) -> Floats:
    """Return mean over SD of every parcel that varies; empty without any."""
    mean, sd = signal.mean(axis=0), signal.std(axis=0)
    # A constant series has an SD of rounding only.
    varies = sd > 1e-12 * np.abs(mean)
    return np.asarray(mean[varies] / sd[varies])


def _correlation(one: Floats, other: Floats) -> float | None:
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < FEWEST_PAIRS or 0 in (np.ptp(one[both]), np.ptp(other[both])):
        return None
    return float(np.corrcoef(one[both], other[both])[0, 1])


def _or_none(statistic: Callable[[Floats], Floats], values: Floats) -> float | None:
    finite = values[np.isfinite(values)]
    return float(statistic(finite)) if len(finite) else None
