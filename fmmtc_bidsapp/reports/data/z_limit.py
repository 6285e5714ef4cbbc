"""The threshold of z, given the number of null maps."""

from __future__ import annotations

import math

import pandas as pd
from scipy.stats import t

__all__ = ["z_limit"]

_TWO_SIDED = 0.975


def z_limit(n_null: object) -> float:
    """Return the |z| that one parcel in twenty exceeds by chance.

    Student's t with n - 1 degrees of freedom for n null maps, widened since the mean is estimated
    too: 2.14 for 20; infinite for fewer than two or an unknown number.
    """
    if not isinstance(n_null, int | float) or pd.isna(n_null) or n_null < 2:
        return math.inf
    return float(t.ppf(_TWO_SIDED, n_null - 1) * math.sqrt(1 + 1 / n_null))
