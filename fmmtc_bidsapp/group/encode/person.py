"""Combine the runs of one participant into one example."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.preprocessing.encode_series import EncodedScan, encode_series
from fmmtc_bidsapp.models.encoders.base import Encoder
from fmmtc_bidsapp.models.encoders.windows import Scale, first_window, fit_scale
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Connectome, Floats
from fmmtc_bidsapp.signals.connectivity import combine, connect
from fmmtc_bidsapp.signals.resampling import resample

__all__ = [
    "EncodedPerson",
    "MatrixRun",
    "SeriesRun",
    "encode_person",
    "fit_scale_of_runs",
    "merge_matrices",
]

_MEASURE = "correlation"
"""Measure that the models read, whatever the participant level wrote."""

_NOT_FIRST = "not used: with --same-input every model reads the first run alone"

_ROUNDING = 1e-6
"""Tolerance of a written correlation above 1, and of asymmetry."""


@dataclass(frozen=True, eq=False)
class SeriesRun:
    """A run as series."""

    name: str
    signal: Floats
    """(time, parcel)"""
    tr_s: float | None = None


@dataclass(frozen=True, eq=False)
class MatrixRun:
    """A run that has only a matrix."""

    name: str
    connectome: Connectome
    n_volumes: int | None = None
    """Retained volumes, where they are known."""


@dataclass(frozen=True, eq=False)
class EncodedPerson:
    """The arrays that models read of one person."""

    cls: Floats
    """(hidden,) mean over runs; hidden is 0 without an encoder."""
    fc: NDArray[np.float32]
    """(parcel, parcel)"""
    series: NDArray[np.float32] | None
    """(parcel, window) first window of the first run; None where there are no series."""
    about: Mapping[str, Any]
    """Counts, and by name the runs that were left out with the reason; ready for JSON."""

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by the name of their field in `Examples`."""
        series = {} if self.series is None else {"series": self.series}
        return {"cls": self.cls, "fc": self.fc, **series}


@dataclass(frozen=True, eq=False)
class _EncodedRun:
    scan: EncodedScan | None
    fc: Floats
    window: NDArray[np.float32]
    n_volumes: int


def encode_person(
    encoder: Encoder | None,
    runs: Sequence[SeriesRun],
    xyz_mm: Floats,
    options: ModelOptions,
    *,
    scale: Scale | None = None,
) -> EncodedPerson:
    """Encode every usable run, and merge them; `encoder` None encodes nothing.

    Encoder and models of series read a run after `ModelOptions.resample_tr`; connectivity is that
    of the run itself. With `ModelOptions.same_input` all read the first window of the first usable
    run, and nothing else. InputError if no run is usable: too short, without data, or without the
    repetition time that resampling needs.
    """

    def encode(run: SeriesRun) -> _EncodedRun:
        shown = _shown(run, options.resample_tr)
        scan = None
        if encoder is not None:
            tr_s = run.tr_s if options.resample_tr is None else options.resample_tr
            scan = encode_series(encoder, shown, xyz_mm, tr_s=tr_s, scale=scale)
        patch = Encoder.patch if encoder is None else encoder.patch
        window = first_window(shown, options, patch, scale)
        return _EncodedRun(scan, connect(run.signal, _MEASURE), window, len(run.signal))

    if options.same_input:
        kept, left_out = _keep_first([_first_volumes(run, options) for run in runs], encode)
    else:
        kept, left_out = _keep(runs, encode)
    n_volumes = {name: run.n_volumes for name, run in kept.items()}
    fc = combine([run.fc for run in kept.values()], list(n_volumes.values()), _MEASURE)
    scans = [run.scan for run in kept.values() if run.scan is not None]
    spreads = [scan.order_spread for scan in scans if not np.isnan(scan.order_spread)]
    return EncodedPerson(
        cls=np.mean([scan.cls for scan in scans], axis=0) if scans else np.empty(0),
        fc=fc.astype(np.float32),
        series=next(iter(kept.values())).window,
        about={
            "n_volumes": n_volumes,
            "left_out": left_out,
            "n_windows": sum(scan.n_windows for scan in scans),
            "n_patches_dropped": sum(scan.n_patches_dropped for scan in scans),
            "n_parcels_left_out": max(_n_missing(run.window) for run in kept.values()),
            "order_spread": float(np.mean(spreads)) if spreads else None,
        },
    )


def fit_scale_of_runs(runs: Iterable[SeriesRun], options: ModelOptions) -> Scale:
    """Learn the scale of training people from all their encoded runs, as the encoder reads them."""
    if options.same_input:
        runs = [_first_volumes(run, options) for run in runs]
    return fit_scale([_shown(run, options.resample_tr) for run in runs])


def _first_volumes(run: SeriesRun, options: ModelOptions) -> SeriesRun:
    """Cut a run to the volumes, as scanned, of the first window of the encoder."""
    n_volumes = options.window
    if options.resample_tr is not None and run.tr_s is not None:
        n_volumes = 1 + math.ceil((options.window - 1) * options.resample_tr / run.tr_s)
    return replace(run, signal=run.signal[:n_volumes])


def _shown(run: SeriesRun, resample_tr: float | None) -> Floats:
    """Return (time, parcel) of a run as the encoder and models of series read it."""
    return run.signal if resample_tr is None else resample(run.signal, run.tr_s, resample_tr)


def _n_missing(window: NDArray[np.float32]) -> int:
    return int(np.isnan(window).all(axis=1).sum())


def merge_matrices(runs: Sequence[MatrixRun], parcels: Sequence[str]) -> EncodedPerson:
    """Merge the matrices of a person: mean Fisher z, weighted by retained volumes if all are known.

    `parcels` gives the order. InputError if no matrix is one of correlations between those parcels.
    """
    kept, left_out = _keep(runs, lambda run: (_correlations(run.connectome, parcels), run))
    counts = [run.n_volumes for _, run in kept.values()]
    known = [count for count in counts if count]
    weights = known if len(known) == len(counts) else [1] * len(counts)
    fc = combine([matrix for matrix, _ in kept.values()], weights, _MEASURE)
    return EncodedPerson(
        cls=np.empty(0),
        fc=fc.astype(np.float32),
        series=None,
        about={
            "n_volumes": {name: run.n_volumes for name, (_, run) in kept.items()},
            "left_out": left_out,
            "n_windows": 0,
            "n_patches_dropped": 0,
            "n_parcels_left_out": int(np.isnan(np.diagonal(fc)).sum()),
            "order_spread": None,
        },
    )


def _correlations(connectome: Connectome, parcels: Sequence[str]) -> Floats:
    """Return (parcel, parcel) coefficients in the order of the names, with a diagonal of 1."""
    if connectome.measure != _MEASURE:
        raise InputError(f"it holds {connectome.measure}; models read correlations")
    if sorted(connectome.parcels) != sorted(parcels):
        raise InputError("it has other parcels than the first matrix of the cohort")
    order = [connectome.parcels.index(name) for name in parcels]
    matrix = connectome.matrix[np.ix_(order, order)]
    if connectome.fisher_z:
        matrix = np.tanh(matrix)
    np.fill_diagonal(matrix, np.nan)
    there = ~np.isnan(matrix).all(axis=0)
    if not there.any():
        raise InputError("it holds no value")
    if np.nanmax(np.abs(matrix)) > 1 + _ROUNDING:
        raise InputError(
            "it holds values beyond 1, so not correlations; Fisher's z needs FisherZ: true in its "
            "sidecar"
        )
    if not np.allclose(matrix, matrix.T, atol=_ROUNDING, equal_nan=True):
        raise InputError("it is not symmetric")
    np.fill_diagonal(matrix, np.where(there, 1.0, np.nan))
    return matrix


_Run = TypeVar("_Run", SeriesRun, MatrixRun)
_Kept = TypeVar("_Kept")


def _keep(
    runs: Sequence[_Run], read: Callable[[_Run], _Kept]
) -> tuple[dict[str, _Kept], dict[str, str]]:
    """Return usable runs, and the reason for the others; InputError if none is usable."""
    kept, left_out = _keep_any(runs, read)
    if not kept:
        raise InputError(_reasons(left_out))
    return kept, left_out


def _keep_any(
    runs: Sequence[_Run], read: Callable[[_Run], _Kept]
) -> tuple[dict[str, _Kept], dict[str, str]]:
    """Return usable runs, which may be none, and the reason for the others."""
    kept: dict[str, _Kept] = {}
    left_out: dict[str, str] = {}
    for run in runs:
        try:
            kept[run.name] = read(run)
        except InputError as error:
            left_out[run.name] = str(error)
    return kept, left_out


def _reasons(left_out: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in left_out.items())


def _keep_first(
    runs: Sequence[_Run], read: Callable[[_Run], _Kept]
) -> tuple[dict[str, _Kept], dict[str, str]]:
    """Return the first usable run, and the reason for the others."""
    left_out: dict[str, str] = {}
    for i, run in enumerate(runs):
        kept, lost = _keep_any([run], read)
        left_out |= lost
        if kept:
            return kept, left_out | {each.name: _NOT_FIRST for each in runs[i + 1 :]}
    raise InputError(_reasons(left_out))
