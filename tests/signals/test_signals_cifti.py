"""Parcel means of CIFTI series against brute force over every grayordinate."""

import re
import struct
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from nibabel.cifti2 import BrainModelAxis, LabelAxis, ParcelsAxis, ScalarAxis, SeriesAxis

from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.signals.parcellation.cifti import cifti_parcel_means

LEFT, RIGHT = "CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"
THALAMUS = "CIFTI_STRUCTURE_THALAMUS_LEFT"
N_VERTICES, N_VOLUMES = 40, 70
INDEX = np.array([30, 2, 11, 4, 17])
LAS = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
SHAPE = (91, 109, 91)
VERTICES = np.arange(5, 35)
VOXELS = np.add(np.argwhere(np.ones((3, 3, 2))), [40, 50, 30])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def surface(name=LEFT, vertices=VERTICES, n_vertices=N_VERTICES):
    return BrainModelAxis.from_surface(vertices, n_vertices, name=name)


def volume(voxels=VOXELS, affine=LAS, shape=SHAPE, name=THALAMUS):
    n = len(voxels)
    return BrainModelAxis([name] * n, voxel=voxels, affine=affine, volume_shape=shape)


def standard():
    return surface(LEFT) + surface(RIGHT) + volume()


def save(path, values, rows, models, dtype=np.float32):
    image = nib.Cifti2Image(np.asarray(values, dtype=dtype), (rows, models))
    image.set_data_dtype(dtype)
    nib.save(image, path)
    return path


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a series: models and (time, grayordinate) values."""

    def series(models, values, *, name="a_bold.dtseries.nii", dtype=np.float32, **axis):
        rows = SeriesAxis(0, axis.get("step", 2.0), len(values), axis.get("unit", "SECOND"))
        return save(tmp_path / name, values, rows, models, dtype)

    return series


@pytest.fixture
def atlas(tmp_path, rng):
    """Return the path of an atlas on the standard models, and its labels."""
    labels = rng.choice([0, *INDEX], size=len(standard()))
    return write_atlas(tmp_path, standard(), labels), labels


def write_atlas(folder, models, labels):
    table = {value: (str(value), (0, 0, 0, 0)) for value in [0, *INDEX]}
    return save(folder / "atlas.dlabel.nii", [labels], LabelAxis(["x"], [table]), models)


def places(models):
    """Name every grayordinate: its structure and its vertex or its millimetres."""
    mm = (
        nib.affines.apply_affine(models.affine, models.voxel) if models.affine is not None else None
    )
    return [
        (str(name), int(vertex)) if vertex >= 0 else (str(name), *map(float, mm[n]))
        for n, (name, vertex) in enumerate(zip(models.name, models.vertex, strict=True))
    ]


def brute_force(path, dlabel):
    """Average one parcel after the other, looking each grayordinate up by its place."""
    image, atlas = nib.load(path), nib.load(dlabel)
    values = np.asarray(image.dataobj, dtype=np.float64)
    column = {place: n for n, place in enumerate(places(image.header.get_axis(1)))}
    labelled = [*zip(places(atlas.header.get_axis(1)), np.asarray(atlas.dataobj)[0], strict=True)]
    signal = np.full((len(values), len(INDEX)), np.nan)
    coverage, n_used = np.zeros(len(INDEX)), np.zeros(len(INDEX), dtype=int)
    for parcel, value in enumerate(INDEX):
        wanted = [place for place, label in labelled if label == value]
        series = [values[:, column[place]] for place in wanted if place in column]
        used = [each for each in series if np.isfinite(each).all() and np.ptp(each) > 0]
        n_used[parcel] = len(used)
        coverage[parcel] = len(used) / len(wanted) if wanted else 0
        if used:
            signal[:, parcel] = np.mean(used, axis=0)
    return signal, coverage, n_used


def agrees(path, dlabel):
    found = cifti_parcel_means(path, dlabel, INDEX, min_coverage=0)
    signal, coverage, n_used = brute_force(path, dlabel)
    np.testing.assert_allclose(found.signal, signal, rtol=1e-12)
    np.testing.assert_allclose(found.coverage, coverage)
    np.testing.assert_array_equal(found.n_voxels_used, n_used)
    return found


@pytest.fixture
def values(rng):
    return rng.normal(1000, 200, (N_VOLUMES, len(standard()))).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", np.int16])
def test_means_equal_brute_force_in_any_number_type(write, atlas, values, dtype):
    found = agrees(write(standard(), values, dtype=dtype), atlas[0])
    assert (found.n_volumes, found.tr_header_s) == (N_VOLUMES, 2.0)
    assert not found.shrunk.any()
    assert not found.low_coverage.any()
    assert not found.zero_variance.any()
    assert (found.n_voxels_constant, found.n_voxels_nonfinite) == (0, 0)


def test_models_in_another_order_give_the_same_series(write, atlas, values, rng):
    expected = agrees(write(standard(), values), atlas[0])
    shuffled = rng.permutation(len(values[0]))
    names = np.argsort(standard().name[shuffled], kind="stable")[::-1]
    order = shuffled[names]
    path = write(standard()[order], values[:, order], name="b_bold.dtseries.nii")
    found = agrees(path, atlas[0])
    np.testing.assert_allclose(found.signal, expected.signal)
    np.testing.assert_array_equal(found.coverage, expected.coverage)


def test_a_medial_wall_in_full_changes_nothing(write, atlas, values):
    """Surfaces with every vertex, the wall's all zero, as some programs write them."""
    expected = agrees(write(standard(), values), atlas[0])
    whole = surface(LEFT, np.arange(N_VERTICES)) + surface(RIGHT, np.arange(N_VERTICES)) + volume()
    filled = np.zeros((N_VOLUMES, len(whole)))
    filled[:, VERTICES] = values[:, :30]
    filled[:, N_VERTICES + VERTICES] = values[:, 30:60]
    filled[:, 2 * N_VERTICES :] = values[:, 60:]
    found = agrees(write(whole, filled, name="b_bold.dtseries.nii"), atlas[0])
    np.testing.assert_allclose(found.signal, expected.signal)
    assert found.n_voxels_constant == 0


def test_a_volume_that_is_flipped_is_matched_by_place(write, atlas, values):
    expected = agrees(write(standard(), values), atlas[0])
    ras = LAS @ [[-1.0, 0, 0, 90], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    flipped = np.column_stack([90 - VOXELS[:, 0], VOXELS[:, 1:]])
    models = surface(LEFT) + surface(RIGHT) + volume(flipped, ras)
    found = agrees(write(models, values, name="b_bold.dtseries.nii"), atlas[0])
    np.testing.assert_allclose(found.signal, expected.signal)


def test_grayordinates_that_the_image_lacks_count_against_coverage(write, atlas, values):
    dlabel, labels = atlas
    models = surface(LEFT) + volume()
    kept = np.r_[0:30, 60 : len(labels)]
    found = agrees(write(models, values[:, kept]), dlabel)
    lost = [(labels[30:60] == value).sum() for value in INDEX]
    whole = [(labels == value).sum() for value in INDEX]
    np.testing.assert_allclose(found.coverage, 1 - np.array(lost) / whole)
    np.testing.assert_array_equal(found.shrunk, np.array(lost) > 0.1 * np.array(whole))
    least = float(np.median(found.coverage))
    strict = cifti_parcel_means(
        write(models, values[:, kept]), dlabel, INDEX, min_coverage=least + 1e-9
    )
    np.testing.assert_array_equal(strict.low_coverage, found.coverage <= least)
    np.testing.assert_array_equal(np.isnan(strict.signal).all(axis=0), strict.low_coverage)


def test_structures_are_never_confused(write, tmp_path, values):
    """Vertex 7 of the left cortex is not vertex 7 of the right one."""
    labels = np.r_[np.full(30, 30), np.full(30, 2), np.full(len(VOXELS), 11)]
    dlabel = write_atlas(tmp_path, standard(), labels)
    found = agrees(write(standard(), values), dlabel)
    np.testing.assert_allclose(found.signal[:, 0], values[:, :30].mean(axis=1, dtype=float))
    np.testing.assert_allclose(found.signal[:, 1], values[:, 30:60].mean(axis=1, dtype=float))
    assert np.isnan(found.signal[:, 3:]).all()


def test_constant_and_nan_grayordinates_are_left_out_and_counted(write, atlas, values):
    dlabel, labels = atlas
    labelled = np.flatnonzero(labels)
    values[:, labelled[:3]] = 0
    values[40, labelled[3]] = np.nan
    values[0, labelled[4]] = np.inf
    values[:, labelled[5]] = np.nan
    # This one varies, though only in the first slab that is read.
    values[:, labelled[6]] = np.where(np.arange(N_VOLUMES) == 1, 9, 7)
    found = agrees(write(standard(), values), dlabel)
    assert (found.n_voxels_constant, found.n_voxels_nonfinite) == (3, 3)


def test_a_parcel_that_never_varies_is_told_from_one_without_data(write, atlas, values):
    dlabel, labels = atlas
    values[:, labels == INDEX[1]] = 5
    values[3, labels == INDEX[2]] = np.nan
    found = agrees(write(standard(), values), dlabel)
    assert found.zero_variance.tolist() == [False, True, False, False, False]
    assert np.isnan(found.signal[:, 1:3]).all()


def test_milliseconds_are_an_exponent_and_other_units_no_repetition_time(write, atlas, values):
    path = write(standard(), values, step=2500.0)
    image = nib.load(path)
    image.header.matrix.get_index_map(0).series_exponent = -3
    nib.save(nib.Cifti2Image(values, image.header), path.with_name("ms_bold.dtseries.nii"))
    path = path.with_name("ms_bold.dtseries.nii")
    assert cifti_parcel_means(path, atlas[0], INDEX, min_coverage=0).tr_header_s == 2.5
    for axis in ({"unit": "HERTZ"}, {"step": 0.0}, {"step": 1e400}):
        path = write(standard(), values, **axis)
        assert cifti_parcel_means(path, atlas[0], INDEX, min_coverage=0).tr_header_s is None


def test_a_surface_of_another_density_is_refused(write, atlas, values):
    models = surface(LEFT, n_vertices=50) + surface(RIGHT, n_vertices=50) + volume()
    with pytest.raises(InputError, match=r"50 vertices.* has 40.*--cifti-output 91k"):
        cifti_parcel_means(write(models, values), atlas[0], INDEX, min_coverage=0)


@pytest.mark.parametrize("affine", [LAS @ np.diag([0.8, 0.8, 0.8, 1]), LAS + 0.3 * np.eye(4, k=3)])
def test_voxels_between_those_of_the_atlas_are_refused(write, atlas, values, affine):
    models = surface(LEFT) + surface(RIGHT) + volume(affine=affine)
    with pytest.raises(InputError, match="are not those"):
        cifti_parcel_means(write(models, values), atlas[0], INDEX, min_coverage=0)


def test_a_series_without_any_grayordinate_of_the_atlas_is_refused(write, atlas, values):
    path = write(volume(name="CIFTI_STRUCTURE_BRAIN_STEM"), values[:, :18])
    with pytest.raises(InputError, match=r"no grayordinate with a label.*91k"):
        cifti_parcel_means(path, atlas[0], INDEX, min_coverage=0)


def test_labels_of_another_atlas_are_refused(write, atlas, values):
    with pytest.raises(InputError, match=r"not labels of the atlas, the first is 17"):
        cifti_parcel_means(write(standard(), values), atlas[0], INDEX[:-1], min_coverage=0)


def scalars(path):
    return save(path, np.zeros((3, 30)), ScalarAxis(["a", "b", "c"]), surface())


def parcellated(path):
    parcels = ParcelsAxis.from_brain_models([("a", surface())])
    return save(path, np.zeros((3, 1)), SeriesAxis(0, 2, 3), parcels)


def connectome(path):
    return save(path, np.zeros((30, 30)), surface(), surface())


def nifti(path):
    nib.save(nib.Nifti2Image(np.zeros((3, 3, 3, 3), dtype=np.float32), np.eye(4)), path)
    return path


def single(path):
    return save(path, np.zeros((1, 30)), SeriesAxis(0, 2, 1), surface())


def text(path):
    path.write_text("/annex/objects/MD5E-s9--0.dtseries.nii\n")
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (scalars, "CIFTI-2 of Scalar by BrainModel"),
        (parcellated, "CIFTI-2 of Series by Parcels"),
        (connectome, "CIFTI-2 of BrainModel by BrainModel"),
        (nifti, "is a Nifti2Image, not CIFTI-2|does not contain a CIFTI-2 extension"),
        (single, "has 1 volume; two or more"),
        (text, "cannot be read as CIFTI-2.*datalad get"),
        (lambda path: path, "cannot be read as CIFTI-2.*--cifti-output 91k"),
    ],
    ids=["scalars", "parcellated", "connectome", "nifti", "single", "text", "absent"],
)
def test_another_file_than_a_dense_series_says_what_is_needed(tmp_path, atlas, make, words):
    path = make(tmp_path / "x_bold.dtseries.nii")
    with pytest.raises(InputError, match=words):
        cifti_parcel_means(path, atlas[0], INDEX, min_coverage=0)


def test_a_series_is_no_atlas(write, values):
    path = write(standard(), values)
    with pytest.raises(InputError, match=r"one map of labels on grayordinates.*fetch atlas"):
        cifti_parcel_means(path, path, INDEX, min_coverage=0)


@pytest.mark.parametrize("keep", [0, 100, 545, 2000, -4, -8000])
def test_a_truncated_file_is_refused_wherever_it_is_cut(write, atlas, values, keep):
    path = write(standard(), values)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"truncated|cannot be read as CIFTI-2"):
        cifti_parcel_means(path, atlas[0], INDEX, min_coverage=0)


def test_a_file_longer_than_its_header_promises_is_refused(write, atlas, values):
    path = write(standard(), values)
    path.write_bytes(path.read_bytes() + bytes(400))
    with pytest.raises(InputError, match="too long"):
        cifti_parcel_means(path, atlas[0], INDEX, min_coverage=0)


def test_a_broken_header_is_refused(write, atlas, values):
    path = write(standard(), values)
    path.write_bytes(path.read_bytes().replace(b"<Matrix", b"<<atrix", 1))
    with pytest.raises(InputError, match="cannot be read as CIFTI-2"):
        cifti_parcel_means(path, atlas[0], INDEX, min_coverage=0)


def test_a_header_that_lists_more_grayordinates_than_the_data_has_takes_no_room(
    write, atlas, values, tmp_path
):
    raw = write(standard(), values).read_bytes()
    (length,) = struct.unpack_from("<i", raw, 544)
    count = re.findall(rb'IndexCount="\d+"', raw)[-1]
    xml = raw[552 : 544 + length].rstrip(b"\0").replace(count, b'IndexCount="30000000"')
    longer = -(-(8 + len(xml)) // 16) * 16
    header = bytearray(raw[:552])
    struct.pack_into("<i", header, 544, longer)
    struct.pack_into("<q", header, 168, 544 + longer)
    path = tmp_path / "b_bold.dtseries.nii"
    path.write_bytes(bytes(header) + xml.ljust(longer - 8, b"\0") + raw[544 + length :])
    tracemalloc.start()
    with pytest.raises(InputError, match=r"lists \d+ grayordinates, its data has"):
        cifti_parcel_means(path, atlas[0], INDEX, min_coverage=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000


@pytest.mark.parametrize(
    ("found", "put"),
    [
        (b'IndicesMapToDataType="', b'IndicesMapToDatatype="'),
        (b"SeriesStep=", b"seriesStep="),
        (b"SeriesExponent=", b"seriesExponent="),
        (b'AppliesToMatrixDimension="0"', b'AppliesToMatrixDimension="8"'),
        (b"IndexOffset=", b"indexOffset="),
        (b"<MatrixIndicesMap", b"<MatrixIndicesNap"),
    ],
)
def test_a_header_that_lacks_something_is_refused(write, atlas, values, found, put):
    path = write(standard(), values)
    assert found in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(found, put))
    with pytest.raises(InputError, match=r"cannot be read as CIFTI-2|is CIFTI-2 of"):
        cifti_parcel_means(path, atlas[0], INDEX, min_coverage=0)


def peak_bytes(path, dlabel):
    tracemalloc.start()
    try:
        cifti_parcel_means(path, dlabel, INDEX, min_coverage=0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_volumes(write, tmp_path, rng):
    models = surface(LEFT, np.arange(2000), 2000)
    dlabel = write_atlas(tmp_path, models, rng.choice(INDEX, size=2000))
    row = rng.normal(size=(64, 2000)).astype(np.float32)
    short = write(models, row)
    long = write(models, np.tile(row, (10, 1)), name="b_bold.dtseries.nii")
    assert peak_bytes(long, dlabel) < 1.3 * peak_bytes(short, dlabel)


def test_the_real_atlas_gives_each_of_its_424_parcels_its_own_mean(shared, tmp_path, rng):
    """Every grayordinate follows its parcel's planted course, plus an offset of its own."""
    dlabel = shared / "data" / "atlas" / "A424.dlabel.nii"
    atlas = nib.load(dlabel)
    labels = np.asarray(atlas.dataobj)[0].astype(int)
    course = rng.normal(size=(4, 425)).astype(np.float32)
    offset = rng.normal(size=len(labels)).astype(np.float32)
    reverse = slice(None, None, -1)
    models = atlas.header.get_axis(1)[np.arange(len(labels))[reverse]]
    values = (course[:, labels] + offset)[:, reverse]
    path = save(tmp_path / "a.dtseries.nii", values, SeriesAxis(0, 0.8, 4), models)
    found = cifti_parcel_means(path, dlabel, np.arange(1, 425), min_coverage=0.5)
    n_grayordinates = np.bincount(labels, minlength=425)
    means = np.bincount(labels, weights=offset, minlength=425) / n_grayordinates
    np.testing.assert_allclose(found.signal, (course + means)[:, 1:], atol=1e-5)
    np.testing.assert_array_equal(found.n_voxels_used, n_grayordinates[1:])
    np.testing.assert_array_equal(found.coverage, 1)
    assert found.tr_header_s == 0.8
    assert (found.n_voxels_used[404], found.n_voxels_used.min()) == (1, 1)
