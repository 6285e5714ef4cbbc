"""Grids: flips are exact, other grids are sampled or refused."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nilearn.image import resample_img
from scipy.spatial.distance import dice
from scipy.stats import pearsonr

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.parcellation.grid import Grid
from fmmtc_bidsapp.signals.parcellation.space import (
    labels_on_grid,
    mask_overlap,
    read_grid,
    read_labels,
    read_mask,
)

SHAPE = (10, 12, 9)
AFFINE = np.array([[-2.0, 0, 0, 18], [0, 2, 0, -24], [0, 0, 2, -16], [0, 0, 0, 1]])
ORIENTATIONS = ["RAS", "LPS", "LAI", "ASR", "IPL"]


@pytest.fixture
def labels():
    return np.random.default_rng(5).integers(0, 9, SHAPE)


def save(path, array, affine=AFFINE, dtype=np.float32):
    nib.Nifti1Image(array.astype(dtype), affine).to_filename(path)
    return path


def reoriented(array, orientation):
    transform = nib.orientations.ornt_transform(
        nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(orientation)
    )
    image = nib.Nifti1Image(array.astype(np.int32), AFFINE).as_reoriented(transform)
    grid = Grid(image.shape, image.affine)
    return np.asarray(image.dataobj), grid


def test_the_grid_of_a_series_is_that_of_its_volumes(tmp_path):
    grid = read_grid(save(tmp_path / "bold.nii.gz", np.zeros((*SHAPE, 3))))
    assert grid.shape == SHAPE
    np.testing.assert_allclose(grid.affine, AFFINE)


def test_grids_agree_up_to_rounding_and_no_further(tmp_path, labels):
    path = save(tmp_path / "a.nii.gz", labels)
    rounded = AFFINE + 1e-4 * np.eye(4, k=1)
    assert labels_on_grid(path, Grid(SHAPE, rounded))[1] == "none"
    stretched = Grid(SHAPE, AFFINE @ np.diag([1.01, 1, 1, 1]))
    assert labels_on_grid(path, stretched)[1] == "nearest"
    assert labels_on_grid(path, Grid((10, 12, 8), AFFINE))[1] == "nearest"


def test_labels_on_their_own_grid_are_carried_over_unchanged(tmp_path, labels):
    found, resampling = labels_on_grid(save(tmp_path / "a.nii.gz", labels), Grid(SHAPE, AFFINE))
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == np.int32
    assert resampling == "none"


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_labels_on_a_flipped_or_permuted_grid_are_carried_over_voxel_by_voxel(
    tmp_path, labels, orientation
):
    expected, grid = reoriented(labels, orientation)
    found, resampling = labels_on_grid(save(tmp_path / "a.nii.gz", labels), grid)
    np.testing.assert_array_equal(found, expected)
    assert resampling == "none"


def test_labels_on_a_coarser_grid_equal_nilearns_nearest_ones(tmp_path, labels):
    path = save(tmp_path / "a.nii.gz", labels)
    coarse = Grid(
        (5, 6, 5), AFFINE @ np.array([[2, 0, 0, 0.3], [0, 2, 0, 0.2], [0, 0, 2, 0.1], [0, 0, 0, 1]])
    )
    found, resampling = labels_on_grid(path, coarse)
    expected = resample_img(
        nib.load(path),
        coarse.affine,
        coarse.shape,
        interpolation="nearest",
        force_resample=True,
        copy_header=True,
    ).get_fdata()
    inside = (slice(None), slice(None), slice(0, 4))
    np.testing.assert_array_equal(found[inside], expected[inside])
    assert resampling == "nearest"


def test_nearest_labels_are_those_whose_centre_is_nearest_in_mm(tmp_path, labels):
    turn = np.array(
        [[0.9, -0.1, 0, 1.21], [0.1, 0.9, 0.05, 0.43], [0, -0.06, 1, 0.334], [0, 0, 0, 1]]
    )
    grid = Grid((6, 6, 6), AFFINE @ turn)
    found, _ = labels_on_grid(save(tmp_path / "a.nii.gz", labels), grid)
    centres = (np.indices(SHAPE).reshape(3, -1).T @ AFFINE[:3, :3].T) + AFFINE[:3, 3]
    for voxel in np.ndindex(grid.shape):
        mm = grid.affine[:3, :3] @ voxel + grid.affine[:3, 3]
        nearest = np.linalg.norm(centres - mm, axis=1).argmin()
        assert found[voxel] == labels.ravel()[nearest]


def test_a_grid_that_reaches_beyond_the_atlas_is_background_there(tmp_path, labels):
    shifted = AFFINE.copy()
    shifted[:3, 3] += AFFINE[:3, :3] @ [4, 0, 0]
    found, resampling = labels_on_grid(save(tmp_path / "a.nii.gz", labels), Grid(SHAPE, shifted))
    np.testing.assert_array_equal(found[:6], labels[4:])
    assert not found[6:].any()
    assert resampling == "nearest"


def test_a_voxel_centre_within_the_outermost_atlas_voxel_takes_its_label(tmp_path, labels):
    shifted = AFFINE.copy()
    shifted[:3, 3] += AFFINE[:3, :3] @ [-0.4, 0.4, -0.4]
    found, resampling = labels_on_grid(save(tmp_path / "a.nii.gz", labels), Grid(SHAPE, shifted))
    np.testing.assert_array_equal(found, labels)
    assert resampling == "nearest"


def test_an_atlas_that_lies_elsewhere_is_refused(tmp_path, labels):
    far = AFFINE.copy()
    far[:3, 3] += 500
    with pytest.raises(InputError, match="same template space"):
        labels_on_grid(save(tmp_path / "a.nii.gz", labels), Grid(SHAPE, far))


def test_labels_that_are_not_whole_numbers_are_refused(tmp_path, labels):
    path = save(tmp_path / "a.nii.gz", labels + 0.25)
    with pytest.raises(InputError, match="whole numbers"):
        read_labels(path)


def test_a_label_image_with_nan_is_refused(tmp_path, labels):
    path = save(tmp_path / "a.nii.gz", np.where(labels == 3, np.nan, labels))
    with pytest.raises(InputError, match="has the value nan"):
        read_labels(path)


def test_a_4d_label_image_is_refused(tmp_path, labels):
    path = save(tmp_path / "a.nii.gz", np.stack([labels, labels], axis=-1))
    with pytest.raises(InputError, match="a 3D image is needed"):
        read_labels(path)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_mask_stored_in_another_orientation_is_accepted(tmp_path, labels, orientation):
    expected, grid = reoriented(labels > 4, orientation)
    found = read_mask(save(tmp_path / "m.nii.gz", labels > 4, dtype=np.uint8), grid)
    np.testing.assert_array_equal(found, expected.astype(bool))
    assert found.dtype == bool


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((5, 6, 5), AFFINE @ np.diag([2, 2, 2, 1])),
        (SHAPE, AFFINE @ np.diag([1.02, 1, 1, 1])),
        ((9, 12, 9), AFFINE),
    ],
    ids=["coarser", "stretched", "cropped"],
)
def test_a_mask_on_another_grid_is_refused_with_both_grids(tmp_path, labels, shape, affine):
    path = save(tmp_path / "m.nii.gz", labels > 4, dtype=np.uint8)
    with pytest.raises(InputError) as caught:
        read_mask(path, Grid(shape, affine))
    assert f"shape {SHAPE}" in str(caught.value)
    assert f"shape {shape}" in str(caught.value)


def test_an_empty_mask_is_refused(tmp_path):
    path = save(tmp_path / "m.nii.gz", np.zeros(SHAPE), dtype=np.uint8)
    with pytest.raises(InputError, match="no voxel above 0"):
        read_mask(path, Grid(SHAPE, AFFINE))


@pytest.mark.parametrize("noise", [1e-7, -1e-7, 1e-3])
def test_rounding_in_a_mask_puts_no_voxel_inside_or_outside(tmp_path, labels, noise):
    inside = labels > 4
    path = save(tmp_path / "m.nii.gz", inside + noise)
    np.testing.assert_array_equal(read_mask(path, Grid(SHAPE, AFFINE)), inside)
    assert mask_overlap(inside, Grid(SHAPE, AFFINE), path).dice == 1


@pytest.mark.parametrize("value", [0.4, 0.6, 2, 255, -1, np.nan, np.inf])
def test_a_mask_that_holds_anything_but_0_and_1_is_refused(tmp_path, labels, value):
    values = (labels > 4).astype(float)
    values[1, 2, 3] = value
    path = save(tmp_path / "m.nii.gz", values)
    for read in (
        lambda: read_mask(path, Grid(SHAPE, AFFINE)),
        lambda: mask_overlap(labels > 4, Grid(SHAPE, AFFINE), path),
    ):
        with pytest.raises(InputError, match="1 voxels in all that are neither 0 nor 1"):
            read()


def test_the_overlap_of_two_masks_is_that_of_the_textbook(tmp_path, labels):
    mask, template = labels > 4, labels > 2
    template[:3] = False
    found = mask_overlap(
        mask, Grid(SHAPE, AFFINE), save(tmp_path / "t.nii.gz", template, dtype=np.uint8)
    )
    shared = (mask & template).sum()
    assert found.dice == pytest.approx(1 - dice(mask.ravel(), template.ravel()))
    assert found.correlation == pytest.approx(pearsonr(mask.ravel(), template.ravel()).statistic)
    assert found.overlap == pytest.approx(shared / min(mask.sum(), template.sum()))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_mask_agrees_wholly_with_itself_in_any_orientation(tmp_path, labels, orientation):
    mask, grid = reoriented(labels > 4, orientation)
    path = save(tmp_path / "t.nii.gz", labels > 4, dtype=np.uint8)
    found = mask_overlap(mask.astype(bool), grid, path)
    assert (found.dice, found.overlap) == (1, 1)
    assert found.correlation == pytest.approx(1)


def test_the_overlap_of_two_boxes_is_what_a_person_counts(tmp_path):
    one, other = np.zeros((10, 10, 10), dtype=bool), np.zeros((10, 10, 10))
    one[:4, :5, :5] = True
    other[1:9, :5, :5] = 1
    found = mask_overlap(
        one, Grid(one.shape, AFFINE), save(tmp_path / "m.nii.gz", other, dtype=np.uint8)
    )
    # 100 and 200 of 1000 voxels, 75 of them shared.
    assert found.dice == pytest.approx(2 * 75 / 300)
    assert found.overlap == pytest.approx(75 / 100)
    # (1000 * 75 - 100 * 200) over the root of 100 * 900 * 200 * 800.
    assert found.correlation == pytest.approx(55 / 120)


def test_the_templates_mask_may_lie_on_another_grid(tmp_path):
    coarse = np.zeros((5, 6, 5))
    coarse[1:4, 2:5, 1:4] = 1
    affine = AFFINE @ nib.affines.from_matvec(np.diag([2.0, 2, 2]), [0.5, 0.5, 0.5])
    path = save(tmp_path / "t.nii.gz", coarse, affine, dtype=np.uint8)
    fine = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2) > 0
    found = mask_overlap(fine, Grid((10, 12, 10), AFFINE), path)
    assert (found.dice, found.overlap) == (1, 1)


def test_masks_that_do_not_meet_have_no_overlap_but_masks_that_are_empty_are_refused(
    tmp_path, labels
):
    path = save(tmp_path / "t.nii.gz", labels > 4, dtype=np.uint8)
    grid = Grid(SHAPE, AFFINE)
    apart = mask_overlap(labels < 2, grid, path)
    assert (apart.dice, apart.overlap) == (0, 0)
    assert apart.correlation < 0
    with pytest.raises(InputError, match="both need voxels"):
        mask_overlap(np.zeros(SHAPE, dtype=bool), grid, path)
    far = AFFINE.copy()
    far[:3, 3] += 500
    with pytest.raises(InputError, match="both need voxels"):
        mask_overlap(labels < 2, Grid(SHAPE, far), path)


def test_the_a424_atlas_reads_as_424_labels(shared):
    labels = read_labels(shared / "data" / "atlas" / "A424+2mm.nii.gz")
    np.testing.assert_array_equal(np.unique(labels), np.arange(425))
