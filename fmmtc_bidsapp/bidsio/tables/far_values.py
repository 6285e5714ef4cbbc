"""Find outliers of a column, such as codes for missing data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["OUTLYING_NOTE", "outlying"]

_CODES = frozenset(
    sign * float(digit * repeat) for digit in "789" for repeat in range(2, 6) for sign in (-1, 1)
) | {-9.0, -8.0, -7.0}
"""What statistics programs write for a missing value: -9, -99, 999 and the like."""
_FEWEST = 5
"""Numbers from which on quartiles say something of a column."""
_FAR = 10.0
"""Interquartile ranges from the nearer quartile; Tukey calls 3 far out, and ages are no normal
distribution."""

OUTLYING_NOTE = "far from the other values. If it is a code for a missing value, replace it by n/a"
"""End of a note on outliers."""


def outlying(numbers: Sequence[float]) -> frozenset[float]:
    """Return the outliers of (participant,) finite values.

    Usual codes for a missing value (-9, -99, 999, …) outside all other values by more than half
    their range (one digit: below 0 while no other value is); and values more than 10 interquartile
    ranges from the nearer quartile.
    """
    codes = _codes_outside(numbers)
    others = [each for each in numbers if each not in codes]
    return frozenset(codes | _beyond(others))


def _codes_outside(numbers: Sequence[float]) -> set[float]:
    """Return the codes that lie far outside all other values."""
    others = [each for each in numbers if each not in _CODES]
    if len(set(others)) < 2:
        return set()
    low, high = min(others), max(others)
    far = (high - low) / 2
    return {
        each
        for each in _CODES & set(numbers)
        if each < 0 <= low or (abs(each) >= 10 and not low - far <= each <= high + far)
    }


def _beyond(numbers: Sequence[float]) -> set[float]:
    if len(numbers) < _FEWEST:
        return set()
    first, third = np.quantile(numbers, [0.25, 0.75])
    reach = _FAR * (third - first)
    if reach <= 0:
        return set()
    return {each for each in numbers if not first - reach <= each <= third + reach}
