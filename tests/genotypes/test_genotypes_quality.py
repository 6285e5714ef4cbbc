"""Quality against PLINK's printed figures, and against counting by hand."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from itertools import product
from math import factorial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from genotypes.genotype_files import Planted, plant, write_bed, write_raw

from fmmtc_bidsapp import read_genotypes
from fmmtc_bidsapp.cli.tools import main
from fmmtc_bidsapp.genotypes.hardy_weinberg import exact_test
from fmmtc_bidsapp.genotypes.packed import MISSING, count, missing_by_person, pack, unpack
from fmmtc_bidsapp.genotypes.quality import GenotypeQuality

PRINTED = 5.1e-4
"""Half of the last of PLINK's four digits, relative."""


def plink_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep=r"\s+", dtype={"CHR": str, "SNP": str, "IID": str})


def assert_equals_plink(found: GenotypeQuality, folder: Path, name: str) -> None:
    """Compare with .frq, .lmiss, .imiss and .hwe (of the exact test)."""
    frq, lmiss, imiss, hwe = (
        plink_table(folder / f"{name}.{ending}") for ending in ("frq", "lmiss", "imiss", "hwe")
    )
    ours = found.variants
    maf = np.minimum(frq["MAF"], 1 - frq["MAF"])
    np.testing.assert_allclose(ours["MAF"], maf, rtol=PRINTED, atol=5.1e-5)
    assert ours["NCHROBS"].tolist() == frq["NCHROBS"].tolist()
    for column in ("N_MISS", "N_GENO"):
        assert ours[column].tolist() == lmiss[column].tolist()
        assert found.people[column].tolist() == imiss[column].tolist()
    np.testing.assert_allclose(ours["F_MISS"], lmiss["F_MISS"], rtol=PRINTED)
    np.testing.assert_allclose(found.people["F_MISS"], imiss["F_MISS"], rtol=PRINTED)
    tested = ours["P"].notna()
    assert hwe["O(HET)"].notna()[tested & (ours["NCHROBS"] > 0)].all()
    for column, theirs in (("O_HET", "O(HET)"), ("E_HET", "E(HET)"), ("P", "P")):
        np.testing.assert_allclose(
            ours[column][tested], hwe[theirs][tested], rtol=PRINTED, atol=1e-12
        )


def test_all_figures_are_those_that_plink_printed(shared: Path) -> None:
    found = read_genotypes(shared / "data" / "genotypes" / "plinkhapmap").qc()
    assert_equals_plink(found, shared / "reference" / "plink", "hm")


def test_planted_gaps_sexes_parents_and_chromosomes_are_counted_as_plink_does(
    tmp_path: Path,
) -> None:
    plink = shutil.which("plink1.9") or shutil.which("plink")
    if plink is None:
        pytest.skip("PLINK 1.9 is not installed (apt-get install plink1.9)")
    bed = write_bed(tmp_path / "study", plant(61, 140))
    words = ["--bfile", str(bed.with_suffix("")), "--keep-allele-order", "--allow-no-sex"]
    reports = ["--freq", "--missing", "--hardy", "--out", str(tmp_path / "plink")]
    subprocess.run([plink, *words, *reports], check=True, capture_output=True)
    assert_equals_plink(read_genotypes(bed).qc(), tmp_path, "plink")


def by_hand(planted: Planted, rows: list[int], variant: int) -> dict[str, float]:
    """Count one variant, person by person."""
    chromosome = planted.chromosomes[variant]
    alleles: list[int] = []
    table = {0: 0, 1: 0, 2: 0}
    n_missing = n_asked = 0
    for i in rows:
        copies, sex = int(planted.copies[i, variant]), planted.sexes[i]
        if chromosome == "24" and sex != "male":
            continue
        n_asked += 1
        n_missing += copies == MISSING
        if planted.fathers[i] != "0" or copies == MISSING:
            continue
        if chromosome in ("X", "24") and sex == "male":
            if copies != 1:
                alleles.append(copies // 2)
            continue
        alleles += [copies >= 1, copies == 2]
        if chromosome != "MT":
            table[copies] += 1
    n = sum(table.values())
    frequency = float(np.mean(alleles)) if alleles else np.nan
    return {
        "MAF": min(frequency, 1 - frequency),
        "NCHROBS": len(alleles),
        "N_MISS": n_missing,
        "N_GENO": n_asked,
        "O_HET": table[1] / n if n else np.nan,
    }


@pytest.mark.parametrize("n_people", [1, 37, 64])
def test_every_variant_is_counted_as_by_hand(n_people: int, tmp_path: Path) -> None:
    planted = plant(n_people)
    found = read_genotypes(write_bed(tmp_path / "study", planted)).qc().variants
    for variant, (_, row) in enumerate(found.iterrows()):
        for column, value in by_hand(planted, list(range(n_people)), variant).items():
            assert row[column] == pytest.approx(value, nan_ok=True), (row["SNP"], column)


def test_only_the_people_who_are_named_are_counted(tmp_path: Path) -> None:
    planted, rows = plant(), list(range(0, 37, 3))
    found = read_genotypes(write_bed(tmp_path / "study", planted)).qc(rows)
    for variant, (_, row) in enumerate(found.variants.iterrows()):
        for column, value in by_hand(planted, rows, variant).items():
            assert row[column] == pytest.approx(value, nan_ok=True), (row["SNP"], column)
    assert found.people["IID"].tolist() == [f"P{i}" for i in rows]
    others = planted.copies.copy()
    others[[i for i in range(37) if i not in rows]] = MISSING
    changed = Planted(others, planted.sexes, planted.fathers, planted.chromosomes)
    again = read_genotypes(write_bed(tmp_path / "changed", changed)).qc(rows)
    pd.testing.assert_frame_equal(again.variants, found.variants)
    pd.testing.assert_frame_equal(again.people, found.people)


def test_formats_without_chromosomes_are_counted_as_autosomes(tmp_path: Path) -> None:
    planted = plant()
    found = read_genotypes(write_raw(tmp_path / "study.raw", planted)).qc().variants
    founders = np.array(planted.fathers) == "0"
    called = planted.copies[founders] != MISSING
    assert found["NCHROBS"].tolist() == (2 * called.sum(axis=0)).tolist()


def exact(counts: tuple[int, ...]) -> tuple[float, float]:
    """Enumerate every table of the same alleles, in whole numbers."""
    n, a1 = sum(counts), 2 * counts[0] + counts[1]
    if n == 0:
        return 1.0, 0.5
    ways = {}
    for het in range(a1 % 2, min(a1, 2 * n - a1) + 1, 2):
        hom = (a1 - het) // 2
        ways[het] = Fraction(
            2**het * factorial(n), factorial(hom) * factorial(het) * factorial(n - hom - het)
        )
    observed, total = ways[counts[1]], sum(ways.values())
    p = sum(way for way in ways.values() if way <= observed) / total
    tied = sum(way for way in ways.values() if way == observed) / total
    return float(p), float(p - tied / 2)


def test_the_exact_test_equals_an_enumeration_in_whole_numbers() -> None:
    tables = [t for t in product(range(12), repeat=3) if sum(t) <= 18]
    p, mid_p = exact_test(np.array(tables))
    expected = [exact(table) for table in tables]
    np.testing.assert_allclose(p, [each for each, _ in expected], rtol=1e-9)
    np.testing.assert_allclose(mid_p, [each for _, each in expected], rtol=1e-9)


def test_p_values_far_below_rounding_keep_their_digits() -> None:
    table = (300, 0, 300)
    p, mid_p = exact_test(np.array([table]))
    assert p[0] == pytest.approx(exact(table)[0], rel=1e-6)
    assert 0 < mid_p[0] < p[0] < 1e-150


def test_packed_calls_are_unpacked_and_counted_alike() -> None:
    copies = np.random.default_rng(1).integers(-1, 3, (200, 13)).astype(np.int8)
    packed = pack(copies)
    np.testing.assert_array_equal(unpack(packed, 13), copies)
    np.testing.assert_array_equal(missing_by_person(packed, 13), (copies == MISSING).sum(axis=0))
    among = np.arange(13) % 2 == 0
    expected = [(copies[:, among] == each).sum(axis=1) for each in (2, 1, 0, MISSING)]
    np.testing.assert_array_equal(count(packed, among), np.transpose(expected))


def test_the_command_writes_both_tables_with_their_columns_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bed(tmp_path / "study", plant())
    assert main(["genotypes", str(tmp_path / "study"), str(tmp_path / "out")]) == 0
    variants = pd.read_csv(tmp_path / "out" / "variants.tsv", sep="\t")
    columns = "CHR SNP POS A1 A2 MAF NCHROBS N_MISS N_GENO F_MISS O_HET E_HET P P_MIDP"
    assert " ".join(map(str, variants)) == columns
    text = (tmp_path / "out" / "variants.json").read_text()
    assert all(f'"{column}"' in text for column in variants)
    printed = capsys.readouterr().out
    assert "37 people" in printed
    n_rare = (variants["MAF"] < 0.01).sum()
    assert f"minor allele frequency >= 0.01: {n_rare} of 70 do not meet it" in printed


def test_the_command_refuses_a_damaged_file_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bed = write_bed(tmp_path / "study", plant())
    bed.write_bytes(bed.read_bytes()[:-1])
    assert main(["genotypes", str(bed), str(tmp_path / "out")]) == 65
    assert "need 703" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
