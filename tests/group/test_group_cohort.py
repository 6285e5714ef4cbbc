"""Tables as people keep them, at the command: told, refused alike by the run and its rehearsal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from parcel_study import group_command, write_parcel_study

from fmmtc_bidsapp.bidsio.cohort.covariates import covariate_columns
from fmmtc_bidsapp.bidsio.files.atomic import refuse_unwritable
from fmmtc_bidsapp.cli.main import main
from fmmtc_bidsapp.errors import InputError, OutputError

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
    assert (
        "WARNING: site has 'S1' (2), 's1' (2), which differ only in case, spaces or zeros" in said
    )


REFUSED_PHENOTYPES = {
    "that matches nobody": ([f"0{i}" for i in range(10)], range(10), "no row matches"),
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
    assert "WARNING: pain.tsv has 8 of the 12 participants of participants.tsv" in said
    assert "2 of its rows match no participant (sub-98, sub-99)" in said
    assert "WARNING: score is n/a for 4 of 12 participants." in said
    assert said.index("match no participant") < said.index("People")


def test_several_tasks_are_refused_until_one_is_chosen(say: Say, study: Path) -> None:
    for path in sorted((study / "derivatives").rglob("sub-*_timeseries.tsv")):
        other = path.with_name(path.name.replace("task-rest", "task-imagery"))
        other.write_bytes(path.read_bytes())
    code, said = say()
    assert code == 2
    assert "imagery: 12, rest: 12" in said
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
    assert "leading zeros were restored (01 for 1)" in said
    assert code == 65


@pytest.mark.parametrize("dry", [True, False])
def test_more_covariates_than_a_training_can_bear_are_refused_before_anyone_is_read(
    dry: bool, say: Say, study: Path, tmp_path: Path
) -> None:
    # 12 people, 2 x 2 folds: 3 of them fit in the inner folds, and 3 levels are 2 columns.
    change(study, site=["a", "a", "b", "b", "c", "c"] * 2)
    code, said = say("--covariates", "age", "site", "--adjust", dry=dry)
    assert code == 65
    assert "--adjust has 2 covariate columns for 3 training participants" in said
    assert not (tmp_path / "out").exists()


def test_a_text_for_everyone_is_no_covariate(say: Say, study: Path) -> None:
    change(study, age=[f"about {i}" for i in range(12)])
    assert say("--covariates", "age")[0] == 0
    with pytest.raises(InputError, match="501 different texts"):
        covariate_columns([(f"text {i}",) for i in range(501)], ("age",))


def test_a_comparison_without_arms_can_be_rehearsed(say: Say) -> None:
    code, said = say("--analysis", "compare")
    assert code == 0, said
    assert "Nothing was computed or written" in said


@pytest.mark.parametrize("place", ["out", "work"])
@pytest.mark.parametrize("dry", [True, False])
def test_a_folder_that_cannot_be_written_is_refused_by_the_rehearsal_with_the_code_of_the_run(
    place: str, dry: bool, say: Say, tmp_path: Path
) -> None:
    (tmp_path / place).write_text("a file where a folder is due")
    code, said = say(dry=dry)
    assert code == 73, said
    assert str(tmp_path / place) in said


def test_a_folder_of_others_cannot_be_written_and_that_is_found_without_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_unwritable(tmp_path / "new" / "er", "output folder")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(
        OutputError, match=r"no permission to write to.*Choose another output folder"
    ) as caught:
        refuse_unwritable(tmp_path / "new" / "er", "output folder")
    assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_cohort_of_copies_of_one_scan_ends_with_a_sentence_and_no_result(
    say: Say, study: Path, tmp_path: Path
) -> None:
    first, *others = sorted((study / "derivatives").rglob("sub-*_timeseries.tsv"))
    for path in others:
        path.write_bytes(first.read_bytes())
    code, said = say("--encoder", "none", dry=False)
    assert code == 65
    assert said.count("WARNING: 66 pairs of 12 participants have the same scan") == 1
    assert "All 12 participants have the same scan as another" in said
    assert not list((tmp_path / "out").rglob("*predictions*"))


def test_matrices_that_the_run_refuses_are_refused_by_its_rehearsal(say: Say, study: Path) -> None:
    for path in sorted((study / "derivatives").rglob("sub-*_timeseries.tsv")):
        series = pd.read_csv(path, sep="\t")
        name = path.name.replace("stat-mean_timeseries", "stat-pearsoncorrelation_relmat")
        # Fisher's z, which no sidecar tells.
        (5 * series.corr()).to_csv(path.with_name(name), sep="\t", index_label="Node")
        path.unlink()
    flags = ("--encoder", "none")
    code, said = say(*flags)
    assert code == 65
    assert "No scan could be encoded" in said
    assert "values beyond 1" in said
    again, really = say(*flags, dry=False)
    assert again == code
    assert "values beyond 1" in really


def test_giga_connectomes_matrices_without_names_of_rows_are_analysed(
    say: Say, study: Path
) -> None:
    for path in sorted((study / "derivatives").rglob("sub-*_timeseries.tsv")):
        matrix = pd.read_csv(path, sep="\t").corr()
        name = f"{path.name.partition('_atlas-')[0]}_seg-Tiny_meas-PearsonCorrelation_relmat.tsv"
        # As giga_connectome 0.6 writes them: columns are numbers, and there is no index.
        matrix.columns = range(1, len(matrix) + 1)
        matrix.to_csv(path.with_name(name), sep="\t", index=False)
        path.unlink()
    code, said = say("--encoder", "none")
    assert code == 0, said
    assert "Atlas Tiny, 8 parcels" in said


def test_a_label_that_lost_its_zeros_is_answered_with_the_one_there_is(say: Say) -> None:
    code, said = say("--participant-label", "1")
    assert code == 65
    assert "no row for sub-1. 1 of them would match if leading zeros" in said


def test_a_file_over_several_runs_is_left_out_in_a_line_that_counts_them(
    say: Say, study: Path
) -> None:
    for path in sorted((study / "derivatives").rglob("sub-*_timeseries.tsv")):
        for run in ("run-1", "run-2"):
            other = path.name.replace("task-rest", f"task-rest_{run}")
            path.with_name(other).write_bytes(path.read_bytes())
    code, said = say()
    assert code == 0
    assert (
        "Left out: 12 (sub-01, …): sub-01_task-rest_atlas-Tiny_stat-mean_timeseries.tsv co" in said
    )
    assert "averaged (participants per combination: 12: task-rest_run-1 + task-rest_run-2)" in said
