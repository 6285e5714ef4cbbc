"""A kept model on people it has never seen, whose outcomes are known, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parcel_study import group_command, write_parcel_study, written
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from fmmtc_bidsapp.bidsio.names import GroupFiles
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
    words = f"trained on 16 people, predicts {OTHERS} people and is judged on the {OTHERS} whose"
    assert words in said
    assert f"Reading the series of {OTHERS} people; nobody is encoded." in said
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
    assert f"On {OTHERS} new people Ridge on FC, as it is, reached an AUROC of" in page
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


def test_the_bundle_knows_nobody_it_was_trained_on_and_says_so(place: Path) -> None:
    assert main(application(place, "study", "same")) == 0
    about = json.loads(
        GroupFiles(place / "same", "applied").metrics.with_suffix(".json").read_text()
    )
    assert "people who must not be among those it was trained on" in about["Validation"]
    assert "which the bundle cannot tell" in about["Validation"]
    # 16 people are too few for it, and the reason stands there.
    assert about["Recalibration"] == {}
    assert len(about["RecalibrationRefused"]) == 2
