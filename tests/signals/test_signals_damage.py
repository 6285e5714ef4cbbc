"""Volumes that are damaged are found in any image, and no others are."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fmmtc_bidsapp.signals.damage import (
    COPY,
    EMPTY,
    NOT_FINITE,
    WHOLE,
    VolumeWatch,
    describe_damage,
)
from fmmtc_bidsapp.signals.parcellation.parcellate import parcel_means
from fmmtc_bidsapp.signals.parcellation.placement import place_parcels
from fmmtc_bidsapp.signals.parcellation.space import read_grid

N_VOLUMES, N_VOXELS = 60, 400


@pytest.fixture
def scan():
    """Voxels of a brain: contrast between them, a little noise in time."""
    rng = np.random.default_rng(11)
    return rng.normal(800, 150, N_VOXELS) + rng.normal(0, 8, (N_VOLUMES, N_VOXELS))


def damage(scan, zero=0.0):
    watch = VolumeWatch(zero)
    for volume in scan:
        watch.see(volume)
    return watch.damage()


def test_a_whole_scan_has_no_damaged_volume(scan):
    assert describe_damage(damage(scan)) == "n/a"
    assert describe_damage(damage(np.rint(scan).astype(np.int16))) == "n/a"


@pytest.mark.parametrize("where", [slice(57, 60), slice(20, 23), slice(0, 3), slice(10, 50)])
@pytest.mark.parametrize("value", [0.0, 812.5])
def test_empty_volumes_are_found_at_the_end_in_the_middle_and_at_the_start(scan, where, value):
    scan[where] = value
    expected = np.zeros(N_VOLUMES)
    expected[where] = EMPTY
    np.testing.assert_array_equal(damage(scan), expected)


def test_noise_without_a_brain_is_empty(scan):
    scan[57:] = np.random.default_rng(1).normal(0, 1, (3, N_VOXELS))
    assert describe_damage(damage(scan)) == "57 to 59 are empty"


def test_a_volume_that_stopped_half_way_is_empty(scan):
    scan[59, N_VOXELS // 2 :] = 0
    assert describe_damage(damage(scan)) == "59 is empty"


def test_voxels_that_are_zero_throughout_damage_no_volume(scan):
    scan[:, : N_VOXELS // 2] = 0
    assert describe_damage(damage(scan)) == "n/a"


def test_a_volume_of_nan_is_told_and_voxels_of_nan_are_not(scan):
    scan[:, :90] = np.nan
    assert describe_damage(damage(scan)) == "n/a"
    scan[7, 90:] = np.nan
    scan[30, 100:200] = np.inf
    assert describe_damage(damage(scan)) == "7 and 30 hold NaN or infinity"


def test_a_volume_that_stands_there_twice_is_a_copy_wherever_it_stands(scan):
    scan[58:] = scan[57]
    scan[20] = scan[3]
    found = damage(scan)
    assert np.flatnonzero(found == COPY).tolist() == [20, 58, 59]
    assert (found[[3, 57]] == WHOLE).all()


def test_several_kinds_are_told_apart(scan):
    scan[1], scan[2], scan[5] = 0, scan[9], np.nan
    found = damage(scan)
    assert [found[n] for n in (1, 9, 5)] == [EMPTY, COPY, NOT_FINITE]
    assert describe_damage(found) == (
        "1 is empty, 5 holds NaN or infinity, 9 is a copy of another volume"
    )


def test_a_handful_of_voxels_is_not_judged(scan):
    assert not damage(np.zeros((10, 5))).any()


@pytest.mark.parametrize("scaling", [None, (0.25, -7.0)])
def test_empty_volumes_of_an_image_are_found_whatever_its_scaling(tmp_path, scaling):
    rng = np.random.default_rng(3)
    shape, affine = (6, 7, 5), np.diag([3.0, 3, 3, 1])
    data = rng.integers(2000, 9000, shape)[..., None] + rng.integers(-50, 50, (*shape, 30))
    zero = 0 if scaling is None else 28
    data[..., 27:] = zero
    data[: shape[0] // 2, ..., 12] = zero
    image = nib.Nifti1Image(data.astype(np.int16), affine)
    if scaling:
        image.header.set_slope_inter(*scaling)
    image.to_filename(tmp_path / "bold.nii.gz")
    labels = nib.Nifti1Image(rng.integers(1, 4, shape).astype(np.int16), affine)
    labels.to_filename(tmp_path / "atlas.nii.gz")
    bold = tmp_path / "bold.nii.gz"
    placed = place_parcels(
        tmp_path / "atlas.nii.gz",
        np.array([1, 2, 3]),
        read_grid(bold),
        target="data",
        transform=None,
    )
    means = parcel_means(bold, placed, mask=None, min_coverage=0.5)
    assert describe_damage(means.damage) == "12 and 27 to 29 are empty"
