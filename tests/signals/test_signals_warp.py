"""Transforms of points against SimpleITK, which also writes every file that is read here."""

from __future__ import annotations

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.parcellation.grid import Grid
from fmmtc_bidsapp.signals.parcellation.space import labels_on_grid
from fmmtc_bidsapp.signals.parcellation.warp import read_transform

LPS = np.diag([-1.0, -1, 1, 1])
ATLAS_AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2, 0, -34], [0, 0, 2, -28], [0, 0, 0, 1]])
TURN = nib.eulerangles.euler2mat(0.1, -0.07, 0.2)
GRIDS = {
    "whole mm, beyond the field": Grid(
        (80, 90, 76), np.array([[1.0, 0, 0, -40], [0, 1, 0, -45], [0, 0, 1, -38], [0, 0, 0, 1]])
    ),
    "2 mm, half a voxel off": Grid(
        (34, 38, 33),
        np.array([[2.0, 0, 0, -33.5], [0, 2, 0, -37.5], [0, 0, 2, -32.5], [0] * 3 + [1]]),
    ),
    "oblique": Grid(
        (30, 31, 29), nib.affines.from_matvec(TURN * [-2.4, 2.7, 2.3], [33.3, -41.1, -30.7])
    ),
}


@pytest.fixture(scope="module")
def field():
    """A smooth field of several mm on an oblique grid of 3 mm, smaller than the images."""
    rng = np.random.default_rng(3)
    shift = gaussian_filter(rng.normal(size=(14, 17, 16, 3)), (2, 2, 2, 0))
    image = sitk.GetImageFromArray(shift * (4 / shift.std()), isVector=True)
    image.SetOrigin((-20.0, -22, -21))
    image.SetSpacing((3, 3, 3))
    image.SetDirection(nib.eulerangles.euler2mat(0, 0, 0.1).ravel())
    return image


def affine():
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((TURN * [1.05, 0.97, 1.02]).ravel())
    transform.SetTranslation((1.3, -2.1, 0.7))
    transform.SetCenter((4, -3, 5))
    return transform


def composite(*parts):
    transform = sitk.CompositeTransform(3)
    for part in parts:
        transform.AddTransform(part)
    return transform


def shifts(field):
    # SimpleITK takes the image's content away, so it gets a copy.
    return sitk.DisplacementFieldTransform(sitk.Image(field))


TRANSFORMS = {
    "affine added first, so applied last": lambda field: composite(affine(), shifts(field)),
    "field added first, so applied last": lambda field: composite(shifts(field), affine()),
    "two of each": lambda field: composite(affine(), shifts(field), affine(), shifts(field)),
    "affine alone": lambda field: affine(),
    "field alone": shifts,
}


@pytest.fixture(params=TRANSFORMS, ids=TRANSFORMS)
def transform(request, field):
    return TRANSFORMS[request.param](field)


@pytest.fixture
def written(tmp_path):
    def write(transform):
        sitk.WriteTransform(transform, str(tmp_path / "xfm.h5"))
        return tmp_path / "xfm.h5"

    return write


def as_itk(array, affine):
    in_lps = LPS @ affine
    spacing = np.linalg.norm(in_lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing)
    image.SetOrigin(in_lps[:3, 3])
    image.SetDirection((in_lps[:3, :3] / spacing).ravel())
    return image


def test_points_go_where_itk_sends_them(written, transform):
    points = np.random.default_rng(1).uniform(-40, 40, (3, 500))
    expected = [transform.TransformPoint(point) for point in (LPS[:3, :3] @ points).T]
    found = read_transform(written(transform))(points)
    np.testing.assert_allclose(LPS[:3, :3] @ found, np.transpose(expected), atol=1e-9)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_labels_equal_itks_voxel_for_voxel(tmp_path, written, transform, grid):
    labels = np.random.default_rng(2).integers(0, 200, (30, 35, 29)).astype(np.int32)
    nib.Nifti1Image(labels, ATLAS_AFFINE).to_filename(tmp_path / "atlas.nii.gz")
    expected = sitk.Resample(
        as_itk(labels, ATLAS_AFFINE),
        as_itk(np.zeros(grid.shape, dtype=np.int32), grid.affine),
        transform,
        sitk.sitkNearestNeighbor,
        0,
    )
    found, resampling = labels_on_grid(tmp_path / "atlas.nii.gz", grid, written(transform))
    np.testing.assert_array_equal(found, sitk.GetArrayFromImage(expected).T)
    assert resampling == "nearest through xfm.h5"


def test_the_misspelt_names_of_older_itk_are_read(written, field):
    path = written(composite(affine(), shifts(field)))
    points = np.random.default_rng(1).uniform(-40, 40, (3, 50))
    expected = read_transform(path)(points)
    with h5py.File(path, "r+") as file:
        for group in file["TransformGroup"].values():
            for key in [each for each in group if each != "TransformType"]:
                group.move(key, key.replace("Transform", "Tranform"))  # codespell:ignore
    np.testing.assert_array_equal(read_transform(path)(points), expected)


def test_a_field_in_single_precision_stays_so_in_memory(written, field):
    path = written(shifts(field))
    points = np.random.default_rng(1).uniform(-20, 20, (3, 50))
    expected = read_transform(path)(points)
    with h5py.File(path, "r+") as file:
        group = file["TransformGroup/0"]
        values = group["TransformParameters"][:].astype(np.float32)
        del group["TransformParameters"]
        group["TransformParameters"] = values
    found = read_transform(path)
    assert found.steps[0].shift.dtype == np.float32
    np.testing.assert_allclose(found(points), expected, atol=1e-5)


def test_another_kind_of_transform_is_refused_by_name(written):
    with pytest.raises(InputError, match=r"has a Euler3DTransform.*AffineTransform"):
        read_transform(written(composite(sitk.Euler3DTransform())))


def test_a_file_that_is_no_hdf5_is_refused(tmp_path):
    path = tmp_path / "xfm.h5"
    path.write_text("no transform")
    with pytest.raises(InputError, match=r"xfm.h5 cannot be read.*fmmtc-tools fetch templates"):
        read_transform(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_transform(tmp_path / "absent.h5")


def test_a_file_that_was_cut_short_is_refused(written, field):
    path = written(shifts(field))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="cannot be read"):
        read_transform(path)


@pytest.mark.parametrize("mark", [b"SNOD", b"HEAP", b"TREE"])
def test_a_file_whose_tables_are_damaged_is_refused(tmp_path, mark):
    path = tmp_path / "xfm.h5"
    # Older versions of ITK, and so TemplateFlow's files, have such tables without a checksum.
    with h5py.File(path, "w", libver="earliest") as file:
        file["TransformGroup/0/TransformType"] = ["AffineTransform_double_3_3"]
    assert mark in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(mark, b"\0" * len(mark)))
    with pytest.raises(InputError, match="cannot be read"):
        read_transform(path)


def test_an_hdf5_file_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "xfm.h5", "w") as file:
        file["values"] = [1, 2]
    with pytest.raises(InputError, match="TransformGroup"):
        read_transform(tmp_path / "xfm.h5")


def test_parameters_that_do_not_belong_together_are_refused(written, field):
    path = written(shifts(field))
    with h5py.File(path, "r+") as file:
        file["TransformGroup/0/TransformFixedParameters"][0] = 7
    with pytest.raises(InputError, match="do not match"):
        read_transform(path)


def _external(group, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(96))
    size = [(str(tmp_path / "secret"), 0, 96)]
    group.create_dataset("TransformParameters", (12,), "f8", external=size)


def _linked(group, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["values"] = np.zeros(12)
    group["TransformParameters"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/values")


def _soft(group, tmp_path):
    group["TransformParameters"] = h5py.SoftLink("/TransformGroup/0/TransformFixedParameters")


def _virtual(group, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["values"] = np.zeros(12)
    layout = h5py.VirtualLayout((12,), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "values", (12,))
    group.create_virtual_dataset("TransformParameters", layout)


def _unwritten(group, tmp_path):
    group.create_dataset("TransformParameters", (10**9,), "f8")


def _unwritten_chunks(group, tmp_path):
    group.create_dataset("TransformParameters", (10**9,), "f8", chunks=(1000,), compression="gzip")


@pytest.mark.parametrize(
    "put", [_external, _linked, _soft, _virtual, _unwritten, _unwritten_chunks]
)
def test_values_that_are_not_in_the_file_itself_are_refused_without_making_room(
    written, tmp_path, put
):
    path = written(affine())
    with h5py.File(path, "r+") as file:
        group = file["TransformGroup/0"]
        del group["TransformParameters"]
        put(group, tmp_path)
    with pytest.raises(InputError, match=r"another file|is a link|promises"):
        read_transform(path)


def test_a_group_that_is_a_link_to_another_file_is_refused(written, tmp_path):
    path = written(affine())
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "other.h5"
    other.write_bytes(path.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["TransformGroup"]
        file["TransformGroup"] = h5py.ExternalLink(str(other), "/TransformGroup")
    with pytest.raises(InputError, match="TransformGroup is a link"):
        read_transform(path)
