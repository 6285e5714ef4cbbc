"""Polygenic scores against sums by hand; files that do not fit are refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from genotypes.genotype_files import plant, write_bed

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.genotypes.genotypes import Genotypes, read_genotypes
from fmmtc_bidsapp.genotypes.scores import polygenic_score

HEADER = "#pgs_id=PGS0\n#HmPOS_build=GRCh38\n"
COLUMNS = ("hm_chr", "hm_pos", "effect_allele", "other_allele", "effect_weight")


@pytest.fixture
def genotypes(tmp_path: Path) -> Genotypes:
    """Seven variants, all A/G on chromosomes 1 to MT, at positions 100 to 106."""
    return read_genotypes(write_bed(tmp_path / "study", plant(37, 7, seed=4)))


def write_score(
    folder: Path, *rows: tuple[object, ...], columns: tuple[str, ...] = COLUMNS
) -> Path:
    path = folder / "score.txt.gz"
    lines = ["\t".join(columns), *("\t".join(map(str, row)) for row in rows)]
    path.write_bytes(gzip.compress((HEADER + "\n".join(lines) + "\n").encode()))
    return path


def filled(genotypes: Genotypes, variant: int, rows: slice = slice(None)) -> np.ndarray:
    """Return copies of A1, the mean of some people for a missing call."""
    copies = genotypes.dosages(variants=[variant])[:, 0].astype(float)
    return np.where(np.isnan(copies), np.nanmean(copies[rows]), copies)


def test_a_score_is_the_sum_of_weights_times_copies_of_the_effect_allele(
    genotypes: Genotypes, tmp_path: Path
) -> None:
    path = write_score(
        tmp_path,
        ("1", 100, "A", "G", 0.5),
        ("chr2", 101, "G", "A", -2.0),
        ("22", 102, "T", "C", 1.0),
        ("24", 104, "C", "T", 0.25),
    )
    found = polygenic_score(genotypes, path)
    expected = 0.5 * filled(genotypes, 0) - 2.0 * (2 - filled(genotypes, 1))
    expected += filled(genotypes, 2) + 0.25 * (2 - filled(genotypes, 4))
    np.testing.assert_allclose(found.score, expected, rtol=1e-6)
    assert (found.n_variants, found.n_used, found.n_flipped) == (4, 4, 3)
    assert found.overlap == 1


def test_missing_calls_take_the_frequency_of_the_rows_that_are_named(
    genotypes: Genotypes, tmp_path: Path
) -> None:
    found = polygenic_score(
        genotypes, write_score(tmp_path, ("1", 100, "A", "G", 1)), rows=range(9)
    )
    np.testing.assert_allclose(found.score, filled(genotypes, 0, slice(9)), rtol=1e-6)


def test_other_positions_other_alleles_and_variants_nobody_has_count_as_missing(
    genotypes: Genotypes, tmp_path: Path
) -> None:
    path = write_score(
        tmp_path,
        ("1", 100, "A", "G", 1),
        ("1", 999, "A", "G", 1),
        ("2", 101, "A", "C", 1),
        ("X", 103, "A", "G", 1),
    )
    found = polygenic_score(genotypes, path, least_overlap=0.2)
    assert (found.n_used, found.n_missing, found.overlap) == (1, 3, 0.25)
    with pytest.raises(InputError, match=r"2 of 4 .* \(50%, expected at least 75%\).*build"):
        polygenic_score(genotypes, path)


@pytest.mark.parametrize(("copies", "n_used"), [([0, 0, 0, 1], 1), ([0, 1, 1, 2], 0)])
def test_a_palindrome_counts_only_where_its_frequency_tells_the_strand(
    copies: list[int], n_used: int, tmp_path: Path
) -> None:
    (tmp_path / "a.traw").write_text(
        "CHR\tSNP\t(C)M\tPOS\tCOUNTED\tALT\tP0\tP1\tP2\tP3\n1\trs0\t0\t7\tA\tT\t"
        + "\t".join(map(str, copies))
        + "\n"
    )
    genotypes = read_genotypes(tmp_path / "a.traw")
    found = polygenic_score(genotypes, write_score(tmp_path, ("1", 7, "A", "T", 1)))
    assert (found.n_used, found.n_ambiguous) == (n_used, 1 - n_used)


def test_without_an_other_allele_the_effect_allele_decides(
    genotypes: Genotypes, tmp_path: Path
) -> None:
    columns = ("chr_name", "chr_position", "effect_allele", "effect_weight")
    path = write_score(tmp_path, ("1", 100, "G", 1), ("2", 101, "A", 1), columns=columns)
    expected = 2 - filled(genotypes, 0) + filled(genotypes, 1)
    np.testing.assert_allclose(polygenic_score(genotypes, path).score, expected, rtol=1e-6)


def test_a_variant_that_the_genotypes_hold_twice_counts_once(tmp_path: Path) -> None:
    bed = write_bed(tmp_path / "study", plant(37, 7, seed=4))
    bim = bed.with_suffix(".bim")
    bim.write_text(bim.read_text().replace("2\trs1\t0\t101", "1\trs1\t0\t100"))
    genotypes = read_genotypes(bed)
    found = polygenic_score(genotypes, write_score(tmp_path, ("1", 100, "A", "G", 1)))
    assert found.n_used == 1
    np.testing.assert_allclose(found.score, filled(genotypes, 0), rtol=1e-6)


def test_a_file_that_says_false_of_other_models_is_additive(
    genotypes: Genotypes, tmp_path: Path
) -> None:
    columns = (*COLUMNS, "is_dominant", "is_recessive")
    path = write_score(tmp_path, ("1", 100, "A", "G", 1, "False", "False"), columns=columns)
    assert polygenic_score(genotypes, path).n_used == 1


@pytest.mark.parametrize(
    ("columns", "row", "message"),
    [
        (("rsID", "effect_allele", "effect_weight"), ("rs1", "A", 1), "hm_chr with hm_pos"),
        (COLUMNS[:4], ("1", 100, "A", "G"), "expected effect_allele, effect_weight"),
        (COLUMNS, ("1", 100, "A", "G", "much"), "must be numbers"),
        (COLUMNS, ("1", 100, "A", "G", "inf"), "no finite number"),
        ((*COLUMNS, "effect_type"), ("1", 100, "A", "G", 1, "recessive"), "not additive"),
        ((*COLUMNS, "is_dominant"), ("1", 100, "A", "G", 1, "True"), "additive .is_dominant"),
    ],
)
def test_a_file_that_is_no_additive_score_is_refused(
    columns: tuple[str, ...],
    row: tuple[object, ...],
    message: str,
    genotypes: Genotypes,
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match=message):
        polygenic_score(genotypes, write_score(tmp_path, row, columns=columns))


def test_real_scores_find_their_variants_and_another_build_is_refused(shared: Path) -> None:
    folder = shared / "data" / "genotypes"
    genotypes = read_genotypes(folder / "tiny1000G.vcf.gz")
    path = folder / "PGS001229_hmPOS_GRCh38.txt.gz"
    found = polygenic_score(genotypes, path, least_overlap=0.01)
    table = pd.read_csv(path, sep="\t", dtype={"chr_name": str})
    places = set(zip(genotypes.variants["CHR"], genotypes.variants["POS"], strict=True))
    there = [each in places for each in zip(table["chr_name"], table["chr_position"], strict=True)]
    assert 978 <= found.n_used + found.n_ambiguous <= sum(there)
    with pytest.raises(InputError, match="0 of 77 variants"):
        polygenic_score(genotypes, folder / "PGS000001_hmPOS_GRCh38.txt.gz")
