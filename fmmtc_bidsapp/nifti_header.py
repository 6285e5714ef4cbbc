"""What a NIfTI file may promise, told before a library makes room for it."""

from __future__ import annotations

import struct

__all__ = ["LONGEST_HEADER_BYTES", "MAX_DEFLATE_RATIO", "data_offset_problem"]

MAX_DEFLATE_RATIO = 1032
"""deflate cannot expand a byte to more than this, so a header that promises more is wrong."""
LONGEST_HEADER_BYTES = 540
_MOST_BEFORE_DATA = 64 * 2**20
"""Bytes of a header with its extensions; nibabel would read whatever a file says."""
_OFFSETS = ((348, 108, "f"), (540, 168, "q"))
"""Of NIfTI-1 and -2: size of the header, which it begins with; place and type of the offset."""


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
