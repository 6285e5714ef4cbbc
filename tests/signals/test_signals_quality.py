"""Quality of a run with planted faults, and head motion from the confounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fmmtc_bidsapp.signals.confounds import framewise_displacement
from fmmtc_bidsapp.signals.connectivity import correlate
from fmmtc_bidsapp.signals.parcellate import ParcelMeans
from fmmtc_bidsapp.signals.quality import assess

N_PARCELS = 8


@pytest.fixture
def means():
    coverage = np.linspace(0.6, 1, N_PARCELS)
    return ParcelMeans(
        signal=np.random.default_rng(2).normal(size=(30, N_PARCELS)),
        coverage=coverage,
        n_voxels_used=(coverage * 100).astype(int),
        n_voxels_constant=4,
        n_voxels_nonfinite=2,
        zero_variance=np.zeros(N_PARCELS, dtype=bool),
        low_coverage=np.zeros(N_PARCELS, dtype=bool),
        tr_header_s=2.0,
        n_volumes=30,
    )


def without_data(means, n_missing):
    signal, low = means.signal.copy(), means.low_coverage.copy()
    signal[:, :n_missing], low[:n_missing] = np.nan, True
    return replace(means, signal=signal, low_coverage=low)


def judged(means, fd_mm=None, tr_s=2.0):
    return assess(means, correlate(means.signal), fd_mm, tr_s=tr_s, atlas_resampled=False)


def test_a_good_run_is_usable_without_remarks(means):
    found = judged(means, fd_mm=np.array([np.nan, 0.1, 0.3]))
    assert found.usable
    assert found.reasons == "n/a"
    assert (found.n_volumes, found.n_parcels, found.n_parcels_missing) == (30, N_PARCELS, 0)
    assert (found.n_voxels_constant, found.n_voxels_nonfinite) == (4, 2)
    assert (found.coverage_min, found.coverage_median) == pytest.approx((0.6, 0.8))


def test_the_first_volume_counts_in_no_mean_of_motion(means):
    found = judged(means, fd_mm=np.array([np.nan, 0.1, 0.3]))
    assert (found.mean_fd_mm, found.max_fd_mm) == pytest.approx((0.2, 0.3))


def test_mean_connectivity_is_that_of_the_edges(means):
    matrix = np.corrcoef(means.signal.T)
    edges = matrix[~np.eye(N_PARCELS, dtype=bool)]
    assert judged(means).fc_mean == pytest.approx(edges.mean())


def test_half_of_the_parcels_is_enough_and_fewer_is_not(means):
    half, fewer = judged(without_data(means, 4)), judged(without_data(means, 5))
    assert half.usable
    assert not fewer.usable
    assert fewer.reasons.startswith("5 of 8 parcels have no data")
    assert fewer.n_parcels_missing == fewer.n_parcels_low_coverage == 5


def test_constant_series_are_not_usable(means):
    still = replace(
        means,
        signal=np.ones_like(means.signal),
        zero_variance=np.ones(N_PARCELS, dtype=bool),
    )
    found = judged(still)
    assert not found.usable
    assert found.fc_mean is None
    assert found.n_parcels_zero_variance == N_PARCELS
    assert "series that varies" in found.reasons


def test_an_unknown_repetition_time_or_motion_is_a_remark_only(means):
    found = judged(means, tr_s=None)
    assert found.usable
    assert found.reasons == "repetition time unknown; head motion unknown"
    assert found.mean_fd_mm is None


@pytest.mark.parametrize("name", ["framewise_displacement", "FramewiseDisplacement"])
def test_framewise_displacement_is_found_under_either_name(name):
    values = np.array([np.nan, 0.2, 0.4])
    np.testing.assert_array_equal(framewise_displacement({"csf": values * 2, name: values}), values)


def test_a_table_without_framewise_displacement_gives_none():
    assert framewise_displacement({"csf": np.zeros(3)}) is None
