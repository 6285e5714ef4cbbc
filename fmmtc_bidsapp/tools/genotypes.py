"""``fmmtc-tools genotypes``: the quality of a genotype file, in two tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from fmmtc_bidsapp.bidsio.files.atomic import atomic_path, write_json
from fmmtc_bidsapp.bidsio.files.tsv import (
    MISSING,
    Column,
    describe,
    read_table,
    write_table,
)
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.genotypes.genotypes import Genotypes, read_genotypes
from fmmtc_bidsapp.genotypes.limits import QC_LIMITS, below_limits
from fmmtc_bidsapp.genotypes.matching import match_people
from fmmtc_bidsapp.genotypes.quality import GenotypeQuality, chromosome_kinds
from fmmtc_bidsapp.genotypes.scores import LEAST_OVERLAP, polygenic_score
from fmmtc_bidsapp.modalities.snps import SnpOptions, fit_snps

__all__ = ["describe_genotypes"]

_COLUMNS = {
    "CHR": Column("Chromosome, as in the file"),
    "SNP": Column("Variant"),
    "POS": Column("Position, 0 where the file does not say", "base pair"),
    "A1": Column("The allele that is counted"),
    "A2": Column("The other allele, n/a where the file does not say"),
    "MAF": Column("Frequency of the rarer allele in founders"),
    "NCHROBS": Column("Alleles seen in founders"),
    "N_MISS": Column("Missing calls"),
    "N_GENO": Column("Calls that could be there"),
    "F_MISS": Column("N_MISS / N_GENO"),
    "O_HET": Column("Observed share of heterozygous founders with two alleles"),
    "E_HET": Column("Share expected under Hardy-Weinberg proportions"),
    "P": Column("Exact Hardy-Weinberg test in founders with two alleles (doi 10.1086/429864)"),
    "P_MIDP": Column("Its mid-p form (doi 10.1515/sagmb-2012-0039)"),
    "FID": Column("Family"),
    "IID": Column("Person"),
}
_PARTICIPANT = Column("Participant")
_ANCESTRY = Column("Principal component of the pruned autosomes of everyone genotyped")
_SCORE = Column("Sum of weights times copies of the effect allele (docs/emt.md)")
_SCORE_NAME = "polygenic_score"
_MOST_FOR_ANCESTRY = 50_000
"""Variants that components are computed from; more change them little and need gigabytes."""


def describe_genotypes(
    path: Path,
    out: Path,
    *,
    participants: Path | None = None,
    pgs: Path | None = None,
    least_overlap: float = LEAST_OVERLAP,
    ancestry_components: int = 6,
) -> int:
    """Write quality tables and, with a participants.tsv, a table of scores for --phenotype."""
    if pgs is not None and participants is None:
        raise UsageError("--pgs needs --participants, whose ids the scores are written for.")
    genotypes = read_genotypes(path)
    rows = None if participants is None else _rows(genotypes.people, participants)
    quality = genotypes.qc()
    scores = [] if rows is None else [_ancestry(genotypes, quality, ancestry_components)]
    if pgs is not None:
        scores.append(_score(genotypes, pgs, least_overlap))
    _write_quality(out, "variants", quality.variants, genotypes.path)
    _write_quality(out, "people", quality.people, genotypes.path)
    print("\n".join(_summary(genotypes.people, quality)))
    print(f"Tables: {out / 'variants.tsv'}, {out / 'people.tsv'}")
    if rows is not None:
        _write_scores(out, pd.concat(scores, axis=1), rows, genotypes.path)
    return 0


def _rows(people: pd.DataFrame, participants: Path) -> pd.Series:
    """Find the genotyped row of each participant who has one, and print the counts of both."""
    ids = read_table(participants, text=["participant_id"])["participant_id"].tolist()
    found = pd.Series(match_people(people, ids), index=ids)
    there = found[found >= 0]
    print(
        f"{len(there):,} of {len(ids):,} participants are genotyped; {len(people) - len(there):,} "
        f"of {len(people):,} genotyped people are no participants"
    )
    return there


def _ancestry(genotypes: Genotypes, quality: GenotypeQuality, n: int) -> pd.DataFrame:
    """Compute components of everyone genotyped, from evenly spaced variants that pass."""
    failed = below_limits(quality)
    passed = chromosome_kinds(genotypes.variants["CHR"]).isin(["autosome", "other"]).to_numpy()
    # Not the Hardy-Weinberg test: what differs between populations fails it.
    passed = passed & ~(failed["maf"] | failed["geno"])
    chosen = np.flatnonzero(passed)
    chosen = chosen[:: max(1, -(-len(chosen) // _MOST_FOR_ANCESTRY))]
    copies = genotypes.dosages(variants=chosen)
    everyone = np.arange(len(copies))
    options = SnpOptions(ancestry_components=n, least_hardy_weinberg_p=0)
    fitted = fit_snps(copies, np.ones(len(chosen), bool), everyone, everyone * 0, options)
    found = fitted.ancestry(copies)
    print(f"Ancestry: {found.shape[1]} components of {len(fitted.pruned):,} pruned variants")
    names = [f"ancestry_{number}" for number in range(1, found.shape[1] + 1)]
    return pd.DataFrame(found, columns=names)


def _score(genotypes: Genotypes, pgs: Path, least_overlap: float) -> pd.DataFrame:
    found = polygenic_score(genotypes, pgs, least_overlap=least_overlap)
    print(
        f"Polygenic score: {found.n_used:,} of {found.n_variants:,} variants ({found.overlap:.0%} "
        f"found, {found.n_flipped:,} with the other allele counted or on the other strand, "
        f"{found.n_ambiguous:,} of an unknown strand left out)"
    )
    return pd.DataFrame({_SCORE_NAME: found.score})


def _write_quality(out: Path, name: str, table: pd.DataFrame, source: Path) -> None:
    """Write a table of millions of rows, and its sidecar."""
    with atomic_path(out / f"{name}.tsv") as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep=MISSING)
    own = {column: _COLUMNS[column] for column in map(str, table)}
    write_json(out / f"{name}.json", {"Source": source.name, **describe(own)})


def _write_scores(out: Path, scores: pd.DataFrame, rows: pd.Series, source: Path) -> None:
    """Write the scores of the participants who are genotyped."""
    table = scores.iloc[rows.to_numpy()]
    columns = {str(name): _SCORE if name == _SCORE_NAME else _ANCESTRY for name in table}
    table.insert(0, "participant_id", rows.index)
    columns = {"participant_id": _PARTICIPANT, **columns}
    write_table(out / "scores.tsv", table, columns, {"Source": source.name})
    print(f"Scores of {len(table):,} participants: --phenotype {out / 'scores.tsv'}")


def _summary(people: pd.DataFrame, quality: GenotypeQuality) -> list[str]:
    n_people, n_variants = len(quality.people), len(quality.variants)
    sexes = people["sex"].value_counts()
    counted = ", ".join(f"{sexes.get(sex, 0):,} {sex}" for sex in ("female", "male", "unknown"))
    lines = [f"{n_people:,} people (sex: {counted}), {n_variants:,} variants"]
    for limit, failed in below_limits(quality).items():
        of = n_people if QC_LIMITS[limit].table == "people" else n_variants
        lines.append(f"  {QC_LIMITS[limit].title}: {failed.sum():,} of {of:,} do not meet it")
    return lines
