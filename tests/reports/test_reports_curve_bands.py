"""Bands around curves: what they hold against scikit-learn, draw by draw, and against the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import precision_recall_curve, roc_curve

from fmmtc_bidsapp.reports.figures import group_bands
from fmmtc_bidsapp.reports.figures.group_bands import curve_bands
from fmmtc_bidsapp.stats import bootstrap_weights


def predictions(y, logit, *, fold=None, repeat=0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i}" for i in range(len(y))], "session_id": None,
            "y_true": [str(each) for each in y], "logit": logit, "probability": expit(logit),
            "fold": fold, "repeat": repeat,
        }
    )  # fmt: skip


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    y = np.arange(40) % 2
    return y, np.round(0.6 * (2 * y - 1) + rng.normal(size=40), 1)  # with ties


def by_sklearn(y, score, weights, kind):
    grid = np.linspace(0, 1, 101)
    curves = []
    for weight in weights:
        if kind == "roc":
            x, values, _ = roc_curve(y, score, sample_weight=weight, drop_intermediate=False)
            curves.append(np.interp(grid, x, values))
            continue
        precision, recall, _ = precision_recall_curve(y, score, sample_weight=weight)
        # Recall falls: the last point that still reaches a recall has the highest threshold.
        last = [np.flatnonzero(recall >= each - 1e-9)[-1] for each in grid[1:]]
        curves.append(precision[last])
    return np.quantile(curves, (0.025, 0.975), axis=0)


@pytest.mark.parametrize("kind", ["roc", "pr"])
def test_a_band_is_the_quantiles_of_scikit_learns_curves_of_the_same_draws(scored, kind):
    y, logit = scored
    # Precision depends on the share of positives, which must be free to vary.
    apart = (y != 1 if kind == "roc" else y == 2).astype(np.int64)
    weights = bootstrap_weights(apart, 60, np.random.default_rng(group_bands._SEED))
    band = curve_bands(predictions(y, logit), 60)[kind]
    low, high = by_sklearn(y, logit, weights, kind)
    np.testing.assert_allclose(band.low, low)
    np.testing.assert_allclose(band.high, high)


def test_the_same_table_gives_the_same_band(scored):
    first, second = (curve_bands(predictions(*scored))["roc"] for _ in range(2))
    np.testing.assert_array_equal(first.low, second.low)


def test_a_band_covers_the_true_curve_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    truth = norm.cdf(1 + norm.ppf(0.3))
    bands = [curve_bands(predictions(y, y + rng.normal(size=80)), 200)["roc"] for _ in range(80)]
    covered = np.mean([band.low[30] <= truth <= band.high[30] for band in bands])
    assert 0.85 <= covered <= 1


def test_a_person_takes_the_predictions_of_every_repeat_along(scored):
    y, logit = scored
    once = curve_bands(predictions(y, logit))
    twice = curve_bands(pd.concat([predictions(y, logit), predictions(y, logit, repeat=1)]))
    for kind in ("roc", "pr"):
        np.testing.assert_allclose(twice[kind].low, once[kind].low)
        np.testing.assert_allclose(twice[kind].high, once[kind].high)


@pytest.mark.parametrize("y", [[1, 1, 1], [1, 0, 0], [0, 0]])
def test_one_person_of_an_outcome_has_no_band(y):
    assert curve_bands(predictions(y, np.arange(len(y)) / 1.0)) == {}
