"""Scans to examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import RobustScaler

from fmmtc_bidsapp.errors import InputError, UsageError
from fmmtc_bidsapp.learning.preprocessing.encode_series import encode_series
from fmmtc_bidsapp.models.encoders.brainlm.encoder import BrainLMEncoder
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.encoders.windows import first_window, fit_scale, normalise, window_starts
from fmmtc_bidsapp.options import ModelOptions

PARCELS = 6
XYZ = np.random.default_rng(0).uniform(-70, 70, (PARCELS, 3))
RAW = ModelOptions(encoder="random", normalisation="none", window=40, token_orders=3)


@pytest.fixture(scope="module")
def encoder():
    config = BrainLMSize(
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        conv_kernel_size=3,
        timepoint_patching_size=10,
        num_timepoints_per_voxel=40,
        initializer_range=0.5,
    )
    return BrainLM.from_size(config, torch.Generator().manual_seed(0))


def series(n_volumes, seed=0):
    return np.random.default_rng(seed).normal(size=(n_volumes, PARCELS))


def encode(encoder, signal, options=RAW, seed=5):
    return encode_series(BrainLMEncoder(encoder, options, seed), signal, XYZ)


def by_hand(encoder, window, parcels, n_orders=3, seed=5):
    """Orders drawn for a full window, then shown without the tokens that are not there."""
    n_patches, n_window_patches = len(window) // 10, 4
    generator = torch.Generator().manual_seed(seed)
    outputs = []
    for _ in range(n_orders):
        order = torch.randperm(PARCELS * n_window_patches, generator=generator)
        tokens = [divmod(token, n_window_patches) for token in order.tolist()]
        kept = torch.tensor(
            [
                parcel * n_patches + patch
                for parcel, patch in tokens
                if parcel in parcels and patch < n_patches
            ]
        )
        signal = torch.tensor(window.T, dtype=torch.float32)[None]
        xyz = torch.tensor(XYZ, dtype=torch.float32)[None]
        outputs.append(encoder(signal, xyz, kept[None])[0].numpy())
    return np.array(outputs)


@pytest.mark.parametrize(
    ("n_volumes", "starts"),
    [
        (200, [0]),
        (219, [0]),
        (220, [0, 20]),
        (234, [0, 34]),
        (400, [0, 200]),
        (650, [0, 200, 400, 450]),
        (90, [0]),
    ],
)
def test_windows_follow_one_another_and_a_last_one_ends_at_the_last_volume(n_volumes, starts):
    assert window_starts(n_volumes, 200) == starts


def test_scan_scaling_has_centred_parcels_a_median_sd_of_one_and_no_units():
    signal = series(50) * np.array([1, 2, 3, 4, 5, 6]) + 1000
    scaled = normalise(signal, "scan")
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    assert np.median(scaled.std(axis=0)) == pytest.approx(1)
    np.testing.assert_allclose(normalise(signal * 37, "scan"), scaled)


def test_zscore_gives_every_parcel_its_own_scale_and_a_constant_one_no_data():
    signal = series(50) * np.array([1, 2, 3, 4, 5, 6])
    signal[:, 2] = 0.1
    scaled = normalise(signal, "zscore")
    assert np.isnan(scaled[:, 2]).all()
    np.testing.assert_allclose(np.delete(scaled, 2, axis=1).std(axis=0), 1)


def test_the_robust_scale_is_scikit_learns_over_the_volumes_of_all_training_scans():
    training = [series(n, seed) * (1 + seed) + 1000 for seed, n in enumerate((41, 50, 30))]
    scale, oracle = fit_scale(training), RobustScaler().fit(np.concatenate(training))
    np.testing.assert_allclose(scale.median, oracle.center_, rtol=1e-14)
    np.testing.assert_allclose(scale.iqr, oracle.scale_, rtol=1e-14)
    other = series(60, seed=9)
    np.testing.assert_allclose(
        normalise(other, "robust", scale), oracle.transform(other), rtol=1e-12
    )


def test_a_parcel_that_no_training_scan_has_or_that_hardly_varies_there_is_left_out():
    first, second = series(40, 1), series(50, 2)
    first[:, 0] = second[:, 0] = np.nan
    first[:, 1] = np.nan
    first[3:, 2] = second[2:, 2] = 0.1
    scale = fit_scale([first, second])
    assert np.isnan(scale.median).tolist() == [True] + [False] * 5
    assert np.isnan(scale.iqr).tolist() == [True, False, True, False, False, False]
    np.testing.assert_array_equal(scale.iqr[1], fit_scale([second]).iqr[1])
    scaled = normalise(series(30, 3), "robust", scale)
    np.testing.assert_array_equal(np.isnan(scaled).all(axis=0), np.isnan(scale.iqr))


def test_training_scans_in_which_nothing_varies_give_no_scale():
    with pytest.raises(InputError, match=r"No parcel varies in the 2 runs.*robust"):
        fit_scale([np.full((30, PARCELS), 0.1)] * 2)


def test_a_scan_in_which_nothing_varies_is_refused():
    with pytest.raises(InputError, match="0 of 6 parcels vary"):
        normalise(np.full((30, PARCELS), 0.1), "scan")


def test_a_missing_parcel_does_not_shift_the_scale_of_the_others():
    signal = series(50)
    holed = signal.copy()
    holed[:, 1] = np.nan
    alone = normalise(np.delete(signal, 1, axis=1), "scan")
    np.testing.assert_array_equal(np.delete(normalise(holed, "scan"), 1, axis=1), alone)


def test_features_are_the_mean_over_windows_and_token_orders(encoder):
    signal = series(70)
    found = encode(encoder, signal)
    windows = [by_hand(encoder, signal[at : at + 40], range(PARCELS)) for at in (0, 30)]
    np.testing.assert_allclose(found.cls, np.mean(windows, axis=(0, 1)), atol=5e-5)
    assert found.n_windows == 2
    spread = [
        np.sqrt(w.var(axis=0, ddof=1).sum()) / np.linalg.norm(w.mean(axis=0)) for w in windows
    ]
    assert found.order_spread == pytest.approx(np.mean(spread), rel=1e-4)


def test_missing_parcels_are_left_out_and_their_coordinates_do_not_matter(encoder):
    signal = series(40)
    signal[:, [1, 4]] = np.nan
    found = encode(encoder, signal)
    expected = by_hand(encoder, np.nan_to_num(signal, nan=1e6), {0, 2, 3, 5}).mean(axis=0)
    np.testing.assert_allclose(found.cls, expected, atol=5e-5)
    assert found.n_parcels_left_out == 2


def test_a_short_series_leaves_out_the_patches_it_does_not_fill(encoder):
    signal = series(29)
    found = encode(encoder, signal)
    expected = by_hand(encoder, signal[:20], range(PARCELS)).mean(axis=0)
    np.testing.assert_allclose(found.cls, expected, atol=5e-5)
    assert (found.n_windows, found.n_patches_dropped) == (1, 2)


def test_zero_padding_shows_the_encoder_zeros(encoder):
    signal = series(29)
    found = encode(encoder, signal, ModelOptions(**{**vars(RAW), "short_series": "zero-pad"}))
    padded = np.vstack([signal, np.zeros((11, PARCELS))])
    expected = by_hand(encoder, padded, range(PARCELS)).mean(axis=0)
    np.testing.assert_allclose(found.cls, expected, atol=5e-5)
    assert found.n_patches_dropped == 0


@pytest.mark.parametrize(
    ("changes", "n_volumes", "message"),
    [
        ({"short_series": "refuse"}, 39, "39 volumes, less than the window of 40"),
        ({}, 9, "9 volumes, less than one patch of 10"),
    ],
)
def test_a_series_that_is_too_short_is_refused(encoder, changes, n_volumes, message):
    options = ModelOptions(**{**vars(RAW), **changes})
    with pytest.raises(InputError, match=message):
        encode(encoder, series(n_volumes), options)


@pytest.mark.parametrize("window", [35, 50])
def test_a_window_that_the_encoder_cannot_take_is_wrong_use(encoder, window):
    with pytest.raises(UsageError, match="multiples of 10 up to 40"):
        encode(encoder, series(80), ModelOptions(**{**vars(RAW), "window": window}))


def test_the_same_seed_gives_the_same_features_and_another_seed_others(encoder):
    signal = series(40)
    first, again, other = (encode(encoder, signal, seed=s).cls for s in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert not np.allclose(first, other, atol=1e-7)


def test_the_first_window_is_what_the_encoder_sees_first_and_missing_parcels_are_nan():
    signal = series(90) * np.array([1, 2, 3, 4, 5, 6]) + 50
    signal[:, 2] = np.nan
    options = ModelOptions(window=40)
    found = first_window(signal, options, 10)
    expected = normalise(signal, "scan")[:40].T
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert np.isnan(found[2]).all()
    assert not np.isnan(np.delete(found, 2, axis=0)).any()


@pytest.mark.parametrize(("how", "rest"), [("drop-patches", np.nan), ("zero-pad", 0.0)])
def test_what_a_short_series_does_not_fill_is_treated_as_for_the_encoder(how, rest):
    signal = series(27)
    signal[:, 4] = np.nan
    options = ModelOptions(normalisation="none", window=40, short_series=how)
    found = first_window(signal, options, 10)
    n_shown = 20 if how == "drop-patches" else 27
    there = [0, 1, 2, 3, 5]
    np.testing.assert_array_equal(found[there, :n_shown], signal[:n_shown, there].T.astype("f4"))
    np.testing.assert_array_equal(found[there, n_shown:], np.full((5, 40 - n_shown), rest, "f4"))
    assert np.isnan(found[4]).all()


@pytest.mark.parametrize(
    ("how", "n_volumes", "message"),
    [("refuse", 39, "less than the window of 40"), ("drop-patches", 9, "less than one patch")],
)
def test_a_window_of_a_series_that_is_too_short_is_refused(how, n_volumes, message):
    with pytest.raises(InputError, match=message):
        first_window(series(n_volumes), ModelOptions(window=40, short_series=how), 10)
