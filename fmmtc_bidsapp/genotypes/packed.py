"""Hard calls in two bits each, as PLINK 1 stores them: counted and unpacked a block at a time.

A byte holds four people, the first in the lowest bits: 00 two copies of A1, 01 missing, 10 one copy
of each allele, 11 two copies of A2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.records import Ints

__all__ = [
    "MISSING",
    "Calls",
    "StoredCalls",
    "blocks",
    "count",
    "missing_by_person",
    "pack",
    "unpack",
]

MISSING = -1
"""A missing call among the copies of A1."""

Bytes = NDArray[np.uint8]

_BLOCK_BYTES = 1 << 18
_CODE_OF_COPIES = np.array([0b11, 0b10, 0b00, 0b01], dtype=np.uint8)
"""Two bits for 0, 1 and 2 copies of A1 and, last, for a missing call."""
_SHIFTS = np.arange(0, 8, 2, dtype=np.uint8)
_PAIRS = (np.arange(256, dtype=np.uint8)[:, None] >> _SHIFTS) & 0b11
"""(byte, 4) two bits of each of the four people."""
_COPIES = np.array([2, MISSING, 1, 0], dtype=np.int8)[_PAIRS]
"""(byte, 4) copies of A1."""
_ALL_MISSING = np.uint8(0b01010101)

_LANE_BITS = 21
_TALLY = np.bitwise_or.reduce(
    [
        np.sum(code == _PAIRS, axis=1, dtype=np.uint64) << np.uint64(_LANE_BITS * lane)
        for lane, code in enumerate((0b00, 0b10, 0b01))
    ]
)
"""(byte,) how many have two copies, one, and none known, each in 21 bits of one number."""
_PERSON_BITS = 16
_MISSES = np.bitwise_or.reduce(
    (_PAIRS == 0b01).astype(np.uint64) << np.arange(0, 64, _PERSON_BITS, dtype=np.uint64), axis=1
)
"""(byte,) whether each of the four people is missing, each in 16 bits of one number."""


class Calls(Protocol):
    """Where the calls of a file are."""

    @property
    def n_people(self) -> int:
        """How many people."""

    @property
    def n_variants(self) -> int:
        """How many variants."""

    def packed(self, variants: Ints | slice) -> Bytes:
        """Read the two-bit calls of variants, (variant, byte)."""


class StoredCalls:
    """Packed calls in memory or in a file that is mapped, (variant, byte)."""

    def __init__(self, stored: Bytes, n_people: int) -> None:
        self._stored = stored
        self.n_people = n_people
        self.n_variants = len(stored)

    def packed(self, variants: Ints | slice) -> Bytes:
        """Read the two-bit calls of variants, (variant, byte)."""
        return self._stored[variants]


def blocks(calls: Calls) -> Iterator[slice]:
    """Cut the variants into blocks that fit into a processor's cache."""
    step = max(1, min(_BLOCK_BYTES // _width(calls.n_people), (1 << _PERSON_BITS) - 1))
    for start in range(0, calls.n_variants, step):
        yield slice(start, min(start + step, calls.n_variants))


def pack(copies: NDArray[np.int8]) -> Bytes:
    """Pack copies of A1, (variant, person) of 0, 1, 2 or `MISSING` -> (variant, byte)."""
    n_variants, n_people = copies.shape
    codes = np.full((n_variants, 4 * _width(n_people)), 0b01, dtype=np.uint8)
    codes[:, :n_people] = _CODE_OF_COPIES[copies]
    packed: Bytes = np.bitwise_or.reduce(codes.reshape(n_variants, -1, 4) << _SHIFTS, axis=2)
    return packed


def unpack(packed: Bytes, n_people: int) -> NDArray[np.int8]:
    """Unpack (variant, byte) -> copies of A1, (variant, person), `MISSING` without a call."""
    copies: NDArray[np.int8] = _COPIES[packed].reshape(len(packed), -1)[:, :n_people]
    return copies


def count(packed: Bytes, among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count people of a mask (person,): (variant, 4) with A1A1, A1A2, A2A2 and missing calls."""
    kept = np.zeros(4 * packed.shape[1], dtype=np.uint8)
    kept[: len(among)] = np.where(among, 0b11, 0)
    keep = np.bitwise_or.reduce(kept.reshape(-1, 4) << _SHIFTS, axis=1)
    # All others, and the bits after the last person, are counted as missing and subtracted.
    tally = _TALLY[(packed & keep) | (~keep & _ALL_MISSING)].sum(axis=1)
    lanes = [
        (tally >> np.uint64(_LANE_BITS * lane)) & np.uint64((1 << _LANE_BITS) - 1)
        for lane in range(3)
    ]
    two, one, missing = (lane.astype(np.int64) for lane in lanes)
    n = int(among.sum())
    missing -= len(kept) - n
    return np.column_stack([two, one, n - two - one - missing, missing])


def missing_by_person(packed: Bytes, n_people: int) -> NDArray[np.int64]:
    """Count missing calls, (variant, byte) of at most 65,535 variants -> (person,)."""
    tally = _MISSES[packed].sum(axis=0)
    lanes = (tally[:, None] >> np.arange(0, 64, _PERSON_BITS, dtype=np.uint64)) & np.uint64(0xFFFF)
    found: NDArray[np.int64] = lanes.astype(np.int64).ravel()[:n_people]
    return found


def _width(n_people: int) -> int:
    return (n_people + 3) // 4
