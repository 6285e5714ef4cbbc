"""A finished model on new people: judged as it is, recalibrated without looking."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from learning_fits import fit_everyone
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from fmmtc_bidsapp.learning.evaluation.external_validation import (
    evaluate_external,
    of_people,
    predict_new,
)
from fmmtc_bidsapp.learning.model_selection.ensemble import EnsembleModel, log_odds
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Calibration, Fold, FoldPredictions

OPTIONS = EvaluationOptions(bootstrap=200)
CALIBRATION = Calibration("sigmoid", 2.0, 0.5, 0.5)


def new_people(n=400, seed=0, slope=0.5, intercept=-1.0):
    """Outcomes whose true log odds are a line of what the model says."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=n)
    said = 2.0 * logits + 0.5
    y = (rng.uniform(size=n) < expit(slope * said + intercept)).astype(np.int64)
    return logits, y


def frozen_predictions(model, logits, calibration, prevalence):
    """What `predict_new` makes of one training."""
    nothing, nobody = np.zeros(0), np.zeros(0, dtype=np.int64)
    fold = Fold(-1, -1, nobody, np.arange(len(logits)))
    return FoldPredictions(model, fold, logits, calibration, prevalence, 1, nothing, nothing)


def rows_of(external, model):
    return {row.metric: row for row in external.evaluation.metrics if row.model == model}


def test_the_frozen_model_is_judged_as_it_is() -> None:
    logits, y = new_people()
    external = evaluate_external(
        frozen_predictions("fmmtc", logits, CALIBRATION, 0.5), y, OPTIONS, 0
    )
    found = rows_of(external, "fmmtc")
    probability = expit(2 * logits + 0.5)
    assert found["auroc"].pooled == pytest.approx(roc_auc_score(y, logits))
    assert found["average_precision"].pooled == pytest.approx(average_precision_score(y, logits))
    assert found["brier"].pooled == pytest.approx(brier_score_loss(y, probability))
    assert found["auroc"].pooled_low < found["auroc"].pooled < found["auroc"].pooled_high
    slope, shift = found["calibration_slope"], found["calibration_intercept"]
    assert slope.pooled_low < 0.5 < slope.pooled_high
    assert slope.pooled_high < 1
    assert shift.pooled_high < 0
    assert np.isnan([found["auroc"].mean, found["auroc"].mean_low, found["auroc"].fold_sd]).all()
    assert {each.model for each in external.evaluation.curves} == {"fmmtc"}


def test_a_model_that_knows_the_new_share_alone_gains_nothing_beyond_it() -> None:
    """Of rarer outcomes than in training, a constant has skill against the training share."""
    y = np.repeat([1, 0], [20, 80])
    frozen = frozen_predictions("m", np.zeros(100), Calibration("none", 1, 0, 0.5), 0.5)
    share = replace(frozen, logit=np.full(100, np.log(0.25)) + np.linspace(-1e-6, 1e-6, 100))
    found = rows_of(evaluate_external(share, y, OPTIONS, 0), "m")
    assert found["brier_skill"].pooled > 0.3
    assert found["brier_skill_own_share"].pooled == pytest.approx(0, abs=1e-3)


def test_recalibration_finds_the_line_and_is_scored_on_people_it_was_not_fitted_on() -> None:
    logits, y = new_people(n=4000)
    external = evaluate_external(frozen_predictions("m", logits, CALIBRATION, 0.5), y, OPTIONS, 0)
    shift, both = external.recalibrations
    said = 2 * logits[:, None] + 0.5
    oracle = LogisticRegression(C=np.inf, tol=1e-10).fit(said, y)
    assert (shift.name, shift.slope) == ("recalibrated intercept", 1.0)
    assert expit(said[:, 0] + shift.intercept).mean() == pytest.approx(y.mean())
    assert both.slope == pytest.approx(oracle.coef_[0, 0], abs=1e-4)
    assert both.intercept == pytest.approx(oracle.intercept_[0], abs=1e-4)
    assert both.slope == pytest.approx(0.5, abs=0.1)
    frozen, moved = rows_of(external, "m"), rows_of(external, "m recalibrated")
    only = rows_of(external, "m recalibrated intercept")
    assert moved["log_loss"].pooled < only["log_loss"].pooled < frozen["log_loss"].pooled
    assert moved["calibration_slope"].pooled == pytest.approx(1, abs=0.1)
    assert moved["auroc"].pooled == frozen["auroc"].pooled


def test_recalibration_on_chance_gains_nothing_that_only_its_own_people_would_show() -> None:
    """In sample the line of best fit cannot lose against the prevalence; out of sample it does."""
    skill = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        logits, y = rng.normal(size=60), rng.permutation(np.repeat([0, 1], 30))
        frozen = frozen_predictions("m", logits, CALIBRATION, 0.5)
        external = evaluate_external(frozen, y, EvaluationOptions(bootstrap=1), seed)
        skill.append(rows_of(external, "m recalibrated")["log_loss_skill"].pooled)
    assert np.mean(skill) < 0


@pytest.mark.parametrize(("rarer", "done"), [(9, 0), (10, 1), (19, 1), (20, 2)])
def test_too_few_people_are_refused_with_how_many_are_needed(rarer: int, done: int) -> None:
    y = np.repeat([1, 0], [rarer, 40])
    logits = np.random.default_rng(0).normal(size=len(y))
    external = evaluate_external(frozen_predictions("m", logits, CALIBRATION, 0.5), y, OPTIONS, 0)
    refused = [each for each in external.recalibrations if each.reason]
    assert len(refused) == 2 - done
    assert len({row.model for row in external.evaluation.metrics}) == 1 + done
    for each in refused:
        assert each.slope is None
        assert f"{rarer} participants have the rarer outcome" in each.reason
        assert "Peduzzi" in each.reason


def test_people_of_one_outcome_leave_the_figures_that_need_no_other() -> None:
    y, logits = np.ones(12, dtype=np.int64), np.linspace(-1, 1, 12)
    external = evaluate_external(frozen_predictions("m", logits, CALIBRATION, 0.5), y, OPTIONS, 0)
    found = rows_of(external, "m")
    probability = expit(2 * logits + 0.5)
    assert found["sensitivity"].pooled == pytest.approx((probability >= 0.5).mean())
    assert found["brier"].pooled == pytest.approx(((probability - 1) ** 2).mean())
    assert np.isnan(found["auroc"].pooled)
    assert external.evaluation.curves == ()
    assert "have the same outcome" in external.evaluation.verdict


def test_a_model_that_ranks_the_wrong_way_round_is_recalibrated_to_the_share_of_everyone() -> None:
    logits, y = new_people(slope=-1.0)
    external = evaluate_external(frozen_predictions("m", logits, CALIBRATION, 0.5), y, OPTIONS, 0)
    both = external.recalibrations[1]
    assert both.slope == 0
    assert expit(both.intercept) == pytest.approx(y.mean())


def test_several_trainings_predict_new_people_as_they_did_within_the_folds(
    setup, whole_cohort
) -> None:
    examples = whole_cohort()
    trainings = [
        fit_everyone("ridge-fc", examples.take(np.arange(k, 24)), setup, OPTIONS, seed=0)
        for k in range(2)
    ]
    found = predict_new(EnsembleModel(tuple(trainings)), examples)
    odds = [log_odds(each.calibration, each.logits(examples)) for each in trainings]
    np.testing.assert_allclose(found.logit, np.mean(odds, axis=0))
    np.testing.assert_allclose(found.refits, expit(odds))
    assert (found.fold.fold, found.fold.repeat) == (-1, -1)
    some = of_people(found, np.array([3, 5]))
    np.testing.assert_array_equal(some.refits, found.refits[:, [3, 5]])
    np.testing.assert_array_equal(some.raw, found.raw[[3, 5]])
    assert some.fold.test.tolist() == [0, 1]
