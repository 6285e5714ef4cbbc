"""Genotype files of every format, written from one table of calls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmmtc_bidsapp.genotypes.packed import MISSING

CHROMOSOMES = ("1", "2", "22", "X", "24", "25", "MT")
SEXES = {"male": "1", "female": "2", "unknown": "0"}


@dataclass(frozen=True)
class Planted:
    """Calls that are known."""

    copies: NDArray[np.int8]
    """(person, variant) copies of A1, `MISSING` for none."""
    sexes: tuple[str, ...]
    fathers: tuple[str, ...]
    chromosomes: tuple[str, ...]

    @property
    def people(self) -> list[str]:
        return [f"P{i}" for i in range(len(self.copies))]

    @property
    def snps(self) -> list[str]:
        return [f"rs{j}" for j in range(self.copies.shape[1])]


def plant(n_people: int = 37, n_variants: int = 70, seed: int = 0) -> Planted:
    """Draw calls with gaps, people of every sex, and a few whose father is named."""
    rng = np.random.default_rng(seed)
    copies = rng.binomial(2, rng.uniform(0, 1, n_variants), (n_people, n_variants)).astype(np.int8)
    copies[rng.random(copies.shape) < 0.1] = MISSING
    copies[:, 3] = MISSING
    return Planted(
        copies,
        tuple(rng.choice(list(SEXES), n_people)),
        tuple(rng.choice(["0", "0", "0", "P0"], n_people)),
        tuple(CHROMOSOMES[j * len(CHROMOSOMES) // n_variants] for j in range(n_variants)),
    )


def write_bed(prefix: Path, planted: Planted) -> Path:
    """Write a set by hand, bit by bit as PLINK describes the format."""
    bits = {2: 0b00, MISSING: 0b01, 1: 0b10, 0: 0b11}
    content = bytearray(b"\x6c\x1b\x01")
    for variant in planted.copies.T:
        for start in range(0, len(variant), 4):
            byte = 0
            for place, copies in enumerate(variant[start : start + 4]):
                byte |= bits[int(copies)] << (2 * place)
            content.append(byte)
    prefix.with_suffix(".bed").write_bytes(bytes(content))
    prefix.with_suffix(".bim").write_text(
        "".join(
            f"{chromosome}\t{snp}\t0\t{100 + j}\tA\tG\n"
            for j, (chromosome, snp) in enumerate(
                zip(planted.chromosomes, planted.snps, strict=True)
            )
        )
    )
    prefix.with_suffix(".fam").write_text(
        "".join(
            f"F{i} {person} {father} 0 {SEXES[sex]} -9\n"
            for i, (person, father, sex) in enumerate(
                zip(planted.people, planted.fathers, planted.sexes, strict=True)
            )
        )
    )
    return prefix.with_suffix(".bed")


def _texts(copies: NDArray[np.int8]) -> list[str]:
    return ["NA" if each == MISSING else str(each) for each in copies]


def _leading(planted: Planted, i: int, person: str) -> list[str]:
    return [f"F{i}", person, planted.fathers[i], "0", SEXES[planted.sexes[i]], "-9"]


def write_raw(path: Path, planted: Planted) -> Path:
    header = ["FID", "IID", "PAT", "MAT", "SEX", "PHENOTYPE", *(f"{snp}_A" for snp in planted.snps)]
    rows = [
        [*_leading(planted, i, person), *_texts(planted.copies[i])]
        for i, person in enumerate(planted.people)
    ]
    path.write_text("".join(" ".join(row) + "\n" for row in [header, *rows]))
    return path


def write_plink2_raw(path: Path, planted: Planted) -> Path:
    """Write as PLINK 2 does: tabs, the other allele counted and named with its partner."""
    header = ["FID", "IID", "PAT", "MAT", "SEX", "PHENOTYPE"]
    header += [f"{snp}_G(/A)" for snp in planted.snps]
    other = np.where(planted.copies == MISSING, MISSING, 2 - planted.copies)
    rows = [
        [*_leading(planted, i, person), *_texts(other[i])]
        for i, person in enumerate(planted.people)
    ]
    path.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]))
    return path


def write_traw(path: Path, planted: Planted) -> Path:
    header = ["CHR", "SNP", "(C)M", "POS", "COUNTED", "ALT"]
    header += [f"F{i}_{person}" for i, person in enumerate(planted.people)]
    rows = [
        [chromosome, snp, "0", str(100 + j), "A", "G", *_texts(planted.copies[:, j])]
        for j, (chromosome, snp) in enumerate(zip(planted.chromosomes, planted.snps, strict=True))
    ]
    path.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]))
    return path


def write_tsv(path: Path, planted: Planted) -> Path:
    header = ["participant_id", *(f"{snp}_A" for snp in planted.snps)]
    rows = [
        [f"sub-{person}", *(text.replace("NA", "n/a") for text in _texts(planted.copies[i]))]
        for i, person in enumerate(planted.people)
    ]
    path.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]))
    return path


def write_vcf(path: Path, planted: Planted) -> Path:
    calls = {0: "0/0", 1: "0/1", 2: "1/1", MISSING: "./."}
    lines = ["##fileformat=VCFv4.2"]
    lines += [f"##contig=<ID={each}>" for each in CHROMOSOMES]
    lines += ['##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">']
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines.append("\t".join([*columns, *planted.people]))
    for j, (chromosome, snp) in enumerate(zip(planted.chromosomes, planted.snps, strict=True)):
        first = [chromosome, str(100 + j), snp, "G", "A", ".", ".", ".", "GT"]
        lines.append("\t".join(first + [calls[int(each)] for each in planted.copies[:, j]]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_pgen(prefix: Path, planted: Planted) -> Path:
    import pgenlib

    path = prefix.with_suffix(".pgen")
    n_people, n_variants = planted.copies.shape
    with pgenlib.PgenWriter(
        bytes(path), n_people, variant_ct=n_variants, nonref_flags=False
    ) as writer:
        for variant in planted.copies.T:
            alt = np.where(variant == MISSING, -9, variant).astype(np.int8)
            writer.append_biallelic(np.ascontiguousarray(alt))
    prefix.with_suffix(".pvar").write_text(
        "##source=test\n#CHROM\tPOS\tID\tREF\tALT\n"
        + "".join(
            f"{chromosome}\t{100 + j}\t{snp}\tG\tA\n"
            for j, (chromosome, snp) in enumerate(
                zip(planted.chromosomes, planted.snps, strict=True)
            )
        )
    )
    prefix.with_suffix(".psam").write_text(
        "#FID\tIID\tPAT\tMAT\tSEX\n"
        + "".join(
            f"F{i}\t{person}\t{planted.fathers[i]}\t0\t{SEXES[planted.sexes[i]]}\n"
            for i, person in enumerate(planted.people)
        )
    )
    return path
