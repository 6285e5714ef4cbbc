"""The tables of the group level, read back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.cohort.cohort import Cohort
from fmmtc_bidsapp.bidsio.cohort.eligibility import Divisions
from fmmtc_bidsapp.bidsio.files.names import GroupFiles
from fmmtc_bidsapp.group.output import results
from fmmtc_bidsapp.learning.evaluate import FittedRun, evaluate_run
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.learning.paper.comparison_table import OPTIMISTIC
from fmmtc_bidsapp.learning.paper.tables import PaperRow
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Calibration, Duplicate, Examples, FoldPredictions, Person

N = 20
Y = np.tile([0, 1], N // 2)
ARMS = tuple("drug" if i % 4 < 2 else "placebo" for i in range(N))
EXAMPLES = Examples(
    keys=tuple(f"sub-{i:02d}" for i in range(N)),
    arrays={
        "cls": np.zeros((N, 1)),
        "fc": np.zeros((N, 0, 0), np.float32),
    },
    y=Y,
    strata=tuple(map(str, Y)),
    arms=ARMS,
)
FOLDS = outer_folds(EXAMPLES.strata, 2, 1, seed=0)


def fitted(model, logits, selection="nested", seed=0):
    return [
        FoldPredictions(
            model=model,
            fold=fold,
            logit=logits[fold.test],
            calibration=Calibration("sigmoid", 1.0, 0.0, 0.5),
            prevalence=0.5,
            epoch=2,
            validation_loss=np.array([0.7, 0.6, 0.65]),
            train_loss=np.array([0.7, 0.5]),
            seed=seed,
            selection=selection,
        )
        for fold in FOLDS
    ]


PERFECT = 2.0 * Y - 1
NOISE = np.random.default_rng(0).normal(size=N)


def judged(selection="nested", examples=EXAMPLES, **more):
    best, last = (
        fitted("fmmtc", PERFECT, "best-on-test"),
        fitted("fmmtc", NOISE, "last-epoch"),
    )
    published = [{"best-on-test": b, "last-epoch": z} for b, z in zip(best, last, strict=True)]
    return evaluate_run(
        FittedRun(
            [*fitted("fmmtc", NOISE), *fitted("dummy", np.zeros(N))],
            examples,
            EvaluationOptions(bootstrap=50),
            main="fmmtc",
            seed=0,
            published=published if selection != "nested" else (),
            selection=selection,
            rows=[PaperRow("Table 3", 8, "fmmtc", "FMM_TC without pre-training")],
            **more,
        )
    )


@pytest.fixture
def files(tmp_path):
    return GroupFiles(tmp_path, "L")


def read(path):
    return pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)


def sidecar(path):
    return json.loads(path.with_suffix(".json").read_text())


ABOUT = {"MainModel": "fmmtc"}


def test_p_and_verdict_stand_on_the_auroc_rows_alone(files):
    evaluation = judged(permuted={"dummy": np.full(19, 0.4)})
    results.write_evaluation(files, evaluation, ABOUT)
    table = read(files.metrics).set_index(["model", "metric"])
    dummy = table.loc["dummy", "auroc"]
    assert (dummy["n_permutations"], dummy["p"], dummy["p_adjusted"]) == (19, 0.05, 0.05)
    # As low as it gets, and yet no evidence: 0.5 is not above what guessing gives.
    assert dummy["verdict"] == "no evidence of prediction"
    main = table.loc["fmmtc", "auroc"]
    assert (main["n_permutations"], main["verdict"]) == (0, "not tested")
    others = table.drop(index="auroc", level="metric")
    assert others[["n_permutations", "p", "p_adjusted", "verdict"]].isna().all(axis=None)
    told = sidecar(files.metrics)
    assert told["Verdicts"] == {"fmmtc": "not tested", "dummy": "no evidence of prediction"}
    assert told["Permutations"] == {"fmmtc": 0, "dummy": 19}
    assert told["ExpectedHalfWidth"] == evaluation.expected_half_width
    assert set(table.reset_index().columns) <= set(told)


def test_scans_that_are_there_twice_are_told_with_the_figures(files):
    twice = Duplicate("sub-01", "sub-02", 0.9999)
    results.write_evaluation(files, judged(duplicates=[twice]), ABOUT)
    assert sidecar(files.metrics)["Duplicates"] == [
        {"First": "sub-01", "Second": "sub-02", "Correlation": 0.9999, "SameScan": True}
    ]


def test_nested_selection_alone_has_no_optimism_and_no_warning(files):
    results.write_evaluation(files, judged(), ABOUT)
    table = read(files.metrics)
    assert table[["last_epoch", "best_on_test", "optimism"]].isna().all(axis=None)
    assert "Warning" not in sidecar(files.metrics)
    assert "Warning" not in sidecar(files.comparison)


def test_best_on_test_is_marked_in_every_file_it_touches(files):
    results.write_evaluation(files, judged("best-on-test"), ABOUT)
    assert sidecar(files.metrics)["Warning"] == OPTIMISTIC
    assert sidecar(files.comparison)["Warning"] == OPTIMISTIC
    auroc = read(files.metrics).set_index(["model", "metric"]).loc["fmmtc", "auroc"]
    assert auroc["best_on_test"] == 1.0
    assert auroc["optimism"] == pytest.approx(1.0 - auroc["mean"])
    table = read(files.comparison)
    chosen = table[table["selection"] == "best-on-test"]
    assert set(chosen["note"]) == {OPTIMISTIC}
    assert set(chosen["row"]) == {8}


def test_nothing_is_optimistic_where_no_network_was_fitted(files):
    without = replace(judged("best-on-test"), optimism=())
    assert results.warning_of(without) == {}
    assert results.warning_of(judged("best-on-test")) == {"Warning": OPTIMISTIC}


def test_the_last_epoch_alone_is_nothing_to_be_warned_of(files):
    results.write_evaluation(files, judged("last-epoch"), ABOUT)
    table = read(files.metrics)
    assert table["last_epoch"].notna().sum() == 4
    assert table["best_on_test"].isna().all()
    assert "Warning" not in sidecar(files.metrics)
    assert set(read(files.comparison)["selection"]) == {"nested", "last-epoch"}


def test_the_comparison_has_one_schema_with_and_without_the_papers_tables(files, tmp_path):
    results.write_evaluation(files, judged(), ABOUT)
    table = read(files.comparison)
    assert table.columns.tolist() == [
        "table", "row", "model", "title", "selection", "train_on", "test_on", "metric", "mean",
        "mean_low", "mean_high", "fold_sd", "pooled", "pooled_low", "pooled_high", "difference",
        "difference_low", "difference_high", "difference_p", "difference_p_holm",
        "note",
    ]  # fmt: skip
    assert table.loc[table["model"] == "dummy", "table"].isna().all()
    assert table.loc[table["table"] == "Table 3", "row"].unique().tolist() == [8]


def test_arms_and_their_differences_are_one_table_with_the_sentence(files):
    results.write_evaluation(files, judged(), ABOUT)
    table = read(files.arms)
    auroc = table[(table["model"] == "fmmtc") & (table["metric"] == "auroc")].set_index("arm")
    one, two = auroc[auroc["other"].isna()]["value"]
    (difference,) = auroc[auroc["other"] == "placebo"]["value"]
    assert difference == pytest.approx(one - two)
    assert auroc[auroc["other"].isna()]["n"].tolist() == [10, 10]
    assert "prognosis, not prediction of a drug's effect" in sidecar(files.arms)["Note"]


def test_without_arms_there_is_no_table_of_them(files):
    results.write_evaluation(files, judged(examples=replace(EXAMPLES, arms=None)), ABOUT)
    assert not files.arms.exists()


def test_learning_curves_are_of_every_training_of_the_models_with_epochs(files):
    trainings = [*fitted("fmmtc", NOISE), *fitted("fmmtc", NOISE, seed=1), *fitted("dummy", NOISE)]
    results.write_learning(files, trainings)
    table = read(files.learning)
    assert set(table["model"]) == {"fmmtc"}
    assert table.groupby(["seed", "fold"]).size().tolist() == [3] * 4
    assert table.loc[table["epoch"] == 3, "train_loss"].isna().all()
    assert (table["chosen"] == (table["epoch"] == 2)).all()


def test_eligibility_counts_outcomes_and_arms_down_to_the_encoded(files):
    people = [Person(key, None, int(y), ()) for key, y in zip(EXAMPLES.keys, Y, strict=True)]
    divisions = Divisions(
        dict(zip(EXAMPLES.keys, Y.tolist(), strict=True)),
        dict(zip(EXAMPLES.keys, ARMS, strict=True)),
    )
    steps = (divisions.count("in participants.tsv", EXAMPLES.keys),)
    cohort = Cohort(tuple(people), (), steps, (), None, None, None, (), divisions)
    results.write_cohort(files, cohort, people[:6], ())
    table = read(files.eligibility).set_index("step")
    assert table.loc["in participants.tsv", ["n", "n_positive_arm-drug"]].tolist() == [20, 5]
    assert table.loc["encoded"].tolist() == [6, 3, 3, 4, 2, 2, 2, 1, 1]
    told = sidecar(files.eligibility)
    counted = told["n_positive_arm-drug"]["Description"]
    assert counted == "People with the positive outcome, of drug."
    assert all(told[name]["Description"] for name in table.columns)
