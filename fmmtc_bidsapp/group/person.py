"""The runs of one person to one example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.learning.features import EncodedScan, encode_series
from fmmtc_bidsapp.model.brainlm import BrainLM
from fmmtc_bidsapp.options import ModelOptions
from fmmtc_bidsapp.records import Floats
from fmmtc_bidsapp.signals.connectivity import combine, connect

__all__ = ["EncodedPerson", "encode_person"]

_MEASURE = "correlation"
"""What the networks are shown, whatever the participant level wrote."""


@dataclass(frozen=True, eq=False)
class EncodedPerson:
    """What the networks see of one person."""

    cls: Floats
    """(hidden,) mean over runs"""
    fc: NDArray[np.float32]
    """(parcel, parcel)"""
    about: Mapping[str, Any]
    """Counts, and by name the runs that were left out with the reason; ready for JSON."""


def encode_person(
    encoder: BrainLM,
    runs: Sequence[tuple[str, Floats]],
    xyz_mm: Floats,
    options: ModelOptions,
    *,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
) -> EncodedPerson:
    """Encode every run that can be, and merge them.

    Parameters
    ----------
    encoder : BrainLM
        On `device`.
    runs : sequence of (name, series)
        Series are (time, parcel).
    xyz_mm : array
        (parcel, 3)
    options, seed, device, dtype
        As in `encode_series`.

    Returns
    -------
    EncodedPerson

    Raises
    ------
    InputError
        When no run can be encoded: too short, or without data.
    """
    kept: dict[str, tuple[EncodedScan, Floats, int]] = {}
    left_out: dict[str, str] = {}
    for name, series in runs:
        try:
            scan = encode_series(
                encoder, series, xyz_mm, options, seed=seed, device=device, dtype=dtype
            )
            kept[name] = (scan, connect(series, _MEASURE), len(series))
        except InputError as error:
            left_out[name] = str(error)
    if not kept:
        raise InputError("; ".join(f"{name}: {reason}" for name, reason in left_out.items()))
    scans = [scan for scan, _, _ in kept.values()]
    _, matrices, n_volumes = zip(*kept.values(), strict=True)
    fc = combine(matrices, n_volumes, _MEASURE)
    spreads = [scan.order_spread for scan in scans if not np.isnan(scan.order_spread)]
    return EncodedPerson(
        cls=np.mean([scan.cls for scan in scans], axis=0),
        fc=fc.astype(np.float32),
        about={
            "n_volumes": dict(zip(kept, n_volumes, strict=True)),
            "left_out": left_out,
            "n_windows": sum(scan.n_windows for scan in scans),
            "n_patches_dropped": sum(scan.n_patches_dropped for scan in scans),
            "n_parcels_left_out": max(scan.n_parcels_left_out for scan in scans),
            "order_spread": float(np.mean(spreads)) if spreads else None,
        },
    )
