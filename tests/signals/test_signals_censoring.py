"""Dummies and censoring, by property and by hand."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Strategy
from fmmtc_bidsapp.signals.denoising.censoring import censored_volumes, dummy_volumes

NONE = np.zeros(3, dtype=bool)


def strategy(fd_mm=0.5, std_dvars=None, min_segment=1):
    return Strategy(
        "s",
        "s",
        fd_threshold_mm=fd_mm,
        std_dvars_threshold=std_dvars,
        min_segment=min_segment,
    )


def stretches(kept):
    return [len(list(group)) for value, group in groupby(kept) if value]


displacement = st.lists(st.sampled_from([0.1, 0.4, 0.5, 0.6, 2.0]), min_size=1, max_size=60)


@given(displacement, displacement, st.integers(1, 7), st.integers(0, 5))
def test_censoring_keeps_exactly_long_stretches_of_good_volumes(fd, dvars, min_segment, n_dummy):
    n = min(len(fd), len(dvars))
    fd_mm = np.array([np.nan, *fd[: n - 1]])
    std_dvars = np.array([np.nan, *dvars[: n - 1]])
    dummy = np.arange(n) < n_dummy
    asked = strategy(0.5, 0.5, min_segment)
    censored, _ = censored_volumes(fd_mm, std_dvars, asked, dummy)
    retained = ~(censored | dummy)
    assert retained.sum() + censored.sum() + dummy.sum() == n
    assert not (retained & ((fd_mm > 0.5) | (std_dvars > 0.5))).any()
    if censored.any():
        assert all(length >= min_segment for length in stretches(retained))
    # Doing it again to what was censored changes nothing.
    again, _ = censored_volumes(np.where(censored, 9.0, fd_mm), std_dvars, asked, dummy)
    np.testing.assert_array_equal(again, censored)
    # Nothing good is lost but in short stretches.
    good = ~(dummy | (fd_mm > 0.5) | (std_dvars > 0.5))
    lost = [length for length in stretches(good) if length < min_segment]
    assert good.sum() - retained.sum() == (sum(lost) if censored.any() else 0)


def test_the_first_volume_without_displacement_is_not_censored():
    fd_mm = np.array([np.nan, 0.1, 0.1])
    assert not censored_volumes(fd_mm, None, strategy(), NONE)[0].any()


def test_a_volume_at_the_threshold_is_kept_and_one_above_is_not():
    found, _ = censored_volumes(np.array([np.nan, 0.5, 0.51]), None, strategy(), NONE)
    assert found.tolist() == [False, False, True]


def test_a_short_run_without_outliers_keeps_everything():
    assert not censored_volumes(np.zeros(3), None, strategy(min_segment=5), NONE)[0].any()


def test_dummies_end_a_stretch_and_are_not_censored():
    fd_mm = np.array([9.0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0])
    dummy = np.arange(11) < 1
    found, _ = censored_volumes(fd_mm, None, strategy(min_segment=5), dummy)
    assert np.flatnonzero(found).tolist() == [1, 2, 3, 4, 5]


def test_a_threshold_without_its_column_is_an_error():
    with pytest.raises(InputError, match=r"no such column.*--fd-threshold 0"):
        censored_volumes(None, None, strategy(), NONE)
    with pytest.raises(InputError, match=r"std_dvars.*--dvars-threshold 0"):
        censored_volumes(None, None, strategy(None, 1.5), NONE)


def test_a_volume_whose_motion_is_unknown_is_left_out_and_counted_apart():
    fd_mm = np.full(70, 0.1)
    fd_mm[[0, *range(25, 70)]] = np.nan
    fd_mm[[5, 30]] = [0.9, np.nan]
    dummy = np.arange(70) < 1
    censored, unknown = censored_volumes(fd_mm, None, strategy(), dummy)
    assert np.flatnonzero(unknown).tolist() == list(range(25, 70))
    assert np.flatnonzero(censored).tolist() == [5, *range(25, 70)]


def test_unknown_dvars_are_left_out_only_where_dvars_has_a_threshold():
    fd_mm, std_dvars = np.full(9, 0.1), np.full(9, 1.0)
    fd_mm[0], std_dvars[[0, 4]] = np.nan, np.nan
    none = np.zeros(9, dtype=bool)
    assert not censored_volumes(fd_mm, std_dvars, strategy(0.5), none)[0].any()
    censored, unknown = censored_volumes(fd_mm, std_dvars, strategy(0.5, 1.5), none)
    assert np.flatnonzero(censored).tolist() == np.flatnonzero(unknown).tolist() == [4]


def test_a_volume_above_one_threshold_is_moved_though_another_measure_is_unknown():
    fd_mm, std_dvars = np.array([np.nan, 0.1, 0.9]), np.array([np.nan, 1.0, np.nan])
    censored, unknown = censored_volumes(fd_mm, std_dvars, strategy(0.5, 1.5), NONE)
    assert censored.tolist() == [False, False, True]
    assert not unknown.any()


@pytest.mark.parametrize(
    ("fd_mm", "std_dvars", "flag"),
    [(np.full(9, np.nan), None, "--fd-threshold 0"), (None, np.full(9, np.nan), "--dvars-thr")],
)
def test_a_threshold_on_a_column_without_a_value_is_an_error(fd_mm, std_dvars, flag):
    asked = strategy(None if fd_mm is None else 0.5, None if std_dvars is None else 1.5)
    with pytest.raises(InputError, match=f"no value in that column.*{flag}"):
        censored_volumes(fd_mm, std_dvars, asked, np.zeros(9, dtype=bool))


def one_hot(*volumes, n=8):
    return {
        f"non_steady_state_outlier{number:02d}": (np.arange(n) == volume).astype(float)
        for number, volume in enumerate(volumes)
    }


@pytest.mark.parametrize(
    ("flagged", "expected", "noted"),
    [((), 0, False), ((0, 1), 2, False), ((0, 1, 4), 2, True), ((3,), 0, True)],
)
def test_auto_drops_the_leading_run_of_non_steady_volumes(flagged, expected, noted):
    dummy, notes = dummy_volumes(one_hot(*flagged), "auto", 8)
    assert np.flatnonzero(dummy).tolist() == list(range(expected))
    assert bool(notes) == noted


def test_a_number_of_dummies_wins_over_the_table():
    dummy, notes = dummy_volumes(one_hot(0), "3", 8)
    assert (dummy.sum(), notes) == (3, ())
    assert not dummy_volumes(one_hot(0), "0", 8)[0].any()


def test_dropping_every_volume_is_refused():
    with pytest.raises(InputError, match=r"8 dummy volumes .* run of 8"):
        dummy_volumes({}, "8", 8)
    with pytest.raises(InputError, match="--dummy-scans"):
        dummy_volumes(one_hot(*range(8)), "auto", 8)
