"""PLINK 1: a set of .bed (calls), .bim (variants) and .fam (people)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.genotypes.tables import PEOPLE, VARIANTS, read_columns, sexes
from fmmtc_bidsapp.records import Ints

__all__ = ["read_bed"]

_MAGIC = b"\x6c\x1b"
_VARIANT_MAJOR, _INDIVIDUAL_MAJOR = 1, 0
_HEAD_BYTES = 3


class _BedCalls:
    """Calls of a .bed, read when they are asked for."""

    def __init__(self, path: Path, n_people: int, n_variants: int) -> None:
        self._path = path
        self._width = (n_people + 3) // 4
        self.n_people = n_people
        self.n_variants = n_variants

    def packed(self, variants: Ints | slice) -> NDArray[np.uint8]:
        """Read the two-bit calls of variants, (variant, byte)."""
        if not isinstance(variants, slice):
            shape = self.n_variants, self._width
            return np.memmap(self._path, np.uint8, "r", _HEAD_BYTES, shape)[variants]
        start, stop, _ = variants.indices(self.n_variants)
        # Not mapped: the pages of a file that is read through would stay in memory.
        offset, n_bytes = _HEAD_BYTES + start * self._width, (stop - start) * self._width
        return np.fromfile(self._path, np.uint8, n_bytes, offset=offset).reshape(-1, self._width)


def read_bed(path: Path) -> tuple[_BedCalls, pd.DataFrame, pd.DataFrame]:
    """Open a .bed with its .bim and .fam; the counted allele is A1, the fifth column of .bim."""
    people = read_columns(path.with_suffix(".fam"), (*PEOPLE, "phenotype"))[[*PEOPLE]]
    people["sex"] = sexes(people["sex"])
    variants = read_columns(path.with_suffix(".bim"), ("CHR", "SNP", "CM", "POS", "A1", "A2"))
    return _open(path, len(people), len(variants)), people, variants[[*VARIANTS]]


def _open(path: Path, n_people: int, n_variants: int) -> _BedCalls:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if len(head) < _HEAD_BYTES or head[:2] != _MAGIC:
        raise InputError(
            f"{path} is no PLINK 1 .bed: it begins with {head[:2].hex(' ') or 'nothing'}, "
            f"expected {_MAGIC.hex(' ')}. Check the file, or export it anew with plink --make-bed."
        )
    if head[2] == _INDIVIDUAL_MAJOR:
        raise InputError(
            f"{path} is individual-major, expected variant-major. Convert it: "
            f"plink --bfile {path.with_suffix('')} --make-bed --out NEW."
        )
    if head[2] != _VARIANT_MAJOR:
        raise InputError(f"{path} has {head[2]:#04x} as its third byte, expected 0x01.")
    expected, size = _HEAD_BYTES + n_variants * ((n_people + 3) // 4), path.stat().st_size
    if size != expected:
        raise InputError(
            f"{path} has {size:,} bytes; {n_variants:,} variants of the .bim and {n_people:,} "
            f"people of the .fam need {expected:,}. The three files do not belong together, or "
            "the .bed is damaged."
        )
    return _BedCalls(path, n_people, n_variants)
