"""Series at another repetition time."""

import numpy as np
import pytest

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.resampling import resample

LEVEL = 12000.0
"""Of scanner units, above which the signal is small."""


def sines(n_volumes, tr_s, frequencies_hz):
    at_s = np.arange(n_volumes)[:, None] * tr_s
    return LEVEL + np.sin(2 * np.pi * np.asarray(frequencies_hz) * at_s + 0.7)


@pytest.mark.parametrize(("tr_s", "new_tr_s"), [(2.5, 0.735), (2.0, 0.735), (0.735, 2.0)])
def test_sines_are_those_of_the_other_repetition_time_also_at_the_ends(tr_s, new_tr_s):
    frequencies_hz = (0.01, 0.03, 0.05)
    n_volumes = round(400 / tr_s)
    found = resample(sines(n_volumes, tr_s, frequencies_hz), tr_s, new_tr_s)
    expected = sines(len(found), new_tr_s, frequencies_hz)
    error = np.abs(found - expected)
    assert error.max() < 0.03
    inner = round(30 / new_tr_s)
    assert error[inner:-inner].max() < 0.003
    last_s = (n_volumes - 1) * tr_s
    assert last_s - new_tr_s < (len(found) - 1) * new_tr_s <= last_s + 1e-9


def test_what_the_new_repetition_time_cannot_hold_is_filtered_out_and_not_folded():
    slow, fast = sines(600, 0.5, (0.02,)), sines(600, 0.5, (0.4,)) - LEVEL
    found = resample(slow + fast, 0.5, 2.0)
    np.testing.assert_allclose(found[20:-20], resample(slow, 0.5, 2.0)[20:-20], atol=0.01)


def test_parcels_without_data_stay_so_and_touch_no_other():
    signal = sines(100, 2.0, (0.01, 0.02, 0.03))
    holed = signal.copy()
    holed[:, 1] = np.nan
    found = resample(holed, 2.0, 0.8)
    assert np.isnan(found[:, 1]).all()
    np.testing.assert_array_equal(found[:, [0, 2]], resample(signal, 2.0, 0.8)[:, [0, 2]])


def test_a_constant_stays_what_it_is():
    np.testing.assert_allclose(resample(np.full((50, 1), LEVEL), 2.0, 0.735), LEVEL, rtol=1e-12)


def test_the_same_repetition_time_changes_nothing():
    signal = sines(50, 2.0, (0.03,))
    assert resample(signal, 2.0, 2.0) is signal


def test_an_unknown_repetition_time_is_refused():
    with pytest.raises(InputError, match="repetition time is unknown") as caught:
        resample(sines(50, 2.0, (0.03,)), None, 0.735)
    assert caught.value.exit_code == 65
