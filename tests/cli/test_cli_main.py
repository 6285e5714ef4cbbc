"""The command line: instant, both spellings, one default each, the documented codes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from fmmtc_bidsapp.cli.main import build_parser, main, plan_from
from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.options import (
    CohortOptions,
    DenoiseOptions,
    EvaluationOptions,
    ModelOptions,
    ParcelOptions,
    TrainOptions,
)
from fmmtc_bidsapp.plan import GroupPlan, ParticipantPlan

ALL_OPTIONS = (
    ParcelOptions,
    DenoiseOptions,
    CohortOptions,
    ModelOptions,
    TrainOptions,
    EvaluationOptions,
)
HEAVY = ("numpy", "torch", "nipype", "pandas", "bids", "nilearn", "sklearn", "matplotlib")


@pytest.mark.parametrize("program", ["main", "tools"])
def test_help_imports_nothing_heavy(program: str) -> None:
    code = (
        f"import sys; from fmmtc_bidsapp.cli.{program} import build_parser;"
        f"build_parser().format_help(); print([m for m in {HEAVY} if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_every_option_has_a_flag_with_its_help_and_default() -> None:
    text = " ".join(build_parser().format_help().split())
    for options in ALL_OPTIONS:
        for each in fields(options):
            assert f"--{each.name.replace('_', '-')}" in text
            if each.default not in (None, (), False):
                assert f"(default: {each.default})" in text


def test_no_flag_means_the_defaults_of_the_options() -> None:
    plan = plan_from(["in", "out", "participant"])
    assert isinstance(plan, ParticipantPlan)
    assert plan.parcel == ParcelOptions()
    assert plan.denoise == DenoiseOptions()


def test_both_spellings_and_prefixes_give_the_same_plan() -> None:
    plans = [
        plan_from(["in", "out", "participant", *flags])
        for flags in (
            ["--participant-label", "01", "02", "--work-dir", "w", "--min-coverage", "0.2"],
            ["--participant_label", "sub-01", "sub-02", "-w", "w", "--min_coverage=0.2"],
        )
    ]
    assert plans[0].selection == plans[1].selection
    assert plans[0].resources == plans[1].resources
    assert plans[0].parcel == plans[1].parcel  # type: ignore[union-attr]


def test_the_filter_file_and_the_database_reach_the_plan_as_absolute_paths() -> None:
    flags = ["--bids-filter-file", "f.json", "--bids_database_dir", "db"]
    plan = plan_from(["in", "out", "participant", *flags])
    assert plan.selection.bids_filter_file == Path("f.json").absolute()
    assert plan.resources.bids_database_dir == Path("db").absolute()


def test_the_group_flags_reach_the_plan() -> None:
    argv = "in out group --target Response --where type=patient study=2 --where a=b --folds 3"
    plan = plan_from([*argv.split(), "--derivatives", "parcels=p", "--mem", "8G"])
    assert isinstance(plan, GroupPlan)
    assert plan.cohort.where == ("type=patient", "study=2", "a=b")
    assert plan.train.folds == 3
    assert plan.series_dir == Path("p").absolute()
    assert plan.resources.memory_gb == 8
    assert plan.participants_table == Path("in").absolute() / "participants.tsv"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["group"], "--target"),
        (["group", "--analysis", "apply"], "--model"),
        (["group", "--target", "y", "--min-coverage", "0.4"], "no meaning at the group level"),
        (["participant", "--epochs", "3"], "no meaning at the participant level"),
        (["participant", "--label", "x"], "no meaning at the participant level"),
        (["group", "--target", "y", "--folds", "1"], "--folds"),
        (["participant", "--min-coverage", "2"], "--min-coverage"),
        (["participant", "--nprocs", "0"], "--nprocs"),
        (["group", "--target", "y", "--bids-filter-file", "f"], "--bids-filter-file has no mean"),
        (["group", "--target", "y", "--bids-database-dir", "d"], "--bids-database-dir has no mean"),
    ],
)
def test_wrong_use_ends_with_2_and_names_the_flag(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=words):
        plan_from(["in", "out", *flags])
    assert main(["in", "out", *flags]) == 2
    assert words in capsys.readouterr().err


def test_an_unknown_flag_ends_with_2() -> None:
    with pytest.raises(SystemExit) as stop:
        main(["in", "out", "participant", "--no-such-flag"])
    assert stop.value.code == 2
