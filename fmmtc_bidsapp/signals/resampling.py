"""Resample series to another repetition time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from fmmtc_bidsapp.errors import InputError

__all__ = ["resample"]

Floats = NDArray[np.float64]

_LARGEST_FACTOR = 1000
"""Of the whole numbers whose ratio stands for that of the repetition times: within 1e-6 of it."""


def resample(signal: Floats, tr_s: float | None, new_tr_s: float) -> Floats:
    """Resample (time, parcel) to another repetition time in s by polyphase filtering.

    Frequencies that the new repetition time cannot hold are removed. Both ends are extended by
    point reflection against ringing. Censored volumes are not put back. A parcel with a NaN stays
    NaN. InputError if the repetition time is unknown.
    """
    if tr_s is None:
        raise InputError(
            "The repetition time is unknown, so the series cannot be resampled. Add "
            "RepetitionTime to its sidecar, or run without --resample-tr."
        )
    ratio = Fraction(tr_s / new_tr_s).limit_denominator(_LARGEST_FACTOR)
    up, down = ratio.numerator, ratio.denominator
    if up == down or len(signal) < 2:
        return signal
    if up == 0:
        raise InputError(
            f"A repetition time of {tr_s} s cannot be resampled to {new_tr_s} s. Choose a "
            "--resample-tr in seconds."
        )
    n_volumes = (len(signal) - 1) * up // down + 1
    # The filter's gain at frequency 0 is 1 to within a thousandth: too little for scanner units.
    mean = signal.mean(axis=0)
    centred = np.where(np.isnan(mean), 0.0, signal - mean)
    resampled: Floats = resample_poly(centred, up, down, axis=0, padtype="antireflect")
    whole: Floats = resampled[:n_volumes] + mean
    return whole
