"""Connectivity against numpy and nilearn, and what is made of several runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import ledoit_wolf

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.options import ConnectivityOptions
from fmmtc_bidsapp.signals.connectivity import COEFFICIENTS, combine, connect, fisher_z

MEASURES = ConnectivityOptions.__dataclass_fields__["fc_measure"].metadata["choices"]


def correlate(signal):
    return connect(signal, "correlation")


@pytest.fixture
def signal():
    rng = np.random.default_rng(11)
    return rng.normal(size=(40, 6)) @ rng.normal(size=(6, 9)) + 500 + rng.normal(size=(40, 9))


def test_correlation_equals_numpys(signal):
    np.testing.assert_allclose(correlate(signal), np.corrcoef(signal.T), atol=1e-12)


def test_covariance_equals_numpys(signal):
    expected = np.cov(signal.T, bias=True)
    np.testing.assert_allclose(connect(signal, "covariance"), expected, rtol=1e-10)


@pytest.mark.parametrize("kind", ["correlation", "partial correlation", "precision"])
def test_series_at_unit_variance_give_what_nilearn_gives_by_default(signal, kind):
    standard = (signal - signal.mean(axis=0)) / signal.std(axis=0)
    estimator = {"cov_estimator": None}
    if kind == "correlation":
        expected = np.corrcoef(standard.T)
    else:
        (expected,) = ConnectivityMeasure(kind=kind, **estimator).fit_transform([standard])
    np.testing.assert_allclose(connect(standard, kind.replace(" ", "-")), expected, atol=1e-12)


def test_precision_is_the_inverse_of_a_covariance_that_keeps_the_variances(signal):
    signal = signal * np.geomspace(0.1, 10, 9)
    covariance = np.linalg.inv(connect(signal, "precision"))
    np.testing.assert_allclose(np.diag(covariance), signal.var(axis=0), rtol=1e-9)
    shrunk, _ = ledoit_wolf((signal - signal.mean(axis=0)) / signal.std(axis=0))
    sd = signal.std(axis=0)
    np.testing.assert_allclose(covariance, shrunk * np.outer(sd, sd), rtol=1e-8)


def test_partial_correlation_finds_a_chain_behind_a_correlation_that_runs_through_it():
    rng = np.random.default_rng(3)
    first = rng.normal(size=20_000)
    middle = first + rng.normal(size=20_000)
    last = middle + rng.normal(size=20_000)
    signal = np.column_stack([first, middle, last])
    assert correlate(signal)[0, 2] > 0.5
    found = connect(signal, "partial-correlation")
    # 1 -> 2 -> 3 with unit noise: the inverse covariance has no entry between 1 and 3.
    assert abs(found[0, 2]) < 0.03
    np.testing.assert_allclose([found[0, 1], found[1, 2]], [0.5, 2**-0.5], atol=0.03)


@pytest.mark.parametrize("measure", ["partial-correlation", "precision"])
def test_fewer_volumes_than_parcels_can_be_inverted(measure):
    signal = np.random.default_rng(4).normal(size=(10, 60))
    found = connect(signal, measure)
    assert np.isfinite(found).all()
    # Independent series: what is left between parcels is small beside the diagonal.
    scale = np.sqrt(np.outer(np.diag(found), np.diag(found)))
    assert np.abs(found / scale)[~np.eye(60, dtype=bool)].max() < 0.5


@pytest.mark.parametrize("measure", MEASURES)
def test_the_matrix_is_symmetric_to_the_bit(signal, measure):
    matrix = connect(signal, measure)
    np.testing.assert_array_equal(matrix, matrix.T)
    if measure in COEFFICIENTS:
        np.testing.assert_array_equal(np.diag(matrix), 1.0)
        assert np.abs(matrix).max() == 1


@pytest.mark.parametrize("measure", COEFFICIENTS)
def test_scale_and_level_do_not_change_a_coefficient(signal, measure):
    scaled = signal * np.geomspace(1e-6, 1e6, 9) + 3
    np.testing.assert_allclose(connect(scaled, measure), connect(signal, measure), atol=1e-7)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("column", [np.nan, 0.0, 0.1 + 0.2], ids=["missing", "zero", "constant"])
def test_a_parcel_without_data_or_variance_is_nan_and_leaves_the_rest_alone(
    signal, column, measure
):
    others = np.delete(np.arange(9), 4)
    expected = connect(signal[:, others], measure)
    signal[:, 4] = column
    matrix = connect(signal, measure)
    assert np.isnan(matrix[4]).all()
    assert np.isnan(matrix[:, 4]).all()
    np.testing.assert_array_equal(matrix[np.ix_(others, others)], expected)


@pytest.mark.parametrize("measure", MEASURES)
def test_no_parcel_with_data_gives_a_matrix_of_nan(measure):
    assert np.isnan(connect(np.full((10, 3), np.nan), measure)).all()


@pytest.mark.parametrize("measure", COEFFICIENTS)
def test_one_parcel_with_data_correlates_with_itself_only(signal, measure):
    signal[:, 1:] = np.nan
    matrix = connect(signal, measure)
    assert matrix[0, 0] == 1
    assert np.isnan(matrix).sum() == 80


def test_fewer_than_three_volumes_are_refused(signal):
    with pytest.raises(InputError, match="series of 2 volumes"):
        correlate(signal[:2])
    assert correlate(signal[:3]).shape == (9, 9)


def test_fishers_z_is_not_defined_on_the_diagonal_and_finite_elsewhere():
    z = fisher_z(np.array([[1.0, 0.5, 1.0], [0.5, 1.0, np.nan], [1.0, np.nan, 1.0]]))
    assert z[0, 1] == pytest.approx(np.log(3) / 2)
    assert z[0, 2] == pytest.approx(14.16, abs=0.01)
    assert np.isnan(z[1, 2])
    assert np.isnan(np.diag(z)).all()


def test_runs_are_weighted_by_volumes_as_z():
    one, two = np.array([[1, 0.2], [0.2, 1]]), np.array([[1, 0.8], [0.8, 1]])
    expected = np.tanh((100 * np.arctanh(0.2) + 300 * np.arctanh(0.8)) / 400)
    merged = combine([one, two], [100, 300], "correlation")
    np.testing.assert_allclose(merged, [[1, expected], [expected, 1]])
    plain = combine([one, two], [100, 300], "covariance")
    np.testing.assert_allclose(plain, [[1, 0.65], [0.65, 1]])


@pytest.mark.parametrize("measure", MEASURES)
def test_an_edge_comes_from_the_runs_that_have_it(measure):
    one, two = np.eye(3), np.eye(3)
    one[0, 1] = one[1, 0] = 0.4
    one[2], one[:, 2] = np.nan, np.nan
    two[0, 1] = two[1, 0] = 0.4
    two[0, 2] = two[2, 0] = -0.3
    two[1], two[:, 1] = np.nan, np.nan
    merged = combine([one, two], [10, 90], measure)
    assert merged[0, 1] == pytest.approx(0.4)
    assert merged[0, 2] == pytest.approx(-0.3)
    assert np.isnan(merged[1, 2])
    np.testing.assert_array_equal(np.diag(merged), 1)


@given(
    arrays(np.float64, (3, 4, 4), elements=st.floats(-0.99, 0.99)),
    st.lists(st.integers(1, 500), min_size=3, max_size=3),
    st.permutations(range(3)),
)
def test_a_mean_lies_between_its_runs_in_whatever_order_they_come(matrices, weights, order):
    symmetric = [(each + each.T) / 2 for each in matrices]
    merged = combine(symmetric, weights, "correlation")
    edges = ~np.eye(4, dtype=bool)
    assert (merged[edges] >= np.min(symmetric, axis=0)[edges] - 1e-9).all()
    assert (merged[edges] <= np.max(symmetric, axis=0)[edges] + 1e-9).all()
    other = combine([symmetric[i] for i in order], [weights[i] for i in order], "correlation")
    np.testing.assert_allclose(other, merged, atol=1e-12)


@pytest.mark.parametrize(
    ("matrices", "weights", "message"),
    [
        ([], [], "one or more"),
        ([np.eye(2), np.eye(3)], [1, 1], r"\(2, 2\), \(3, 3\)"),
        ([np.eye(2), np.eye(2)], [10, 0], "above 0"),
    ],
)
def test_runs_that_cannot_be_combined_are_refused(matrices, weights, message):
    with pytest.raises(InputError, match=message):
        combine(matrices, weights, "correlation")
