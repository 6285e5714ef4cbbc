"""Tables as people keep them, at the command: told, refused alike by the run and its rehearsal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from parcel_study import group_command, write_parcel_study

from fmmtc_bidsapp.cli.main import main

Say = Callable[..., tuple[int, str]]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_parcel_study(tmp_path / "study")


@pytest.fixture
def say(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Rehearse a command on ridge of connectivity; returns its code and what it said."""

    def rehearse(*words: str | Path, dry: bool = True) -> tuple[int, str]:
        flags = ("--network", "ridge", "--features", "fc", *words, *(["--dry-run"] if dry else []))
        command = group_command(study, tmp_path / "out", tmp_path / "work", *flags)
        code = main(command[3:])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return rehearse


def change(study: Path, **columns: list[str]) -> None:
    path = study / "participants.tsv"
    pd.read_csv(path, sep="\t").assign(**columns).to_csv(path, sep="\t", index=False)


def write(path: Path, **columns: object) -> Path:
    pd.DataFrame(columns).to_csv(path, sep="\t", index=False)
    return path


def test_number_and_sizes_of_groups_are_printed_and_spellings_that_look_alike(
    say: Say, study: Path
) -> None:
    change(study, site=["1", "1.0", "2", "2", "S1", "s1"] * 2)
    _, said = say("--group-by", "site")
    assert "--group-by site: 4 groups (1: 4, 2: 4, S1: 2, s1: 2)" in said
    assert "WARNING: site holds 'S1' (2), 's1' (2), which differ in case, blanks or zeros" in said


REFUSED_PHENOTYPES = {
    "that matches nobody": ([f"0{i}" for i in range(10)], range(10), "nobody has"),
    "in which nobody has a value": (
        [f"{i:02}" for i in range(1, 13)],
        ["n/a"] * 12,
        "score is n/a for all 12 people",
    ),
    "in which all have one value": (
        [f"{i:02}" for i in range(1, 13)],
        [7] * 12,
        "score is 7 for everyone who has it",
    ),
}


@pytest.mark.parametrize("case", REFUSED_PHENOTYPES)
def test_nothing_is_adjusted_for_what_nobody_has(case: str, say: Say, tmp_path: Path) -> None:
    ids, values, words = REFUSED_PHENOTYPES[case]
    table = write(tmp_path / "pain.tsv", participant_id=[f"x{i}" for i in ids], score=values)
    if case != "that matches nobody":
        write(table, participant_id=ids, score=values)
    flags = ("--phenotype", table, "--covariates", "score", "--adjust")
    code, said = say(*flags)
    assert (code, words in said) == (65, True), said
    again, really = say(*flags, dry=False)
    assert again == code
    assert said.splitlines()[-1] == really.splitlines()[-1]


def test_people_without_a_value_and_rows_of_nobody_are_counted_before_anything(
    say: Say, tmp_path: Path
) -> None:
    ids = [*(f"{i:02}" for i in range(1, 9)), "98", "99"]
    table = write(tmp_path / "pain.tsv", participant_id=ids, score=[3, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    code, said = say("--phenotype", table, "--covariates", "score", "--adjust")
    assert code == 0
    assert "WARNING: pain.tsv has 8 of the 12 people of participants.tsv" in said
    assert "2 of its rows match nobody (sub-98, sub-99)" in said
    assert "WARNING: score is n/a for 4 of 12 people." in said
    assert said.index("match nobody") < said.index("People")


def test_several_tasks_are_refused_until_one_is_chosen(say: Say, study: Path) -> None:
    for path in sorted((study / "derivatives").rglob("sub-*_timeseries.tsv")):
        other = path.with_name(path.name.replace("task-rest", "task-imagery"))
        other.write_bytes(path.read_bytes())
    code, said = say()
    assert code == 2
    assert "imagery (12 people), rest (12 people)" in said
    assert say("--task-id", "rest")[0] == 0
    code, said = say("--task-id", "rest", "imagery")
    assert code == 0
    assert "WARNING: runs with different task- (imagery, rest) are averaged in 12 of 12" in said


def test_ids_that_lost_their_zeros_are_told_with_both_lists(say: Say, study: Path) -> None:
    change(study, participant_id=[str(i) for i in range(1, 13)])
    code, said = say()
    # Of sub-01 to sub-12 the last three are the same either way.
    assert "(sub-1, sub-2, sub-3, …) have no files" in said
    assert "(sub-01, sub-02, sub-03, …) are not in the table" in said
    assert "leading zeros had not been lost, 1 in place of 01" in said
    assert code == 65
