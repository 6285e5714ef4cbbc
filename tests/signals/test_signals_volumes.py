"""Files that are not what their name or header says."""

from __future__ import annotations

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.parcellation.volumes import iterate_volumes, read_info

SHAPE, N_VOLUMES = (5, 6, 7), 20
VOLUME_BYTES = 5 * 6 * 7 * 4
DIM_T, SFORM, DATA = 48, slice(252, 328), 352


@pytest.fixture
def data():
    return np.random.default_rng(3).normal(size=(*SHAPE, N_VOLUMES)).astype(np.float32)


@pytest.fixture
def plain(tmp_path, data):
    path = tmp_path / "bold.nii"
    nib.Nifti1Image(data, np.diag([2, 2, 2, 1])).to_filename(path)
    return path


def compressed(path, content):
    target = path.with_name("packed.nii.gz")
    target.write_bytes(gzip.compress(content, mtime=0))
    return target


def refusal(path):
    with pytest.raises(InputError) as caught:
        list(iterate_volumes(read_info(path)))
    assert caught.value.exit_code == 65
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_volumes_come_in_order_as_they_are_stored(plain, data):
    for path in (plain, compressed(plain, plain.read_bytes())):
        volumes = list(iterate_volumes(read_info(path)))
        np.testing.assert_array_equal(volumes, data.reshape(-1, N_VOLUMES, order="F").T)


def test_a_truncated_file_says_how_many_volumes_could_be_read(plain):
    half = plain.read_bytes()[: DATA + 7 * VOLUME_BYTES + 11]
    plain.write_bytes(half)
    assert "7 of 20 volumes" in refusal(plain)
    assert "7 of 20 volumes" in refusal(compressed(plain, half))
    assert "datalad get" in refusal(plain)


def test_a_gz_cut_anywhere_is_called_truncated(plain):
    packed = compressed(plain, plain.read_bytes())
    whole = packed.read_bytes()
    for n_bytes in (len(whole) // 2, len(whole) - 3):
        packed.write_bytes(whole[:n_bytes])
        assert "truncated" in refusal(packed)


def test_a_gz_with_a_flipped_bit_is_called_damaged(plain):
    packed = compressed(plain, plain.read_bytes())
    content = bytearray(packed.read_bytes())
    content[-6] ^= 1
    packed.write_bytes(content)
    assert "damaged" in refusal(packed)


def test_a_text_file_named_nii_gz_is_refused(tmp_path):
    path = tmp_path / "bold.nii.gz"
    path.write_text("subject not found\n")
    assert "not compressed: it starts with b'subject not found" in refusal(path)


def test_text_inside_a_gz_is_refused(plain):
    assert "cannot be read as a NIfTI image" in refusal(compressed(plain, b"not an image" * 90))


def test_an_annex_pointer_and_a_dangling_link_name_the_command(tmp_path):
    pointer, link = tmp_path / "pointer.nii.gz", tmp_path / "link.nii.gz"
    pointer.write_text("/annex/objects/MD5E-s41265300--d41d8cd98f00b204e9800998ecf8427e.nii.gz\n")
    link.symlink_to(".git/annex/objects/aa/bb/MD5E-s1--00.nii.gz")
    for path in (pointer, link):
        assert f"datalad get {path}" in refusal(path)


def test_a_missing_file_is_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "absent.nii.gz")


def test_a_header_that_promises_more_volumes_than_there_are_is_refused(plain):
    content = bytearray(plain.read_bytes())
    content[DIM_T : DIM_T + 2] = np.int16(3200).tobytes()
    plain.write_bytes(content)
    assert "20 of 3200 volumes" in refusal(plain)
    assert "20 of 3200 volumes" in refusal(compressed(plain, bytes(content)))


def test_a_header_that_promises_impossible_volumes_is_refused_before_reading(plain):
    content = bytearray(plain.read_bytes())
    content[DIM_T - 6 : DIM_T] = np.full(3, 32000, dtype=np.int16).tobytes()
    plain.write_bytes(content)
    for path in (plain, compressed(plain, bytes(content))):
        assert "0 of 20 volumes" in refusal(path)
        # Nobody may make room for 32000 x 32000 x 32000 labels either.
        with pytest.raises(InputError, match="truncated"):
            read_info(path)


OFFSET, DIM_X, UNITS = slice(108, 112), slice(42, 44), 123


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1.0])
def test_data_that_begins_nowhere_is_refused(plain, value):
    content = bytearray(plain.read_bytes())
    content[OFFSET] = np.float32(value).tobytes()
    plain.write_bytes(content)
    assert refusal(plain)
    assert refusal(compressed(plain, bytes(content)))


@pytest.mark.parametrize("size", [-16, 0, 8, 2**31 - 1])
def test_an_extension_of_impossible_size_is_refused(plain, size):
    content = bytearray(plain.read_bytes())
    content[OFFSET] = np.float32(384).tobytes()
    content[348] = 1
    content[DATA:DATA] = np.array([size, 4], dtype=np.int32).tobytes() + bytes(24)
    plain.write_bytes(content)
    assert "cannot be read as a NIfTI image" in refusal(plain)


@pytest.mark.parametrize("length", [0, -5])
def test_a_side_without_a_voxel_is_refused(plain, length):
    content = bytearray(plain.read_bytes())
    content[DIM_X] = np.int16(length).tobytes()
    plain.write_bytes(content)
    assert refusal(plain)


def test_data_beyond_the_last_volume_is_refused(plain):
    content = plain.read_bytes() + b"\0" * VOLUME_BYTES
    plain.write_bytes(content)
    assert "more data than the 20 volumes" in refusal(plain)
    assert "more data than the 20 volumes" in refusal(compressed(plain, content))


def test_complex_numbers_are_refused(tmp_path):
    path = tmp_path / "complex.nii"
    nib.Nifti1Image(np.zeros((2, 2, 2, 3), dtype=np.complex64), np.eye(4)).to_filename(path)
    assert "complex64" in refusal(path)


def test_an_affine_that_places_no_voxel_is_refused(plain):
    content = bytearray(plain.read_bytes())
    content[SFORM] = bytes(2) + np.int16(1).tobytes() + bytes(SFORM.stop - SFORM.start - 4)
    plain.write_bytes(content)
    assert "affine" in refusal(plain)


@pytest.mark.parametrize(("unit", "zoom"), [("sec", 0.8), ("msec", 800), ("unknown", 0.8)])
def test_the_repetition_time_is_in_seconds_whatever_the_header_counts_in(
    tmp_path, data, unit, zoom
):
    image = nib.Nifti1Image(data, np.eye(4))
    image.header.set_zooms((1, 1, 1, zoom))
    image.header.set_xyzt_units("mm", unit)
    image.to_filename(tmp_path / "bold.nii")
    assert read_info(tmp_path / "bold.nii").tr_s == pytest.approx(0.8)


def test_a_repetition_time_of_zero_is_unknown(tmp_path, data):
    image = nib.Nifti1Image(data, np.eye(4))
    image.header.set_zooms((1, 1, 1, 0))
    image.to_filename(tmp_path / "bold.nii")
    assert read_info(tmp_path / "bold.nii").tr_s is None


@pytest.mark.parametrize("zoom", [1e-40, 2000, np.inf, np.nan])
def test_a_repetition_time_that_can_be_none_is_unknown(tmp_path, data, zoom):
    image = nib.Nifti1Image(data, np.eye(4))
    image.header["pixdim"][4] = zoom
    image.to_filename(tmp_path / "bold.nii")
    assert read_info(tmp_path / "bold.nii").tr_s is None


def test_a_unit_that_nifti_does_not_know_leaves_the_repetition_time_unknown(plain):
    content = bytearray(plain.read_bytes())
    content[UNITS] = 0xFF
    plain.write_bytes(content)
    assert read_info(plain).tr_s is None


CODES = [(0, 0), (0, 4), (4, 0), (2, 2), (1, 1)]
"""qform_code, sform_code; fMRIPrep has written (0, 4) and (2, 2)."""


def coded(path, kind, qform, sform, order="<"):
    """Write an image of a flipped grid with the given codes."""
    affine = np.array([[-3.0, 0, 0, 9], [0, 3, 0, -6], [0, 0, 3, -4], [0, 0, 0, 1]])
    image = kind(np.zeros((4, 5, 6), np.float32), affine, kind.header_class(endianness=order))
    image.header.set_qform(affine, 1)
    image.header.set_sform(affine, 1)
    image.to_filename(path)
    content = bytearray(path.read_bytes())
    place, form = (252, "2h") if kind is nib.Nifti1Image else (344, "2i")
    struct.pack_into(order + form, content, place, qform, sform)
    path.write_bytes(content)
    return path, affine


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(("qform", "sform"), CODES)
def test_an_image_whose_header_gives_no_orientation_is_refused(tmp_path, kind, qform, sform, order):
    path, affine = coded(tmp_path / "bold.nii", kind, qform, sform, order)
    for each in (path, compressed(path, path.read_bytes())):
        if (qform, sform) == (0, 0):
            with pytest.raises(InputError, match=r"does not say where voxels lie .*sform_code 0"):
                read_info(each)
        else:
            np.testing.assert_allclose(read_info(each).affine, affine, atol=1e-5)


@pytest.mark.parametrize("codes", [(7, 0), (0, -1), (-2, 9)])
def test_a_code_that_nifti_does_not_know_gives_no_orientation_either(tmp_path, codes):
    path, _ = coded(tmp_path / "bold.nii", nib.Nifti1Image, *codes)
    assert "does not say where voxels lie" in refusal(path)


@pytest.mark.parametrize("zoom", [0.0, -3.0, np.nan, np.inf])
def test_a_size_of_voxels_that_a_library_would_make_up_is_refused(tmp_path, zoom):
    path, _ = coded(tmp_path / "bold.nii", nib.Nifti1Image, 4, 0)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 80, zoom)
    path.write_bytes(content)
    assert "does not say how its voxels lie" in refusal(path)


def test_two_orientations_that_disagree_are_told_and_the_sform_is_used(tmp_path):
    path, affine = coded(tmp_path / "bold.nii", nib.Nifti1Image, 1, 1)
    assert read_info(path).remarks == ()
    image = nib.load(path)
    # The corners of the first axis, 3 voxels of 3 mm long, change places: 2 * 9 mm at most.
    flipped = affine @ np.diag([-1, 1, 1, 1])
    image.header.set_qform(flipped, 1)
    image.header.set_sform(affine, 1)
    other = nib.Nifti1Image(image.get_fdata(dtype=np.float32), None, image.header)
    other.to_filename(tmp_path / "other.nii")
    found = read_info(tmp_path / "other.nii")
    np.testing.assert_allclose(found.affine, affine, atol=1e-5)
    assert found.remarks == ("its qform and sform lie up to 18 mm apart; its sform is used",)


@pytest.mark.parametrize(
    ("unit", "zoom", "known"),
    [("unknown", 1.0, None), ("unknown", 0.05, None), ("unknown", 2.0, 2.0), ("sec", 1.0, 1.0)],
)
def test_a_step_without_a_unit_is_a_repetition_time_only_where_no_library_made_it_up(
    tmp_path, data, unit, zoom, known
):
    image = nib.Nifti1Image(data, np.diag([2, 2, 2, 1]))
    image.header.set_zooms((2, 2, 2, zoom))
    image.header.set_xyzt_units("mm", unit)
    image.to_filename(tmp_path / "bold.nii")
    assert read_info(tmp_path / "bold.nii").tr_s == known
