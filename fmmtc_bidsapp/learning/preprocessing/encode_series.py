"""Encode the series of a scan, and cut its first window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.models.device import autocast
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.encoders.brainlm.tokens import token_orders
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Floats

if TYPE_CHECKING:
    # Importing it takes seconds.
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

__all__ = [
    "EncodedScan",
    "Scale",
    "check_window",
    "encode_series",
    "first_window",
    "fit_scale",
    "normalise",
    "window_starts",
]

_LEAST_REMAINDER = 20
"""Volumes left over from which a last window is added."""

_ORDERS_AT_ONCE = 4
"""Bounds the memory of encoding, whatever the number of token orders."""


@dataclass(frozen=True, eq=False)
class EncodedScan:
    """Encoder output of one scan, with what was left out of it."""

    cls: Floats
    """(hidden,) mean over windows and token orders"""
    order_spread: float
    """RMS distance of the orders from their mean, relative to the length of that mean, averaged
    over windows; NaN with one order."""
    n_windows: int
    n_patches_dropped: int
    """Patches of the window that a short series does not fill."""
    n_parcels_left_out: int
    """Parcels without data, or without variation where it is divided by."""


@dataclass(frozen=True, eq=False)
class Scale:
    """What ``--normalisation robust`` learns from the training people."""

    median: Floats
    """(parcel,), NaN where no training person has the parcel"""
    iqr: Floats
    """(parcel,) interquartile range; NaN there, and where it is 0: nothing to divide by"""


def fit_scale(series: Sequence[Floats]) -> Scale:
    """Learn each parcel's median and interquartile range over all volumes of all runs.

    Parameters
    ----------
    series : sequence of array
        (time, parcel) of every run of the training people; a run lacks a parcel that has a NaN.

    Returns
    -------
    Scale

    Raises
    ------
    InputError
        When no parcel varies.
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
            f"No parcel varies in the {len(series)} runs of the training people, so "
            "--normalisation robust has no scale; check the timeseries files."
        )
    return Scale(quartiles[1], np.where(iqr > 0, iqr, np.nan))


def normalise(signal: Floats, how: str, scale: Scale | None = None) -> Floats:
    """Scale a series for the encoder.

    Parameters
    ----------
    signal : array
        (time, parcel); NaN columns stay NaN.
    how : {"scan", "zscore", "robust", "none"}
        ``scan`` centres each parcel and divides all by the median parcel SD; ``zscore`` divides
        each parcel by its own SD, and a parcel that does not vary becomes NaN; ``robust`` brings
        each parcel to the training people's median and interquartile range, and a parcel that has
        none becomes NaN; ``none`` changes nothing.
    scale : Scale, optional
        Of the training people, for ``robust``; the others are of the scan alone.

    Returns
    -------
    array
        (time, parcel)

    Raises
    ------
    InputError
        When there is no variation to divide by.
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
    assert scale is not None, "the scale of the training people is missing"  # noqa: S101
    return (signal - scale.median) / scale.iqr


def _unscaled(signal: Floats, scale: Scale | None) -> Floats:
    return signal


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
    "none": _unscaled,
}


def window_starts(n_volumes: int, window: int) -> list[int]:
    """List the first volumes of the windows that a series is cut into.

    Whole windows follow one another from the start; 20 or more volumes left over add a window
    that ends at the last volume. A series shorter than a window has one, from its start.

    Parameters
    ----------
    n_volumes, window : int
        Volumes of the series and of a window.

    Returns
    -------
    list of int
    """
    if n_volumes < window:
        return [0]
    starts = list(range(0, n_volumes - window + 1, window))
    left_over = n_volumes - starts[-1] - window
    return [*starts, n_volumes - window] if left_over >= _LEAST_REMAINDER else starts


def first_window(
    series: Floats, options: ModelOptions, patch: int, scale: Scale | None = None
) -> NDArray[np.float32]:
    """Cut the first window out of a scan: what models of series are shown.

    Parameters
    ----------
    series : array
        (time, parcel); NaN columns stay NaN.
    options : ModelOptions
        Normalisation (of the whole scan), window, treatment of short series.
    patch : int
        Volumes of the encoder's patches.
    scale : Scale, optional
        As in `normalise`.

    Returns
    -------
    array
        (parcel, window). What a short series does not fill is treated as for the encoder: NaN from
        the first patch on that it does not fill, or 0 where it is padded.

    Raises
    ------
    InputError
        When no parcel has data, or the series is too short.
    """
    signal = normalise(series, options.normalisation, scale)
    has_data = _has_data(signal)
    shown = _SHORT_SERIES[options.short_series](signal, options.window, patch)[: options.window]
    window = np.full((signal.shape[1], options.window), np.nan, dtype=np.float32)
    window[has_data, : len(shown)] = shown.T[has_data]
    return window


def _has_data(signal: Floats) -> NDArray[np.bool_]:
    """(time, parcel) -> (parcel,)."""
    has_data = ~np.asarray(np.isnan(signal).any(axis=0))
    if not has_data.any():
        raise InputError("No parcel of the series has data; exclude the scan.")
    return has_data


def check_window(window: int, config: BrainLMSize) -> None:
    """Refuse a window that does not fit an encoder.

    Parameters
    ----------
    window : int
        Volumes.
    config : BrainLMSize
        Of the encoder.

    Raises
    ------
    UsageError
        With the windows that fit.
    """
    patch, longest = config.timepoint_patching_size, config.num_timepoints_per_voxel
    if window % patch or window > longest:
        raise UsageError(
            f"--window is {window}; this encoder takes multiples of {patch} up to {longest}."
        )


def encode_series(
    encoder: BrainLM,
    series: Floats,
    xyz_mm: Floats,
    options: ModelOptions,
    *,
    seed: int,
    device: torch.device,
    scale: Scale | None = None,
) -> EncodedScan:
    """Encode one scan: the mean CLS token over its windows and over seeded token orders.

    The token orders are those of a full window and depend on the seed and the number of parcels
    alone, so that people are comparable; tokens that someone lacks are left out of them.

    Parameters
    ----------
    encoder : BrainLM
        On `device`.
    series : array
        (time, parcel); NaN columns are left out of the token order.
    xyz_mm : array
        (parcel, 3)
    options : ModelOptions
        Normalisation, window, treatment of short series, number of token orders.
    seed : int
        Seed of the token orders.
    device : torch.device
        Where to compute, in float32: rounded to bfloat16, features that scanner units dominate
        keep little of what people differ in.
    scale : Scale, optional
        As in `normalise`.

    Returns
    -------
    EncodedScan

    Raises
    ------
    InputError
        When no parcel has data, or the series is too short.
    UsageError
        When the window does not fit the encoder.
    """
    patch = encoder.config.timepoint_patching_size
    check_window(options.window, encoder.config.size)
    signal = normalise(series, options.normalisation, scale)
    has_data = _has_data(signal)
    # The encoder wants numbers everywhere; tokens of parcels without data are never shown to it.
    filled = _SHORT_SERIES[options.short_series](
        np.where(has_data, signal, 0.0), options.window, patch
    )
    length = min(len(filled), options.window)
    windows = [filled[at : at + length] for at in window_starts(len(filled), options.window)]
    orders = _shared_orders(
        has_data, length // patch, options.window // patch, options.token_orders, seed
    )
    xyz = torch.as_tensor(xyz_mm, dtype=torch.float32)
    encoded = np.stack([_encode_window(encoder, each, xyz, orders, device) for each in windows])
    return EncodedScan(
        cls=encoded.mean(axis=(0, 1)),
        order_spread=_spread(encoded),
        n_windows=len(windows),
        n_patches_dropped=(options.window - length) // patch,
        n_parcels_left_out=int((~has_data).sum()),
    )


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


def _shared_orders(
    has_data: NDArray[np.bool_], n_patches: int, n_window_patches: int, n_orders: int, seed: int
) -> torch.Tensor:
    """(order, kept): orders of the tokens of a full window, without those that are not there.

    So two people have the tokens they share in the same order, whatever else one of them lacks.
    """
    n_tokens = len(has_data) * n_window_patches
    orders = token_orders(n_tokens, n_orders, torch.Generator().manual_seed(seed))
    parcel, patch = orders // n_window_patches, orders % n_window_patches
    there = torch.as_tensor(has_data)[parcel] & (patch < n_patches)
    return (parcel * n_patches + patch)[there].view(n_orders, -1)


@torch.inference_mode()
def _encode_window(
    encoder: BrainLM,
    window: Floats,
    xyz: torch.Tensor,
    orders: torch.Tensor,
    device: torch.device,
) -> Floats:
    """(time, parcel) -> (order, hidden)."""
    signal = torch.as_tensor(window.T, dtype=torch.float32, device=device)
    n_calls = -(-len(orders) // _ORDERS_AT_ONCE)
    encoded = []
    # Whatever the caller trains in: encoded once, an error of rounding stays for good.
    with autocast(device, torch.float32):
        for order in torch.tensor_split(orders.to(device), n_calls):
            n = len(order)
            cls = encoder(signal.expand(n, -1, -1), xyz.to(device).expand(n, -1, -1), order)
            encoded.append(cls.double().cpu().numpy())
    return np.concatenate(encoded)


def _spread(encoded: Floats) -> float:
    """(window, order, hidden) -> relative spread over orders."""
    n_orders = encoded.shape[1]
    if n_orders < 2:
        return float("nan")
    mean = encoded.mean(axis=1, keepdims=True)
    squared = ((encoded - mean) ** 2).sum(axis=(1, 2)) / (n_orders - 1)
    return float((np.sqrt(squared) / np.linalg.norm(mean[:, 0], axis=1)).mean())
