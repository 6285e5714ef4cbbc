"""Quality of genotypes: missing calls, allele frequencies, Hardy-Weinberg proportions.

Who is counted follows PLINK 1.9: frequencies and Hardy-Weinberg tests are of founders (people whose
parents are not named). On X a man has one allele and people of unknown sex are taken as women; on Y
men alone count. A heterozygous call of a man on X or Y counts as missing for the frequency.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fmmtc_bidsapp.genotypes.hardy_weinberg import exact_test
from fmmtc_bidsapp.genotypes.packed import Calls, blocks, count, missing_by_person

__all__ = ["GenotypeQuality", "bare_chromosomes", "chromosome_kinds", "genotype_quality"]

Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]

AUTOSOME, X, Y, MITOCHONDRIAL = "autosome", "X", "Y", "MT"
_NAMES = {"23": "X", "24": "Y", "25": "XY", "26": "MT", "M": "MT"}
"""What PLINK's numbers stand for."""
_KINDS = {
    **{str(number): AUTOSOME for number in range(23)},
    **dict.fromkeys(("XY", "PAR", "PAR1", "PAR2"), AUTOSOME),
    **{kind: kind for kind in (X, Y, MITOCHONDRIAL)},
}

_SEEN = ("A1A1", "A1A2", "A2A2", "A1 of one", "A2 of one", "missing", "genotyped")
"""What is counted of a variant: founders with two alleles, founders with one, everyone."""


@dataclass(frozen=True)
class GenotypeQuality:
    """Quality of a genotype file, in the columns of PLINK's reports.

    Attributes
    ----------
    variants : pandas.DataFrame
        A row per variant: CHR, SNP, POS, A1 (the counted allele), A2, MAF (of the rarer allele),
        NCHROBS (alleles seen in founders), N_MISS, N_GENO, F_MISS, O_HET, E_HET, P (exact
        Hardy-Weinberg test) and P_MIDP (its mid-p form). NaN where PLINK tests nothing.
    people : pandas.DataFrame
        A row per person: FID, IID, N_MISS, N_GENO, F_MISS.
    """

    variants: pd.DataFrame
    people: pd.DataFrame


class _Groups(NamedTuple):
    """Masks (person,) of whom a chromosome is read."""

    everyone: Mask
    """Whose missing calls count."""
    diploid: Mask
    """Founders with two alleles."""
    haploid: Mask
    """Founders with one."""
    is_tested: bool
    """For Hardy-Weinberg proportions, among the diploid."""


def bare_chromosomes(chromosomes: pd.Series) -> pd.Series:
    """Name chromosomes (``chr1``, ``23``, ``M``) as 1 to 22, X, Y, XY and MT."""
    return chromosomes.str.upper().str.removeprefix("CHR").replace(_NAMES)


def chromosome_kinds(chromosomes: pd.Series) -> pd.Series:
    """Sort chromosomes into autosome, X, Y, MT and other."""
    return bare_chromosomes(chromosomes).map(_KINDS).fillna("other")


def genotype_quality(
    calls: Calls, people: pd.DataFrame, variants: pd.DataFrame, among: Mask
) -> GenotypeQuality:
    """Count the calls of people of a mask (person,), a block of variants at a time."""
    kinds = chromosome_kinds(variants["CHR"]).to_numpy()
    groups = _groups(people, among)
    seen = np.zeros((len(variants), len(_SEEN)), dtype=np.int64)
    missing = np.zeros(len(people), dtype=np.int64)
    for block in blocks(calls):
        packed = calls.packed(block)
        for kind in np.unique(kinds[block]):
            group = groups.get(kind, groups[AUTOSOME])
            rows = np.flatnonzero(kinds[block] == kind)
            own = packed if len(rows) == len(packed) else packed[rows]
            seen[block.start + rows] = _count_group(own, group)
            missing += np.where(group.everyone, missing_by_person(own, len(people)), 0)
    is_tested = np.isin(
        kinds, [kind for kind, group in groups.items() if not group.is_tested], invert=True
    )
    table = variants[["CHR", "SNP", "POS", "A1", "A2"]].assign(**_columns(seen, is_tested))
    per_person = _genotyped(kinds, groups, len(people))
    persons = pd.DataFrame(
        {
            "FID": people["family_id"],
            "IID": people["individual_id"],
            "N_MISS": missing,
            "N_GENO": per_person,
            "F_MISS": _share(missing, per_person),
        }
    )
    return GenotypeQuality(table, persons[among].reset_index(drop=True))


def _groups(people: pd.DataFrame, among: Mask) -> dict[str, _Groups]:
    male = (people["sex"] == "male").to_numpy() & among
    parents = people[["father_id", "mother_id"]].isin(["0", ""]).all(axis=1).to_numpy()
    founders = among & parents
    nobody = np.zeros_like(among)
    return {
        AUTOSOME: _Groups(among, founders, nobody, True),
        X: _Groups(among, founders & ~male, founders & male, True),
        Y: _Groups(male, nobody, founders & male, False),
        MITOCHONDRIAL: _Groups(among, founders, nobody, False),
    }


def _count_group(packed: NDArray[np.uint8], group: _Groups) -> Counts:
    """Count variants (variant, byte) of one kind of chromosome, in the columns `_SEEN`."""
    everyone = count(packed, group.everyone)
    same = np.array_equal(group.everyone, group.diploid)
    two = everyone if same else count(packed, group.diploid)
    one = count(packed, group.haploid) if group.haploid.any() else np.zeros_like(two)
    n_geno = np.full(len(packed), group.everyone.sum())
    return np.column_stack([two[:, :3], one[:, 0], one[:, 2], everyone[:, 3], n_geno])


def _columns(seen: Counts, is_tested: Mask) -> dict[str, NDArray[np.generic]]:
    """Turn counts (variant, `_SEEN`) into frequencies and tests, a column each."""
    hom, het, other_hom, one, other_one, n_miss, n_geno = seen.T
    n_diploid = hom + het + other_hom
    alleles = 2 * n_diploid + one + other_one
    frequency = _share(2 * hom + het + one, alleles)
    of_diploid = _share(2 * hom + het, 2 * n_diploid)
    p, mid_p = exact_test(seen[:, :3])
    found: dict[str, NDArray[np.generic]] = {
        "MAF": np.minimum(frequency, 1 - frequency),
        "NCHROBS": alleles,
        "N_MISS": n_miss,
        "N_GENO": n_geno,
        "F_MISS": _share(n_miss, n_geno),
    }
    tests = {
        "O_HET": _share(het, n_diploid),
        "E_HET": 2 * of_diploid * (1 - of_diploid),
        "P": p,
        "P_MIDP": mid_p,
    }
    return found | {name: np.where(is_tested, values, np.nan) for name, values in tests.items()}


def _genotyped(kinds: NDArray[np.str_], groups: dict[str, _Groups], n_people: int) -> Counts:
    """Count the variants of each person, (person,): those of Y are of men alone."""
    total = np.zeros(n_people, dtype=np.int64)
    for kind, n_variants in zip(*np.unique(kinds, return_counts=True), strict=True):
        total += n_variants * groups.get(kind, groups[AUTOSOME]).everyone
    return total


def _share(part: Counts, whole: Counts) -> NDArray[np.float64]:
    """Divide, NaN where there is nothing to divide by."""
    nothing = np.full(len(part), np.nan)
    found: NDArray[np.float64] = np.divide(part, whole, out=nothing, where=whole > 0)
    return found
