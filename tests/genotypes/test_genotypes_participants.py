"""Genotyped people are matched with participants; their scores become a phenotype table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from genotypes.genotype_files import plant, write_bed, write_traw
from genotypes.test_genotypes_scores import write_score

from fmmtc_bidsapp.cli.tools import main
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.genotypes.matching import match_people


def people(*ids: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(ids, columns=["family_id", "individual_id"])


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        ([("0", "01"), ("0", "02")], ["sub-02", "sub-01", "sub-03"]),
        ([("0", "sub-01"), ("0", "sub-02")], ["sub-02", "sub-01", "sub-03"]),
        ([("0", "0_A1"), ("0", "0_A2")], ["sub-A2", "sub-A1", "sub-A3"]),
        ([("0", "A-1_x"), ("0", "A-2_x")], ["sub-A2x", "sub-A1x", "sub-A3x"]),
        ([("F", "1"), ("F", "2")], ["sub-F2", "sub-F1", "sub-F3"]),
        ([("", "sub-A-1"), ("", "sub-A-2")], ["sub-A2", "sub-A1", "sub-A3"]),
    ],
)
def test_ids_are_found_as_they_are_spelled_in_genotype_files(
    ids: list[tuple[str, str]], labels: list[str]
) -> None:
    assert match_people(people(*ids), labels).tolist() == [1, 0, -1]


def test_an_exact_id_is_never_replaced_by_one_that_looks_alike() -> None:
    found = match_people(people(("0", "A1"), ("0", "A-2")), ["sub-A1", "sub-A2"])
    assert found.tolist() == [0, -1]


def test_ids_of_nobody_are_refused_with_examples_of_both_sides() -> None:
    with pytest.raises(InputError, match=r"None of 2 .* Genotyped: x1, x2, .*participants: sub-01"):
        match_people(people(("0", "x1"), ("0", "x2")), ["sub-01"])


def test_two_people_of_one_label_are_refused() -> None:
    with pytest.raises(InputError, match=r"A-1, A_1 are all sub-A1; expected one"):
        match_people(people(("0", "A-1"), ("0", "A_1"), ("0", "B-1")), ["sub-A1"])


def write_participants(folder: Path, ids: list[str]) -> Path:
    path = folder / "participants.tsv"
    path.write_text("participant_id\tage\n" + "".join(f"{each}\t40\n" for each in ids))
    return path


def test_scores_of_participants_are_a_table_for_phenotype(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = plant(60, 350, seed=2)
    bed = write_bed(tmp_path / "study", planted)
    participants = write_participants(tmp_path, ["sub-P5", "sub-P0", "sub-new"])
    score = write_score(tmp_path, ("1", 100, "A", "G", 2.0))
    words = ["genotypes", str(bed), str(tmp_path / "out"), "--participants", str(participants)]
    words += ["--pgs", str(score), "--ancestry-components", "2"]
    assert main(words) == 0
    scores = pd.read_csv(tmp_path / "out" / "scores.tsv", sep="\t")
    assert list(scores) == ["participant_id", "ancestry_1", "ancestry_2", "polygenic_score"]
    assert scores["participant_id"].tolist() == ["sub-P5", "sub-P0"]
    copies = planted.copies[:, 0].astype(float)
    mean = copies[copies >= 0].mean()
    expected = [2 * (copies[i] if copies[i] >= 0 else mean) for i in (5, 0)]
    np.testing.assert_allclose(scores["polygenic_score"], expected, rtol=1e-6)
    described = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert set(scores) < set(described)
    printed = capsys.readouterr().out
    assert "2 of 3 participants are genotyped; 58 of 60 genotyped people are no" in printed


def test_ancestry_of_two_populations_is_the_first_component(tmp_path: Path) -> None:
    rng, population = np.random.default_rng(3), np.arange(100) % 2
    frequency = rng.uniform(0.2, 0.8, 500)
    other = frequency + rng.choice([-0.15, 0.15], 500)
    copies = rng.binomial(2, np.where(population[:, None] == 1, other, frequency))
    changed = replace(plant(100, 500), copies=copies.astype(np.int8), chromosomes=("1",) * 500)
    traw = write_traw(tmp_path / "study.traw", changed)
    ids = [f"sub-F{i}P{i}" for i in range(100)]
    participants = str(write_participants(tmp_path, ids))
    out = tmp_path / "out"
    assert main(["genotypes", str(traw), str(out), "--participants", participants]) == 0
    scores = pd.read_csv(out / "scores.tsv", sep="\t")
    assert len(scores) == 100
    assert abs(np.corrcoef(scores["ancestry_1"], population)[0, 1]) > 0.9


def test_a_score_without_participants_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bed = write_bed(tmp_path / "study", plant())
    assert main(["genotypes", str(bed), str(tmp_path / "out"), "--pgs", "score.txt"]) == 2
    assert "--pgs needs --participants" in capsys.readouterr().err
