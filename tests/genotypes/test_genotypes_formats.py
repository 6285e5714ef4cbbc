"""Every format gives the calls that were written; what is damaged is refused."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from genotypes.genotype_files import (
    Planted,
    plant,
    write_bed,
    write_pgen,
    write_plink2_raw,
    write_raw,
    write_traw,
    write_tsv,
    write_vcf,
)

import fmmtc_bidsapp
from fmmtc_bidsapp import read_genotypes
from fmmtc_bidsapp.errors import InputError, MissingResourceError
from fmmtc_bidsapp.genotypes.packed import MISSING

WRITERS: dict[str, Callable[[Path, Planted], Path]] = {
    "bed": lambda folder, planted: write_bed(folder / "study", planted),
    "pgen": lambda folder, planted: write_pgen(folder / "study", planted),
    "vcf": lambda folder, planted: write_vcf(folder / "study.vcf", planted),
    "raw": lambda folder, planted: write_raw(folder / "study.raw", planted),
    "raw of PLINK 2": lambda folder, planted: write_plink2_raw(folder / "study.raw", planted),
    "traw": lambda folder, planted: write_traw(folder / "study.traw", planted),
    "tsv": lambda folder, planted: write_tsv(folder / "study.tsv", planted),
}


@pytest.fixture(params=[1, 4, 37], ids=lambda n: f"{n} people")
def planted(request: pytest.FixtureRequest) -> Planted:
    return plant(request.param)


def expected(planted: Planted) -> np.ndarray:
    return np.where(planted.copies == MISSING, np.nan, planted.copies)


@pytest.mark.parametrize("written", WRITERS)
def test_a_format_gives_the_calls_that_were_written(
    written: str, planted: Planted, tmp_path: Path
) -> None:
    found = read_genotypes(WRITERS[written](tmp_path, planted))
    is_other = found.variants["A1"].to_numpy() == "G"
    dosages = np.where(is_other, 2 - found.dosages(), found.dosages())
    np.testing.assert_array_equal(dosages, expected(planted))
    assert found.dosages().dtype == np.float32
    assert found.variants["SNP"].tolist() == planted.snps
    ids = found.people["individual_id"].str.split("_").str[-1].str.removeprefix("sub-")
    assert ids.tolist() == planted.people


@pytest.mark.parametrize("written", ["bed", "pgen", "raw"])
def test_sex_parents_and_families_are_read(written: str, tmp_path: Path) -> None:
    planted = plant()
    people = read_genotypes(WRITERS[written](tmp_path, planted)).people
    assert tuple(people["sex"]) == planted.sexes
    assert tuple(people["father_id"]) == planted.fathers
    assert people["family_id"].tolist() == [f"F{i}" for i in range(len(people))]


@pytest.mark.parametrize("written", ["bed", "pgen", "vcf", "traw"])
def test_chromosome_position_and_both_alleles_are_read(written: str, tmp_path: Path) -> None:
    planted = plant()
    variants = read_genotypes(WRITERS[written](tmp_path, planted)).variants
    assert tuple(variants["CHR"]) == planted.chromosomes
    assert variants["POS"].tolist() == list(range(100, 100 + len(variants)))
    assert set(variants["A1"]) == {"A"}
    assert set(variants["A2"]) == {"G"}


@pytest.mark.parametrize("written", WRITERS)
def test_people_and_variants_can_be_chosen_in_any_order(written: str, tmp_path: Path) -> None:
    found = read_genotypes(WRITERS[written](tmp_path, plant()))
    rows, variants = [5, 2, 30], [60, 0, 3]
    chosen = found.dosages(rows, variants)
    np.testing.assert_array_equal(chosen, found.dosages()[np.ix_(rows, variants)])
    mask = np.arange(len(found.people)) % 3 == 0
    np.testing.assert_array_equal(found.dosages(mask), found.dosages()[mask])


def test_a_prefix_names_a_set_and_two_sets_of_one_prefix_are_refused(tmp_path: Path) -> None:
    write_bed(tmp_path / "study", plant())
    assert read_genotypes(tmp_path / "study").path == tmp_path / "study.bed"
    write_pgen(tmp_path / "study", plant())
    with pytest.raises(InputError, match=r"study is the prefix of .*study.bed and .*study.pgen"):
        read_genotypes(tmp_path / "study")


def test_letters_that_spell_missing_values_are_alleles_and_people(tmp_path: Path) -> None:
    bed = write_bed(tmp_path / "study", plant(1, 7))
    bed.with_suffix(".bim").write_text("".join(f"1 NA{j} 0 {j} NA nan\n" for j in range(7)))
    bed.with_suffix(".fam").write_text("NA null 0 0 1 NA\n")
    found = read_genotypes(bed)
    assert set(found.variants["A1"]) == {"NA"}
    assert set(found.variants["A2"]) == {"nan"}
    assert found.people["individual_id"].tolist() == ["null"]


def edit(ending: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(bed: Path) -> None:
        path = bed.with_suffix(ending)
        path.write_bytes(change(path.read_bytes()))

    return apply


DAMAGED = {
    "individual-major": (edit(".bed", lambda b: b[:2] + b"\0" + b[3:]), "individual-major"),
    "bad magic": (edit(".bed", lambda b: b"\x6c\x1c" + b[2:]), r"6c 1c, expected 6c 1b"),
    "third byte": (edit(".bed", lambda b: b[:2] + b"\7" + b[3:]), r"0x07 .* expected 0x01"),
    "empty": (edit(".bed", lambda b: b""), "begins with nothing"),
    "short": (edit(".bed", lambda b: b[:-1]), r"has 702 bytes; 70 variants .* need 703"),
    "long": (edit(".bed", lambda b: b + b"\0"), r"has 704 bytes; 70 variants .* need 703"),
    "a variant more": (edit(".bim", lambda b: b + b"1 rsX 0 7 A G\n"), "71 variants"),
    "four people more": (edit(".fam", lambda b: b + b"F P 0 0 1 1\n" * 4), "41 people"),
    "a column less": (edit(".bim", lambda b: b.replace(b"\t0\t", b"\t")), "5 columns, expected 6"),
    "a word for a position": (edit(".bim", lambda b: b.replace(b"\t105\t", b"\tx\t")), "POS"),
    "not text": (edit(".fam", lambda b: b"\xff\xfe" + b), "fam cannot be read"),
    "no .bim": (lambda bed: bed.with_suffix(".bim").unlink(), r"bim is missing"),
    "no .fam": (lambda bed: bed.with_suffix(".fam").unlink(), r"fam is missing"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_set_is_refused_with_what_was_found_and_expected(
    damage: str, tmp_path: Path
) -> None:
    bed = write_bed(tmp_path / "study", plant())
    change, message = DAMAGED[damage]
    change(bed)
    with pytest.raises(InputError, match=message):
        read_genotypes(bed)


def test_a_person_who_occurs_twice_is_refused(tmp_path: Path) -> None:
    bed = write_bed(tmp_path / "study", plant(4, 7))
    fam = bed.with_suffix(".fam")
    fam.write_text(fam.read_text().replace("F2 P2", "F1 P1"))
    with pytest.raises(InputError, match=r"1 people .* more than once \(F1 P1\)"):
        read_genotypes(bed)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.raw", "FID IID SEX rs1_A\n0 P 1 3\n", r"row 1 \(P\): found '3', expected a count"),
        ("a.raw", "FID IID SEX rs1_A\n0 P 1\n", r"0 values, expected 1"),
        ("a.raw", "FID IID rs1\n0 P 1\n", r"column 'rs1': expected the variant and its counted"),
        ("a.tsv", "person\trs1_A\nP\t1\n", r"expected IID \(PLINK\) or participant_id"),
        ("a.raw", "FID IID SEX rs1_A\n", r"0 people and 1 variants; expected at least one"),
        ("a.raw", "FID IID SEX\n0 P 1\n", r"1 people and 0 variants; expected at least one"),
        ("a.traw", "CHR\tSNP\t(C)M\tPOS\tCOUNTED\tALT\n", r"0 people and 0 variants"),
        ("a.traw", "SNP CHR\n", r"does not begin with CHR, SNP"),
        ("a.vcf", "no vcf at all\n", r"cannot be read as VCF"),
        ("a.txt", "", r"There is no genotype file"),
    ],
)
def test_a_text_file_that_is_none_is_refused(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_genotypes(tmp_path / name)


def test_variants_of_several_alleles_are_refused_with_the_command_that_splits_them(
    tmp_path: Path,
) -> None:
    vcf = write_vcf(tmp_path / "study.vcf", plant())
    vcf.write_text(vcf.read_text().replace("rs5\tG\tA", "rs5\tG\tA,T"))
    with pytest.raises(InputError, match=r"1 variants without exactly one .* \(rs5\).*bcftools"):
        read_genotypes(vcf)
    pgen = write_pgen(tmp_path / "study", plant())
    pvar = pgen.with_suffix(".pvar")
    pvar.write_text(pvar.read_text().replace("rs5\tG\tA", "rs5\tG\tA,T"))
    with pytest.raises(InputError, match=r"more than two alleles \(rs5\).*plink2"):
        read_genotypes(pgen)


@pytest.mark.parametrize("length", [5000, 60_000])
def test_a_compressed_file_that_was_cut_off_is_refused(length: int, tmp_path: Path) -> None:
    content = write_vcf(tmp_path / "study.vcf", plant(400, 300)).read_bytes()
    packed = gzip.compress(content)
    path = tmp_path / "cut.vcf.gz"
    path.write_bytes(packed[: min(length, len(packed) - 50)])
    with pytest.raises(InputError, match="cut"):
        read_genotypes(path)


def test_blocks_without_the_last_one_are_refused(shared: Path, tmp_path: Path) -> None:
    whole = (shared / "data" / "genotypes" / "tiny1000G.vcf.gz").read_bytes()
    (tmp_path / "cut.vcf.gz").write_bytes(whole[:-28])
    with pytest.raises(InputError, match="its last block is missing"):
        read_genotypes(tmp_path / "cut.vcf.gz")


def test_without_the_reader_of_a_format_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pgenlib", "cyvcf2"):
        monkeypatch.setitem(sys.modules, module, None)
    for ending in (".pgen", ".vcf"):
        (tmp_path / f"study{ending}").touch()
        with pytest.raises(
            MissingResourceError,
            match=r"(pgenlib|cyvcf2), which is not .*fmmtc-bidsapp\[genotypes\]",
        ):
            read_genotypes(tmp_path / f"study{ending}")


def test_real_calls_of_3202_people_have_the_populations_of_their_psam(shared: Path) -> None:
    found = read_genotypes(shared / "data" / "genotypes" / "tiny1000G.vcf.gz")
    assert (len(found.people), len(found.variants)) == (3202, 1004)
    assert not np.isnan(found.dosages()).any()


def test_the_package_lists_and_imports_its_public_names_when_they_are_used() -> None:
    assert "read_genotypes" in dir(fmmtc_bidsapp)
    assert fmmtc_bidsapp.read_genotypes is read_genotypes
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fmmtc_bidsapp.nothing
