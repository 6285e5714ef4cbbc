"""Limits of quality, as users of PLINK know them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.genotypes.quality import GenotypeQuality

__all__ = ["QC_LIMITS", "Limit", "below_limits"]


class Limit(NamedTuple):
    """A limit of one column of a quality table."""

    title: str
    table: str
    """``variants`` or ``people``."""
    column: str
    least: float = -np.inf
    most: float = np.inf


QC_LIMITS: Mapping[str, Limit] = {
    "maf": Limit("minor allele frequency >= 0.01", "variants", "MAF", least=0.01),
    "geno": Limit("missing calls of a variant <= 0.05", "variants", "F_MISS", most=0.05),
    "hwe": Limit("Hardy-Weinberg mid-p >= 1e-6", "variants", "P_MIDP", least=1e-6),
    "mind": Limit("missing calls of a person <= 0.05", "people", "F_MISS", most=0.05),
}
"""By the name of PLINK's flag."""


def below_limits(quality: GenotypeQuality) -> dict[str, NDArray[np.bool_]]:
    """Mark the rows that do not meet each limit; where nothing was tested, a limit is met."""
    found = {}
    for name, limit in QC_LIMITS.items():
        values = getattr(quality, limit.table)[limit.column].to_numpy()
        found[name] = (values < limit.least) | (values > limit.most)
    return found
