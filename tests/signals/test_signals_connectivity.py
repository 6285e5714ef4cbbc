"""Correlation against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.connectivity import correlate


@pytest.fixture
def signal():
    rng = np.random.default_rng(11)
    return rng.normal(size=(40, 6)) @ rng.normal(size=(6, 9)) + 500


def test_correlation_equals_numpys(signal):
    np.testing.assert_allclose(correlate(signal), np.corrcoef(signal.T), atol=1e-12)


def test_the_matrix_is_symmetric_to_the_bit_with_a_diagonal_of_one(signal):
    matrix = correlate(signal)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), 1.0)
    assert np.abs(matrix).max() == 1


def test_scale_and_level_do_not_change_it(signal):
    scaled = signal * np.geomspace(1e-6, 1e6, 9) + 3
    np.testing.assert_allclose(correlate(scaled), correlate(signal), atol=1e-7)


@pytest.mark.parametrize("column", [np.nan, 0.0, 0.1 + 0.2], ids=["missing", "zero", "constant"])
def test_a_parcel_without_data_or_variance_is_nan_and_leaves_the_rest_alone(signal, column):
    others = np.delete(np.arange(9), 4)
    expected = np.corrcoef(signal[:, others].T)
    signal[:, 4] = column
    matrix = correlate(signal)
    assert np.isnan(matrix[4]).all()
    assert np.isnan(matrix[:, 4]).all()
    np.testing.assert_allclose(matrix[np.ix_(others, others)], expected, atol=1e-12)


def test_no_parcel_with_data_gives_a_matrix_of_nan():
    assert np.isnan(correlate(np.full((10, 3), np.nan))).all()


def test_one_parcel_with_data_correlates_with_itself_only(signal):
    signal[:, 1:] = np.nan
    matrix = correlate(signal)
    assert matrix[0, 0] == 1
    assert np.isnan(matrix).sum() == 80


def test_fewer_than_three_volumes_are_refused(signal):
    with pytest.raises(InputError, match="series of 2 volumes"):
        correlate(signal[:2])
    assert correlate(signal[:3]).shape == (9, 9)
