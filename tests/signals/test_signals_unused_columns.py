"""Only what a strategy uses of a confounds table is checked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.tables.read_series import read_confounds
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Regressor, Strategy
from fmmtc_bidsapp.signals.denoising.denoise import clean
from fmmtc_bidsapp.signals.denoising.strategies import STRATEGIES_TABLE

N_VOLUMES, TR_S = 60, 2.0
CSF = Strategy("csf", "csf alone", (Regressor("CSF", (("csf",),)),), detrend=False)


@pytest.fixture
def table(tmp_path):
    """Return a function that writes a table of noise with some cells replaced, and reads it."""

    def read(cells=(), columns=("csf", "white_matter", "framewise_displacement", "rmsd")):
        rng = np.random.default_rng(0)
        rows = [[f"{value:.6f}" for value in row] for row in rng.random((N_VOLUMES, len(columns)))]
        for column, volume, text in cells:
            rows[volume][columns.index(column)] = text
        path = tmp_path / "confounds.tsv"
        path.write_text("\n".join("\t".join(row) for row in [columns, *rows]) + "\n")
        return read_confounds(path, N_VOLUMES)

    return read


def cleaned(confounds, strategy=CSF, dummy_scans="0"):
    signal = np.random.default_rng(1).normal(size=(N_VOLUMES, 3))
    return clean(signal, confounds, strategy, tr_s=TR_S, dummy_scans=dummy_scans, masks={})


@pytest.mark.parametrize("text", ["inf", "-inf", "1e400", "broken", "1,5", "1e200"])
def test_a_damaged_column_that_the_strategy_does_not_use_changes_nothing(table, text):
    found = cleaned(table([("white_matter", 7, text)]))
    np.testing.assert_array_equal(found.signal, cleaned(table()).signal)
    assert found.notes == cleaned(table()).notes


@pytest.mark.parametrize("text", ["inf", "broken", "n/a"])
@pytest.mark.parametrize("volume", [0, 7])
def test_a_damaged_column_that_the_strategy_uses_is_refused_with_its_name(table, text, volume):
    if (text, volume) == ("n/a", 0):
        return
    with pytest.raises(InputError, match=rf"column csf has .* in volume {volume} "):
        cleaned(table([("csf", volume, text)]))


@pytest.mark.parametrize("text", ["n/a", "inf", "broken"])
def test_volumes_that_are_dropped_as_dummies_need_no_values(table, text):
    holes = [("csf", volume, text) for volume in range(4)]
    found = cleaned(table(holes), dummy_scans="4")
    np.testing.assert_array_equal(found.signal, cleaned(table(), dummy_scans="4").signal)
    assert np.isnan(found.design["csf"][1:4]).all()
    with pytest.raises(InputError, match="in volume 3 "):
        cleaned(table(holes), dummy_scans="3")


@pytest.mark.parametrize("column", ["framewise_displacement", "rmsd"])
def test_motion_that_is_no_number_is_unknown_and_said_to_be(table, column):
    for strategy in (CSF, STRATEGIES_TABLE["none"]):
        found = cleaned(table([(column, 7, "broken"), (column, 9, "inf")]), strategy)
        assert any(f"{column} is not a number in 2 volumes" in note for note in found.notes)
        if column == "framewise_displacement":
            assert np.flatnonzero(np.isnan(found.fd_mm)).tolist() == [7, 9]


def test_with_a_threshold_volumes_of_unreadable_motion_are_left_out(table):
    strategy = replace(CSF, fd_threshold_mm=2.0)
    found = cleaned(table([("framewise_displacement", 7, "broken")]), strategy)
    assert np.flatnonzero(found.censored).tolist() == [7]


def test_a_non_steady_column_that_is_no_number_is_refused_where_it_is_used(table):
    columns = ("csf", "non_steady_state_outlier00")
    damaged = table([(columns[1], 5, "broken")], columns)
    with pytest.raises(InputError, match="non_steady_state_outlier00 has a cell that is not"):
        cleaned(damaged, dummy_scans="auto")
    assert cleaned(damaged, dummy_scans="2").dummy.sum() == 2


AROMA = Strategy("aroma", "AROMA alone", (STRATEGIES_TABLE["aroma"].regressors[1],), detrend=False)


def test_where_aroma_found_no_noise_nothing_is_removed_and_that_is_noted(table):
    found = cleaned(table((), ("csf", "intercept")), AROMA)
    plain = np.random.default_rng(1).normal(size=(N_VOLUMES, 3))
    np.testing.assert_array_equal(found.signal, plain)
    assert any("found no motion component" in note for note in found.notes)
    assert found.design == {}


def test_where_aroma_was_not_run_its_absence_is_refused(table):
    with pytest.raises(InputError, match="needs ICA-AROMA's motion components"):
        cleaned(table((), ("csf", "white_matter")), AROMA)


def test_a_sidecar_of_components_is_needed_where_components_are_taken():
    named = {name: strategy.takes("comp_cor") for name, strategy in STRATEGIES_TABLE.items()}
    assert [name for name, takes in named.items() if takes] == ["acompcor"]


@pytest.mark.parametrize("text", ["1_5", "١٥", "0x10"])
def test_a_number_that_only_python_reads_is_none(table, text):
    with pytest.raises(InputError, match="a cell that is not a number in volume 7 "):
        cleaned(table([("csf", 7, text)]))
