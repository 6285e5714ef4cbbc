"""Read what a confounds table says, whichever fMRIPrep wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["framewise_displacement"]

# fMRIPrep 1.0 wrote CamelCase names.
FD_COLUMNS = ("framewise_displacement", "FramewiseDisplacement")


def framewise_displacement(confounds: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
    """Return fMRIPrep's framewise displacement, (time,) in mm; None where the table has none.

    The first volume has no predecessor: its ``n/a`` stays NaN and belongs in no mean. The measure
    is that of Power et al. (2012), doi:10.1016/j.neuroimage.2011.10.018.

    Parameters
    ----------
    confounds
        Columns (time,) by name, ``n/a`` read as NaN.
    """
    for name in FD_COLUMNS:
        if name in confounds:
            return np.asarray(confounds[name], dtype=np.float64)
    return None
