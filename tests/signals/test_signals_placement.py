"""Which voxel is whose: against brute force, in both directions, and once only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from fmmtc_bidsapp.errors import InputError, OutputError
from fmmtc_bidsapp.signals.parcellation import placement
from fmmtc_bidsapp.signals.parcellation.grid import Grid
from fmmtc_bidsapp.signals.parcellation.placement import place_parcels, placed_once
from fmmtc_bidsapp.signals.parcellation.space import read_grid, read_labels

SHAPE = (10, 12, 9)
AFFINE = np.array([[-2.0, 0, 0, 18], [0, 2, 0, -24], [0, 0, 2, -16], [0, 0, 0, 1]])
INDEX = np.array([7, 3, 5])
GRID = Grid(SHAPE, AFFINE)
COARSE = Grid(
    (6, 7, 6), AFFINE @ nib.affines.from_matvec(np.diag([1.9, 1.7, 1.6]), [0.31, 0.23, 0.07])
)


@pytest.fixture
def labels():
    return np.random.default_rng(5).choice([0, 3, 5, 7, 99], size=SHAPE)


@pytest.fixture
def atlas(tmp_path, labels):
    path = tmp_path / "atlas.nii.gz"
    nib.Nifti1Image(labels.astype(np.float32), AFFINE).to_filename(path)
    return path


@pytest.fixture
def shift(tmp_path):
    """A transform that takes points of the target 4 mm to the left and 2 mm up in the source."""
    transform = sitk.AffineTransform(3)
    transform.SetTranslation((4, 0, 2))
    path = tmp_path / "tpl-B_from-A_mode-image_xfm.h5"
    sitk.WriteTransform(transform, str(path))
    return path


def place(atlas, grid, target="data", transform=None):
    return place_parcels(atlas, INDEX, grid, target=target, transform=transform)


def assert_same(found, expected):
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
        assert np.asarray(getattr(found, name)).dtype == np.asarray(value).dtype, name


def centres_mm(shape, affine):
    voxels = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape, order="F"))
    return affine[:3, :3] @ voxels + affine[:3, 3:]


def test_every_voxel_of_a_parcel_is_placed_under_its_column(atlas, labels):
    found = place(atlas, GRID)
    flat = labels.ravel(order="F")
    for column, value in enumerate(INDEX):
        where = found.where[found.parcel == column]
        assert sorted(where) == np.flatnonzero(flat == value).tolist()
    assert (np.diff(found.parcel) >= 0).all()
    assert found.resampling == "none"
    np.testing.assert_array_equal(found.labels, labels)


@pytest.mark.parametrize("target", ["data", "atlas"])
def test_a_reoriented_grid_is_placed_exactly_and_expects_every_voxel(atlas, labels, target):
    flipped = Grid(
        SHAPE, AFFINE @ np.array([[-1, 0, 0, 9], [0, 1, 0, 0], [0, 0, 1, 0], [0] * 3 + [1]])
    )
    found = place(atlas, flipped, target)
    flat = np.flip(labels, 0).ravel(order="F")
    np.testing.assert_array_equal(INDEX[found.parcel], flat[found.where])
    n_voxels = [(labels == value).sum() for value in INDEX]
    np.testing.assert_array_equal(found.n_expected, n_voxels)
    np.testing.assert_array_equal(found.n_placed, n_voxels)
    assert found.resampling == "none"


def test_on_the_data_a_voxel_takes_the_nearest_label(atlas, labels):
    found = place(atlas, COARSE)
    own = centres_mm(SHAPE, AFFINE)
    taken = np.zeros(COARSE.n_voxels, dtype=int)
    for n, mm in enumerate(centres_mm(COARSE.shape, COARSE.affine).T):
        distance = np.abs(own - mm[:, None]).max(axis=0)
        if distance.min() <= 1:
            taken[n] = labels.ravel(order="F")[np.linalg.norm(own - mm[:, None], axis=0).argmin()]
    np.testing.assert_array_equal(found.labels.ravel(order="F"), taken)
    np.testing.assert_array_equal(found.labels_affine, COARSE.affine)
    assert found.resampling == "nearest"


def test_on_the_atlas_a_voxel_takes_the_nearest_voxel_of_the_image(atlas, labels):
    found = place(atlas, COARSE, "atlas")
    centres = centres_mm(COARSE.shape, COARSE.affine)
    flat = labels.ravel(order="F")
    expected = set()
    half_edges = np.array([[0.95], [0.85], [0.8]])
    for n, mm in enumerate(centres_mm(SHAPE, AFFINE).T):
        steps = np.abs(np.linalg.inv(AFFINE[:3, :3]) @ (centres - mm[:, None]))
        inside = (steps <= half_edges).all(axis=0)
        if flat[n] in INDEX and inside.any():
            expected.add((n, int(np.flatnonzero(inside)[0])))
    assert sorted(found.where) == sorted(where for _, where in expected)
    columns = np.array([INDEX.tolist().index(flat[n]) for n, _ in expected])
    np.testing.assert_array_equal(found.n_placed, np.bincount(columns, minlength=3))
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.labels_affine, AFFINE)


def test_atlas_voxels_outside_the_image_are_expected_but_not_placed(atlas, labels):
    found = place(atlas, Grid((10, 12, 4), AFFINE), "atlas")
    for column, value in enumerate(INDEX):
        assert found.n_placed[column] == (labels[:, :, :4] == value).sum()
        assert found.n_expected[column] == (labels == value).sum()


def test_on_another_grid_a_parcel_is_expected_to_keep_its_volume(atlas, labels):
    found = place(atlas, COARSE)
    volume = np.array([(labels == value).sum() for value in INDEX]) * 8 / (8 * 1.9 * 1.7 * 1.6)
    np.testing.assert_allclose(found.n_expected, np.maximum(volume, found.n_placed), rtol=1e-5)
    assert (found.n_placed <= found.n_expected).all()


def test_a_cropped_grid_expects_whole_voxels(atlas, labels):
    found = place(atlas, Grid((10, 12, 4), AFFINE + 1e-6 * np.eye(4, k=1)))
    np.testing.assert_array_equal(found.n_expected, [(labels == value).sum() for value in INDEX])
    np.testing.assert_array_equal(found.n_placed, [(labels[:, :, :4] == v).sum() for v in INDEX])


def test_a_parcel_that_the_atlas_lacks_expects_nothing(atlas):
    found = place_parcels(atlas, np.array([3, 12]), GRID, target="data", transform=None)
    np.testing.assert_array_equal(found.n_expected == 0, [False, True])


def test_a_transform_carries_labels_to_the_data(atlas, labels, shift):
    found = place(atlas, GRID, "data", shift)
    # LPS (4, 0, 2) mm is 2 voxels along the first axis, which runs to the left, and 1 up.
    expected = np.zeros_like(labels)
    expected[:-2, :, :-1] = labels[2:, :, 1:]
    np.testing.assert_array_equal(found.labels, expected)
    np.testing.assert_array_equal(found.n_expected, [(labels == value).sum() for value in INDEX])
    assert found.resampling == "nearest through tpl-B_from-A_mode-image_xfm.h5"


def test_a_transform_the_other_way_finds_the_image_under_the_atlas(atlas, labels, shift):
    found = place(atlas, GRID, "atlas", shift)
    under = np.full(SHAPE, -1)
    own = np.arange(GRID.n_voxels).reshape(SHAPE, order="F")
    under[:-2, :, :-1] = own[2:, :, 1:]
    for column, value in enumerate(INDEX):
        expected = under[labels == value]
        assert sorted(found.where[found.parcel == column]) == sorted(expected[expected >= 0])


def test_an_atlas_that_lies_elsewhere_is_refused(atlas):
    far = AFFINE.copy()
    far[:3, 3] += 500
    for target in ("data", "atlas"):
        with pytest.raises(InputError, match="same template space"):
            place(atlas, Grid(SHAPE, far), target)


def test_a_placement_is_found_once(tmp_path, atlas, shift, monkeypatch):
    expected = place(atlas, COARSE, "data", shift)
    again = {"target": "data", "transform": shift}
    made = placed_once(tmp_path / "cache", atlas, INDEX, COARSE, **again)
    monkeypatch.setattr(placement, "place_parcels", None)
    kept = placed_once(tmp_path / "cache", atlas, INDEX, COARSE, **again)
    assert_same(made, expected)
    assert_same(kept, expected)


def test_what_a_placement_follows_from_is_told_apart(tmp_path, atlas, shift):
    cache = tmp_path / "cache"
    other = tmp_path / "other.nii.gz"
    nib.Nifti1Image(np.full(SHAPE, 3, dtype=np.float32), AFFINE).to_filename(other)
    for n, (image, index, grid, target, transform) in enumerate(
        [
            (atlas, INDEX, COARSE, "data", None),
            (other, INDEX, COARSE, "data", None),
            (atlas, INDEX[::-1], COARSE, "data", None),
            (atlas, INDEX, GRID, "data", None),
            (atlas, INDEX, COARSE, "atlas", None),
            (atlas, INDEX, COARSE, "data", shift),
        ],
        start=1,
    ):
        found = placed_once(cache, image, index, grid, target=target, transform=transform)
        assert_same(found, place_parcels(image, index, grid, target=target, transform=transform))
        assert len(list(cache.iterdir())) == n


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


def empty(path):
    path.write_bytes(b"")


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def write_text(path):
    path.write_text("no arrays")


def write_other_arrays(path):
    np.savez(path, where=np.arange(3))


@pytest.mark.parametrize("damage", [cut, empty, flip_a_byte, write_text, write_other_arrays])
def test_a_damaged_placement_is_made_anew(tmp_path, atlas, damage):
    cache = tmp_path / "cache"
    expected = placed_once(cache, atlas, INDEX, COARSE, target="data", transform=None)
    (path,) = cache.iterdir()
    sound = path.read_bytes()
    damage(path)
    assert_same(placed_once(cache, atlas, INDEX, COARSE, target="data", transform=None), expected)
    assert path.stat().st_size == len(sound)


def test_several_may_place_at_once(tmp_path, atlas):
    expected = place(atlas, COARSE)
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(
                placed_once, tmp_path / "cache", atlas, INDEX, COARSE, target="data", transform=None
            )
            for _ in range(16)
        ]
        for each in asked:
            assert_same(each.result(), expected)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_cache_that_cannot_be_written_says_so(tmp_path, atlas):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(OutputError, match="Cannot write"):
        placed_once(tmp_path / "cache", atlas, INDEX, GRID, target="data", transform=None)


def test_a424_loses_nothing_on_its_own_grid_flipped(shared):
    path = shared / "data" / "atlas" / "A424+2mm.nii.gz"
    own = read_grid(path)
    ras = replace(own, affine=own.affine @ np.diag([-1, 1, 1, 1.0]))
    ras.affine[0, 3] = -90
    found = place_parcels(path, np.arange(1, 425), ras, target="data", transform=None)
    n_voxels = np.bincount(read_labels(path).ravel(), minlength=425)[1:]
    np.testing.assert_array_equal(found.n_placed, n_voxels)
    np.testing.assert_array_equal(found.n_expected, n_voxels)
    assert n_voxels[404] == 1


def test_a424_shrinks_no_large_parcel_on_fmripreps_2009c_grid(shared):
    path = shared / "data" / "atlas" / "A424+2mm.nii.gz"
    affine = nib.affines.from_matvec(np.diag([2.0, 2, 2]), [-96.5, -132.5, -78.5])
    placed = place_parcels(
        path, np.arange(1, 425), Grid((97, 115, 97), affine), target="data", transform=None
    )
    large = placed.n_expected > 30
    assert (placed.n_placed[large] > 0.9 * placed.n_expected[large]).mean() > 0.99
