"""The demonstration parcellation is what it says it is."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fmmtc_bidsapp.bidsio.atlases.atlas import resolve_atlas
from fmmtc_bidsapp.records import Atlas
from fmmtc_bidsapp.simulate.parcellation import demo_atlas, halve


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("atlas")
    demo_atlas(folder)
    return folder


@pytest.fixture(scope="module")
def atlas(folder: Path) -> Atlas:
    return resolve_atlas(str(folder))


def test_pieces_of_a_line_are_its_sections_in_order() -> None:
    line = np.column_stack([np.arange(12.0), np.zeros(12), np.zeros(12)])
    assert halve(line, 4).tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3


def test_pieces_are_of_equal_size_whatever_their_number() -> None:
    points = np.random.default_rng(0).normal(size=(1000, 3))
    sizes = np.bincount(halve(points, 7))
    assert sizes.sum() == 1000
    assert np.ptp(sizes) <= 3


def test_the_cut_goes_through_the_longest_axis() -> None:
    points = np.random.default_rng(0).uniform(size=(100, 3)) * [1, 9, 1]
    low = halve(points, 2) == 0
    assert points[low, 1].max() <= points[~low, 1].min()


def test_it_resolves_as_an_atlas_that_is_not_a424(atlas: Atlas) -> None:
    assert atlas.label == "DemoGM424"
    assert "NOT A424" in atlas.title
    assert "DEMONSTRATION" in atlas.description
    assert len(atlas.names) == 424
    assert (len(set(atlas.networks)), len(set(atlas.subnetworks))) == (7, 24)


def test_every_parcel_survives_sampling_at_4_mm(atlas: Atlas) -> None:
    labels = np.asarray(nib.load(atlas.image).dataobj)
    assert np.bincount(labels.ravel())[1:].min() >= 300
    assert np.bincount(labels[::2, ::2, ::2].ravel())[1:].min() >= 20


def test_parcels_lie_on_one_side_and_their_coordinates_are_their_centres(atlas: Atlas) -> None:
    image = nib.load(atlas.image)
    labels = np.asarray(image.dataobj)
    assert atlas.coordinates_mm is not None
    for parcel in (0, 100, 211, 212, 423):
        voxels = np.argwhere(labels == parcel + 1)
        xyz_mm = nib.affines.apply_affine(image.affine, voxels)
        assert (xyz_mm[:, 0] >= 0).all() == (parcel < 212)
        np.testing.assert_allclose(atlas.coordinates_mm[parcel], xyz_mm.mean(axis=0), atol=0.01)


def test_the_same_bytes_come_out_again(folder: Path, tmp_path: Path) -> None:
    demo_atlas(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()
