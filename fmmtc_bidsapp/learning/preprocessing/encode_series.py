"""A scan to what models read of its encoder: the pooled features, and how stable they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmmtc_bidsapp.models.encoders.base import Encoder
from fmmtc_bidsapp.models.encoders.windows import Scale
from fmmtc_bidsapp.records import Floats

__all__ = ["EncodedScan", "encode_series"]


@dataclass(frozen=True, eq=False)
class EncodedScan:
    """Encoder output of one scan, with counts of what was left out."""

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


def encode_series(
    encoder: Encoder,
    series: Floats,
    xyz_mm: Floats | None,
    *,
    tr_s: float | None = None,
    scale: Scale | None = None,
) -> EncodedScan:
    """Encode a (time, parcel) scan: the mean of the encoder's features over clips and draws.

    NaN columns are parcels without data; `xyz_mm` is (parcel, 3), `scale` from `Encoder.fit`.
    InputError if no parcel has data or the series is too short.
    """
    clips = encoder.prepare(series, tr_s, scale)
    cls = encoder.encode(clips, xyz_mm).cls
    return EncodedScan(
        cls=cls.mean(axis=(0, 1)),
        order_spread=_spread(cls),
        n_windows=len(clips.values),
        n_patches_dropped=clips.n_patches_dropped,
        n_parcels_left_out=int(np.isnan(clips.values).any(axis=(0, 1)).sum()),
    )


def _spread(encoded: Floats) -> float:
    """Return the relative spread over orders of (window, order, hidden); NaN with one order."""
    n_orders = encoded.shape[1]
    if n_orders < 2:
        return float("nan")
    mean = encoded.mean(axis=1, keepdims=True)
    squared = ((encoded - mean) ** 2).sum(axis=(1, 2)) / (n_orders - 1)
    return float((np.sqrt(squared) / np.linalg.norm(mean[:, 0], axis=1)).mean())
