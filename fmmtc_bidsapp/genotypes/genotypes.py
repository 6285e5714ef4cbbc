"""Genotypes of one file, whatever its format: people, variants, dosages, quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.genotypes.bed import read_bed
from fmmtc_bidsapp.genotypes.counted_tables import read_counted, read_transposed
from fmmtc_bidsapp.genotypes.packed import MISSING, Calls, unpack
from fmmtc_bidsapp.genotypes.pgen import read_pgen
from fmmtc_bidsapp.genotypes.quality import GenotypeQuality, genotype_quality
from fmmtc_bidsapp.genotypes.tables import require_unique
from fmmtc_bidsapp.genotypes.vcf import read_vcf

__all__ = ["Genotypes", "read_genotypes"]

Reader = Callable[[Path], tuple[Calls, pd.DataFrame, pd.DataFrame]]

_READERS: Mapping[str, Reader] = {
    ".bed": read_bed,
    ".pgen": read_pgen,
    ".vcf": read_vcf,
    ".vcf.gz": read_vcf,
    ".bcf": read_vcf,
    ".raw": read_counted,
    ".tsv": read_counted,
    ".traw": read_transposed,
}
"""Reader of a file by the end of its name."""
_BY_PREFIX = (".bed", ".pgen")


class Genotypes:
    """Hard calls of one genotype file.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    people : pandas.DataFrame
        A row per person: family_id, individual_id, father_id, mother_id, sex (male, female or
        unknown).
    variants : pandas.DataFrame
        A row per variant: CHR, SNP, POS (base pair), A1 (the counted allele) and A2. What a file
        does not say is ``"n/a"``, and 0 for a position.
    """

    def __init__(
        self, path: Path, calls: Calls, people: pd.DataFrame, variants: pd.DataFrame
    ) -> None:
        self.path = path
        self.people = people
        self.variants = variants
        self._calls = calls

    def dosages(
        self, rows: ArrayLike | None = None, variants: ArrayLike | None = None
    ) -> NDArray[np.float32]:
        """Count the copies of A1.

        Parameters
        ----------
        rows : array-like of int or bool, optional
            People, by their row in `people`; by default everyone.
        variants : array-like of int or bool, optional
            Variants, by their row in `variants`; by default all. Only these are read.

        Returns
        -------
        numpy.ndarray
            (person, variant), 0, 1 or 2 copies of A1, NaN where there is no call.
        """
        people = _positions(rows, len(self.people))
        chosen = _positions(variants, len(self.variants))
        found = np.empty((len(people), len(chosen)), dtype=np.float32)
        step = max(1, (1 << 24) // max(1, len(self.people)))
        for start in range(0, len(chosen), step):
            part = slice(start, start + step)
            copies = unpack(self._calls.packed(chosen[part]), len(self.people))[:, people]
            found[:, part] = np.where(copies == MISSING, np.float32(np.nan), copies).T
        return found

    def qc(self, rows: ArrayLike | None = None) -> GenotypeQuality:
        """Count missing calls, allele frequencies and Hardy-Weinberg proportions.

        The calls are read a block at a time.

        Parameters
        ----------
        rows : array-like of int or bool, optional
            People to count, by default everyone.

        Returns
        -------
        GenotypeQuality
            Tables of variants and of people.
        """
        among = np.zeros(len(self.people), dtype=bool)
        among[_positions(rows, len(self.people))] = True
        return genotype_quality(self._calls, self.people, self.variants, among)


def read_genotypes(path: str | Path) -> Genotypes:
    """Open a genotype file; its calls are read when they are asked for.

    Parameters
    ----------
    path : str or pathlib.Path
        ``.bed`` (with ``.bim`` and ``.fam``), ``.pgen`` (with ``.pvar`` and ``.psam``), ``.vcf``,
        ``.vcf.gz``, ``.bcf``, PLINK's ``.raw`` and ``.traw``, or a ``.tsv`` with a column
        participant_id and one column per variant, named ``SNP_A1``. A path without such an ending
        is the prefix of a ``.bed`` or ``.pgen`` set. ``.pgen``, ``.vcf`` and ``.bcf`` need
        ``pip install "fmmtc-bidsapp[genotypes]"``.

    Returns
    -------
    Genotypes
        People, variants and calls.

    Raises
    ------
    InputError
        If a file is missing, damaged, of another layout, or names a person twice.
    MissingResourceError
        If the reader of the format is not installed.
    """
    found = _find(Path(path))
    calls, people, variants = _READERS[_ending(found)](found)
    names = people["family_id"] + " " + people["individual_id"]
    require_unique(found, "people (family and individual id)", names.str.strip())
    return Genotypes(found, calls, people, variants)


def _find(path: Path) -> Path:
    if _ending(path):
        sets = [path]
    else:
        sets = [path.with_name(path.name + ending) for ending in _BY_PREFIX]
    there = [each for each in sets if each.is_file()]
    if len(there) == 1:
        return there[0]
    if there:
        raise InputError(f"{path} is the prefix of {' and '.join(map(str, there))}: name one.")
    raise InputError(
        f"There is no genotype file {path}. Expected a file that ends with "
        f"{', '.join(_READERS)}, or the prefix of a .bed or .pgen set."
    )


def _ending(path: Path) -> str:
    """Return the longest ending that has a reader, or nothing."""
    fitting = [ending for ending in _READERS if path.name.lower().endswith(ending)]
    return max(fitting, key=len, default="")


def _positions(chosen: ArrayLike | None, n: int) -> NDArray[np.int64]:
    return np.arange(n)[slice(None) if chosen is None else np.asarray(chosen)]
