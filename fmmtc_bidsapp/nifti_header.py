"""Problems of a NIfTI header, found before a library allocates memory for its data."""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

__all__ = [
    "LONGEST_HEADER_BYTES",
    "MAX_DEFLATE_RATIO",
    "data_offset_problem",
    "placement_problem",
]

MAX_DEFLATE_RATIO = 1032
"""deflate cannot expand a byte to more than this, so a header that promises more is wrong."""
LONGEST_HEADER_BYTES = 540
_MOST_BEFORE_DATA = 64 * 2**20
"""Largest header with its extensions, in bytes; nibabel reads any length."""
_OFFSETS = ((348, 108, "f"), (540, 168, "q"))
"""For NIfTI-1 and -2: size of the header, its first number; place and type of the offset."""
_CODES = range(1, 6)
"""Codes of the space of an affine; 0 means that there is no affine."""
_HANDEDNESS = (-1, 0, 1)
"""First number of ``pixdim``; the standard reads 0 as 1."""
_CIFTI_INTENTS = range(3000, 3100)
"""A CIFTI file has a header of NIfTI-2, which places no voxel."""


class _Fields(NamedTuple):
    """Place and type of the numbers that place voxels."""

    size: int
    codes: tuple[int, str]
    zooms: tuple[int, str]
    intent: tuple[int, str]


_FIELDS = (
    _Fields(348, (252, "2h"), (76, "4f"), (68, "h")),
    _Fields(540, (344, "2i"), (104, "4d"), (504, "i")),
)
"""Of NIfTI-1 and -2."""


def data_offset_problem(start: bytes) -> str | None:
    """Return what is wrong with the byte at which the data begin, None if nothing is.

    `start` is the first `LONGEST_HEADER_BYTES` of an uncompressed file, NIfTI-1 or -2.
    """
    for size, place, kind in _OFFSETS:
        for order in "<>":
            if len(start) >= size and struct.unpack_from(f"{order}i", start)[0] == size:
                (offset,) = struct.unpack_from(order + kind, start, place)
                if offset > _MOST_BEFORE_DATA:
                    return f"its header says that data begin at byte {offset:.0f}"
    return None


def placement_problem(start: bytes) -> str | None:
    """Return what a header lacks to place its voxels, None for a CIFTI file or if nothing is.

    A library would make up the missing numbers. `start` is as in `data_offset_problem`.
    """
    for fields in _FIELDS:
        for order in "<>":
            if (
                len(start) >= fields.size
                and struct.unpack_from(f"{order}i", start)[0] == fields.size
            ):
                return _unplaced(start, order, fields)
    return None


def _unplaced(start: bytes, order: str, fields: _Fields) -> str | None:
    """Return the problem of a header of known size and byte order."""

    def read(field: tuple[int, str]) -> tuple[Any, ...]:
        return struct.unpack_from(order + field[1], start, field[0])

    qform, sform = read(fields.codes)
    if read(fields.intent)[0] in _CIFTI_INTENTS or sform in _CODES:
        return None
    if qform not in _CODES:
        return f"its header does not say where voxels lie (qform_code {qform}, sform_code {sform})"
    handedness, *zooms_mm = read(fields.zooms)
    if handedness in _HANDEDNESS and all(0 < zoom < math.inf for zoom in zooms_mm):
        return None
    told = ", ".join(f"{value:g}" for value in (handedness, *zooms_mm))
    return f"its header does not say how its voxels lie (pixdim {told}, by which qform is read)"
