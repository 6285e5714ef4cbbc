"""What is painted can be read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fmmtc_bidsapp.errors import UsageError
from fmmtc_bidsapp.records import Atlas
from fmmtc_bidsapp.simulate.images import Canvas, make_canvas, mni_grid, paint, write_image
from fmmtc_bidsapp.simulate.options import SimulationOptions

STUDY = SimulationOptions(volumes=20)


@pytest.fixture(scope="module")
def canvas(block_atlas: Atlas) -> Canvas:
    return make_canvas(block_atlas, 12)


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    return np.random.default_rng(1).normal(1000, 10, (20, 8)).astype(np.float32)


def write(path: Path, canvas: Canvas, series: np.ndarray, dtype: str) -> np.ndarray:
    volumes = paint(canvas, series, STUDY, np.random.default_rng(0))
    write_image(path, volumes, canvas.grid, dtype=dtype, time=(20, 2.5))
    return np.asarray(nib.load(path).dataobj)


@pytest.mark.parametrize(("dtype", "tolerance"), [("int16", 0.5), ("float32", 1e-3)])
def test_the_mean_of_a_parcels_voxels_is_its_series(
    canvas: Canvas,
    series: np.ndarray,
    block_atlas: Atlas,
    tmp_path: Path,
    dtype: str,
    tolerance: float,
) -> None:
    data = write(tmp_path / "bold.nii.gz", canvas, series, dtype)
    labels = np.asarray(nib.load(block_atlas.image).dataobj)
    for column, label in enumerate(block_atlas.index):
        means = data[labels == label].mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(means, series[:, column], atol=tolerance)


def test_voxels_of_a_parcel_scatter_by_the_voxel_noise(
    canvas: Canvas, series: np.ndarray, tmp_path: Path
) -> None:
    data = write(tmp_path / "bold.nii.gz", canvas, series, "float32")
    within = data[canvas.parcel == 2].std(axis=0).mean()
    assert within == pytest.approx(STUDY.voxel_noise, rel=0.1)


def test_the_brain_holds_every_parcel_and_nothing_lies_outside(
    canvas: Canvas, series: np.ndarray, tmp_path: Path
) -> None:
    assert canvas.brain[canvas.parcel >= 0].all()
    assert canvas.brain.sum() > (canvas.parcel >= 0).sum()
    data = write(tmp_path / "bold.nii.gz", canvas, series, "int16")
    assert (data[~canvas.brain] == 0).all()
    assert (data[canvas.brain] > 0).all()


def test_the_header_says_space_units_and_repetition_time(
    canvas: Canvas, series: np.ndarray, tmp_path: Path
) -> None:
    write(tmp_path / "bold.nii.gz", canvas, series, "int16")
    header = nib.load(tmp_path / "bold.nii.gz").header
    assert header.get_zooms() == (12, 12, 12, 2.5)
    assert header.get_xyzt_units() == ("mm", "sec")
    assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 4)
    np.testing.assert_allclose(header.get_best_affine(), canvas.grid.affine)


def test_the_grid_at_2_mm_is_that_of_the_template() -> None:
    grid = mni_grid(2)
    assert grid.shape == (91, 109, 91)
    np.testing.assert_array_equal(grid.affine @ [45, 63, 36, 1], [0, 0, 0, 1])


@pytest.mark.parametrize("size_mm", [2.0, 2.4, 3.0, 4.0, 7.0])
def test_a_grid_of_any_voxel_size_stays_within_the_template(size_mm: float) -> None:
    grid = mni_grid(size_mm)
    last_mm = (grid.affine @ [*np.subtract(grid.shape, 1), 1])[:3]
    assert (last_mm <= [90, 90, 108]).all()
    assert (last_mm > np.subtract([90, 90, 108], size_mm)).all()


def test_a_voxel_size_of_zero_is_refused() -> None:
    with pytest.raises(UsageError, match="--voxel-size-mm"):
        mni_grid(0)


def test_an_atlas_of_another_template_is_refused(block_atlas: Atlas) -> None:
    with pytest.raises(UsageError, match="MNI152NLin2009cAsym"):
        make_canvas(replace(block_atlas, space="MNI152NLin2009cAsym"), 12)
