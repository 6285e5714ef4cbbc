"""The area under a written curve is the figure that is quoted of the model."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from fmmtc_bidsapp.learning.evaluation.performance import evaluate
from fmmtc_bidsapp.learning.metrics.curves import curves_of
from fmmtc_bidsapp.learning.model_selection.splits import outer_folds
from fmmtc_bidsapp.options import EvaluationOptions
from fmmtc_bidsapp.records import Calibration, Fold, FoldPredictions


def folds_of(y, logits, n_folds, repeats):
    folds = outer_folds([str(each) for each in y], folds=n_folds, repeats=repeats, seed=1)
    return [one_fold(fold, logits) for fold in folds]


def one_fold(fold, logits):
    nothing = np.zeros(1)
    calibration = Calibration("sigmoid", 0.0, 0.1, 0.5)
    return FoldPredictions(
        "m", fold, logits[fold.test], calibration, 0.4, 1, nothing, train_loss=nothing
    )


def cohort(seed, n=45, ties=True):
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 5 < 2).astype(int)
    logits = y + rng.normal(size=n)
    return y, np.round(logits, 0 if ties else 9)


def mean_of(curves, kind):
    (found,) = [each for each in curves if each.kind == kind and each.fold is None]
    return found


def area_of_steps(curve):
    return float(np.sum(np.diff(curve.x) * curve.y[1:]))


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize(("n_folds", "repeats"), [(2, 1), (5, 1), (5, 3)])
def test_the_area_under_the_mean_roc_curve_is_the_mean_auroc_of_the_folds(n_folds, repeats, ties):
    y, logits = cohort(3, ties=ties)
    folds = folds_of(y, logits, n_folds, repeats)
    curve = mean_of(curves_of("m", folds, y), "roc")
    expected = np.mean([roc_auc_score(y[f.fold.test], f.logit) for f in folds])
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(expected, abs=1e-12)
    assert (np.diff(curve.x) >= 0).all()
    assert (np.diff(curve.y) >= -1e-12).all()


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize(("n_folds", "repeats"), [(2, 1), (5, 1), (5, 3)])
def test_the_area_under_the_mean_precision_steps_is_the_mean_average_precision(
    n_folds, repeats, ties
):
    y, logits = cohort(4, ties=ties)
    folds = folds_of(y, logits, n_folds, repeats)
    curve = mean_of(curves_of("m", folds, y), "pr")
    expected = np.mean([average_precision_score(y[f.fold.test], f.logit) for f in folds])
    assert area_of_steps(curve) == pytest.approx(expected, abs=1e-12)


def test_the_areas_are_the_figures_of_the_metrics_table_also_where_folds_have_no_common_scale():
    """Folds that rank perfectly on scales of their own, as in the report that drew a diagonal."""
    y = np.tile([0, 1], 20)
    folds = folds_of(y, y + 0.0, 5, 1)
    shifted = [one_fold(f.fold, y + 10.0 * f.fold.fold) for f in folds]
    found = evaluate(shifted, y, EvaluationOptions(bootstrap=20), 0)
    quoted = {row.metric: row.mean for row in found.metrics}
    roc, pr = (mean_of(found.curves, kind) for kind in ("roc", "pr"))
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(quoted["auroc"]) == 1
    assert area_of_steps(pr) == pytest.approx(quoted["average_precision"]) == 1


def test_the_mean_roc_is_the_mean_height_of_the_folds_at_any_false_positive_rate():
    y, logits = cohort(5)
    folds = folds_of(y, logits, 5, 1)
    curve = mean_of(curves_of("m", folds, y), "roc")
    # Between jumps a polyline has one height.
    at = np.random.default_rng(0).uniform(size=200)
    heights = [np.interp(at, *roc_curve(y[f.fold.test], f.logit)[:2]) for f in folds]
    np.testing.assert_allclose(np.interp(at, curve.x, curve.y), np.mean(heights, axis=0))


def test_each_fold_has_a_curve_of_its_own_beside_the_mean():
    y, logits = cohort(6)
    folds = folds_of(y, logits, 3, 2)
    curves = [each for each in curves_of("m", folds, y) if each.kind == "roc"]
    own = {(each.repeat, each.fold): each for each in curves if each.fold is not None}
    assert set(own) == {(f.fold.repeat, f.fold.fold) for f in folds}
    for f in folds:
        curve = own[f.fold.repeat, f.fold.fold]
        auroc = roc_auc_score(y[f.fold.test], f.logit)
        assert np.trapezoid(curve.y, curve.x) == pytest.approx(auroc)


def test_a_fold_of_one_outcome_has_no_curve_and_no_part_in_the_mean():
    y = np.array([0, 1, 0, 1, 0, 0])
    logits = np.array([0.1, 0.4, 0.6, 0.5, 0.2, 0.3])
    first, last = np.arange(4), np.arange(4, 6)
    both, one = Fold(0, 0, last, first), Fold(0, 1, first, last)
    curves = curves_of("m", [one_fold(both, logits), one_fold(one, logits)], y)
    roc = mean_of(curves, "roc")
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(roc_auc_score(y[:4], logits[:4]))
    assert curves_of("m", [one_fold(one, logits)], y) == ()


def test_one_model_on_everyone_has_scikit_learns_curves():
    y, logits = cohort(7)
    fold = Fold(0, 0, np.zeros(0, dtype=int), np.arange(len(y)))
    roc, pr = curves_of("m", [one_fold(fold, logits)], y)
    x, height, _ = roc_curve(y, logits)
    np.testing.assert_allclose(np.interp(x[1:-1], roc.x, roc.y), np.interp(x[1:-1], x, height))
    precision, recall, _ = precision_recall_curve(y, logits)
    for at, own in zip(pr.x[1:], pr.y[1:], strict=True):
        assert own == precision[np.flatnonzero(recall == at)[-1]]
