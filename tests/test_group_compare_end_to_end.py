"""Table 4 from the command line: trained on each arm, tested within it and on the other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from parcel_study import N_PARCELS, group, group_command, write_parcel_study
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.cli.main import main
from fmmtc_bidsapp.learning.estimators.learner import Setup
from fmmtc_bidsapp.learning.metrics.calibrate import apply_calibration
from fmmtc_bidsapp.learning.model_selection.nested_cv import Analysis, fit_together
from fmmtc_bidsapp.learning.model_selection.splits import SplitPlan
from fmmtc_bidsapp.learning.paper.tables import domains
from fmmtc_bidsapp.options import EvaluationOptions, ModelOptions, TrainOptions
from fmmtc_bidsapp.records import Examples

PEOPLE = 32
CELLS = [("drug", "drug"), ("drug", "placebo"), ("placebo", "placebo"), ("placebo", "drug")]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a study with a weak effect, whose arms are large enough to be split."""
    folder = tmp_path_factory.mktemp("arms") / "study"
    return write_parcel_study(folder, PEOPLE, effect=0.4)


@pytest.fixture(scope="module")
def files(study: Path) -> GroupFiles:
    plugin = study.parent / "plugin.yml"
    plugin.write_text("plugin: Linear\n")
    out, work = study.parent / "out", study.parent / "work"
    words = "--analysis compare --network ridge --features fc --subset-by arm --permutations 0"
    command = group_command(study, out, work, *words.split(), "--use-plugin", plugin)
    assert main(command[3:]) == 0
    return GroupFiles(out, "comparison")


def examples_of(study: Path) -> Examples:
    """Read the study once more, by hand."""
    table = pd.read_csv(study / "participants.tsv", sep="\t")
    y = table["response"].to_numpy()
    fc = [correlations(study, name) for name in table["participant_id"]]
    return Examples(
        keys=tuple(table["participant_id"]),
        arrays={
            "cls": np.zeros((PEOPLE, 0)),
            "fc": np.array(fc, dtype=np.float32),
        },
        y=y,
        strata=tuple(map(str, y)),
        arms=tuple(table["arm"]),
    )


def correlations(study: Path, participant: str) -> NDArray[np.float64]:
    (path,) = (study / "derivatives" / "parcels" / participant).rglob("*timeseries.tsv")
    return np.corrcoef(pd.read_csv(path, sep="\t").to_numpy().T)


def test_every_cell_of_table_4_has_the_figures_of_its_own_fits(
    study: Path, files: GroupFiles
) -> None:
    table = pd.read_csv(files.comparison, sep="\t", na_values="n/a", keep_default_na=False)
    own = table[(table["table"] == "Table 4") & (table["model"] == "ridge-fc")]
    found = own.set_index(["train_on", "test_on", "metric"]).sort_index()
    assert list(dict.fromkeys(zip(own["train_on"], own["test_on"], strict=True))) == CELLS
    examples = examples_of(study)
    train = TrainOptions(folds=2, inner_folds=2, epochs=2)
    setup = Setup(train, ModelOptions(encoder="none"), torch.device("cpu"), torch.float32)
    analysis = Analysis(examples, setup, EvaluationOptions(bootstrap=1), 0)
    for cell in domains(examples.arms, SplitPlan(examples.strata, None, train, 0)):
        aurocs, accuracies = [], []
        for fold in cell.folds:
            (fitted,) = fit_together(analysis, ("ridge-fc",), fold)[1]
            arms = {examples.arms[row] for row in fold.train}
            assert arms == {cell.train_on}
            truth = examples.y[fold.test]
            aurocs.append(roc_auc_score(truth, fitted.logit))
            probability = apply_calibration(fitted.calibration, fitted.logit)
            accuracies.append(balanced_accuracy_score(truth, probability >= 0.5))
        told = found.loc[(cell.train_on, cell.test_on)]
        assert told.loc["auroc", "mean"] == pytest.approx(np.mean(aurocs), abs=1e-6)
        assert told.loc["balanced_accuracy", "mean"] == pytest.approx(np.mean(accuracies), abs=1e-6)
        assert told["pooled"].notna().all()
    # Were all of them alike, cells could be mixed up unseen.
    assert found.xs("auroc", level="metric")["mean"].nunique() > 1


def test_the_baselines_stand_in_every_cell_too_and_the_report_shows_all(files: GroupFiles) -> None:
    table = pd.read_csv(files.comparison, sep="\t", na_values="n/a", keep_default_na=False)
    cells = table[(table["table"] == "Table 4") & (table["metric"] == "auroc")]
    assert set(cells["model"]) == {"ridge-fc", "dummy", "fc-logistic"}
    assert len(cells) == 3 * len(CELLS)
    assert cells["mean"].notna().all()
    dummy = cells[cells["model"] == "dummy"]
    np.testing.assert_allclose(dummy["mean"], 0.5)
    page = files.report.read_text()
    assert "Table 4 of the paper" in page
    assert "drug → placebo" in page
    arms = pd.read_csv(files.arms, sep="\t")
    assert set(arms["arm"]) == {"drug", "placebo"}
    assert (
        "not prediction of a drug's effect"
        in json.loads(files.arms.with_suffix(".json").read_text())["Note"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("normalisation", ["scan", "robust"])
def test_everything_that_reads_a_pretrained_encoder_is_compared_with_it_untrained(
    normalisation: str, shared: Path, tmp_path: Path
) -> None:
    study = write_parcel_study(tmp_path / "study", 16)
    places = pd.DataFrame(
        np.random.default_rng(0).uniform(-60, 60, (N_PARCELS, 3)).round(1), columns=["x", "y", "z"]
    )
    places.insert(0, "index", range(1, N_PARCELS + 1))
    places.insert(1, "name", [f"P{number}" for number in range(N_PARCELS)])
    labels = study / "derivatives" / "parcels" / "atlas-Tiny_dseg.tsv"
    places.to_csv(labels, sep="\t", index=False)
    models = ["fmmtc", "fmmtc-untrained", "brainlm", "brainlm-untrained", "brainlm-tuned"]
    words = ("--analysis", "compare", "--permutations", "0", "--normalisation", normalisation)
    weights = ("--encoder", "brainlm", "--encoder-weights", shared / "reference" / "brainlm-tiny")
    done = group(study, tmp_path / "out", tmp_path / "work", *words, *weights, "--network", *models)
    assert done.returncode == 0, done.stdout + done.stderr
    files = GroupFiles(tmp_path / "out", "comparison")
    by_model = pd.read_csv(files.learning, sep="\t").groupby("model")
    learning = by_model["validation_loss"].apply(tuple)
    assert all(np.isfinite(learning[name]).all() for name in models)
    assert learning["fmmtc"] != learning["fmmtc-untrained"]
    assert learning["brainlm"] != learning["brainlm-untrained"]
    assert learning["brainlm"] != learning["brainlm-tuned"]
