"""Parcel means against nilearn and against brute force."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from nilearn.maskers import NiftiLabelsMasker

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.parcellation.parcellate import parcel_means
from fmmtc_bidsapp.signals.parcellation.placement import place_parcels
from fmmtc_bidsapp.signals.parcellation.space import read_grid

SHAPE, N_VOLUMES, N_PARCELS = (7, 8, 6), 12, 5
INDEX = np.array([30, 2, 11, 4, 17])
AFFINE = np.array([[-3.0, 0, 0, 9], [0, 3, 0, -12], [0, 0, 3, -9], [0, 0, 0, 1]])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def labels(rng):
    return rng.choice([0, 99, *INDEX], size=SHAPE)


@pytest.fixture
def mask(rng):
    return rng.random(SHAPE) > 0.2


def make_series(rng, dtype=np.float32):
    values = rng.normal(1000, 200, (*SHAPE, N_VOLUMES))
    return (values if np.dtype(dtype).kind == "f" else values.clip(1, None) / 8).astype(dtype)


def save(path, data, *, endian="<", scaling=None):
    image = nib.Nifti1Image(data, AFFINE, nib.Nifti1Header(endianness=endian))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((3.0, 3.0, 3.0, 2.5)[: data.ndim])
    if scaling:
        image.header.set_slope_inter(*scaling)
    image.to_filename(path)
    return path


def placed_on(path, labels, affine=None, target="data"):
    """Place labels that lie on the image's grid, or where their affine says."""
    grid = read_grid(path)
    atlas = path.with_name("atlas.nii.gz")
    affine = grid.affine if affine is None else affine
    nib.Nifti1Image(labels.astype(np.int32), affine).to_filename(atlas)
    return place_parcels(atlas, INDEX, grid, target=target, transform=None)


def ours(path, labels, mask=None, min_coverage=0.0):
    return parcel_means(path, placed_on(path, labels), mask=mask, min_coverage=min_coverage)


def nilearn_means(path, labels, mask=None):
    """Columns in the order of INDEX; nilearn sorts labels, and keeps 99, which we leave out."""
    affine = nib.load(path).affine
    masker = NiftiLabelsMasker(
        nib.Nifti1Image(labels.astype(np.int32), affine),
        mask_img=None if mask is None else nib.Nifti1Image(mask.astype(np.uint8), affine),
        standardize=None,
        resampling_target=None,
    )
    series = masker.fit_transform(nib.load(path))
    column = {value: n for n, value in enumerate(np.unique(labels[labels > 0]).tolist())}
    return series[:, [column[value] for value in INDEX.tolist()]]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_means_equal_nilearns_for_every_type_and_compression(
    tmp_path, rng, labels, mask, dtype, suffix
):
    path = save(tmp_path / f"bold{suffix}", make_series(rng, dtype))
    found = ours(path, labels, mask)
    np.testing.assert_allclose(found.signal, nilearn_means(path, labels, mask), rtol=1e-5)
    assert found.signal.dtype == np.float64
    assert found.tr_header_s == 2.5
    assert found.n_volumes == N_VOLUMES


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_slope_and_intercept_are_applied_in_either_byte_order(
    tmp_path, rng, labels, mask, dtype, endian
):
    data = make_series(rng, np.dtype(dtype).newbyteorder(endian))
    path = save(tmp_path / "bold.nii.gz", data, endian=endian, scaling=(0.25, -7.0))
    assert nib.load(path).header.endianness == endian
    found = ours(path, labels, mask)
    np.testing.assert_allclose(found.signal, nilearn_means(path, labels, mask), rtol=1e-5)
    inside = mask & (labels == INDEX[0])
    np.testing.assert_allclose(found.signal[:, 0], 0.25 * data[inside].mean(axis=0) - 7, rtol=1e-5)


@pytest.mark.parametrize(
    "orientation", ["LPS", "RAS", "LAS", "SRA", "ALI"], ids=lambda axes: f"stored_{axes}"
)
def test_a_file_stored_in_another_orientation_gives_the_same_series(
    tmp_path, rng, labels, orientation
):
    data = make_series(rng)
    transform = nib.orientations.ornt_transform(
        nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(orientation)
    )
    image = nib.Nifti1Image(data, AFFINE).as_reoriented(transform)
    image.to_filename(tmp_path / "other.nii.gz")
    stored_labels = nib.orientations.apply_orientation(labels, transform)
    expected = ours(save(tmp_path / "bold.nii", data), labels).signal
    found = ours(tmp_path / "other.nii.gz", stored_labels)
    np.testing.assert_allclose(found.signal, expected, rtol=1e-12)
    np.testing.assert_allclose(
        found.signal, nilearn_means(tmp_path / "other.nii.gz", stored_labels), rtol=1e-5
    )


def test_memory_does_not_grow_with_the_number_of_volumes(tmp_path, rng):
    labels = rng.choice([0, *INDEX], size=(20, 20, 20))
    peaks = []
    for n_volumes in (20, 20, 200):
        data = rng.normal(size=(*labels.shape, n_volumes)).astype(np.float32)
        path = save(tmp_path / f"{n_volumes}.nii.gz", data)
        placed = placed_on(path, labels)
        tracemalloc.start()
        parcel_means(path, placed, mask=None, min_coverage=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    _, short, long = peaks
    assert long - short < 2 * labels.size * 4


def test_nonfinite_voxels_are_left_out_of_every_volume_and_counted(tmp_path, rng, labels):
    data = make_series(rng)
    spoilt = np.argwhere(labels == INDEX[1])[:3]
    for voxel, (volume, value) in zip(
        spoilt, [(0, np.nan), (5, np.inf), (6, -np.inf)], strict=True
    ):
        data[(*voxel, volume)] = value
    found = ours(save(tmp_path / "bold.nii.gz", data), labels)
    kept = labels == INDEX[1]
    kept[tuple(spoilt.T)] = False
    np.testing.assert_allclose(found.signal[:, 1], data[kept].mean(axis=0), rtol=1e-5)
    assert found.n_voxels_nonfinite == 3
    assert found.coverage[1] == kept.sum() / (labels == INDEX[1]).sum()
    assert np.isfinite(found.signal).all()


def test_numbers_that_cannot_be_added_up_are_no_numbers(tmp_path, rng, labels):
    data = make_series(rng, np.float64)
    first, second, third = (tuple(each) for each in np.argwhere(labels == INDEX[1])[:3])
    largest = np.finfo(np.float64).max
    data[(*first, 4)] = data[(*second, 0)] = largest
    # What the second one lacks in this volume, compared with its first, the third one adds.
    data[(*third, 9)] = largest
    nib.Nifti1Image(data, AFFINE).to_filename(tmp_path / "bold.nii.gz")
    found = ours(tmp_path / "bold.nii.gz", labels)
    kept = labels == INDEX[1]
    kept[tuple(np.transpose([first, second, third]))] = False
    np.testing.assert_allclose(found.signal[:, 1], data[kept].mean(axis=0), rtol=1e-10)
    assert found.n_voxels_nonfinite == 3


@pytest.mark.parametrize("level", [0, 3.5, 1e30])
def test_constant_voxels_are_left_out_of_the_mean_and_of_coverage(tmp_path, rng, labels, level):
    data = make_series(rng)
    still = tuple(np.argwhere(labels == INDEX[3])[:4].T)
    data[still] = level
    found = ours(save(tmp_path / "bold.nii.gz", data), labels)
    kept = labels == INDEX[3]
    kept[still] = False
    np.testing.assert_allclose(found.signal[:, 3], data[kept].mean(axis=0), rtol=1e-5)
    assert found.n_voxels_constant == 4
    assert found.n_voxels_used[3] == kept.sum()
    assert found.coverage[3] == kept.sum() / (labels == INDEX[3]).sum()
    assert not found.zero_variance.any()


def test_a_parcel_of_constant_voxels_has_no_data_and_zero_variance(tmp_path, rng, labels):
    data = make_series(rng)
    data[labels == INDEX[2]] = 5
    found = ours(save(tmp_path / "bold.nii.gz", data), labels)
    assert np.isnan(found.signal[:, 2]).all()
    np.testing.assert_array_equal(found.zero_variance, np.arange(N_PARCELS) == 2)
    assert found.coverage[2] == 0


def test_a_parcel_below_the_smallest_coverage_is_missing(tmp_path, rng, labels):
    mask = np.ones(SHAPE, dtype=bool)
    mask[tuple(np.argwhere(labels == INDEX[0])[::2].T)] = False
    path = save(tmp_path / "bold.nii.gz", make_series(rng))
    strict = ours(path, labels, mask, min_coverage=0.6)
    assert 0.4 < strict.coverage[0] <= 0.5
    np.testing.assert_array_equal(strict.low_coverage, np.arange(N_PARCELS) == 0)
    np.testing.assert_array_equal(np.isnan(strict.signal).all(axis=0), np.arange(N_PARCELS) == 0)
    exactly = ours(path, labels, mask, min_coverage=strict.coverage[0])
    assert not exactly.low_coverage.any()
    assert np.isfinite(exactly.signal).all()


def test_a_parcel_without_a_voxel_on_the_grid_has_coverage_zero(tmp_path, rng, labels):
    labels[labels == INDEX[4]] = 0
    found = ours(save(tmp_path / "bold.nii.gz", make_series(rng)), labels)
    assert found.coverage[4] == 0
    assert np.isnan(found.signal[:, 4]).all()
    assert not found.zero_variance[4]
    assert np.isfinite(found.signal[:, :4]).all()


@pytest.mark.parametrize("target", ["data", "atlas"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_file_stored_flipped_gives_exactly_the_same_series(tmp_path, rng, axis, target):
    coarse = AFFINE @ nib.affines.from_matvec(np.diag([0.7, 0.7, 0.7]), [1, 2, 1])
    labels = rng.choice([0, *INDEX], size=(9, 8, 7))
    data = make_series(rng)
    turned = np.eye(4)
    turned[axis, axis], turned[axis, 3] = -1, SHAPE[axis] - 1
    mask = rng.random(SHAPE) > 0.1
    found = []
    for name, values, inside, affine in [
        ("bold.nii.gz", data, mask, AFFINE),
        ("flipped.nii.gz", np.flip(data, axis), np.flip(mask, axis), AFFINE @ turned),
    ]:
        nib.Nifti1Image(values, affine).to_filename(tmp_path / name)
        placed = placed_on(tmp_path / name, labels, coarse, target)
        found.append(parcel_means(tmp_path / name, placed, mask=inside, min_coverage=0))
    np.testing.assert_array_equal(found[0].signal, found[1].signal)
    np.testing.assert_array_equal(found[0].coverage, found[1].coverage)
    assert np.isfinite(found[0].signal).all()


def test_looking_up_the_image_weighs_a_voxel_by_how_many_of_the_atlas_lie_in_it(tmp_path, rng):
    data = make_series(rng)
    path = save(tmp_path / "bold.nii.gz", data)
    fine = rng.choice([0, *INDEX], size=tuple(2 * n for n in SHAPE))
    half = AFFINE @ nib.affines.from_matvec(np.diag([0.5] * 3), [-0.25] * 3)
    found = parcel_means(path, placed_on(path, fine, half, "atlas"), mask=None, min_coverage=0)
    upsampled = data.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    for column, value in enumerate(INDEX):
        expected = upsampled[fine == value].mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(found.signal[:, column], expected, rtol=1e-6)
    np.testing.assert_array_equal(found.coverage, 1)
    assert not found.shrunk.any()


def test_coverage_is_measured_against_the_volume_in_the_atlas(tmp_path, rng):
    labels = np.full((10, 8, 6), INDEX[0])
    labels[5:] = INDEX[1]
    labels[-1] = INDEX[2]
    path = save(tmp_path / "bold.nii.gz", make_series(rng))
    placed = placed_on(path, labels, AFFINE)
    mask = np.ones(SHAPE, dtype=bool)
    mask[0] = False
    found = parcel_means(path, placed, mask=mask, min_coverage=0.6)
    # Of the first parcel the mask loses a fifth, of the second the edge of the image a half.
    np.testing.assert_array_equal(found.coverage, [0.8, 0.5, 0, 0, 0])
    np.testing.assert_array_equal(found.shrunk, [False, True, True, False, False])
    np.testing.assert_array_equal(found.low_coverage, [False, True, True, True, True])


def test_a_mask_that_holds_no_parcel_gives_missing_parcels_only(tmp_path, rng, labels):
    path = save(tmp_path / "bold.nii", make_series(rng))
    found = ours(path, labels, labels == 0)
    assert np.isnan(found.signal).all()
    assert found.signal.shape == (N_VOLUMES, N_PARCELS)
    assert not found.coverage.any()
    assert not found.shrunk.any()


def test_a_grid_or_a_mask_of_another_shape_is_refused(tmp_path, rng, labels):
    path = save(tmp_path / "bold.nii", make_series(rng))
    placed = placed_on(path, labels)
    with pytest.raises(InputError, match=r"atlas was placed on has shape \(6, 8, 6\).*\(7, 8, 6\)"):
        parcel_means(path, replace(placed, shape=(6, 8, 6)), mask=None, min_coverage=0)
    with pytest.raises(InputError, match=r"brain mask has shape \(7, 8, 5\)"):
        parcel_means(path, placed, mask=np.ones((7, 8, 5), dtype=bool), min_coverage=0)


@pytest.mark.parametrize("volumes", [None, 1])
def test_fewer_than_two_volumes_are_refused(tmp_path, rng, labels, volumes):
    data = make_series(rng)[..., 0] if volumes is None else make_series(rng)[..., :volumes]
    with pytest.raises(InputError, match="two volumes or more"):
        ours(save(tmp_path / "bold.nii.gz", data), labels)
