"""Cleaning against nilearn, numpy and planted truths."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from nilearn import signal as nilearn_signal

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import Regressor, Strategy
from fmmtc_bidsapp.signals.denoising.denoise import clean
from fmmtc_bidsapp.signals.denoising.design import read_design
from fmmtc_bidsapp.signals.denoising.strategies import STRATEGIES_TABLE

N, TR = 240, 2.0
BASES = (*(f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"),)
OUTLIERS = (60, 61, 100)


@pytest.fixture
def confounds():
    rng = np.random.default_rng(3)
    table = {name: rng.normal(size=N).cumsum() / 50 for name in BASES}
    for name in ("csf", "white_matter", "global_signal"):
        table[name] = 1000 + rng.normal(size=N).cumsum()
    for order in range(1, 4):
        table[f"cosine{order - 1:02d}"] = np.cos(order * np.pi * (np.arange(N) + 0.5) / N)
    fd_mm = np.abs(rng.normal(0.1, 0.02, N))
    fd_mm[list(OUTLIERS)] = 1.0
    table["framewise_displacement"] = np.where(np.arange(N), fd_mm, np.nan)
    table["std_dvars"] = np.where(np.arange(N), 1.0, np.nan)
    return table


@pytest.fixture
def voxels():
    """(time, voxel) five parcels of seven voxels with a drift and a level each."""
    rng = np.random.default_rng(4)
    drift = np.linspace(0, 3, N)[:, None] * rng.normal(size=35)
    return 500 + rng.normal(size=(N, 35)) + rng.normal(size=(N, 5)).repeat(7, axis=1) + drift


def parcels(voxels):
    return voxels.reshape(len(voxels), -1, 7).mean(axis=2)


def cleaned(signal, confounds, strategy, tr_s=TR, dummy_scans="auto", **masks):
    return clean(signal, confounds, strategy, tr_s=tr_s, dummy_scans=dummy_scans, **masks)


def named(name, **changes):
    return replace(STRATEGIES_TABLE[name], **changes)


def only(*columns, **changes):
    return Strategy("own", "own", (Regressor("r", (columns,)),) if columns else (), **changes)


@pytest.mark.parametrize(
    "strategy",
    [named("simple"), named("p36"), named("scrubbing"), named("p36", fd_threshold_mm=0.5)],
    ids=["simple", "p36", "scrubbing", "p36 censored"],
)
def test_parcellating_first_equals_cleaning_every_voxel_and_averaging(voxels, confounds, strategy):
    first = cleaned(parcels(voxels), confounds, strategy)
    last = cleaned(voxels, confounds, strategy)
    np.testing.assert_allclose(first.signal, parcels(last.signal), atol=1e-8)


@pytest.mark.parametrize("name", ["simple", "simpleGSR", "p36"])
def test_without_censoring_it_equals_nilearns_clean(voxels, confounds, name):
    strategy = STRATEGIES_TABLE[name]
    design, _ = read_design(strategy, confounds, masks={}, tr_s=TR)
    expected = nilearn_signal.clean(
        voxels,
        confounds=np.column_stack(list(design.values())),
        standardize=None,
        low_pass=strategy.low_pass_hz,
        high_pass=strategy.high_pass_hz,
        t_r=TR,
    )
    found = cleaned(voxels, confounds, strategy)
    np.testing.assert_allclose(found.signal, expected, atol=1e-8)
    assert not found.censored.any()


def test_a_filter_with_censoring_equals_nilearns_clean_away_from_its_fault(voxels, confounds):
    strategy = named("p36", fd_threshold_mm=0.5)
    design, _ = read_design(strategy, confounds, masks={}, tr_s=TR)
    keep = np.setdiff1d(np.arange(N), OUTLIERS)
    expected = nilearn_signal.clean(
        voxels,
        confounds=np.column_stack(list(design.values())),
        standardize=None,
        sample_mask=keep,
        low_pass=0.08,
        high_pass=0.01,
        t_r=TR,
    )
    found = cleaned(voxels, confounds, strategy)
    assert np.flatnonzero(found.retained).tolist() == keep.tolist()
    np.testing.assert_allclose(found.signal, expected, atol=1e-8)


def test_censored_volumes_at_mirrored_places_do_not_leak_through_the_filter(voxels, confounds):
    # nilearn 0.14.1 bridges neither of such a pair.
    pair = [30, N - 1 - 30]
    confounds["framewise_displacement"] = np.where(np.isin(np.arange(N), pair), 1.0, 0.0)
    strategy = only(low_pass_hz=0.1, high_pass_hz=0.01, fd_threshold_mm=0.5)
    expected = cleaned(voxels, confounds, strategy).signal
    voxels[pair] += 1e6
    np.testing.assert_allclose(cleaned(voxels, confounds, strategy).signal, expected, atol=1e-6)


@pytest.mark.parametrize("edge", [[0, 1, 2], [N - 2, N - 1]])
def test_an_outlier_at_an_end_takes_the_nearest_good_volume(voxels, confounds, edge):
    confounds["framewise_displacement"] = np.where(np.isin(np.arange(N), edge), 1.0, 0.0)
    strategy = only(low_pass_hz=0.1, detrend=False, fd_threshold_mm=0.5)
    found = cleaned(voxels, confounds, strategy).signal
    nearest = 3 if edge[0] == 0 else N - 3
    voxels[edge] = voxels[nearest]
    expected = nilearn_signal.clean(voxels, detrend=False, standardize=None, low_pass=0.1, t_r=TR)
    np.testing.assert_allclose(found, np.delete(expected, edge, axis=0), atol=1e-8)


def test_scrubbing_is_least_squares_over_the_retained_volumes_with_their_times(voxels, confounds):
    strategy = STRATEGIES_TABLE["scrubbing"]
    found = cleaned(voxels, confounds, strategy)
    kept = found.retained
    time = np.arange(N, dtype=float)
    design = np.column_stack([np.ones(N), time, *found.design.values()])[kept]
    scaled = design / np.linalg.norm(design, axis=0)
    fit, *_ = np.linalg.lstsq(scaled, voxels[kept], rcond=None)
    np.testing.assert_allclose(found.signal, voxels[kept] - scaled @ fit, atol=1e-7)
    assert found.dof == kept.sum() - np.linalg.matrix_rank(scaled)
    # nilearn says the same when the times are given to it as a confound.
    columns = np.column_stack([time, *found.design.values()])
    theirs = nilearn_signal.clean(
        voxels, confounds=columns, detrend=False, standardize=None, sample_mask=kept, filter=False
    )
    np.testing.assert_allclose(found.signal, theirs - theirs.mean(axis=0), atol=1e-7)


def test_a_line_in_time_is_removed_whole_although_volumes_are_missing(confounds):
    line = np.linspace(0, 100, N)[:, None] + 7
    found = cleaned(line, confounds, only(fd_threshold_mm=0.5))
    assert len(found.signal) == N - 3
    assert np.abs(found.signal).max() < 1e-10


def test_a_planted_confound_goes_and_a_planted_signal_stays(confounds):
    rng = np.random.default_rng(5)
    wave = np.sin(2 * np.pi * 0.05 * TR * np.arange(N))
    noise = 40 * confounds["trans_x"] + 3 * confounds["csf"]
    signal = np.column_stack([wave + noise, rng.normal(size=N) + noise])
    found = cleaned(signal, confounds, STRATEGIES_TABLE["simple"]).signal
    assert np.corrcoef(found[:, 0], wave)[0, 1] > 0.93
    for name in ("trans_x", "csf"):
        assert np.abs(np.corrcoef(found.T, confounds[name])[-1, :2]).max() < 1e-8
    band = only("trans_x", "csf", low_pass_hz=0.08, high_pass_hz=0.01)
    assert np.corrcoef(cleaned(signal, confounds, band).signal[:, 0], wave)[0, 1] > 0.93


def test_volumes_of_unknown_motion_are_left_out_where_there_is_a_threshold(voxels, confounds):
    confounds["framewise_displacement"][25:70] = np.nan
    found = cleaned(parcels(voxels), confounds, named("simple", fd_threshold_mm=0.5))
    assert np.flatnonzero(found.censored).tolist() == [*range(25, 70), 100]
    assert np.flatnonzero(found.unknown).tolist() == list(range(25, 70))
    assert "censored, as their motion is unknown: volumes 25 to 69" in found.notes
    without = cleaned(parcels(voxels), confounds, named("simple"))
    assert not without.censored.any()
    assert not without.unknown.any()


@pytest.mark.parametrize(
    "settings",
    [{}, {"low_pass_hz": 0.1, "high_pass_hz": 0.01}, {"fd_threshold_mm": 0.5}],
    ids=["plain", "filtered", "censored"],
)
def test_a_signal_column_stays_whole_though_regressors_go_with_it(confounds, settings):
    rng = np.random.default_rng(8)
    signal = (np.arange(N) // 15 % 2).astype(float)
    noise = 0.5 * signal + rng.normal(size=N)
    table = confounds | {"noise": noise, "signal__task": signal}
    own = 0.05 * rng.normal(size=N)
    scan = np.column_stack([signal + own, signal + own + 3 * (noise - 0.5 * signal)])
    found = cleaned(scan, table, only("noise", "signal__task", **settings))
    as_noise = cleaned(scan, table | {"task": signal}, only("noise", "task", **settings))
    shown = cleaned(np.column_stack([signal]), table, only(**{"detrend": True, **settings})).signal
    r = np.corrcoef(np.column_stack([shown, found.signal, as_noise.signal]).T)[0]
    assert (r[1:3] > 0.98).all()
    assert (np.abs(r[3:]) < 1e-6).all()
    assert list(found.design) == ["noise"]
    assert found.signal_columns == ("signal__task",)
    assert "kept, with regressors made orthogonal to them: signal__task" in found.notes


def test_what_a_signal_column_takes_from_the_regressors_is_xcp_ds_arithmetic(confounds):
    rng = np.random.default_rng(9)
    signals = rng.normal(size=(N, 2))
    noises = signals @ rng.normal(size=(2, 3)) + rng.normal(size=(N, 3))
    # XCP-D takes no mean out; where there is none, both are the same.
    signals, noises = signals - signals.mean(axis=0), noises - noises.mean(axis=0)
    scan = rng.normal(size=(N, 4)) + noises @ rng.normal(size=(3, 4))
    left = noises - signals @ np.linalg.lstsq(signals, noises, rcond=None)[0]
    centred = scan - scan.mean(axis=0)
    expected = centred - left @ np.linalg.lstsq(left, centred, rcond=None)[0]
    table = confounds | dict(zip("abc", noises.T, strict=True))
    table |= {"signal__1": signals[:, 0], "signal__2": signals[:, 1]}
    strategy = only("[abc]", r"signal__\d", detrend=False)
    found = cleaned(scan, table, strategy)
    found_centred = found.signal - found.signal.mean(axis=0)
    np.testing.assert_allclose(found_centred, expected, atol=1e-8)
    # Retained volumes less the three regressors and the mean; signals cost nothing.
    assert found.dof == N - 3 - 1


def test_a_signal_that_says_nothing_or_the_same_twice_breaks_nothing(voxels, confounds):
    table = confounds | {"signal__a": np.ones(N), "signal__b": np.arange(N) % 7.0}
    table["signal__c"] = 2 * table["signal__b"]
    once = cleaned(voxels, table, only("csf", "signal__b"))
    found = cleaned(voxels, table, only("csf", "signal__[abc]"))
    np.testing.assert_allclose(found.signal, once.signal, atol=1e-8)
    same = confounds | {"signal__a": confounds["csf"]}
    nothing = cleaned(voxels, same, only("csf", "signal__a"))
    assert any("they are explained by the kept columns: csf" in each for each in nothing.notes)


def test_dummies_are_dropped_before_anything_else(voxels, confounds):
    flag = (np.arange(N) == 0).astype(float)
    table = {**confounds, "NonSteadyStateOutlier00": flag}
    found = cleaned(voxels, table, STRATEGIES_TABLE["p36"])
    assert np.flatnonzero(found.dummy).tolist() == [0]
    assert not found.censored.any()
    disturbed = voxels + 1e5 * flag[:, None]
    np.testing.assert_array_equal(
        cleaned(disturbed, table, STRATEGIES_TABLE["p36"]).signal, found.signal
    )
    assert {len(values) for values in found.design.values()} == {N}
    assert len(cleaned(voxels, table, STRATEGIES_TABLE["simple"], dummy_scans="4").signal) == N - 4


def test_the_strategy_none_touches_nothing_but_reports_motion(voxels, confounds):
    confounds["non_steady_state_outlier00"] = (np.arange(N) == 0).astype(float)
    found = cleaned(voxels, confounds, STRATEGIES_TABLE["none"], tr_s=None)
    assert found.signal is voxels
    assert found.retained.all()
    assert not found.dummy.any()
    np.testing.assert_array_equal(found.fd_mm, confounds["framewise_displacement"])
    np.testing.assert_array_equal(found.std_dvars, confounds["std_dvars"])
    assert (found.dof, found.design, found.notes) == (N, {}, ())
    unknown = cleaned(voxels, None, STRATEGIES_TABLE["none"])
    assert unknown.fd_mm is None
    assert unknown.std_dvars is None


def test_a_run_without_confounds_can_only_be_left_uncleaned(voxels):
    with pytest.raises(InputError, match=r"simple needs the confounds table.*strategy none"):
        cleaned(voxels, None, STRATEGIES_TABLE["simple"])


def test_parcels_without_data_stay_so_and_change_no_other(voxels, confounds):
    expected = cleaned(voxels, confounds, STRATEGIES_TABLE["scrubbing"]).signal
    voxels[:, 4] = np.nan
    found = cleaned(voxels, confounds, STRATEGIES_TABLE["scrubbing"]).signal
    assert np.isnan(found[:, 4]).all()
    others = np.delete(np.arange(35), 4)
    np.testing.assert_allclose(found[:, others], expected[:, others], atol=1e-10)
    nothing = cleaned(np.full((N, 2), np.nan), confounds, STRATEGIES_TABLE["p36"]).signal
    assert np.isnan(nothing).all()


@pytest.mark.parametrize("name", ["simple", "p36", "scrubbing"])
def test_a_constant_parcel_stays_constant_and_does_not_become_noise(voxels, confounds, name):
    voxels[:, 0] = 1000 / 3
    voxels[:, 1] = 5 * confounds["csf"]
    found = cleaned(voxels, confounds, STRATEGIES_TABLE[name]).signal
    assert (np.ptp(found[:, :2], axis=0) == 0).all()


@pytest.mark.parametrize("name", ["simple", "p36"])
def test_constant_and_duplicate_regressors_break_nothing_and_cost_nothing(voxels, confounds, name):
    plain = cleaned(voxels, confounds, STRATEGIES_TABLE[name])
    more = ("flat", "twice", "sum")
    table = {
        **confounds,
        "flat": np.full(N, 1234 / 7),
        "twice": confounds["csf"] * 2 + 1,
        "sum": confounds["csf"] + confounds["trans_x"],
    }
    strategy = STRATEGIES_TABLE[name]
    wider = replace(strategy, regressors=(*strategy.regressors, Regressor("more", (more,))))
    found = cleaned(voxels, table, wider)
    np.testing.assert_allclose(found.signal, plain.signal, atol=1e-8)
    assert found.dof == plain.dof
    assert any("do not vary: flat" in note for note in found.notes)
    assert set(more) <= set(found.design)


def test_degrees_of_freedom_are_counted_by_hand(voxels, confounds):
    assert cleaned(voxels, confounds, only()).dof == N - 2
    assert cleaned(voxels, confounds, only("csf", "trans_x", detrend=False)).dof == N - 3
    assert cleaned(voxels, confounds, STRATEGIES_TABLE["simple"]).dof == N - 2 - 24 - 2 - 3
    # 480 s: 0.01 to 0.08 Hz are the frequencies 5/480 to 38/480 Hz, a sine and a cosine each.
    assert cleaned(voxels, confounds, STRATEGIES_TABLE["p36"]).dof == 2 * 34 - 36
    censored = cleaned(voxels, confounds, named("p36", fd_threshold_mm=0.5))
    assert censored.dof == int((N - 3) * 68 / N) - 36
    assert cleaned(voxels, confounds, only(low_pass_hz=0.08)).dof == 2 * 38 + 1 - 2


def test_fewer_volumes_than_regressors_is_an_error(voxels, confounds):
    short = {name: values[:30] for name, values in confounds.items()}
    with pytest.raises(InputError, match=r"Fewer volumes than regressors: 30 volumes"):
        cleaned(voxels[:30], short, STRATEGIES_TABLE["simple"])
    short = {name: values[:100] for name, values in confounds.items()}
    with pytest.raises(InputError, match=r"of which the filter leaves 30"):
        cleaned(voxels[:100], short, STRATEGIES_TABLE["p36"])


def test_censoring_nearly_everything_is_an_error(voxels, confounds):
    confounds["framewise_displacement"] = np.ones(N)
    with pytest.raises(InputError, match="leaves 0 of 240 volumes"):
        cleaned(voxels, confounds, STRATEGIES_TABLE["scrubbing"])


@pytest.mark.parametrize("tr_s", [None, 0.0])
def test_a_filter_without_a_repetition_time_is_an_error(voxels, confounds, tr_s):
    with pytest.raises(InputError, match=r"Add RepetitionTime.*--low-pass 0"):
        cleaned(voxels, confounds, STRATEGIES_TABLE["p36"], tr_s=tr_s)


def test_a_low_pass_above_what_the_run_holds_is_left_out_with_a_note(voxels, confounds):
    strategy = only("csf", low_pass_hz=0.08, high_pass_hz=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cleaned(voxels, confounds, strategy, tr_s=8.0)
    expected = cleaned(voxels, confounds, replace(strategy, low_pass_hz=None), tr_s=8.0)
    np.testing.assert_array_equal(found.signal, expected.signal)
    assert any("no low-pass" in note for note in found.notes)
    with pytest.raises(InputError, match="lower --high-pass"):
        cleaned(voxels, confounds, only(high_pass_hz=0.07), tr_s=8.0)


def test_a_run_too_short_for_the_filter_is_an_error(voxels, confounds):
    short = {name: values[:20] for name, values in confounds.items()}
    with pytest.raises(InputError, match="20 volumes is too short for the filter"):
        cleaned(voxels[:20], short, only(low_pass_hz=0.2, high_pass_hz=0.01))


def test_the_input_is_left_as_it_was(voxels, confounds):
    signal, table = voxels.copy(), {name: values.copy() for name, values in confounds.items()}
    cleaned(voxels, confounds, named("p36", fd_threshold_mm=0.5))
    np.testing.assert_array_equal(voxels, signal)
    for name, values in table.items():
        np.testing.assert_array_equal(confounds[name], values)
