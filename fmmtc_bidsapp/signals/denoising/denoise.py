"""Clean parcel series: dummies, trend, filter, censoring and regression, in that order.

Parcel means are cleaned, not voxels: every step is linear in the signal and the same for all
voxels, so over a fixed set of voxels the mean of cleaned voxels is the cleaned mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from nilearn import signal as nilearn_signal
from numpy.typing import NDArray
from scipy.linalg import qr

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import CleanedSeries, Strategy
from fmmtc_bidsapp.signals.damage import ranges
from fmmtc_bidsapp.signals.denoising.censoring import bridge, censored_volumes, dummy_volumes
from fmmtc_bidsapp.signals.denoising.confounds import (
    canonical,
    motion_measure,
    unreadable_motion,
)
from fmmtc_bidsapp.signals.denoising.design import read_design

__all__ = ["clean"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MIN_VOLUMES = 3
"""A line fits any two exactly."""

# What is left of a column is rounding below this share of what it was.
_ROUNDING = 1e-10

_SIGNAL = "signal__"
"""How XCP-D names columns that regression must leave alone."""

_NO_MASKS: Mapping[str, str] = MappingProxyType({})


def clean(
    signal: Floats,
    confounds: Mapping[str, Floats] | None,
    strategy: Strategy,
    *,
    tr_s: float | None,
    dummy_scans: str,
    masks: Mapping[str, str] = _NO_MASKS,
) -> CleanedSeries:
    """Clean the parcel series of one run.

    Dummies are dropped. With a filter, censored volumes are bridged (`gaps.bridge`: up to 5 by a
    cubic spline, more by a line, at an end by the nearest good volume), the linear trend and the
    frequencies are removed from series and regressors alike, and then the censored volumes are
    dropped. Without one they are dropped first, and the trend is that over the times of the volumes
    that remain. Last the regressors are projected out of the retained volumes, less what they share
    with columns whose name begins with ``signal__``, which stay. Nothing is standardised. The order
    is that of Lindquist et al. (2019), doi:10.1002/hbm.24528, and of `nilearn.signal.clean`.

    Degrees of freedom are the retained volumes, times the share of the run's frequencies that the
    filter keeps, less the rank of the regressors, the mean and, where it is removed, the trend (a
    high-pass has removed both already).

    Parameters
    ----------
    signal
        (time, parcel) parcel means; a column of NaN is a parcel without data and stays so.
    confounds
        Columns (time,) by name, ``n/a`` read as NaN; None where the run has no table, which does
        for a strategy that does nothing.
    strategy
        What to do.
    tr_s
        Repetition time in seconds; a filter needs it.
    dummy_scans
        Volumes to drop at the start: a number, or ``auto`` for those that fMRIPrep calls
        non-steady.
    masks
        ``CSF``, ``WM`` or ``combined`` by the name of an ``a_comp_cor`` column, from the sidecar.

    Returns
    -------
    CleanedSeries
        (retained volume, parcel), of mean 0 where a trend was removed, but for what a filter leaves
        of it at the ends.

    Raises
    ------
    InputError
        If columns, the repetition time or enough volumes are missing.
    """
    table = canonical(confounds or {})
    fd_mm, std_dvars = (
        motion_measure(table, name) for name in ("framewise_displacement", "std_dvars")
    )
    motion_notes = unreadable_motion(table)
    none = np.zeros(len(signal), dtype=bool)
    if not strategy.cleans:
        return CleanedSeries(
            signal, fd_mm, std_dvars, none, none, none, dof=len(signal), notes=motion_notes
        )
    if confounds is None:
        raise InputError(
            f"The strategy {strategy.name} needs the confounds table of the run, which does not "
            "exist. Restore fMRIPrep's …_desc-confounds_timeseries.tsv, or use "
            "--denoise-strategy none."
        )
    strategy, filter_notes = _within_nyquist(strategy, tr_s)
    dummy, dummy_notes = dummy_volumes(table, dummy_scans, len(signal))
    censored, unknown = censored_volumes(fd_mm, std_dvars, strategy, dummy)
    columns, design_notes = read_design(
        strategy, confounds, masks=masks, tr_s=tr_s, n_dummy=int(dummy.sum())
    )
    design = {name: each for name, each in columns.items() if not name.startswith(_SIGNAL)}
    signals = {name: each for name, each in columns.items() if name.startswith(_SIGNAL)}
    steady, kept = ~dummy, ~censored[~dummy]
    _check_enough(kept, strategy)
    regressors, regressor_notes = _independent(design, signals, steady, kept, strategy, tr_s)
    dof = _degrees(kept, regressors.shape[1], strategy, tr_s)
    cleaned = np.full((int(kept.sum()), signal.shape[1]), np.nan)
    has_data = ~np.isnan(signal).all(axis=0)
    cleaned[:, has_data] = _residual(
        signal[np.ix_(steady, has_data)], regressors, kept, strategy, tr_s
    )
    return CleanedSeries(
        cleaned,
        fd_mm,
        std_dvars,
        dummy,
        censored,
        unknown,
        design,
        dof,
        (
            *motion_notes,
            *dummy_notes,
            *_unknown_note(unknown),
            *filter_notes,
            *design_notes,
            *regressor_notes,
        ),
        strategy.low_pass_hz,
        strategy.high_pass_hz,
        tuple(signals),
    )


def _unknown_note(unknown: Flags) -> tuple[str, ...]:
    if not unknown.any():
        return ()
    return (f"censored, as their motion is unknown: volumes {ranges(np.flatnonzero(unknown))}",)


def _within_nyquist(strategy: Strategy, tr_s: float | None) -> tuple[Strategy, tuple[str, ...]]:
    """Drop a low-pass above the Nyquist frequency, which nilearn would move."""
    if not strategy.filters:
        return strategy, ()
    if not tr_s:
        raise InputError(
            f"The strategy {strategy.name} filters frequencies, but the repetition time of this "
            "run is unknown. Add RepetitionTime to the image's JSON, or disable the filter with "
            "--low-pass 0 --high-pass 0."
        )
    nyquist_hz = 0.5 / tr_s
    if strategy.high_pass_hz is not None and strategy.high_pass_hz >= nyquist_hz:
        raise InputError(
            f"The high-pass of {strategy.high_pass_hz:g} Hz is not below the Nyquist frequency of "
            f"{nyquist_hz:g} Hz (repetition time {tr_s:g} s). Give a lower --high-pass."
        )
    if strategy.low_pass_hz is None or strategy.low_pass_hz < nyquist_hz:
        return strategy, ()
    note = (
        f"no low-pass: {strategy.low_pass_hz:g} Hz is not below the Nyquist frequency of "
        f"{nyquist_hz:g} Hz (repetition time {tr_s:g} s)"
    )
    return replace(strategy, low_pass_hz=None), (note,)


def _check_enough(kept: Flags, strategy: Strategy) -> None:
    if kept.sum() < MIN_VOLUMES:
        raise InputError(
            f"The strategy {strategy.name} leaves {kept.sum()} of {len(kept)} volumes; "
            f"{MIN_VOLUMES} or more are needed. Exclude this run, or raise --fd-threshold and "
            "--dvars-threshold."
        )


def _residual(
    values: Floats, regressors: Floats, kept: Flags, strategy: Strategy, tr_s: float | None
) -> Floats:
    prepared = _prepared(values, kept, strategy, tr_s)
    if regressors.size and prepared.size:
        prepared = nilearn_signal.clean(
            prepared, confounds=regressors, detrend=False, standardize=None, filter=False
        )
    # A constant parcel must not become rounding noise, which would correlate with others.
    flat = prepared.std(axis=0) <= _ROUNDING * np.abs(values).max(axis=0, initial=0)
    return np.where(flat, prepared.mean(axis=0), prepared)


def _prepared(values: Floats, kept: Flags, strategy: Strategy, tr_s: float | None) -> Floats:
    """Remove trend, frequencies and censored volumes from columns.

    `nilearn.signal.clean` is not given the censored volumes: version 0.14.1 takes the complement of
    a list of indices by ``~``, so that two censored volumes at mirrored places of the run are not
    bridged and leak through the filter; and without a filter it removes a trend over the count of
    retained volumes, not over their times.
    """
    if not values.size:
        return values[kept]
    if not strategy.filters:
        left = values[kept]
        return _without_trend(left, np.flatnonzero(kept)) if strategy.detrend else left
    try:
        filtered: Floats = nilearn_signal.clean(
            bridge(values, kept),
            detrend=strategy.detrend,
            standardize=None,
            filter="butterworth",
            low_pass=strategy.low_pass_hz,
            high_pass=strategy.high_pass_hz,
            t_r=tr_s,
        )
    except ValueError as error:
        raise InputError(
            f"A run of {len(values)} volumes is too short for the filter of the strategy "
            f"{strategy.name} ({error}). Disable it with --low-pass 0 --high-pass 0."
        ) from error
    return filtered[kept]


def _without_trend(values: Floats, volume: NDArray[np.int64]) -> Floats:
    line = volume - volume.mean()
    line /= np.linalg.norm(line)
    centred = values - values.mean(axis=0)
    return np.asarray(centred - np.outer(line, line @ centred))


def _independent(
    design: Mapping[str, Floats],
    signals: Mapping[str, Floats],
    steady: Flags,
    kept: Flags,
    strategy: Strategy,
    tr_s: float | None,
) -> tuple[Floats, tuple[str, ...]]:
    """Prepare the regressors, and return linearly independent columns with notes.

    A column that is constant or outside the filter's band is rounding after the preparation; scaled
    to unit variance, as nilearn does, it would be noise that costs a degree of freedom. Regressors
    are made orthogonal to signals where the regression is done; XCP-D does so before filter and
    censoring, which bring back a little of them.
    """
    if not design:
        return np.zeros((int(kept.sum()), 0)), ()
    raw = np.column_stack(list(design.values()))[steady]
    prepared = _centred(raw, kept, strategy, tr_s)
    notes: list[str] = []
    if signals:
        others = np.column_stack(list(signals.values()))[steady]
        wanted = _centred(others, kept, strategy, tr_s)
        basis, _ = np.linalg.qr(_telling(wanted[:, _varies(wanted, others)]))
        prepared = prepared - basis @ (basis.T @ prepared)
        notes.append(f"kept, with regressors made orthogonal to them: {', '.join(signals)}")
    varies = _varies(prepared, raw)
    if not varies.all():
        silent = [name for name, each in zip(design, varies, strict=True) if not each]
        why = "they are explained by the kept columns" if signals else "they do not vary"
        notes.append(f"without effect, as {why}: {', '.join(silent)}")
    return _telling(prepared[:, varies]), tuple(notes)


def _telling(columns: Floats) -> Floats:
    """Scale columns to a length of 1, and drop linearly dependent ones."""
    scaled = columns / np.linalg.norm(columns, axis=0)
    _, triangle, order = qr(scaled, mode="economic", pivoting=True)
    size = np.abs(np.diag(triangle))
    return np.asarray(scaled[:, order[: len(size)][size > _ROUNDING]])


def _centred(values: Floats, kept: Flags, strategy: Strategy, tr_s: float | None) -> Floats:
    prepared = _prepared(values, kept, strategy, tr_s)
    return np.asarray(prepared - prepared.mean(axis=0))


def _varies(prepared: Floats, raw: Floats) -> Flags:
    """Return which columns are more than rounding of their raw values."""
    limit = _ROUNDING * np.abs(raw).max(axis=0) * np.sqrt(len(prepared))
    return np.asarray(np.linalg.norm(prepared, axis=0) > limit)


def _degrees(kept: Flags, rank: int, strategy: Strategy, tr_s: float | None) -> int:
    retained = int(kept.sum())
    within = retained * _kept_components(len(kept), strategy, tr_s) // len(kept)
    removed_by_line = 0 if strategy.high_pass_hz is not None else 1 + strategy.detrend
    dof = within - rank - removed_by_line
    if dof < 1:
        band = f", of which the filter leaves {within}" if within < retained else ""
        raise InputError(
            f"Fewer volumes than regressors: {retained} volumes are retained{band}, and the "
            f"strategy {strategy.name} removes {rank} regressors, mean and trend. Choose a "
            "smaller --denoise-strategy or a wider band (--low-pass 0 for no limit), or raise "
            "--fd-threshold and --dvars-threshold."
        )
    return dof


def _kept_components(n_volumes: int, strategy: Strategy, tr_s: float | None) -> int:
    """Return the number of Fourier components of a run within the band.

    Each frequency is a sine and a cosine, but for 0 and Nyquist's: the count of regressors by which
    AFNI's 3dTproject removes a band.
    """
    if not strategy.filters or not tr_s:
        return n_volumes
    frequency_hz = np.abs(np.fft.fftfreq(n_volumes, tr_s))
    low_pass = np.inf if strategy.low_pass_hz is None else strategy.low_pass_hz
    high_pass = 0.0 if strategy.high_pass_hz is None else strategy.high_pass_hz
    return int(((frequency_hz >= high_pass) & (frequency_hz <= low_pass)).sum())
