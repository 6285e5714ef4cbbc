"""Statistics against values written out, and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from fmmtc_bidsapp.stats import (
    LARGEST_SINGLE,
    bootstrap_weights,
    fisher_z,
    rank_correlation,
    rank_correlation_interval,
)


def test_fishers_z_is_finite_at_1_odd_and_keeps_what_is_missing():
    z = fisher_z(np.array([0.5, -0.5, 1.0, np.nan]))
    assert z[:2] == pytest.approx([np.log(3) / 2, -np.log(3) / 2])
    assert z[2] == pytest.approx(14.16, abs=0.01)
    assert np.isnan(z[3])


def test_correlations_of_single_precision_have_a_clip_of_their_own():
    r = np.array([[1.0, -1.0]], dtype=np.float32)
    np.testing.assert_allclose(fisher_z(r, LARGEST_SINGLE), [[7.25, -7.25]], atol=0.01)
    assert fisher_z(r).dtype == np.float64


def test_ranks_are_correlated_over_those_that_both_have():
    x = np.array([1.0, 2.0, np.nan, 4.0, 5.0])
    y = np.array([1.0, 8.0, 7.0, np.nan, 9.0])
    assert rank_correlation(x, y) == pytest.approx(1.0)
    assert rank_correlation(x, -y) == pytest.approx(-1.0)
    assert np.isnan(rank_correlation(x, y, fewest=4))
    assert np.isnan(rank_correlation(x, np.ones(5)))


def test_the_interval_is_that_of_spearmans_over_the_same_draws():
    rng = np.random.default_rng(0)
    x = rng.normal(size=20)
    y = np.round(x + rng.normal(size=20))
    low, high = rank_correlation_interval(x, y, 200, np.random.default_rng(1))
    rows = np.random.default_rng(1).integers(0, 20, size=(200, 20))
    drawn = [spearmanr(x[row], y[row]).statistic for row in rows]
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_every_kind_keeps_its_number_in_every_draw():
    kind = np.array([0, 1, 1, 0, 1])
    weights = bootstrap_weights(kind, 50, np.random.default_rng(0))
    assert weights.shape == (50, 5)
    np.testing.assert_array_equal(weights[:, kind == 0].sum(axis=1), 2)
    np.testing.assert_array_equal(weights[:, kind == 1].sum(axis=1), 3)
    assert len(np.unique(weights, axis=0)) > 10
