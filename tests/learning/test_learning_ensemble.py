"""Several trainings of one model merged into one prediction with an interval."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from learning_fits import fit_everyone
from scipy.special import expit

from fmmtc_bidsapp.learning.metrics.predictions import before_calibration, prediction_rows
from fmmtc_bidsapp.learning.model_selection.ensemble import (
    EnsembleModel,
    merge_trainings,
    restore_trainings,
)
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Calibration, Fold, FoldPredictions

EVALUATION = EvaluationOptions()
LOGITS = (np.array([0.0, 1.0, -2.0]), np.array([2.0, 1.0, 0.0]))
LINES = ((1.0, 0.0, 0.5), (0.5, 1.0, 0.4))


def training(which: int, model: str = "fmmtc", fold: int = 0) -> FoldPredictions:
    slope, intercept, threshold = LINES[which]
    return FoldPredictions(
        model=model,
        fold=Fold(0, fold, np.array([3, 4]), np.array([0, 1, 2])),
        logit=LOGITS[which],
        calibration=Calibration("sigmoid", slope, intercept, threshold),
        prevalence=0.5,
        epoch=3 + which,
        validation_loss=np.array([float(which)]),
        train_loss=np.zeros(3 + which),
        seed=which,
    )


def test_the_mean_of_the_calibrated_log_odds_predicts():
    (merged,) = merge_trainings([training(1), training(0)])
    np.testing.assert_allclose(merged.logit, [1.0, 1.25, -0.5])
    assert merged.calibration == Calibration("none", 1.0, 0.0, 0.45)
    np.testing.assert_allclose(
        merged.refits, [expit([0.0, 1.0, -2.0]), expit([2.0, 1.5, 1.0])], rtol=1e-12
    )
    np.testing.assert_allclose(before_calibration(merged).logit, [1.0, 1.0, -1.0])
    assert (merged.seed, merged.epoch, len(merged.train_loss)) == (0, 3, 3)


def test_one_training_stays_as_it_is_and_folds_models_and_selections_stay_apart():
    alone = training(0, fold=1)
    other = replace(training(1), selection="last-epoch")
    merged = merge_trainings([training(0), alone, training(0, "bnt"), training(1), other])
    assert [(each.model, each.fold.fold, each.selection) for each in merged] == [
        ("fmmtc", 0, "nested"),
        ("fmmtc", 1, "nested"),
        ("bnt", 0, "nested"),
        ("fmmtc", 0, "last-epoch"),
    ]
    assert merged[1] is alone
    assert merged[0].refits is not None


def test_calibration_by_steps_merges_by_its_log_odds():
    steps = Calibration("isotonic", 1.0, 0.0, 0.5, ((-1.0, 0.2), (1.0, 0.8)))
    first, second = (replace(training(i), calibration=steps) for i in range(2))
    (merged,) = merge_trainings([first, second])
    assert expit(merged.logit[1]) == pytest.approx(0.8)
    assert merged.logit[0] == pytest.approx(0.5 * np.log(4))


def test_the_spread_over_trainings_is_the_interval_of_a_person(whole_cohort):
    examples = whole_cohort()
    (merged,) = merge_trainings([training(0), training(1)])
    row = prediction_rows([merged], examples)[0]
    low, high = np.quantile([0.5, expit(2.0)], [0.025, 0.975])
    assert (row.probability_low, row.probability_high) == pytest.approx((low, high))
    assert row.probability == pytest.approx(expit(1.0))
    single = prediction_rows([training(1)], examples)[1]
    assert np.isnan([single.probability_low, single.probability_high]).all()
    assert (single.probability_raw, single.probability) == pytest.approx((expit(1), expit(1.5)))


def test_trainings_that_are_kept_predict_the_same_when_they_are_read_back(setup, whole_cohort):
    examples = whole_cohort(effect=1.0)
    models = [
        fit_everyone("bnt", examples, setup, EVALUATION, seed=1, training=each) for each in range(3)
    ]
    kept = EnsembleModel(tuple(models))
    tensors = {name: each.clone() for name, each in kept.tensors().items()}
    description = json.loads(json.dumps(kept.description()))
    assert {name: list(each.shape) for name, each in tensors.items()} == description["tensors"]
    restored = restore_trainings(tensors, description, setup)
    np.testing.assert_array_equal(restored.logits(examples), kept.logits(examples))
    assert restored.calibration == kept.calibration
    assert len({each.logits(examples).tobytes() for each in models}) == 3


def test_a_single_training_is_kept_as_before(setup, whole_cohort):
    examples = whole_cohort()
    model = fit_everyone("lstm", examples, setup, EVALUATION, seed=1)
    restored = restore_trainings(model.tensors(), model.description(), setup)
    np.testing.assert_array_equal(restored.logits(examples), model.logits(examples))
