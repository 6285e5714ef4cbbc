"""Where parcels are: groups from an atlas's table, and values drawn into its labels."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.atlases.parcel_table import label_image, paint, read_atlas_table
from fmmtc_bidsapp.bidsio.files.names import atlas_files
from fmmtc_bidsapp.errors import InputError
from fmmtc_bidsapp.records import SeriesFile

SPACE = "MNI152NLin6Asym"
TABLE = {
    "index": [4, 2, 7],
    "name": ["c", "a", "b"],
    "network": ["X", "Y", "X"],
    "subnetwork": ["n/a", "n/a", "n/a"],
    "x": [-3.0, 0.0, 8.0],
    "y": [1, 1, 1],
    "z": [1, 1, 1],
}


def series(folder: Path, **entities: str) -> SeriesFile:
    named = {"sub": "01", "space": SPACE, "atlas": "Tiny", **entities}
    return SeriesFile(folder / "x.tsv", named, 2.0, "Tiny", None, None)


def write_table(folder: Path, **columns: list) -> None:
    _, table, _ = atlas_files(folder, SPACE, "Tiny")
    table.parent.mkdir(exist_ok=True)
    pd.DataFrame({**TABLE, **columns}).to_csv(table, sep="\t", index=False)


def test_groups_follow_the_names_and_a_level_that_the_table_does_not_tell_is_absent(tmp_path):
    write_table(tmp_path)
    places = read_atlas_table(tmp_path, "Tiny").of(["a", "b", "c"])
    assert places.index.tolist() == [2, 7, 4]
    assert places.path.name.endswith("_dseg.tsv")
    assert places.groups == {
        "network": ("Y", "X", "X"),
        "hemisphere": ("n/a", "right", "left"),
    }


def test_a_column_of_hemispheres_comes_before_the_coordinates(tmp_path):
    write_table(tmp_path, hemisphere=["R", "LH", "both"])
    places = read_atlas_table(tmp_path, "Tiny").of(["a", "b", "c"])
    assert places.groups["hemisphere"] == ("left", "n/a", "right")


@pytest.mark.parametrize("index", [["x", 1, 2], [1, 1, 2], [0.5, 1, 2]])
def test_labels_that_are_no_unique_whole_numbers_are_unknown(tmp_path, index):
    write_table(tmp_path, index=index)
    places = read_atlas_table(tmp_path, "Tiny").of(["a", "b", "c"])
    assert places.index is None
    assert places.groups["network"] == ("Y", "X", "X")


def test_series_of_an_unknown_atlas_are_in_no_group(tmp_path):
    assert read_atlas_table(tmp_path, "Tiny") is None
    write_table(tmp_path)
    places = read_atlas_table(tmp_path, "Tiny").of(["a", "other"])
    assert (places.names, places.index, places.groups) == (("a", "other"), None, {})


def test_coordinates_of_some_parcels_are_kept_and_count_where_all_are_known(tmp_path):
    write_table(tmp_path, x=[-3.0, "n/a", 8.0])
    table = read_atlas_table(tmp_path, "Tiny")
    assert table.hemispheres == ("left", "n/a", "right")
    assert table.complete_coordinates_mm is None
    np.testing.assert_array_equal(table.of(["b", "c"]).complete_coordinates_mm[:, 0], [8, -3])


def test_names_of_networks_that_are_numbers_stay_as_they_are_spelled(tmp_path):
    write_table(tmp_path, network=["01", "n/a", "1"])
    assert read_atlas_table(tmp_path, "Tiny").networks == ("01", "n/a", "1")


def test_values_are_drawn_where_their_labels_are_and_what_has_none_is_no_zero(tmp_path):
    labels, _, _ = atlas_files(tmp_path, SPACE, "Tiny", res="2")
    labels.parent.mkdir()
    affine = np.diag([-2.0, 2, 2, 1])
    numbers = np.array([0, 4, 2, 7, 9, 4], dtype=np.int32).reshape(6, 1, 1)
    nib.save(nib.Nifti1Image(numbers, affine), labels)
    assert label_image(tmp_path, series(tmp_path)) is None
    assert label_image(tmp_path, series(tmp_path, den="91k")) is None
    assert label_image(tmp_path, series(tmp_path, res="2")) == labels
    drawn = paint(labels, np.array([2, 4, 7]), np.array([0.5, 0.25, np.nan]))
    assert drawn == paint(labels, np.array([2, 4, 7]), np.array([0.5, 0.25, np.nan]))
    image = nib.Nifti1Image.from_bytes(gzip.decompress(drawn))
    np.testing.assert_array_equal(image.affine, affine)
    found = image.get_fdata().ravel()
    np.testing.assert_array_equal(found, [0, 0.25, 0.5, np.nan, np.nan, 0.25])
    told = paint(labels, np.array([2]), np.array([1.0]), "no evidence " * 10)
    header = nib.Nifti1Image.from_bytes(gzip.decompress(told)).header
    assert header["descrip"].item().startswith(b"no evidence no")
    whole = labels.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    for content in (b"no image", whole[:60], bytes(damaged)):
        labels.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            paint(labels, np.array([2]), np.array([1.0]))
