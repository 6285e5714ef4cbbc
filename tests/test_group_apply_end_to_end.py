"""A kept model on people it has never seen, whose outcomes are known, from the command line."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parcel_study import group_command, write_parcel_study, written
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.cli.main import main

OTHERS = 44
SLOW_TR_S = 3.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write those who are trained on, others of whom one was scanned otherwise, and the bundle."""
    folder = tmp_path_factory.mktemp("applied")
    plugin = folder / "plugin.yml"
    plugin.write_text("plugin: Linear\n")
    study = write_parcel_study(folder / "study", 16, effect=0.6)
    others = write_parcel_study(folder / "others", OTHERS, effect=0.6, seed=1)
    (scan,) = (others / "derivatives" / "parcels" / "sub-05").rglob("*timeseries.tsv")
    scan.with_suffix(".json").write_text(json.dumps({"RepetitionTime": SLOW_TR_S}))
    words = ("--network", "ridge", "--permutations", "0", "--use-plugin", plugin)
    command = group_command(study, folder / "trained", folder / "work", *words)
    assert main(command[3:]) == 0
    return folder


def application(place: Path, people: str, out: str, *words: str) -> list[str]:
    """Spell the command that applies the bundle."""
    bundle = place / "trained" / "models" / "fmmtc"
    parcels = f"parcels={place / people / 'derivatives' / 'parcels'}"
    given = [place / people, place / out, "group", "--analysis", "apply", "--model", bundle]
    given += ["--derivatives", parcels, "--work-dir", place / "work", "--bootstrap", "50"]
    given += ["--use-plugin", place / "plugin.yml", *words]
    return list(map(str, given))


@pytest.fixture(scope="module")
def files(place: Path) -> GroupFiles:
    assert main(application(place, "others", "out")) == 0
    return GroupFiles(place / "out", "applied")


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)


def test_a_dry_run_says_who_would_be_predicted_and_writes_nothing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(place.rglob("*"))
    assert main(application(place, "others", "nowhere", "--dry-run")) == 0
    said = capsys.readouterr().out
    words = f"trained on 16 people, predicts {OTHERS} people and is evaluated on the {OTHERS} whose"
    assert words in said
    assert f"Reading the series of {OTHERS} people." in said
    assert sorted(place.rglob("*")) == before


def test_everyone_is_predicted_and_the_figures_are_those_of_the_predictions(
    place: Path, files: GroupFiles
) -> None:
    people = read(place / "others" / "participants.tsv")
    predictions = read(files.predictions)
    assert predictions["participant_id"].tolist() == people["participant_id"].tolist()
    assert predictions["y_true"].tolist() == people["response"].tolist()
    assert predictions["fold"].isna().all()
    pooled = read(files.metrics).set_index(["model", "metric"])["pooled"]
    y, probability = predictions["y_true"], predictions["probability"]
    auroc = roc_auc_score(y, probability)
    assert 0.6 < auroc < 1
    assert pooled["ridge-fc", "auroc"] == pytest.approx(auroc)
    assert pooled["ridge-fc", "brier"] == pytest.approx(brier_score_loss(y, probability))


def test_recalibration_is_what_a_logistic_regression_on_the_log_odds_says(
    files: GroupFiles,
) -> None:
    about = json.loads(files.metrics.with_suffix(".json").read_text())
    predictions = read(files.predictions)
    y, odds = predictions["y_true"].to_numpy(), logit(predictions["probability"].to_numpy())
    moved = about["Recalibration"]["recalibrated intercept"]
    assert moved["Slope"] == 1
    assert expit(odds + moved["Intercept"]).mean() == pytest.approx(y.mean())
    line = LogisticRegression(C=np.inf, max_iter=1000, tol=1e-8).fit(odds[:, None], y)
    both = about["Recalibration"]["recalibrated"]
    assert both["Slope"] == pytest.approx(line.coef_[0, 0], rel=1e-4)
    assert both["Intercept"] == pytest.approx(line.intercept_[0], rel=1e-3, abs=1e-4)
    assert about["RecalibrationRefused"] == []
    models = set(read(files.metrics)["model"])
    assert models == {
        f"ridge-fc{each}" for each in ("", *(f" {k}" for k in about["Recalibration"]))
    }


def test_scans_unlike_those_of_the_training_are_named(files: GroupFiles) -> None:
    flags = read(files.predictions).set_index("participant_id")["out_of_distribution"]
    assert "TR 3 s, trained on 2 to 2 s" in flags["sub-05"]
    others = flags.drop("sub-05").dropna()
    assert not others.str.contains("TR ").any()


def test_the_report_shows_external_validation_and_is_written_anew_unchanged(
    place: Path, files: GroupFiles
) -> None:
    page = files.report.read_text()
    assert f"On {OTHERS} new people Ridge on FC without refitting reached an AUROC of" in page
    assert "Ridge on FC, intercept recalibrated" in page
    before = written(place / "out")
    files.report.unlink()
    base = [str(place / "others"), str(place / "out"), "group", "--label", "applied"]
    assert main([*base, "--work-dir", str(place / "work"), "--reports-only"]) == 0
    assert written(place / "out") == before


def test_the_methods_text_alone_is_written_anew_and_shown(
    place: Path, files: GroupFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    text = place / "out" / "logs" / "CITATION.md"
    before, results = text.read_text(), written(place / "out")
    text.unlink()
    assert main([str(place / "others"), str(place / "out"), "group", "--boilerplate-only"]) == 0
    assert text.read_text() == before
    assert "## Analysis applied" in capsys.readouterr().out
    assert written(place / "out") == results


def test_nobody_is_validated_on_whom_the_model_was_trained_on(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(application(place, "study", "same")) == 65
    assert "All of these 16 people are left out" in capsys.readouterr().err
    assert not (place / "same" / "group").exists()
    assert main(application(place, "study", "same", "--dry-run")) == 65


def people_of(study: Path) -> list[str]:
    return read(study / "participants.tsv")["participant_id"].tolist()


def copy_person(study: Path, name: str, out: Path, new: str, noise: float = 0.0) -> None:
    """Copy one person's series under another name, with other digits."""
    (path,) = (study / "derivatives" / "parcels" / name).rglob("*timeseries.tsv")
    folder = out / "derivatives" / "parcels" / new / "func"
    folder.mkdir(parents=True)
    series = pd.read_csv(path, sep="\t")
    series += noise * np.random.default_rng(0).standard_normal(series.shape)
    series.to_csv(folder / path.name.replace(name, new), sep="\t", index=False)


@pytest.fixture(scope="module")
def mixed(place: Path) -> Path:
    """Write 4 training people whose data were made anew, 4 under other labels, 24 new ones."""
    study, others, out = place / "study", place / "others", place / "mixed"
    (out / "derivatives" / "parcels").mkdir(parents=True)
    for below in (".", "derivatives/parcels"):
        about = (study / below / "dataset_description.json").read_text()
        (out / below / "dataset_description.json").write_text(about)
    stem = "derivatives/parcels/task-rest_atlas-Tiny_stat-mean_timeseries.json"
    (out / stem).write_text((study / stem).read_text())
    trained, new = people_of(study), people_of(others)
    for name in trained[:4]:
        copy_person(study, name, out, name, noise=0.5)
    for name in trained[4:8]:
        copy_person(study, name, out, name.replace("sub-", "sub-again"), noise=1e-5)
    for name in new[:24]:
        copy_person(others, name, out, name.replace("sub-", "sub-new"))
    table = read(others / "participants.tsv").iloc[:24]
    table["participant_id"] = table["participant_id"].str.replace("sub-", "sub-new")
    table.to_csv(out / "participants.tsv", sep="\t", index=False)
    return out


def test_training_people_are_left_out_by_label_and_by_scan_and_the_report_says_so(
    place: Path, mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(application(place, "mixed", "mixed-out")) == 0
    files = GroupFiles(place / "mixed-out", "applied")
    exclusions = read(files.exclusions)
    left_out = exclusions[exclusions["stage"] == "training"]
    trained = people_of(place / "study")
    again = [name.replace("sub-", "sub-again") for name in trained[4:8]]
    assert left_out["participant_id"].tolist() == [*trained[:4], *again]
    assert left_out["reason"].str.contains("trained on").all()
    predicted = read(files.predictions)["participant_id"]
    assert len(predicted) == 24
    assert predicted.str.startswith("sub-new").all()
    said = capsys.readouterr().out
    assert "4 of 32 people are left out" in said
    assert "4 of 28 people are left out" in said
    assert "On 24 new people (8 of the training people left out)" in files.report.read_text()
    about = json.loads(files.metrics.with_suffix(".json").read_text())
    assert (about["N"], about["TrainingPeopleLeftOut"]) == (24, 8)
    assert about["Validation"].startswith("external: ")


def test_a_scan_that_is_there_twice_is_predicted_twice_and_evaluated_once(
    place: Path, files: GroupFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = tmp_path / "twice"
    shutil.copytree(place / "others", twice)
    copy_person(place / "others", "sub-03", twice, "sub-copy", noise=1e-5)
    table = read(twice / "participants.tsv")
    copied = table[table["participant_id"] == "sub-03"].assign(participant_id="sub-copy")
    pd.concat([table, copied]).to_csv(twice / "participants.tsv", sep="\t", index=False)
    given = application(place, "others", str(tmp_path / "out"), "--work-dir", str(tmp_path / "w"))
    parcels = f"parcels={twice / 'derivatives' / 'parcels'}"
    given = [str(twice), *given[1:]]
    given[given.index("--derivatives") + 1] = parcels
    assert main(given) == 0
    once, files = files, GroupFiles(tmp_path / "out", "applied")
    predicted = read(files.predictions).set_index("participant_id")["probability"]
    assert len(predicted) == OTHERS + 1
    assert predicted["sub-copy"] == pytest.approx(predicted["sub-03"], abs=1e-3)
    metrics, before = (read(each.metrics).set_index("metric") for each in (files, once))
    own, alone = (each[each["model"] == "ridge-fc"] for each in (metrics, before))
    assert own.loc["auroc", "pooled"] == alone.loc["auroc", "pooled"]
    assert own.loc["brier", "pooled"] == pytest.approx(alone.loc["brier", "pooled"])
    about = json.loads(files.metrics.with_suffix(".json").read_text())
    assert (about["N"], about["RepeatedScans"]) == (OTHERS, ["sub-copy"])
    for text in (capsys.readouterr().out, about["Notice"], files.report.read_text()):
        assert "1 of these people (sub-copy)" in text


def test_a_bundle_of_the_older_format_says_what_it_does_not_know(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = tmp_path / "older"
    shutil.copytree(place / "trained" / "models" / "fmmtc", older)
    (older / "people.json").unlink()
    config = json.loads((older / "config.json").read_text()) | {"format": 2}
    for name in ("negative_value", "positive_meaning", "negative_meaning", "seal"):
        del config[name]
    del config["sha256"]["people.json"]
    seal_config(older, config)
    given = application(place, "study", str(tmp_path / "out"), "--work-dir", str(tmp_path))
    given[given.index("--model") + 1] = str(older)
    assert main(given) == 0
    said = capsys.readouterr().out
    assert "whether these people are among them is not known" in said
    assert "--positive-value makes the evaluation possible" in said
    files = GroupFiles(tmp_path / "out", "applied")
    assert read(files.predictions)["y_true"].isna().all()
    assert not files.metrics.exists()
    assert main([*given, "--label", "judged", "--positive-value", "1"]) == 0
    judged = GroupFiles(tmp_path / "out", "judged")
    about = json.loads(judged.metrics.with_suffix(".json").read_text())
    assert "it is not known whether they were in training" in about["Validation"]
    assert "external validation on" not in about["Verdict"]
    page = judged.report.read_text()
    assert "16 people, of whom it is not known whether they were in training," in page


def seal_config(folder: Path, config: dict) -> None:
    """Write a configuration with the digest of itself, as whoever changes it can."""
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    config |= {"seal": hashlib.sha256(text.encode()).hexdigest()}
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def test_the_bundle_names_nobody(place: Path) -> None:
    bundle = place / "trained" / "models" / "fmmtc"
    for path in bundle.iterdir():
        assert not any(name.encode() in path.read_bytes() for name in people_of(place / "study"))


def test_a_table_coded_in_another_way_is_refused_until_the_user_says_how(
    place: Path, files: GroupFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place / "others" / "participants.tsv"
    before = path.read_text()
    try:
        recoded = read(path)
        recoded["response"] += 1
        recoded.to_csv(path, sep="\t", index=False)
        assert main(application(place, "others", "recoded")) == 2
        assert "trained with response: 1 is positive, 0 is negative" in capsys.readouterr().err
        assert not (place / "recoded").exists()
        assert main(application(place, "others", "recoded", "--positive-value", "2")) == 0
    finally:
        path.write_text(before)
    said = capsys.readouterr().out
    assert "Outcome response: 2 is positive, 1 is negative." in said
    found = GroupFiles(place / "recoded", "applied").metrics
    pd.testing.assert_frame_equal(read(found), read(files.metrics))
    about = json.loads(found.with_suffix(".json").read_text())
    assert (about["PositiveValue"], about["NegativeValue"]) == ("2", "1")
    assert about["TrainedWith"]["NegativeValue"] == "0"


def test_a_new_person_with_an_age_far_off_is_marked(place: Path, tmp_path: Path) -> None:
    plugin = ("--use-plugin", place / "plugin.yml")
    words = ("--network", "ridge", "--permutations", "0", "--covariates", "age", "--adjust")
    command = group_command(place / "study", tmp_path / "adjusted", tmp_path, *words, *plugin)
    assert main(command[3:]) == 0
    path = place / "others" / "participants.tsv"
    before = path.read_text()
    try:
        table = read(path)
        table.loc[6, "age"] = -999
        table.to_csv(path, sep="\t", index=False)
        given = application(place, "others", str(tmp_path / "out"), "--work-dir", str(tmp_path))
        given[given.index("--model") + 1] = str(tmp_path / "adjusted" / "models" / "fmmtc")
        assert main(given) == 0
    finally:
        path.write_text(before)
    files = GroupFiles(tmp_path / "out", "applied")
    flags = read(files.predictions).set_index("participant_id")["out_of_distribution"]
    assert "age -999, trained on 2" in flags["sub-07"]
    ranges = read(files.ranges).query("measure == 'covariate_age'").set_index("participant_id")
    ages = read(place / "study" / "participants.tsv")["age"]
    assert ranges.loc["sub-07", "found"] == -999
    low, high = ranges.loc["sub-01", ["training_low", "training_high"]]
    assert (low, high) == (ages.min(), ages.max())
    notice = json.loads(files.metrics.with_suffix(".json").read_text())["Notice"]
    assert "age is -999" in notice
