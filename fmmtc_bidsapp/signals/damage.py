"""Damaged volumes of a stopped, padded or corrupt scan."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COPY", "EMPTY", "NOT_FINITE", "WHOLE", "VolumeWatch", "describe_damage", "ranges"]

Codes = NDArray[np.int8]

WHOLE, EMPTY, NOT_FINITE, COPY = range(4)
_WORDS = {
    EMPTY: ("is empty", "are empty"),
    NOT_FINITE: ("holds NaN or infinity", "hold NaN or infinity"),
    COPY: ("is a copy of another volume", "are copies of other volumes"),
}

SHARE_LOST = 0.1
"""A volume that has no value in so many more of its voxels than usual is damaged."""

SMALLEST_SPREAD = 0.01
"""Of a brain's contrast, its SD over voxels, an empty volume keeps less than this share."""

FEWEST_VOXELS = 20
"""Fewer voxels have no contrast to speak of."""


class VolumeWatch:
    """Collects statistics of every volume in one pass, from which damaged ones are found.

    ``zero`` is the stored number of a value of 0.
    """

    def __init__(self, zero: float) -> None:
        self._zero = zero
        self._n_voxels = 0
        self._spread: list[float] = []
        self._n_zero: list[int] = []
        self._n_lost: list[int] = []
        self._content: list[bytes] = []

    def see(self, values: NDArray[Any]) -> None:
        """Add the next volume: (voxel,) inside the brain, as stored."""
        self._n_voxels = len(values)
        with np.errstate(over="ignore", invalid="ignore"):
            total = values.sum(dtype=np.float64)
            # A sum tells, at a fraction of the time, whether there is a NaN to look for.
            finite = values if np.isfinite(total) else values[np.isfinite(values)]
            self._spread.append(_sd(finite))
        self._n_zero.append(int(np.count_nonzero(finite == self._zero)))
        self._n_lost.append(len(values) - len(finite))
        content = np.ascontiguousarray(values).data
        self._content.append(hashlib.blake2b(content, digest_size=16).digest())

    def damage(self) -> Codes:
        """Return (time,) codes of this module."""
        found = np.full(len(self._spread), WHOLE, dtype=np.int8)
        if self._n_voxels < FEWEST_VOXELS:
            return found
        _, first = np.unique(self._content, return_index=True)
        found[np.setdiff1d(np.arange(len(found)), first)] = COPY
        found[self._flat() | self._above_usual(self._n_zero)] = EMPTY
        found[self._above_usual(self._n_lost)] = NOT_FINITE
        return found

    def _flat(self) -> NDArray[np.bool_]:
        spread = np.array(self._spread)
        known = spread[np.isfinite(spread)]
        # The upper quarter, so that a run may be empty for the most part.
        usual = np.quantile(known, 0.75) if len(known) else np.nan
        return np.asarray(spread <= SMALLEST_SPREAD * usual)

    def _above_usual(self, counts: list[int]) -> NDArray[np.bool_]:
        usual = np.quantile(counts, 0.25)
        return np.asarray(np.array(counts) - usual >= SHARE_LOST * self._n_voxels)


def _sd(values: NDArray[Any]) -> float:
    if not len(values):
        return np.nan
    centred = np.subtract(values, values.mean(dtype=np.float64), dtype=np.float64)
    return float(np.sqrt(centred @ centred / len(centred)))


def describe_damage(damage: Codes) -> str:
    """Describe damaged volumes, counted from 0: ``57 to 59 are empty``; else ``n/a``."""
    places = []
    for code, (one, several) in _WORDS.items():
        where = np.flatnonzero(damage == code)
        if len(where):
            places.append(f"{ranges(where)} {one if len(where) == 1 else several}")
    return ", ".join(places) or "n/a"


def ranges(where: NDArray[np.intp]) -> str:
    """Return volume numbers as text: ``12 and 57 to 59``."""
    stretches = np.split(where, np.flatnonzero(np.diff(where) > 1) + 1)
    return " and ".join(
        f"{each[0]}" if len(each) == 1 else f"{each[0]} to {each[-1]}" for each in stretches
    )
