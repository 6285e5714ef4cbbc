"""The place where the data of a NIfTI file begin, told from its first bytes."""

from __future__ import annotations

import nibabel as nib
import pytest

from fmmtc_bidsapp.nifti_header import LONGEST_HEADER_BYTES, data_offset_problem

MOST = 64 * 2**20


def start(kind: type, order: str, offset: int) -> bytes:
    header = kind(endianness=order)
    header["vox_offset"] = offset
    return header.binaryblock + bytes(200)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header])
def test_more_before_the_data_than_one_writes_is_told_of_every_kind(kind: type, order: str) -> None:
    found = start(kind, order, MOST * 2)[:LONGEST_HEADER_BYTES]
    assert data_offset_problem(found) == f"its header says that data begin at byte {MOST * 2}"
    assert data_offset_problem(start(kind, order, MOST)) is None
    assert data_offset_problem(start(kind, order, 544)) is None


def test_the_longest_header_is_that_of_nifti_2() -> None:
    assert len(nib.Nifti2Header().binaryblock) == LONGEST_HEADER_BYTES


@pytest.mark.parametrize("content", [b"", b"abc", bytes(540), b"\x1c\x02\0\0" + bytes(343)])
def test_of_anything_else_nothing_is_said(content: bytes) -> None:
    assert data_offset_problem(content) is None
