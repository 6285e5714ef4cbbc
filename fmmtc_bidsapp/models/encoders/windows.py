"""Series scaled and cut into windows, for BrainLM and the models of series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Floats

__all__ = [
    "Scale",
    "fill_short",
    "first_window",
    "fit_scale",
    "normalise",
    "parcels_with_data",
    "window_starts",
]

_LEAST_REMAINDER = 20
"""Volumes left over from which a last window is added."""


@dataclass(frozen=True, eq=False)
class Scale:
    """What ``--normalisation robust`` learns from the training people."""

    median: Floats
    """(parcel,), NaN where no training person has the parcel"""
    iqr: Floats
    """(parcel,) interquartile range; NaN there, and where it is 0: nothing to divide by"""


def fit_scale(series: Sequence[Floats]) -> Scale:
    """Learn each parcel's median and interquartile range over all volumes of all runs.

    `series` are (time, parcel) of the training people; a run lacks a parcel that has a NaN.
    InputError if no parcel varies.
    """
    there = [~np.asarray(np.isnan(run).any(axis=0)) for run in series]
    n_parcels = series[0].shape[1]
    quartiles = np.full((3, n_parcels), np.nan)
    # A parcel at a time: all runs in one array would be held twice.
    for parcel in range(n_parcels):
        runs = zip(series, there, strict=True)
        values = [run[:, parcel] for run, has_data in runs if has_data[parcel]]
        if values:
            quartiles[:, parcel] = np.percentile(np.concatenate(values), (25, 50, 75))
    iqr = quartiles[2] - quartiles[0]
    if not (iqr > 0).any():
        raise InputError(
            f"No parcel varies in the {len(series)} runs of the training participants, so "
            "--normalisation robust has no scale; check the timeseries files."
        )
    return Scale(quartiles[1], np.where(iqr > 0, iqr, np.nan))


def normalise(signal: Floats, how: str, scale: Scale | None = None) -> Floats:
    """Scale a (time, parcel) series; NaN columns stay NaN.

    ``scan`` centres each parcel and divides all by the median parcel SD; ``zscore`` divides
    each parcel by its SD, and a constant parcel becomes NaN; ``robust`` uses the training
    people's `scale`, and a parcel without one becomes NaN; ``none`` changes nothing. InputError
    without variation to divide by.
    """
    return _NORMALISATIONS[how](signal, scale)


def _scan(signal: Floats, scale: Scale | None) -> Floats:
    sd = _standard_deviation(signal)
    median = float(np.median(sd[~np.isnan(sd)])) if not np.isnan(sd).all() else 0.0
    if median == 0:
        raise InputError(
            f"{int((sd > 0).sum())} of {len(sd)} parcels vary over time, so the scan has no scale; "
            "check the image and its mask, or exclude the scan."
        )
    return _centred(signal) / median


def _zscore(signal: Floats, scale: Scale | None) -> Floats:
    sd = _standard_deviation(signal)
    return _centred(signal) / np.where(sd > 0, sd, np.nan)


def _robust(signal: Floats, scale: Scale | None) -> Floats:
    assert scale is not None, "the scale of the training participants is missing"  # noqa: S101
    return (signal - scale.median) / scale.iqr


def _centred(signal: Floats) -> Floats:
    centred: Floats = signal - signal.mean(axis=0)
    return centred


def _standard_deviation(signal: Floats) -> Floats:
    """(time, parcel) -> (parcel,), exactly 0 where a parcel is constant."""
    constant = np.ptp(signal, axis=0) == 0
    return np.where(constant, 0.0, signal.std(axis=0))


_NORMALISATIONS: dict[str, Callable[[Floats, Scale | None], Floats]] = {
    "scan": _scan,
    "zscore": _zscore,
    "robust": _robust,
    "none": lambda signal, scale: signal,
}


def window_starts(n_volumes: int, window: int) -> list[int]:
    """Return the first volumes of the windows of a series.

    Whole windows from the start; 20 or more volumes left over add a window that ends at the
    last volume. A series shorter than a window has one.
    """
    if n_volumes < window:
        return [0]
    starts = list(range(0, n_volumes - window + 1, window))
    left_over = n_volumes - starts[-1] - window
    return [*starts, n_volumes - window] if left_over >= _LEAST_REMAINDER else starts


def first_window(
    series: Floats, options: ModelOptions, patch: int, scale: Scale | None = None
) -> NDArray[np.float32]:
    """Cut the first window out of a normalised scan, (time, parcel) -> (parcel, window).

    The input of models of series. What a short series does not fill is as for the encoder
    (patches of `patch` volumes): NaN, or 0 where it is padded. InputError if no parcel has data
    or the series is too short.
    """
    signal = normalise(series, options.normalisation, scale)
    has_data = parcels_with_data(signal)
    shown = fill_short(signal, options, patch)[: options.window]
    window = np.full((signal.shape[1], options.window), np.nan, dtype=np.float32)
    window[has_data, : len(shown)] = shown.T[has_data]
    return window


def parcels_with_data(signal: Floats) -> NDArray[np.bool_]:
    """Whether each parcel has data, (time, parcel) -> (parcel,); InputError if none has."""
    has_data = ~np.asarray(np.isnan(signal).any(axis=0))
    if not has_data.any():
        raise InputError("No parcel of the series has data; exclude the scan.")
    return has_data


def fill_short(signal: Floats, options: ModelOptions, patch: int) -> Floats:
    """Apply ``--short-series`` to a (time, parcel) series shorter than a window."""
    return _SHORT_SERIES[options.short_series](signal, options.window, patch)


def _drop_patches(signal: Floats, window: int, patch: int) -> Floats:
    if len(signal) < patch:
        raise InputError(
            f"The series has {len(signal)} volumes, less than one patch of {patch}; exclude it."
        )
    return signal if len(signal) >= window else signal[: len(signal) // patch * patch]


def _zero_pad(signal: Floats, window: int, patch: int) -> Floats:
    return np.pad(signal, ((0, max(0, window - len(signal))), (0, 0)))


def _refuse(signal: Floats, window: int, patch: int) -> Floats:
    if len(signal) < window:
        raise InputError(
            f"The series has {len(signal)} volumes, less than the window of {window}; "
            "allow it with --short-series drop-patches, or exclude it."
        )
    return signal


_SHORT_SERIES: dict[str, Callable[[Floats, int, int], Floats]] = {
    "drop-patches": _drop_patches,
    "zero-pad": _zero_pad,
    "refuse": _refuse,
}
