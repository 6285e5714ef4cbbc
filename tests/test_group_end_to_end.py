"""The group level from the command line: killed, resumed, on one process or two."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from parcel_study import (
    environment,
    group,
    group_command,
    kill_when,
    workers_of,
    write_parcel_study,
    written,
)

from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.cli.main import main

MODELS = "--network lstm ridge --seeds 2 --permutations 19 --selection best-on-test"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parcel_study(tmp_path_factory.mktemp("tiny") / "study")


@pytest.fixture(scope="module")
def undisturbed(study: Path) -> Path:
    out = study.with_name("undisturbed")
    done = group(study, out, study.with_name("work"), *MODELS.split())
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was_and_ends_as_if_nothing_had_happened(
    study: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out, work = tmp_path / "out", tmp_path / "work"

    def finished() -> list[Path]:
        return sorted(work.glob("fmmtc_*/*/fit_fmmtc/*/result_*.pklz"))

    command = group_command(study, out, work, *MODELS.split())
    killed = kill_when(command, lambda: len(finished()) >= 4)
    before = {path: path.stat().st_mtime_ns for path in finished()}
    n_steps = len(list(study.parent.glob("work/fmmtc_*/*/fit_fmmtc/*/result_*.pklz")))
    assert 4 <= len(before) < n_steps
    assert not out.joinpath("group", "group_desc-fmmtc_predictions.tsv").exists()
    done = group(study, out, work, *MODELS.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(finished()) == n_steps
    assert written(out) == written(undisturbed)
    assert workers_of(killed) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("flags", ["plugin: Linear", "--nprocs 1"])
def test_neither_processes_nor_their_number_change_a_byte(
    flags: str, study: Path, undisturbed: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "plugin.yml"
    plugin.write_text(flags)
    words = flags.split() if flags.startswith("--") else ["--use-plugin", plugin]
    out = tmp_path / "out"
    done = group(study, out, tmp_path / "work", *MODELS.split(), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert written(out) == written(undisturbed)


def test_the_first_model_named_is_kept_and_tested_with_all_others(undisturbed: Path) -> None:
    files = GroupFiles(undisturbed, "fmmtc")
    config = json.loads((files.bundle_dir / "config.json").read_text())
    assert (config["model"], config["trainings"]) == ("lstm", 2)
    metrics = pd.read_csv(files.metrics, sep="\t")
    tested = metrics[metrics["metric"] == "auroc"].set_index("model")["n_permutations"]
    assert tested[["lstm", "ridge-fc", "fc-logistic", "dummy"]].tolist() == [19, 19, 19, 19]
    predictions = pd.read_csv(files.predictions, sep="\t")
    assert (predictions["probability_low"] <= predictions["probability"]).all()
    assert (predictions["probability"] <= predictions["probability_high"]).all()
    about = json.loads(files.metrics.with_suffix(".json").read_text())
    assert about["MainModel"] == "lstm"
    assert about["NotTested"] == {}
    warning = "optimistic: epoch chosen on the test fold"
    told = [files.metrics.with_suffix(".json"), files.comparison.with_suffix(".json"), files.report]
    assert all(warning in path.read_text() for path in told)
    curves = pd.read_csv(files.learning, sep="\t")
    assert set(zip(curves["model"], curves["seed"], curves["fold"], strict=True)) == {
        ("lstm", seed, fold) for seed in (0, 1) for fold in (0, 1)
    }


def test_what_the_main_model_goes_by_is_shown_only_with_evidence(undisturbed: Path) -> None:
    files = GroupFiles(undisturbed, "fmmtc")
    metrics = pd.read_csv(files.metrics, sep="\t").set_index(["model", "metric"])
    verdict = metrics.loc[("lstm", "auroc"), "verdict"]
    told = json.loads(files.attributions.with_suffix(".json").read_text())
    assert told["HeldBack"] == ("" if verdict == "evidence of prediction" else verdict)
    assert told["Supported"] == (verdict == "evidence of prediction")
    assert len(pd.read_csv(files.attributions, sep="\t")) == 0
    assert not files.attribution_map.exists()


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ("--network lstm nosuch", 2, "nosuch"),
        ("--network lstm covariates", 2, "covariates needs --covariates"),
        ("--network fmmtc-untrained", 2, "with --encoder random it is --network fmmtc."),
        ("--network fmmtc --encoder none", 2, "leave --encoder none out"),
        ("--network motion", 65, "motion needs the mean framewise displacement"),
        ("--network ridge --subset-by response", 2, "is the outcome itself"),
        ("--network ridge --phenotype nowhere.tsv", 2, "--phenotype"),
        ("--network ridge --features nosuch", 2, "nosuch"),
        ("--calibration isotonic", 65, "isotonic needs 200 training participants"),
        ("--group-by arm --folds 3", 65, "There are 2 groups"),
        ("--stratify-by site --folds 3", 65, "Stratum"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_anyone_is_encoded(
    flags: str,
    code: int,
    words: str,
    study: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = group_command(study, tmp_path / "out", tmp_path / "work", *flags.split())
    assert main(command[3:]) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_models_without_an_encoder_need_no_weights_and_others_another_label(
    study: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    words = ["--encoder", "brainlm", "--permutations", "0", "--network", "ridge"]
    done = group(study, out, work, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    files = GroupFiles(out, "fmmtc")
    about = json.loads(files.metrics.with_suffix(".json").read_text())
    assert (about["Encoder"], about["MainModel"]) == ("none", "ridge-fc")
    before = written(out)
    for other in (["--features", "ts"], ["--permutations", "19"], ["--participant-label", "01"]):
        command = group_command(study, out, work, *words, *other)
        assert main(command[3:]) in (2, 65), capsys.readouterr().err
    assert written(out) == before
    files.report.unlink()
    command = [*group_command(study, out, work)[:5], "group", "--reports-only"]
    command += ["--work-dir", str(work)]
    assert subprocess.run(command, check=False, env=environment()).returncode == 0
    assert written(out) == before
    command += ["--label", "nosuch"]
    assert main(command[3:]) == 65
