"""``fmmtc-tools genotypes``: the quality of a genotype file, in two tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fmmtc_bidsapp.bidsio.files.atomic import atomic_path, write_json
from fmmtc_bidsapp.bidsio.files.tsv import MISSING
from fmmtc_bidsapp.genotypes.genotypes import read_genotypes
from fmmtc_bidsapp.genotypes.limits import QC_LIMITS, below_limits
from fmmtc_bidsapp.genotypes.quality import GenotypeQuality

__all__ = ["describe_genotypes"]

_COLUMNS = {
    "CHR": "Chromosome, as in the file",
    "SNP": "Variant",
    "POS": "Position in base pairs, 0 where the file does not say",
    "A1": "The allele that is counted",
    "A2": "The other allele, n/a where the file does not say",
    "MAF": "Frequency of the rarer allele in founders",
    "NCHROBS": "Alleles seen in founders",
    "N_MISS": "Missing calls",
    "N_GENO": "Calls that could be there",
    "F_MISS": "N_MISS / N_GENO",
    "O_HET": "Observed share of heterozygous founders with two alleles",
    "E_HET": "Share expected under Hardy-Weinberg proportions",
    "P": "Exact Hardy-Weinberg test in founders with two alleles (doi 10.1086/429864)",
    "P_MIDP": "Its mid-p form (doi 10.1515/sagmb-2012-0039)",
    "FID": "Family",
    "IID": "Person",
}


def describe_genotypes(path: Path, out: Path) -> int:
    """Write variants.tsv and people.tsv with their sidecars, and print how many miss a limit."""
    genotypes = read_genotypes(path)
    quality = genotypes.qc()
    for name, table in (("variants", quality.variants), ("people", quality.people)):
        with atomic_path(out / f"{name}.tsv") as temporary:
            table.to_csv(temporary, sep="\t", index=False, na_rep=MISSING)
        described = {str(column): {"Description": _COLUMNS[str(column)]} for column in table}
        write_json(out / f"{name}.json", {"Source": genotypes.path.name, **described})
    print("\n".join(_summary(genotypes.people, quality)))
    print(f"Tables: {out / 'variants.tsv'}, {out / 'people.tsv'}")
    return 0


def _summary(people: pd.DataFrame, quality: GenotypeQuality) -> list[str]:
    n_people, n_variants = len(quality.people), len(quality.variants)
    sexes = people["sex"].value_counts()
    counted = ", ".join(f"{sexes.get(sex, 0):,} {sex}" for sex in ("female", "male", "unknown"))
    lines = [f"{n_people:,} people (sex: {counted}), {n_variants:,} variants"]
    for limit, failed in below_limits(quality).items():
        of = n_people if QC_LIMITS[limit].table == "people" else n_variants
        lines.append(f"  {QC_LIMITS[limit].title}: {failed.sum():,} of {of:,} do not meet it")
    return lines
