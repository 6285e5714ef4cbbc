"""QC-FC against scipy edge by edge, with planted and absent effects of motion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fmmtc_bidsapp.signals.motion_connectivity import FEWEST_PEOPLE, relate_motion

N_PEOPLE, N_PARCELS = 60, 40


@pytest.fixture
def rng():
    return np.random.default_rng(21)


@pytest.fixture
def mean_fd_mm(rng):
    return rng.lognormal(-2, 0.6, N_PEOPLE)


@pytest.fixture
def coordinates_mm(rng):
    return rng.uniform(-60, 60, (N_PARCELS, 3))


def distances(coordinates_mm):
    return np.linalg.norm(coordinates_mm[:, None] - coordinates_mm[None], axis=2)


def noise(rng, n_people=N_PEOPLE, n_parcels=N_PARCELS):
    z = rng.normal(0.3, 0.2, (n_people, n_parcels, n_parcels))
    z = (z + z.transpose(0, 2, 1)) / np.sqrt(2)
    z[:, np.arange(n_parcels), np.arange(n_parcels)] = np.nan
    return z


def plant(z, mean_fd_mm, coordinates_mm, strength):
    """Raise short connections with motion, as movement does."""
    near = np.exp(-distances(coordinates_mm) / 30)
    scaled = (mean_fd_mm - mean_fd_mm.mean()) / mean_fd_mm.std()
    return z + strength * scaled[:, None, None] * near


def test_every_edge_is_scipys_pearson_over_those_who_have_it(rng, mean_fd_mm):
    z = noise(rng, n_parcels=6)
    z[rng.random(z.shape[0]) < 0.4, 2, :] = np.nan
    z[:, :, 2] = z[:, 2, :]
    z[: N_PEOPLE - FEWEST_PEOPLE + 1, 4, 5] = z[: N_PEOPLE - FEWEST_PEOPLE + 1, 5, 4] = np.nan
    r, p = [], []
    for i, j in zip(*np.triu_indices(6, k=1), strict=True):
        there = np.isfinite(z[:, i, j])
        if there.sum() >= FEWEST_PEOPLE:
            found = stats.pearsonr(z[there, i, j], mean_fd_mm[there])
            r.append(found.statistic)
            p.append(found.pvalue)
    q = stats.false_discovery_control(p)
    overall = relate_motion(z, mean_fd_mm, None).overall
    assert overall.n_edges == 14
    assert overall.median_r == pytest.approx(np.median(r))
    assert overall.median_abs_r == pytest.approx(np.median(np.abs(r)))
    assert overall.share_p_below_05 == np.mean(np.array(p) < 0.05)
    assert overall.share_q_below_05 == np.mean(q < 0.05)


def test_motion_without_an_effect_gives_what_chance_gives(rng, mean_fd_mm, coordinates_mm):
    found = relate_motion(noise(rng), mean_fd_mm, coordinates_mm)
    assert found.chance_median_abs_r == pytest.approx(0.6745 / np.sqrt(N_PEOPLE - 1), rel=0.02)
    assert found.overall.median_abs_r == pytest.approx(found.chance_median_abs_r, rel=0.15)
    assert found.overall.share_p_below_05 == pytest.approx(0.05, abs=0.03)
    assert found.overall.share_q_below_05 == 0
    assert abs(found.distance_spearman) < 0.15


@pytest.mark.parametrize("sign", [1, -1])
def test_motion_that_raises_short_connections_depends_on_distance(
    rng, mean_fd_mm, coordinates_mm, sign
):
    z = plant(noise(rng), mean_fd_mm, coordinates_mm, 0.3 * sign)
    found = relate_motion(z, mean_fd_mm, coordinates_mm)
    assert sign * found.distance_spearman < -0.5
    assert sign * found.bins[0].median_r > 0.3
    assert abs(found.bins[-1].median_r) < 0.15
    assert found.bins[0].share_q_below_05 > 0.5 > found.bins[-1].share_q_below_05


def test_bins_hold_every_edge_once_in_equal_numbers_by_rising_distance(
    rng, mean_fd_mm, coordinates_mm
):
    found = relate_motion(noise(rng), mean_fd_mm, coordinates_mm)
    n_edges = N_PARCELS * (N_PARCELS - 1) // 2
    assert [each.n_edges for each in found.bins] == [n_edges // 10] * 10
    expected = np.sort(distances(coordinates_mm)[np.triu_indices(N_PARCELS, k=1)])
    lows = [each.low_mm for each in found.bins]
    np.testing.assert_allclose(lows, expected[:: n_edges // 10])
    assert found.bins[-1].high_mm == found.overall.high_mm == pytest.approx(expected[-1])


def test_an_atlas_without_coordinates_has_no_bins(rng, mean_fd_mm):
    found = relate_motion(noise(rng), mean_fd_mm, None)
    assert found.bins == ()
    assert found.distance_spearman is None
    assert (found.overall.low_mm, found.overall.high_mm) == (None, None)


def test_too_few_people_or_motion_that_is_all_the_same_says_why(rng, mean_fd_mm):
    few = relate_motion(noise(rng, 9), mean_fd_mm[:9], None)
    assert (few.overall, few.n_people) == (None, 9)
    assert few.problem == "9 people have a matrix and known motion, 10 are needed"
    still = relate_motion(noise(rng), np.full(N_PEOPLE, 0.1), None)
    assert "same mean FD" in still.problem


def test_edges_that_nobody_has_or_that_never_vary_are_left_out(rng, mean_fd_mm):
    z = noise(rng, n_parcels=4)
    z[:, 0], z[:, :, 0] = np.nan, np.nan
    z[:, 1, 2] = z[:, 2, 1] = 0.1 + 0.2
    assert relate_motion(z, mean_fd_mm, None).overall.n_edges == 2
    z[:] = np.nan
    assert "no edge varies" in relate_motion(z, mean_fd_mm, None).problem


def test_matrices_may_come_one_by_one(rng, mean_fd_mm, coordinates_mm):
    z = noise(rng)
    one_by_one = relate_motion((each for each in z), mean_fd_mm, coordinates_mm)
    assert one_by_one == relate_motion(z, mean_fd_mm, coordinates_mm)


def test_another_number_of_matrices_than_people_is_refused(rng, mean_fd_mm):
    with pytest.raises(ValueError, match="longer than"):
        relate_motion(noise(rng, 59), mean_fd_mm, None)


@settings(max_examples=20, deadline=None)
@given(
    scale=st.floats(1e-3, 1e3),
    level=st.floats(-10, 10),
    order=st.permutations(range(15)),
    seed=st.integers(0, 99),
)
def test_neither_units_nor_the_order_of_people_matter(scale, level, order, seed):
    rng = np.random.default_rng(seed)
    z, fd_mm = noise(rng, 15, 8), rng.uniform(0.05, 0.5, 15)
    one = relate_motion(z, fd_mm, None).overall
    other = relate_motion(scale * z[list(order)] + level, 3 * fd_mm[list(order)], None).overall
    assert other.median_r == pytest.approx(one.median_r, abs=1e-9)
    assert other.median_abs_r == pytest.approx(one.median_abs_r, abs=1e-9)
