"""PLINK 2: a set of .pgen (calls), .pvar (variants) and .psam (people)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.genotypes.optional import installed
from fmmtc_bidsapp.genotypes.packed import pack
from fmmtc_bidsapp.genotypes.tables import PEOPLE, VARIANTS, read_columns, require_beside, sexes
from fmmtc_bidsapp.records import Ints

__all__ = ["read_pgen", "read_psam"]

_PSAM = {
    "FID": "family_id",
    "IID": "individual_id",
    "PAT": "father_id",
    "MAT": "mother_id",
    "SEX": "sex",
}
_PVAR = {"CHROM": "CHR", "ID": "SNP", "POS": "POS", "ALT": "A1", "REF": "A2"}
_NOT_CALLED = -9


class _PgenCalls:
    """Calls that pgenlib reads when they are asked for."""

    def __init__(self, reader: Any, n_people: int, n_variants: int) -> None:
        self._reader = reader
        self.n_people = n_people
        self.n_variants = n_variants

    def packed(self, variants: Ints | slice) -> NDArray[np.uint8]:
        """Read the two-bit calls of variants, (variant, byte)."""
        chosen = np.arange(self.n_variants, dtype=np.uint32)[variants]
        copies = np.empty((len(chosen), self.n_people), dtype=np.int8)
        self._reader.read_list(chosen, copies)
        return pack(np.where(copies == _NOT_CALLED, np.int8(-1), copies))


def read_pgen(path: Path) -> tuple[_PgenCalls, pd.DataFrame, pd.DataFrame]:
    """Open a .pgen with its .pvar and .psam; the counted allele is ALT."""
    with installed(".pgen"):
        import pgenlib
    people = read_psam(path.with_suffix(".psam"))
    variants = _read_pvar(path.with_suffix(".pvar"))
    try:
        reader = pgenlib.PgenReader(
            bytes(path), raw_sample_ct=len(people), variant_ct=len(variants)
        )
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"{path} cannot be read with {len(people):,} people of the .psam and {len(variants):,} "
            f"variants of the .pvar: {error}"
        ) from None
    return _PgenCalls(reader, len(people), len(variants)), people, variants


def read_psam(path: Path) -> pd.DataFrame:
    """Read a .psam: a header that begins with #FID or #IID, or the six columns of a .fam."""
    table = _read_headed(path, ("#FID", "#IID"), list(_PSAM))
    people = table.rename(columns=_PSAM).reindex(columns=list(PEOPLE), fill_value="0")
    people["sex"] = sexes(people["sex"])
    return people


def _read_pvar(path: Path) -> pd.DataFrame:
    table = _read_headed(path, ("#CHROM",), ["CHROM", "ID", "CM", "POS", "ALT", "REF"])
    variants = table.rename(columns=_PVAR)[[*VARIANTS]]
    several = variants["A1"].str.contains(",")
    if several.any():
        raise InputError(
            f"{path} has {several.sum():,} variants with more than two alleles "
            f"({', '.join(variants['SNP'][several][:5])}). Split or drop them: "
            "plink2 --pfile OLD --max-alleles 2 --make-pgen --out NEW."
        )
    return variants


def _read_headed(path: Path, first: tuple[str, ...], headless: list[str]) -> pd.DataFrame:
    """Read a table of text whose header is the first line that begins with one of some words."""
    require_beside(path)
    # What is not UTF-8 is refused when the table is read.
    with path.open(encoding="utf-8", errors="replace") as file:
        for skip, line in enumerate(file):
            if line.startswith(first):
                return read_columns(path, line.removeprefix("#").split(), skip=skip + 1)
            if not line.startswith("#"):
                return read_columns(path, headless[: len(line.split())], skip=skip)
    raise InputError(f"{path} has no row.")
