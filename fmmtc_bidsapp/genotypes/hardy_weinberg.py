"""The exact test of Hardy-Weinberg proportions.

Wigginton, Cutler and Abecasis 2005, doi 10.1086/429864; the mid-p form of Graffelman and Moreno
2013, doi 10.1515/sagmb-2012-0039, which counts half of what is as likely as the observed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from fmmtc_bidsapp.records import Floats

__all__ = ["exact_test"]

_TIE = 1e-9
"""Relative difference below which two probabilities are the same."""


def exact_test(genotypes: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Test each row of counts (variant, 3) of A1A1, A1A2, A2A2: p and mid-p, (variant,).

    They are 1 and 0.5 where nobody has a call.
    """
    hom = genotypes[:, [0, 2]]
    n, rare = genotypes.sum(axis=1), 2 * hom.min(axis=1) + genotypes[:, 1]
    cases, member = np.unique(
        np.column_stack([n, rare, genotypes[:, 1]]), axis=0, return_inverse=True
    )
    log_factorial = gammaln(np.arange(int(n.max(initial=0)) + 2) + 1.0)
    p, mid_p = np.ones(len(cases)), np.ones(len(cases))
    # Rows of one number of people and of rare alleles share a distribution and follow each other.
    starts = np.flatnonzero(np.any(np.diff(cases[:, :2], axis=0, prepend=-1), axis=1))
    for start, stop in zip(starts, [*starts[1:], len(cases)], strict=True):
        likely = _het_probabilities(int(cases[start, 0]), int(cases[start, 1]), log_factorial)
        observed = likely[cases[start:stop, 2] // 2]
        likely.sort()
        total = np.concatenate([[0.0], likely.cumsum()])
        below, upto = (
            total[likely.searchsorted(observed * limit)] for limit in (1 - _TIE, 1 + _TIE)
        )
        p[start:stop], mid_p[start:stop] = upto, (below + upto) / 2
    return np.minimum(p, 1)[member.ravel()], mid_p[member.ravel()]


def _het_probabilities(n: int, rare: int, log_factorial: Floats) -> Floats:
    """Probability of each number of heterozygotes, from 0 or 1 in steps of 2, (count,)."""
    het = np.arange(rare % 2, rare + 1, 2)
    hom_rare = (rare - het) // 2
    log_p = (
        het * np.log(2)
        - log_factorial[hom_rare]
        - log_factorial[het]
        - log_factorial[n - het - hom_rare]
    )
    likely: Floats = np.exp(log_p - log_p.max())
    likely /= likely.sum()
    return likely
