"""What a NIfTI file may promise, told before a library makes room for it."""

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
"""Bytes of a header with its extensions; nibabel would read whatever a file says."""
_OFFSETS = ((348, 108, "f"), (540, 168, "q"))
"""Of NIfTI-1 and -2: size of the header, which it begins with; place and type of the offset."""
_CODES = range(1, 6)
"""What the standard knows as the space of an affine; 0 says that there is none."""
_HANDEDNESS = (-1, 0, 1)
"""First number of ``pixdim``; the standard reads 0 as 1."""
_CIFTI_INTENTS = range(3000, 3100)
"""A CIFTI file is NIfTI-2 by its header, but that header places no voxel."""


class _Fields(NamedTuple):
    """Place and type of what places voxels."""

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
    """Say what is wrong with the place where the data begin, if more stands before than one writes.

    Parameters
    ----------
    start
        The first `LONGEST_HEADER_BYTES` of a file, uncompressed; of either NIfTI in either byte
        order, else nothing is said.

    Returns
    -------
    str or None
        A sentence without its end ("its header says that data begin at byte 1000000000").
    """
    for size, place, kind in _OFFSETS:
        for order in "<>":
            if len(start) >= size and struct.unpack_from(f"{order}i", start)[0] == size:
                (offset,) = struct.unpack_from(order + kind, start, place)
                if offset > _MOST_BEFORE_DATA:
                    return f"its header says that data begin at byte {offset:.0f}"
    return None


def placement_problem(start: bytes) -> str | None:
    """Say what a header lacks to place its voxels, which a library would make up.

    Parameters
    ----------
    start
        As for `data_offset_problem`; of a CIFTI file nothing is said.

    Returns
    -------
    str or None
        A sentence without its end ("its header does not say where voxels lie (qform_code 0,
        sform_code 0)").
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
    """Judge a header of known size and byte order."""

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
