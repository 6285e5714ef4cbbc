"""One run judged: the numbers of the table by hand and by scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, matthews_corrcoef, roc_auc_score

from fmmtc_bidsapp.learning.evaluate import DomainFits, FittedRun, evaluate_run
from fmmtc_bidsapp.learning.model_selection.ensemble import merge_trainings
from fmmtc_bidsapp.learning.model_selection.splits import SplitPlan, outer_folds
from fmmtc_bidsapp.learning.paper.comparison_table import OPTIMISTIC
from fmmtc_bidsapp.learning.paper.tables import PaperRow, domains, folds_to_fit
from fmmtc_bidsapp.options import EvaluationOptions, TrainOptions
from fmmtc_bidsapp.records import Calibration, Examples, FoldPredictions

N = 40
Y = np.tile([0, 1], N // 2)
ARMS = tuple("drug" if i % 4 < 2 else "placebo" for i in range(N))
OPTIONS = EvaluationOptions(bootstrap=200)
TRAIN = TrainOptions(folds=5, inner_folds=2)
FOLDS = outer_folds([str(y) for y in Y], 5, 1, seed=0)
EXAMPLES = Examples(
    keys=tuple(f"sub-{i:02d}" for i in range(N)),
    arrays={
        "cls": np.zeros((N, 1)),
        "fc": np.zeros((N, 2, 2), np.float32),
    },
    y=Y,
    strata=tuple(map(str, Y)),
)


def fitted(model, logits, folds=FOLDS, selection="nested"):
    return [
        FoldPredictions(
            model=model,
            fold=fold,
            logit=logits[fold.test],
            calibration=Calibration("sigmoid", 1.0, 0.0, 0.5),
            prevalence=0.5,
            epoch=1,
            validation_loss=np.zeros(1),
            train_loss=np.zeros(1),
            selection=selection,
        )
        for fold in folds
    ]


@pytest.fixture(scope="module")
def logits():
    rng = np.random.default_rng(0)
    return {"fmmtc": rng.normal(size=N) + Y, "dummy": np.zeros(N), "covariates": rng.normal(size=N)}


@pytest.fixture(scope="module")
def predictions(logits):
    return [each for model, own in logits.items() for each in fitted(model, own)]


def judged(predictions, examples=EXAMPLES, **more):
    return evaluate_run(FittedRun(predictions, examples, OPTIONS, main="fmmtc", seed=0, **more))


def lines(evaluation, **wanted):
    return [
        row
        for row in evaluation.comparison
        if all(getattr(row, name) == value for name, value in wanted.items())
    ]


METRICS = {
    "auroc": roc_auc_score,
    "balanced_accuracy": lambda y, logit: balanced_accuracy_score(y, logit >= 0),
    "f1_macro": lambda y, logit: f1_score(y, logit >= 0, average="macro"),
    "mcc": lambda y, logit: matthews_corrcoef(y, logit >= 0),
}


@pytest.mark.parametrize("metric", METRICS)
def test_a_line_of_the_papers_table_is_scikit_learns_mean_and_sd_over_folds(
    metric, predictions, logits
):
    row = PaperRow("Table 3", 9, "fmmtc", "FMM_TC with pre-training")
    (line,) = lines(judged(predictions, rows=[row]), table="Table 3", row=9, metric=metric)
    values = [METRICS[metric](Y[fold.test], logits["fmmtc"][fold.test]) for fold in FOLDS]
    assert line.mean == pytest.approx(np.mean(values))
    assert line.fold_sd == pytest.approx(np.std(values, ddof=1))
    # Folds are of one size here, so the AUROC over the pairs of one fold is their mean.
    pooled = np.mean(values) if metric == "auroc" else METRICS[metric](Y, logits["fmmtc"])
    assert line.pooled == pytest.approx(pooled)
    assert np.isnan(line.difference)


def test_other_models_are_subtracted_from_the_main_one_and_have_lines_without_a_table(
    predictions, logits
):
    evaluation = judged(predictions, rows=[PaperRow("Table 3", 9, "fmmtc", "FMM_TC")])
    (line,) = lines(evaluation, model="covariates", metric="auroc")
    aurocs = [
        roc_auc_score(Y[fold.test], logits["fmmtc"][fold.test])
        - roc_auc_score(Y[fold.test], logits["covariates"][fold.test])
        for fold in FOLDS
    ]
    assert line.difference == pytest.approx(np.mean(aurocs))
    assert (line.table, line.row) == (None, None)
    assert [each.model for each in evaluation.comparison[:1]] == ["fmmtc"]


def test_the_figures_are_those_of_the_table_of_metrics(predictions):
    evaluation = judged(predictions)
    rows = {(each.model, each.metric): each for each in evaluation.metrics}
    for line in evaluation.comparison:
        same = rows[line.model, line.metric]
        assert (line.mean, line.pooled_low) == pytest.approx((same.mean, same.pooled_low))


def test_a_line_that_cannot_be_had_is_there_with_its_reason(predictions):
    row = PaperRow("Table 3", 2, "lstm", "LSTM on TS", "needs parcel series", possible=False)
    found = lines(judged(predictions, rows=[row]), row=2)
    assert len(found) == 5
    assert {each.note for each in found} == {"needs parcel series"}
    assert all(np.isnan(each.mean) for each in found)


def test_an_impossible_line_has_no_figures_of_another_model_with_its_name(predictions):
    row = PaperRow("Table 3", 9, "fmmtc", "With", "needs the checkpoint", possible=False)
    found = lines(judged(predictions, rows=[row]), row=9)
    assert all(np.isnan(each.mean) for each in found)


def test_a_model_that_failed_says_so(predictions):
    row = PaperRow("Table 3", 5, "covariates", "Covariates")
    some = [each for each in predictions if each.model != "covariates" or each.fold.fold > 1]
    (line,) = lines(judged(some, rows=[row]), row=5, metric="auroc")
    assert line.note.startswith("failed on 2 of 5 folds")
    none = [each for each in predictions if each.model != "covariates"]
    (line,) = lines(judged(none, rows=[row]), row=5, metric="auroc")
    assert line.note.startswith("failed on every fold")


def test_random_guesses_are_a_line_and_a_row(predictions):
    evaluation = judged(predictions, rows=[PaperRow("Table 3", 1, "random", "Random")])
    (line,) = lines(evaluation, table="Table 3", metric="mcc")
    assert line.mean == pytest.approx(0.0, abs=0.02)
    assert "draws" in line.note
    assert sum(each.model == "random" for each in evaluation.metrics) == 6


def test_without_shuffles_nothing_is_tested_and_with_them_the_p_is_counted(predictions):
    evaluation = judged(predictions)
    assert {each.verdict for each in evaluation.tests} == {"not tested"}
    assert evaluation.verdict.startswith("not tested")
    shuffles = np.linspace(0.3, 0.6, 99)
    tested = judged(predictions, permuted={"fmmtc": shuffles}).tests
    auroc = next(each.auroc for each in tested if each.model == "fmmtc")
    expected = (1 + (shuffles >= auroc).sum()) / 100
    assert tested[0].p == pytest.approx(expected)
    assert [each.model for each in tested if each.n_permutations] == ["fmmtc"]


def test_a_model_that_could_not_be_fitted_on_every_fold_has_no_verdict_and_says_of_whom_it_is(
    predictions,
):
    shuffles = {"fmmtc": np.linspace(0.3, 0.5, 99)}
    some = [each for each in predictions if each.model != "fmmtc" or each.fold.fold == 0]
    evaluation = judged(some, permuted=shuffles, folds=FOLDS)
    test = next(each for each in evaluation.tests if each.model == "fmmtc")
    assert (test.verdict, test.n_permutations) == ("not tested", 0)
    assert test.not_tested == "it could be fitted on 1 of 5 folds only"
    assert (test.n_people, test.n_folds, test.n_folds_planned) == (8, 1, 5)
    assert evaluation.verdict.startswith("not tested: it could be fitted on 1 of 5 folds only")
    # A fold that no model could be fitted on counts as well.
    lost = [each for each in predictions if each.fold.fold != 4]
    assert judged(lost, permuted=shuffles, folds=FOLDS).tests[0].verdict == "not tested"
    whole = judged(predictions, permuted=shuffles, folds=FOLDS).tests[0]
    assert (whole.n_permutations, whole.n_people, whole.n_folds) == (99, N, 5)


def test_the_published_protocol_is_compared_with_the_first_training(predictions, logits):
    first = fitted("fmmtc", logits["fmmtc"])
    second = [replace(each, seed=1) for each in fitted("fmmtc", logits["fmmtc"] + 5 * Y)]
    others = [each for each in predictions if each.model != "fmmtc"]
    merged = list(merge_trainings([*first, *second]))
    published = [
        {name: replace(each, selection=name) for name in ("best-on-test", "last-epoch")}
        for each in first
    ]
    evaluation = judged(
        [*merged, *others],
        published=published,
        trainings=[*first, *second, *others],
        selection="best-on-test",
    )
    assert all(each.gap == 0 for each in evaluation.optimism)


def test_the_published_protocol_stands_beside_the_honest_one_and_says_what_it_is(
    predictions, logits
):
    best = {
        name: fitted("fmmtc", logits["fmmtc"] + shift * (2 * Y - 1), selection=name)
        for name, shift in (("best-on-test", 5.0), ("last-epoch", 0.0))
    }
    published = [{name: own[i] for name, own in best.items()} for i in range(len(FOLDS))]
    evaluation = judged(predictions, published=published, selection="best-on-test")
    (line,) = lines(evaluation, model="fmmtc", metric="auroc", selection="best-on-test")
    assert (line.mean, line.note) == (1.0, OPTIMISTIC)
    (row,) = (each for each in evaluation.optimism if each.metric == "auroc")
    (honest,) = lines(evaluation, model="fmmtc", metric="auroc", selection="nested")
    assert row.gap == pytest.approx(1.0 - honest.mean)
    assert honest.note is None

    last = judged(predictions, published=published, selection="last-epoch")
    assert lines(last, selection="best-on-test") == []
    assert np.isnan(last.optimism[0].gap)
    assert not np.isnan(last.optimism[0].last_epoch)


def test_table_4_tests_the_fits_of_an_arm_within_it_and_on_everyone_of_the_other(logits):
    examples = replace(EXAMPLES, arms=ARMS)
    cells = domains(ARMS, SplitPlan(examples.strata, None, TRAIN, 0))
    folds = folds_to_fit(cells)
    models = ("fmmtc", "dummy")
    across = DomainFits(
        cells, models, tuple(p for m in models for p in fitted(m, logits[m], folds))
    )
    own = [each for model in models for each in fitted(model, logits[model])]
    evaluation = judged(own, examples, across=across)
    (line,) = lines(evaluation, model="fmmtc", metric="auroc", train_on="drug", test_on="placebo")
    placebo = np.array([arm == "placebo" for arm in ARMS])
    auroc = roc_auc_score(Y[placebo], logits["fmmtc"][placebo])
    assert (line.mean, line.pooled) == pytest.approx((auroc, auroc))
    # Every fit here says the same, and is tested on the same people: there is no spread of folds.
    assert line.fold_sd == pytest.approx(0, abs=1e-12)
    assert np.isnan([line.mean_low, line.mean_high]).all()
    assert line.pooled_low < auroc < line.pooled_high
    assert f"over {len(cells[1].folds)} trainings" in line.note
    (within,) = lines(evaluation, model="dummy", metric="auroc", train_on="drug", test_on="drug")
    assert within.mean == 0.5
    assert within.difference == pytest.approx(
        np.mean(
            [
                roc_auc_score(Y[fold.test], logits["fmmtc"][fold.test]) - 0.5
                for fold in cells[0].folds
            ]
        )
    )
    assert {each.arm for each in evaluation.arms} == {"drug", "placebo"}


def test_a_single_training_keeps_its_ranks_where_calibration_found_no_slope(logits):
    examples = replace(EXAMPLES, arms=ARMS)
    cells = domains(ARMS, SplitPlan(examples.strata, None, TRAIN, 0))
    folds = folds_to_fit(cells)
    flat = [
        replace(each, calibration=Calibration("sigmoid", 0.0, 0.0, 0.5))
        for each in fitted("fmmtc", logits["fmmtc"], folds)
    ]
    own = fitted("fmmtc", logits["fmmtc"])
    evaluation = judged(own, examples, across=DomainFits(cells, ("fmmtc",), tuple(flat)))
    (line,) = lines(evaluation, metric="auroc", train_on="drug", test_on="placebo")
    assert line.pooled == pytest.approx(line.mean)
    assert line.mean > 0.5
    assert line.pooled_low < line.mean < line.pooled_high


def test_without_arms_table_4_says_what_it_needs(predictions):
    rows = [PaperRow("Table 3", 9, "fmmtc", "FMM_TC")]
    found = lines(judged(predictions, rows=rows), table="Table 4")
    assert len(found) == 5
    assert "--subset-by" in found[0].note
    assert lines(judged(predictions), table="Table 4") == []
