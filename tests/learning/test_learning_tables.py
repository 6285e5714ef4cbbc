"""The paper's tables, and what of them a cohort allows."""

from __future__ import annotations

import numpy as np

from fmmtc_bidsapp.learning.estimators.models import MODELS
from fmmtc_bidsapp.learning.model_selection.splits import SplitPlan
from fmmtc_bidsapp.learning.paper.random_baseline import RANDOM
from fmmtc_bidsapp.learning.paper.tables import (
    PAPER,
    domains,
    folds_to_fit,
    paper_models,
    paper_rows,
)
from fmmtc_bidsapp.options import ModelOptions, TrainOptions

OPTIONS = TrainOptions(folds=3, repeats=2, inner_folds=2)


def everything(name):
    return ()


def of(rows, table):
    return [each for each in rows if each.table == table]


def test_every_line_is_of_a_model_that_can_be_fitted():
    rows = paper_rows(ModelOptions(), (), everything)
    assert {each.model for each in rows if each.possible} - {RANDOM} <= set(MODELS)


def test_the_tables_are_as_long_as_the_papers():
    assert [len(of(PAPER, name)) for name in ("Table 1", "Table 3", "Fig. 2a")] == [5, 10, 24]
    # Row 6 has two readings: the encoder without pre-training is frozen, or trained from scratch.
    assert [each.row for each in of(PAPER, "Table 3")] == [1, 2, 3, 4, 5, 6, 6, 7, 8, 9]


def test_the_default_fusion_is_fitted_once():
    rows = paper_rows(ModelOptions(), (), everything)
    assert of(rows, "Table 1")[4].model == of(rows, "Table 3")[9].model == "fmmtc"
    models = paper_models(rows, "fmmtc")
    assert models[0] == "fmmtc"
    assert len(set(models)) == len(models)
    assert "fmmtc-concat" not in models
    assert RANDOM not in models


def test_another_fusion_takes_the_place_of_the_default():
    table = of(paper_rows(ModelOptions(fusion="sum"), (), everything), "Table 1")
    assert [each.model for each in table if each.title == "Sum"] == ["fmmtc"]
    assert [each.model for each in table if each.title == "Concatenation"] == ["fmmtc-concat"]


def test_a_random_encoder_gives_the_lines_without_pre_training_and_the_reason_for_the_others():
    rows = of(paper_rows(ModelOptions(encoder="random"), (), everything), "Table 3")
    assert [(each.row, each.model) for each in rows if each.possible][-3:] == [
        (6, "brainlm"),
        (6, "brainlm-scratch"),
        (8, "fmmtc"),
    ]
    lost = [each for each in rows if not each.possible]
    assert [each.row for each in lost] == [7, 9]
    assert all("--encoder brainlm" in each.note for each in lost)


def test_without_an_encoder_there_is_none_to_tune_either():
    rows = of(paper_rows(ModelOptions(encoder="none"), (), everything), "Table 3")
    assert [(each.row, each.note) for each in rows if not each.possible] == [
        (7, "needs the published checkpoint of the encoder: --encoder brainlm")
    ]


def test_what_a_cohort_lacks_is_said_in_the_line():
    def only_matrices(name):
        needs_more = any(need != "fc" for need in MODELS[name].needs)
        return ("encoded series",) if needs_more else ()

    rows = paper_rows(ModelOptions(encoder="none"), (), only_matrices)
    assert len(rows) == len(PAPER)
    assert "svm-fc" in paper_models(rows, "fmmtc")
    assert "fmmtc" not in paper_models(rows, "fmmtc")
    assert next(each.note for each in rows if each.model == "svm-encoder") == "needs encoded series"


def test_features_narrow_the_figure_alone():
    rows = paper_rows(ModelOptions(), ("pca-fc",), everything)
    assert [each.model for each in of(rows, "Fig. 2a")] == [
        "svm-pca-fc", "ridge-pca-fc", "knn-pca-fc", "xgboost-pca-fc",
    ]  # fmt: skip
    assert len(of(rows, "Table 3")) == 10


def a_trial(n=24):
    """People of two arms, half of whom respond in each."""
    arms = ["drug" if i % 4 < 2 else "placebo" for i in range(n)]
    return arms, [f"{i % 2}|{arm}" for i, arm in enumerate(arms)]


def test_each_arm_is_split_within_and_tested_on_the_other():
    arms, strata = a_trial()
    cells = domains(arms, SplitPlan(strata, None, OPTIONS, 0))
    assert [(each.train_on, each.test_on, len(each.folds)) for each in cells] == [
        ("drug", "drug", 6), ("drug", "placebo", 6), ("placebo", "placebo", 6),
        ("placebo", "drug", 6),
    ]  # fmt: skip
    for cell in cells:
        for fold in cell.folds:
            assert {arms[row] for row in fold.train} == {cell.train_on}
            assert {arms[row] for row in fold.test} == {cell.test_on}
    within = cells[0].folds
    assert sorted(row for fold in within[:3] for row in fold.test) == [
        row for row, arm in enumerate(arms) if arm == "drug"
    ]
    for inside, across in zip(within, cells[1].folds, strict=True):
        assert np.array_equal(inside.train, across.train)
        assert len(across.test) == 12


def test_every_training_set_is_fitted_once_and_tested_on_everyone_that_any_cell_tests():
    arms, strata = a_trial()
    cells = domains(arms, SplitPlan(strata, None, OPTIONS, 0))
    fits = folds_to_fit(cells)
    assert len(fits) == 2 * 3 * 2
    for fit in fits:
        (arm,) = {arms[row] for row in fit.train}
        others = {row for row, each in enumerate(arms) if each != arm}
        assert set(fit.test.tolist()) >= others
        assert len(fit.test) == len(others) + (12 - len(fit.train))


def test_no_two_fits_share_a_number_nor_one_of_the_whole_cohort():
    arms, strata = a_trial()
    cells = domains(
        [*arms, *["third"] * 12], SplitPlan([*strata, *["0|t", "1|t"] * 6], None, OPTIONS, 0)
    )
    numbers = [(fold.repeat, fold.fold) for fold in folds_to_fit(cells)]
    assert len(set(numbers)) == len(numbers) == 3 * 3 * 2
    assert min(number for _, number in numbers) == OPTIONS.folds


def test_an_arm_too_small_to_train_on_is_left_out_with_the_reason_but_still_tested():
    arms, strata = a_trial()
    cells = domains(
        [*arms, "rare", "rare"], SplitPlan([*strata, "0|rare", "1|rare"], None, OPTIONS, 0)
    )
    rare = [each for each in cells if each.train_on == "rare"]
    assert [len(each.folds) for each in rare] == [0, 0, 0]
    assert all("too small to train on" in each.note for each in rare)
    tested = next(each.folds for each in cells if (each.train_on, each.test_on) == ("drug", "rare"))
    assert [fold.test.tolist() for fold in tested] == [[24, 25]] * 6


def test_people_of_no_arm_are_in_no_cell():
    arms, strata = a_trial()
    cells = domains([*arms, "n/a"], SplitPlan([*strata, "0|n/a"], None, OPTIONS, 0))
    assert {each.train_on for each in cells} == {"drug", "placebo"}
    assert max(row for cell in cells for fold in cell.folds for row in fold.test) < len(arms)


def test_nobody_is_tested_across_arms_by_a_model_that_saw_one_of_their_own():
    arms, strata = a_trial()
    groups = [f"family{i}" for i in range(len(arms))]
    groups[2] = groups[0]  # one of the placebo arm with one of the drug arm
    cells = domains(arms, SplitPlan(strata, groups, OPTIONS, 0))
    cell = next(each for each in cells if (each.train_on, each.test_on) == ("drug", "placebo"))
    assert 2 not in cell.folds[0].test
    assert cell.note.startswith("1 of 12 participants share")


def test_the_same_seed_gives_the_same_splits():
    arms, strata = a_trial()
    first, again, other = (
        domains(arms, SplitPlan(strata, None, OPTIONS, seed)) for seed in (1, 1, 2)
    )
    assert all(
        np.array_equal(a.test, b.test) for a, b in zip(first[0].folds, again[0].folds, strict=True)
    )
    assert not np.array_equal(first[0].folds[0].test, other[0].folds[0].test)


def test_a_cell_whose_inner_folds_are_impossible_says_so_before_anything_is_fitted():
    # The positives of arm a are of two sites: without one of them no inner fold has both outcomes.
    arms = ["a"] * 40 + ["b"] * 40
    sites = [f"{arm}{i % 5}" for i, arm in enumerate(arms)]
    y = [int(i % 5 < 2 and i % 2 == 0) for i in range(40)] + [i // 5 % 2 for i in range(40)]
    strata, train = [str(each) for each in y], TrainOptions()
    plan = SplitPlan(strata, sites, train, 0)
    cells = domains(arms, plan)
    within = next(each for each in cells if (each.train_on, each.test_on) == ("a", "a"))
    assert within.folds == ()
    assert within.note.startswith("a is too small to train on:")
    for cell in cells:
        for fold in cell.folds:
            plan.check_fold(fold)
    assert any(cell.folds for cell in cells)


def test_an_arm_too_small_to_be_split_is_trained_on_whole_and_tested_on_the_others_once():
    arms = ["few"] * 8 + ["many"] * 40
    strata = [str(i % 2) for i in range(48)]
    cells = domains(arms, SplitPlan(strata, None, TrainOptions(folds=5, inner_folds=2), 0))
    found = {(each.train_on, each.test_on): each for each in cells}
    assert found["few", "few"].folds == ()
    assert "too small to train on" in found["few", "few"].note
    (once,) = found["few", "many"].folds
    assert once.train.tolist() == list(range(8))
    assert once.test.tolist() == list(range(8, 48))


def test_a_cell_too_small_for_the_calibration_says_so_and_a_larger_one_is_had():
    arms = ["drug" if i % 440 < 220 else "placebo" for i in range(440)]
    strata = [str(i % 2) for i in range(440)]
    cells = domains(arms, SplitPlan(strata, None, TrainOptions(), 0, "isotonic"))
    assert [len(each.folds) for each in cells] == [0, 1, 0, 1]
    assert "isotonic needs 200 training participants, found 176" in cells[0].note
