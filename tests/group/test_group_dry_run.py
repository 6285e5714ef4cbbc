"""A dry run says what would be done, refuses what a run would refuse, and writes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parcel_study import N_PARCELS, group_command, write_parcel_study

from fmmtc_bidsapp.bidsio.derivatives.dataset import prepare_output
from fmmtc_bidsapp.bidsio.files.atomic import write_text
from fmmtc_bidsapp.cli.main import main
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.group.encode.encoder_config import refuse_surrogates
from fmmtc_bidsapp.options import ExplainOptions


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_parcel_study(tmp_path_factory.mktemp("rehearsed") / "study")
    func = folder / "derivatives" / "parcels" / "sub-03" / "func"
    for path in func.iterdir():
        path.unlink()
    return folder


@pytest.fixture
def say(
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Rehearse a command; returns its code and what it said."""

    def rehearse(*words: str | Path, dry: bool = True) -> tuple[int, str]:
        flags = (*words, "--dry-run") if dry else words
        command = group_command(study, tmp_path / "out", tmp_path / "work", *flags)
        code = main(command[3:])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return rehearse


def test_who_and_what_and_how_much_memory_is_said_and_nothing_is_written(
    say, tmp_path: Path
) -> None:
    words = "--network lstm ridge --seeds 2 --repeats 2 --permutations 19 --nprocs 2"
    code, said = say(*words.split())
    assert code == 0
    for line in (
        "with usable series             11",
        "left out: sub-03 (",
        "Every model on 4 folds (--folds 2, --repeats 2), 2 inner folds within each; --seeds 2",
        "Shuffled outcomes for networks: 19",
        "Shuffled outcomes for models without epochs: 19",
        # The two trainings of lstm on everyone; on each of four folds two trainings and shuffles in
        # four steps; of the three others a fit and one step of shuffles.
        f"Fitting 4 models in {2 + 4 * (2 + 4) + 3 * 4 * 2} steps: lstm, ridge-fc, dummy, "
        "fc-logistic",
        "  8 x fit: lstm (2.5 GB each)",
        "  16 x shuffles: lstm (2.5 GB each)",
        "  4 x fit: ridge-fc (0.6 GB each)",
        "Memory: up to 2.5 GB a step, 5.0 GB for 2 at once.",
        "Nothing was computed or written",
    ):
        assert line in said
    assert list(tmp_path.iterdir()) == []


def test_what_explaining_would_take_is_said_too(say) -> None:
    code, said = say("--network", "ridge", "--repeats", "2", "--null-maps", "5")
    assert code == 0
    assert "Explaining ridge-fc, fc-logistic in 8 steps, with 20 maps of shuffled" in said
    assert "with evidence of prediction:" in said
    assert "Explaining" not in say("--network", "ridge", "--explain", "none")[1]


def test_surrogates_of_people_without_series_are_refused_at_once(tmp_path: Path) -> None:
    wanted = ExplainOptions(explain="parcels", explain_baseline="surrogate")
    for asked in (("resnet-fc", "fc-logistic"), ()):
        with pytest.raises(
            UsageError, match="only connectivity matrices\\. Use --explain-baseline zero"
        ):
            refuse_surrogates(asked, wanted, has_series=False)
        refuse_surrogates(asked, wanted, has_series=True)
        refuse_surrogates(asked, replace(wanted, explain="features"), has_series=False)
        refuse_surrogates(asked, replace(wanted, explain_baseline="mean"), has_series=False)
    refuse_surrogates(("ridge-fc",), wanted, has_series=False)
    assert UsageError("").exit_code == 2


def test_surrogates_of_matrices_are_refused_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_parcel_study(tmp_path / "study")
    columns = [f"P{i}" for i in range(N_PARCELS)]
    for path in (study / "derivatives").rglob("*_timeseries.*"):
        if path.suffix == ".tsv":
            stem = path.name.replace("stat-mean_timeseries", "stat-pearsoncorrelation_relmat")
            matrix = pd.DataFrame(np.eye(N_PARCELS), index=columns, columns=columns)
            matrix.to_csv(path.with_name(stem), sep="\t", index_label="Node")
        path.unlink()
    words = "--network resnet-fc --encoder none --dry-run --explain parcels --explain-baseline"
    command = group_command(study, tmp_path / "out", tmp_path / "work", *words.split())[3:]
    command = [word for word in command if word != "random"]
    command.remove("--encoder")
    assert main([*command, "mean"]) == 0, capsys.readouterr()
    capsys.readouterr()
    assert main([*command, "surrogate"]) == 2
    assert "--explain-baseline surrogate" in capsys.readouterr().err


def test_a_comparison_names_the_lines_and_cells_that_cannot_be_had(say, tmp_path: Path) -> None:
    code, said = say("--analysis", "compare", "--subset-by", "arm")
    assert code == 0
    assert "Not possible: Table 3, FMM_TC with pre-training: needs the published" in said
    assert "trained on drug, tested on drug: drug is too small to train on" in said
    assert "Table 4, trained on drug, tested on placebo: 1 fold\n" in said
    assert "Encoding 11 people." in said
    assert list(tmp_path.iterdir()) == []


def test_a_scale_that_is_learnt_in_every_fold_is_counted_so(say, tmp_path: Path) -> None:
    robust = ("--normalisation", "robust", "--repeats", "2")
    code, said = say(*robust, "--network", "brainlm")
    assert code == 0
    # Everyone, and four folds of everyone, in place of once.
    assert f"{1 + 4} training sets: {5 * 11} encodings instead of 11;" in said
    code, said = say(*robust, "--network", "ridge")
    assert code == 0
    assert "Reading the series of 11 people." in said
    assert list(tmp_path.iterdir()) == []


REFUSED = {
    "--network lstm nosuch": (2, "nosuch"),
    "--network fmmtc --encoder none": (2, "leave --encoder none out"),
    "--network ridge --covariates response": (2, "response"),
    "--network lstm --covariates age --adjust": (2, "--adjust cannot be used with lstm"),
    "--where arm=nobody": (65, "arm=nobody"),
    "--network motion": (65, "motion needs the mean framewise displacement"),
    "--stratify-by site": (65, "Stratum"),
    "--encoder brainlm": (69, "--encoder-weights"),
}


@pytest.fixture(scope="module")
def eight(study: Path) -> str:
    """Flags of a study too small for its shuffles: one of each outcome in a fold."""
    table = pd.read_csv(study / "participants.tsv", sep="\t").set_index("participant_id")
    there = table.drop(index="sub-03")
    names = [name for _, own in there.groupby("response") for name in own.index[:4]]
    return f"--network ridge --permutations 19 --folds 4 --participant-label {' '.join(names)}"


def test_shuffles_that_the_folds_leave_no_room_for_are_refused_before_anyone_is_read(
    say, eight: str, tmp_path: Path
) -> None:
    code, said = say(*eight.split())
    assert code == 65
    assert "Outcomes can be shuffled within strata, groups and folds in only 16 ways" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", REFUSED)
def test_what_the_run_refuses_is_refused_in_the_same_words(say, flags: str) -> None:
    code, words = REFUSED[flags]
    found, said = say(*flags.split())
    assert found == code
    assert words in said
    assert "Nothing was computed" not in said
    again, really = say(*flags.split(), dry=False)
    assert again == code
    assert said.splitlines()[-1] == really.splitlines()[-1]


def test_an_output_that_is_taken_is_refused_and_left_alone(
    say, study: Path, tmp_path: Path
) -> None:
    sources = {"parcels": study / "derivatives" / "parcels"}
    out = tmp_path / "out"
    prepare_output(out, config_hash="other", desc="group-fmmtc", sources=sources, version="0.1.0")
    assert say("--network", "ridge")[0] == 0
    write_text(out / "group" / "group_desc-fmmtc_predictions.tsv", "")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    code, said = say("--network", "ridge")
    assert code == 2
    assert "of another configuration: other" in said
    assert say("--network", "ridge", "--label", "mine")[0] == 0
    about = out / "dataset_description.json"
    about.write_text(about.read_text().replace("derivatives/parcels", "derivatives/others"))
    code, said = say("--network", "ridge", "--label", "mine")
    assert code == 2
    assert "another output folder" in said
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before | {
        about: about.stat().st_mtime_ns
    }
