"""The threshold of z, given the number of null maps."""

from __future__ import annotations

import math

import pandas as pd
from scipy.stats import t

__all__ = ["z_limit"]

_TWO_SIDED = 0.975


def z_limit(n_null: object) -> float:
    """Give the |z| that one place in twenty exceeds by chance.

    Parameters
    ----------
    n_null
        Maps of shuffled outcomes behind mean and SD of z; None where it is not known.

    Returns
    -------
    float
        The quantile of Student's t with ``n_null - 1`` degrees of freedom, widened since the mean
        of the null maps is estimated too: 2.14 of 20 maps, 1.96 of very many. Infinite of fewer
        than two, or of an unknown number: then nothing is marked.
    """
    if not isinstance(n_null, int | float) or pd.isna(n_null) or n_null < 2:
        return math.inf
    return float(t.ppf(_TWO_SIDED, n_null - 1) * math.sqrt(1 + 1 / n_null))
