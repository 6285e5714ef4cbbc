"""Gaps of censored volumes: by hand, and by what they do to connectivity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.signal import lfilter

from fmmtc_bidsapp.records import Strategy
from fmmtc_bidsapp.signals.denoising.censoring import bridge, longest_gap
from fmmtc_bidsapp.signals.denoising.denoise import clean

TR_S, N, N_PARCELS = 2.0, 240, 12


def kept(n, *gaps):
    """All volumes but those of gaps, each a first volume and a length."""
    found = np.ones(n, dtype=bool)
    for first, length in gaps:
        found[first : first + length] = False
    return found


@pytest.fixture
def wave():
    """(time, 2) something smooth."""
    time = np.arange(80.0)
    return np.column_stack([np.sin(time / 6), np.cos(time / 9) + time / 50])


def test_a_gap_of_five_volumes_is_a_cubic_spline_and_one_of_six_a_straight_line(wave):
    short = kept(80, (30, 5))
    time = np.arange(80)
    np.testing.assert_allclose(bridge(wave, short), CubicSpline(time[short], wave[short])(time))
    long = kept(80, (30, 6))
    line = np.stack([np.interp(time, time[long], column[long]) for column in wave.T], axis=1)
    np.testing.assert_allclose(bridge(wave, long), line)


@pytest.mark.parametrize("length", [1, 5, 6, 20])
def test_a_gap_at_an_end_takes_the_nearest_value(wave, length):
    found = bridge(wave, kept(80, (0, length), (80 - length, length)))
    np.testing.assert_allclose(found[:length], np.tile(wave[length], (length, 1)))
    np.testing.assert_allclose(found[-length:], np.tile(wave[-1 - length], (length, 1)))


@pytest.mark.parametrize("gaps", [[(3, 2), (9, 15), (25, 4)], [(0, 9), (10, 9), (20, 3)]])
def test_values_that_are_kept_stay_and_those_in_gaps_do_not_matter(wave, gaps):
    good = kept(80, *gaps)
    damaged = wave.copy()
    damaged[~good] = 1e6
    np.testing.assert_array_equal(bridge(damaged, good)[good], wave[good])
    np.testing.assert_array_equal(bridge(damaged, good), bridge(wave, good))
    # Between its neighbours and not far beyond: nothing swings out.
    assert np.abs(bridge(damaged, good)).max() < 1.5 * np.abs(wave).max()


def test_the_longest_gap_is_counted():
    assert longest_gap(~kept(30)) == 0
    assert longest_gap(~kept(30, (0, 3), (10, 7), (28, 2))) == 7


def fisher_z(series):
    return np.arctanh(np.corrcoef(series.T)[np.triu_indices(N_PARCELS, 1)])


def autoregressive(rng, memory):
    """(time, parcel) series that go together."""
    mixing = 0.5 * rng.normal(size=(N_PARCELS, N_PARCELS)) + np.eye(N_PARCELS)
    noise = rng.normal(size=(N + 100, N_PARCELS))
    return lfilter([1], [1, -memory], noise, axis=0)[100:] @ mixing.T


# Many short gaps in series without any memory, which no brain has, come to 1.56.
@pytest.mark.parametrize("memory", [0.3, 0.5, 0.8])
@pytest.mark.parametrize(("n_gaps", "length"), [(4, 15), (3, 25), (8, 6), (2, 40)])
def test_what_a_gap_does_to_connectivity_is_little_more_than_it_must(n_gaps, length, memory):
    """Against series filtered whole, of which those volumes are then simply left out."""
    rng = np.random.default_rng(5)
    starts = ((np.arange(n_gaps) + 0.5) * N / n_gaps - length / 2).astype(int)
    good = kept(N, *((start, length) for start in starts))
    band = Strategy("band", "band", low_pass_hz=0.08, high_pass_hz=0.01)
    censoring = Strategy(
        "censored", "censored", low_pass_hz=0.08, high_pass_hz=0.01, fd_threshold_mm=0.5
    )
    table = {"framewise_displacement": np.where(good, 0.1, 2.0)}
    errors, unavoidable = [], []
    for _ in range(10):
        series = autoregressive(rng, memory)
        whole = clean(series, table, band, tr_s=TR_S, dummy_scans="auto").signal
        moved = series + np.where(good, 0, 10 * rng.normal(size=N))[:, None]
        found = clean(moved, table, censoring, tr_s=TR_S, dummy_scans="auto").signal
        errors.append(fisher_z(found) - fisher_z(whole))
        unavoidable.append(fisher_z(whole[good]) - fisher_z(whole))
    rms, least = (np.sqrt(np.mean(np.square(each))) for each in (errors, unavoidable))
    assert rms <= 1.5 * least
