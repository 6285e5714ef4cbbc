import errno
import gzip
import json
import shutil
from pathlib import Path
from urllib.parse import unquote

import nibabel as nib
import numpy as np
import pytest
from nibabel.cifti2 import BrainModelAxis, LabelAxis, SeriesAxis

from fmmtc_bidsapp.bidsio.atlases import a424
from fmmtc_bidsapp.bidsio.atlases.a424 import cache_dir, fetch_atlas
from fmmtc_bidsapp.bidsio.atlases.atlas import require_dlabel, resolve_atlas
from fmmtc_bidsapp.errors import InputError, MissingResourceError, UsageError


@pytest.fixture
def personal(tmp_path):
    """Return a function that writes an atlas of its own and gives the path of its image."""

    def write(
        *,
        stem="space-MNI152NLin6Asym_atlas-toy_dseg",
        labels=(0, 1, 3),
        table="index\tname\tnetwork\n3\tc\tVisual\n1\ta\tn/a\n",
        sidecar=None,
    ):
        image = tmp_path / f"{stem}.nii.gz"
        nib.Nifti1Image(np.array([[labels]], dtype=np.float32), np.eye(4)).to_filename(image)
        (tmp_path / f"{stem}.tsv").write_text(table)
        if sidecar is not None:
            (tmp_path / f"{stem}.json").write_text(json.dumps(sidecar))
        return image

    return write


@pytest.fixture
def files(shared, tmp_path):
    """Return a folder with writable copies of A424's files."""
    folder = tmp_path / "a424"
    folder.mkdir()
    for name in (*a424.SHA256, a424.DLABEL):
        shutil.copyfile(shared / "data" / "atlas" / name, folder / name)
    return folder


@pytest.fixture
def no_network(monkeypatch):
    def refuse(url, path, *, sha256):
        raise ConnectionError("Network is unreachable")

    monkeypatch.setattr(a424, "fetch_file", refuse)


def test_a_personal_atlas_keeps_the_order_of_its_table(personal):
    image = personal(sidecar={"Name": "Toy", "License": "CC0", "Description": "Two parcels."})
    atlas = resolve_atlas(str(image))
    assert (atlas.label, atlas.title, atlas.licence) == ("toy", "Toy", "CC0")
    assert atlas.index.tolist() == [3, 1]
    assert (atlas.names, atlas.networks) == (("c", "a"), ("Visual", "n/a"))
    assert atlas.subnetworks == ("n/a", "n/a")
    assert (atlas.coordinates_mm, atlas.space) == (None, "MNI152NLin6Asym")


def test_the_folder_of_an_atlas_may_be_named_instead(personal):
    image = personal()
    assert resolve_atlas(str(image.parent)).image == image


def test_the_digest_follows_image_and_table(personal):
    first = resolve_atlas(str(personal())).digest
    assert resolve_atlas(str(personal())).digest == first
    renamed = "index\tname\n3\tc\n1\tb\n"
    assert resolve_atlas(str(personal(table=renamed))).digest != first
    assert resolve_atlas(str(personal(labels=(1, 1, 3)))).digest != first


def test_coordinates_come_from_the_table(personal):
    table = "index\tname\tx\ty\tz\n1\ta\t-1\t2\t3.5\n3\tc\t4\t5\t6\n"
    atlas = resolve_atlas(str(personal(table=table)))
    np.testing.assert_array_equal(atlas.coordinates_mm, [[-1, 2, 3.5], [4, 5, 6]])


def test_a_parcel_that_the_image_lacks_stays_a_row(personal):
    atlas = resolve_atlas(str(personal(labels=(0, 3, 3))))
    assert atlas.names == ("c", "a")


def test_labels_that_the_table_does_not_name_are_listed(personal):
    with pytest.raises(InputError, match=r"lacks: 2, 7\."):
        resolve_atlas(str(personal(labels=(1, 2, 7))))


def test_background_in_the_table_is_no_parcel(personal):
    atlas = resolve_atlas(str(personal(table="index\tname\n0\tBackground\n1\ta\n3\tc\n")))
    assert atlas.names == ("a", "c")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("index\ttitle\n1\ta\n3\tc\n", "has no column name"),
        ("index\tname\n1\ta\n1\tc\n", "unique whole numbers"),
        ("index\tname\n1.5\ta\n3\tc\n", "whole numbers"),
        ("index\tname\n1\ta\n18446744073709551616\tc\n", "unique whole numbers"),
        ("index\tname\n1\ta\n-9e18\tc\n", "unique whole numbers"),
        ("index\tname\n1\ta\n3\t Node\n", "has a parcel called Node"),
        ("index\tname\n1\ta\n3\ta\n", "names a parcel twice"),
        ("", "empty"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(personal, table, message):
    with pytest.raises(InputError, match=message):
        resolve_atlas(str(personal(table=table)))


def test_the_template_is_never_guessed(personal):
    image = personal(stem="atlas-toy_dseg")
    with pytest.raises(InputError, match="The template of"):
        resolve_atlas(str(image))
    personal(stem="atlas-toy_dseg", sidecar={"SpatialReference": "MNI152NLin2009cAsym"})
    assert resolve_atlas(str(image)).space == "MNI152NLin2009cAsym"


def test_an_image_that_is_text_is_refused(personal):
    image = personal()
    image.write_text("no image")
    with pytest.raises(InputError, match="cannot be read"):
        resolve_atlas(str(image))


def test_an_image_that_is_cut_is_refused(personal):
    image = personal(labels=(0,) * 4000)
    image.write_bytes(image.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        resolve_atlas(str(image))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (70, np.int16(1)),
        (70, np.int16(2048)),
        (108, np.float32(np.nan)),
        (108, np.float32(np.inf)),
        (108, np.float32(1)),
        (40, np.array([3, 32767, 32767, 32767], dtype=np.int16)),
    ],
    ids=["bits", "complex", "offset nan", "offset inf", "offset 1", "54 TB"],
)
def test_an_image_with_a_damaged_header_is_refused(personal, place, value):
    image = personal()
    content = bytearray(gzip.decompress(image.read_bytes()))
    content[place : place + value.nbytes] = value.tobytes()
    image.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=r"cannot be read|has"):
        resolve_atlas(str(image))


@pytest.mark.filterwarnings("error")
def test_labels_beyond_all_integers_are_listed(personal):
    image = personal(labels=(0, 1, 3, 1e30))
    with pytest.raises(InputError, match="lacks: 1000000"):
        resolve_atlas(str(image))


def test_an_atlas_that_is_not_there_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="missing"):
        resolve_atlas(str(tmp_path / "atlas-x_dseg.nii.gz"))
    with pytest.raises(UsageError, match="has 0 label images"):
        resolve_atlas(str(tmp_path))


def test_another_atlas_may_not_be_called_a424(personal):
    image = personal(stem="space-MNI152NLin6Asym_atlas-A424_dseg")
    with pytest.raises(UsageError, match="label A424 but is another"):
        resolve_atlas(str(image))


def test_a424_has_424_named_parcels_in_the_order_of_its_labels(files, monkeypatch):
    monkeypatch.setenv("FMMTC_ATLAS_DIR", str(files))
    atlas = resolve_atlas("A424")
    assert atlas.index.tolist() == list(range(1, 425))
    assert (atlas.label, atlas.space) == ("A424", "MNI152NLin6Asym")
    assert (atlas.names[0], atlas.names[404]) == ("R_V1", "Vermis_Crus_I")
    assert all(not set(name) & set("+=") for name in atlas.names)
    assert (len(set(atlas.networks)), len(set(atlas.subnetworks))) == (7, 24)
    np.testing.assert_array_equal(atlas.coordinates_mm[[0, 423]], [[14, -78, 4], [22, -38, -46]])


def test_a_table_with_repeated_headers_gives_the_same_parcels(files):
    table = files / a424.TABLE
    lines = table.read_bytes().splitlines(keepends=True)
    header = lines[0].removeprefix(b"\xef\xbb\xbf")
    expected = a424.read_parcels(files)
    table.write_bytes(b"".join([*lines[:200], header, *lines[200:], b"\r\n", header]))
    found = a424.read_parcels(files)
    assert (found.names, found.networks) == (expected.names, expected.networks)


def test_a_table_that_lost_a_parcel_is_refused(files):
    table = files / a424.TABLE
    lines = table.read_bytes().splitlines(keepends=True)
    table.write_bytes(b"".join(lines[:7] + lines[8:]))
    with pytest.raises(InputError, match=r"no parcel \[7\]"):
        a424.read_parcels(files)


def test_a424_named_by_its_path_is_a424(files):
    atlas = resolve_atlas(str(files / a424.IMAGE))
    assert (atlas.label, len(atlas.names)) == ("A424", 424)


def test_a424_without_its_table_beside_it_says_what_is_missing(files):
    (files / a424.TABLE).unlink()
    with pytest.raises(MissingResourceError, match=a424.TABLE):
        resolve_atlas(str(files / a424.IMAGE))


def test_a_changed_file_is_not_a424(files, monkeypatch):
    monkeypatch.setenv("FMMTC_ATLAS_DIR", str(files))
    with (files / a424.COORDINATES).open("a") as stream:
        stream.write("425\t0\t0\t0\n")
    with pytest.raises(InputError, match="sha256"):
        resolve_atlas("A424")


def test_a_folder_that_may_not_be_entered_is_unusable_input(tmp_path, monkeypatch):
    monkeypatch.setenv("FMMTC_ATLAS_DIR", str(tmp_path))

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    # As Python 3.11 answers for a file in it; root may enter everywhere.
    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(InputError, match=r"cannot be read.*Permission denied.*readable"):
        resolve_atlas("A424")


def test_files_in_the_cache_need_no_network(files, no_network, tmp_path, monkeypatch):
    monkeypatch.setenv("FMMTC_CACHE_DIR", str(tmp_path / "cache"))
    shutil.copytree(files, cache_dir() / "atlas" / "A424")
    assert resolve_atlas("A424").label == "A424"


def test_without_a_network_the_error_names_command_and_variable(no_network, tmp_path, monkeypatch):
    monkeypatch.setenv("FMMTC_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(MissingResourceError, match="fmmtc-tools fetch atlas") as caught:
        resolve_atlas("A424")
    assert caught.value.exit_code == 69
    assert "FMMTC_ATLAS_DIR" in str(caught.value)
    assert "Network is unreachable" in str(caught.value)


@pytest.fixture
def publisher(files, tmp_path, monkeypatch):
    """Let the pinned commit be a folder; returns it, the cache and every address asked for."""
    monkeypatch.setenv("FMMTC_CACHE_DIR", str(tmp_path / "cache"))
    asked = []

    def retrieve(url, folder, host):
        asked.append(url)
        folder.mkdir(parents=True)
        return Path(shutil.copyfile(files / unquote(url.rpartition("/")[2]), folder / "file"))

    monkeypatch.setattr("fmmtc_bidsapp.bidsio.files.fetch_file._retrieve", retrieve)
    return files, tmp_path / "cache" / "atlas" / "A424", asked


def test_fetching_asks_once_for_the_files_of_the_pinned_commit(publisher):
    _, cache, asked = publisher
    assert fetch_atlas() == cache
    assert {path.name for path in cache.iterdir()} == {*a424.SHA256, a424.DLABEL}
    assert all("bbb460b7b476187072fd69de6a8a960f7d97ae89" in url for url in asked)
    assert any(url.endswith("/A424%2B2mm.nii.gz") for url in asked)
    assert fetch_atlas() == cache
    assert len(asked) == 4


def test_a_damaged_file_of_the_cache_is_fetched_again(publisher):
    _, cache, asked = publisher
    fetch_atlas()
    (cache / a424.COORDINATES).write_text("1 0 0 0")
    asked.clear()
    fetch_atlas()
    assert [url.rpartition("/")[2] for url in asked] == [a424.COORDINATES]
    assert a424.check_files(cache) == cache


def test_what_is_not_the_pinned_file_is_not_kept(publisher):
    files, cache, _ = publisher
    (files / a424.TABLE).write_text("another")
    with pytest.raises(MissingResourceError, match="sha256 mismatch: got") as caught:
        fetch_atlas()
    assert a424.SHA256[a424.TABLE] in str(caught.value)
    assert not any(cache.glob(f"*{a424.TABLE}*"))


def test_a_damaged_file_stays_until_the_right_one_is_there(publisher):
    files, cache, _ = publisher
    fetch_atlas()
    for folder in (files, cache):
        (folder / a424.TABLE).write_text("another")
    with pytest.raises(MissingResourceError, match="sha256 mismatch: got"):
        fetch_atlas()
    assert (cache / a424.TABLE).read_text() == "another"


@pytest.mark.network
def test_the_pinned_files_can_be_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("FMMTC_CACHE_DIR", str(tmp_path / "cache"))
    atlas = resolve_atlas("A424")
    assert len(atlas.names) == 424
    assert require_dlabel(atlas).name == a424.DLABEL


def test_a424_holds_the_same_424_parcels_on_grayordinates(files):
    """As read by hand: numbers 1 to 424, each with grayordinates, named as in the table."""
    atlas = resolve_atlas(str(files / a424.IMAGE))
    image = nib.load(require_dlabel(atlas))
    labels = np.asarray(image.dataobj)[0].astype(int)
    n_grayordinates = np.bincount(labels, minlength=425)
    assert (len(labels), len(n_grayordinates), n_grayordinates[0]) == (91282, 425, 5061)
    assert (n_grayordinates[1:].min(), n_grayordinates[405], n_grayordinates[383]) == (1, 1, 18)
    table = image.header.get_axis(0).label[0]
    assert sorted(table) == [0, *atlas.index.tolist()]
    named = [table[value][0].removesuffix("_ROI") for value in atlas.index]
    assert [spelled(name) for name in named] == [spelled(name) for name in atlas.names]
    structures = image.header.get_axis(1).name
    right, left = (labels >= 1) & (labels <= 180), (labels >= 181) & (labels <= 360)
    assert set(structures[right]) == {"CIFTI_STRUCTURE_CORTEX_RIGHT"}
    assert set(structures[left]) == {"CIFTI_STRUCTURE_CORTEX_LEFT"}


def spelled(name):
    return name.replace("-", "_").lower()


def test_a424_without_grayordinates_serves_nifti_and_says_how_to_get_them(files, monkeypatch):
    monkeypatch.setenv("FMMTC_ATLAS_DIR", str(files))
    whole = resolve_atlas("A424")
    (files / a424.DLABEL).unlink()
    atlas = resolve_atlas("A424")
    assert (atlas.dlabel, atlas.digest) == (None, whole.digest)
    with pytest.raises(MissingResourceError, match=r"A424\.dlabel\.nii.*fmmtc-tools fetch atlas"):
        require_dlabel(atlas)


def test_changed_grayordinates_are_not_a424(files, monkeypatch):
    monkeypatch.setenv("FMMTC_ATLAS_DIR", str(files))
    with (files / a424.DLABEL).open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(InputError, match="sha256"):
        resolve_atlas("A424")


def write_dlabel(image, labels=(0, 1, 3), titles=None):
    """Write grayordinates beside a personal atlas."""
    titles = {value: str(value) for value in {0, *labels}} if titles is None else titles
    table = {value: (title, (0, 0, 0, 0)) for value, title in titles.items()}
    models = BrainModelAxis.from_surface(np.arange(len(labels)), 9, name="CortexLeft")
    data = np.array([labels], dtype=np.float32)
    path = image.with_name(image.name.removesuffix(".nii.gz") + ".dlabel.nii")
    nib.save(nib.Cifti2Image(data, (LabelAxis(["toy"], [table]), models)), path)
    return path


def test_a_personal_atlas_may_have_grayordinates_beside_it(personal):
    image = personal()
    without = resolve_atlas(str(image))
    assert without.dlabel is None
    with pytest.raises(
        UsageError, match=r"atlas-toy_dseg\.dlabel\.nii beside .*--file-format nifti"
    ):
        require_dlabel(without)
    path = write_dlabel(image, titles={0: "???", 1: "a", 3: "third"})
    atlas = resolve_atlas(str(image))
    assert require_dlabel(atlas) == path
    assert atlas.digest != without.digest


def test_grayordinates_may_lack_a_parcel(personal):
    image = personal()
    write_dlabel(image, labels=(0, 3, 3))
    assert resolve_atlas(str(image)).names == ("c", "a")


@pytest.mark.parametrize(
    ("labels", "titles", "words"),
    [
        ((1, 3, 7), None, r"dlabel\.nii has labels that its table lacks: 7"),
        ((1.0, 1.5, 3.0), {1: "1", 3: "3"}, "has fractions"),
        ((1, 3, 0), {1: "c", 3: "a"}, "label 1 is 'c', which is parcel 3"),
    ],
)
def test_grayordinates_of_other_parcels_are_refused(personal, labels, titles, words):
    image = personal()
    write_dlabel(image, labels, titles)
    with pytest.raises(InputError, match=words):
        resolve_atlas(str(image))


@pytest.mark.parametrize("keep", [200, 700, -4])
def test_grayordinates_that_are_cut_are_refused(personal, keep):
    image = personal()
    path = write_dlabel(image)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="cannot be read"):
        resolve_atlas(str(image))


@pytest.mark.parametrize(
    ("found", "put"),
    [
        (b'IndicesMapToDataType="', b'IndicesMapToDatatype="'),
        (b"Green=", b"green="),
        (b'AppliesToMatrixDimension="0"', b'AppliesToMatrixDimension="8"'),
        (b"IndexOffset=", b"indexOffset="),
    ],
)
def test_grayordinates_whose_header_lacks_something_are_refused(personal, found, put):
    image = personal()
    path = write_dlabel(image)
    assert found in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(found, put))
    with pytest.raises(InputError, match=r"cannot be read|is not one map"):
        resolve_atlas(str(image))


def test_grayordinates_that_are_a_series_are_refused(personal):
    image = personal()
    path = write_dlabel(image)
    models = nib.load(path).header.get_axis(1)
    nib.save(nib.Cifti2Image(np.zeros((2, 3)), (SeriesAxis(0, 1, 2), models)), path)
    with pytest.raises(InputError, match="not one map of labels"):
        resolve_atlas(str(image))


def test_grayordinates_that_were_not_fetched_say_how(personal):
    image = personal()
    path = image.with_name(image.name.removesuffix(".nii.gz") + ".dlabel.nii")
    path.symlink_to("../.git/annex/objects/aa/bb/MD5E-s9--0.nii")
    with pytest.raises(UsageError, match="datalad get"):
        resolve_atlas(str(image))


def test_the_cache_follows_the_users_folders(monkeypatch, tmp_path):
    monkeypatch.delenv("FMMTC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "fmmtc"


def test_an_atlas_whose_header_gives_no_orientation_is_refused(personal):
    image = personal()
    content = bytearray(gzip.decompress(image.read_bytes()))
    content[252:256] = bytes(4)
    image.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match="does not say where voxels lie"):
        resolve_atlas(str(image))


@pytest.mark.parametrize(
    ("stem", "sidecar"),
    [
        ("space-MNIInfant_cohort-2_atlas-toy_dseg", None),
        ("tpl-MNIInfant_cohort-2_atlas-toy_dseg", None),
        ("atlas-toy_dseg", {"SpatialReference": "MNIInfant:cohort-2"}),
        ("atlas-toy_dseg", {"SpatialReference": "https://x/tpl-MNIInfant_cohort-2_res-1_T1w"}),
    ],
)
def test_the_cohort_of_a_template_is_part_of_an_atlass_space(personal, stem, sidecar):
    image = personal(stem=stem, sidecar=sidecar)
    assert resolve_atlas(str(image)).space == "MNIInfant:cohort-2"


def test_a_reference_to_a_file_names_its_template_alone(personal):
    told = {"SpatialReference": "https://x/tpl-MNI152NLin6Asym_res-02_T1w.nii.gz"}
    image = personal(stem="atlas-toy_dseg", sidecar=told)
    assert resolve_atlas(str(image)).space == "MNI152NLin6Asym"


def test_a_table_of_more_parcels_than_a_matrix_can_relate_is_refused_with_the_limit(personal):
    rows = "".join(f"{number}\tp{number}\n" for number in range(1, 10_002))
    image = personal(table=f"index\tname\n{rows}")
    with pytest.raises(InputError, match="has 10001 parcels; at most 10000 are possible"):
        resolve_atlas(str(image))


@pytest.mark.parametrize("name", ["\u200b", "\u2060\u3164", "\u00ad"])
def test_a_parcel_of_whose_name_nothing_is_seen_is_refused_with_its_number(personal, name):
    image = personal(table=f"index\tname\n3\t{name}\n1\ta\n")
    with pytest.raises(InputError, match="parcels 3 have no visible name"):
        resolve_atlas(str(image))


def test_names_with_characters_that_act_or_hide_are_spelled_out(personal):
    image = personal(table="index\tname\tnetwork\n3\ta\u200b\tV\x1b[2J\n1\ta\t\u200b\n")
    atlas = resolve_atlas(str(image))
    assert atlas.names == (r"a\u200b", "a")
    assert atlas.networks == (r"V\u001b[2J", "n/a")
