import json

import numpy as np
import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.files.sidecar import read_sidecar
from fmmtc_bidsapp.bidsio.tables.read_series import (
    read_confounds,
    read_parcel_names,
    read_relmat,
    read_series,
)
from fmmtc_bidsapp.errors import InputError


def table(path, *lines):
    path.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    return path


def test_what_we_write_reads_back_to_the_bit(written):
    files = written({"sub": "01", "task": "rest"})
    series = read_series(files.timeseries, tr_s=2.0)
    expected = np.random.default_rng(7).normal(size=(6, 3))
    np.testing.assert_array_equal(series.signal[:, [0, 2]], expected[:, [0, 2]])
    assert series.missing.tolist() == [False, True, False]
    assert (series.parcels, series.tr_s) == (("R_V1", "R_MST", "L_V1"), 2.0)


def test_integer_headers_of_giga_connectome_are_names(tmp_path):
    series = read_series(table(tmp_path / "a.tsv", [0, 1], [1.5, 2.5], [3.5, 4.5]))
    assert series.parcels == ("0", "1")
    np.testing.assert_array_equal(series.signal, [[1.5, 2.5], [3.5, 4.5]])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([["a", "b"], [1, "high"]], "has text.*high"),
        ([["a", "b"], [1, 2], [1]], "1 cells in line 3 but 2 columns"),
        ([["a", "b"], [1, 2, 3]], "3 cells in line 2"),
        ([["a", "a"], [1, 2]], "two columns"),
        ([["a", "b"]], "no rows"),
        ([[0.25, 0.5], [1, 2]], "no header"),
        ([["a", "b"], [1, "inf"]], "infinite"),
        ([["a", "b"], [1, "-1e308"]], "beyond 1e"),
        ([["a", "b"], [1, 2], ["n/a", 2]], "some volumes only.*a"),
    ],
)
def test_a_series_that_cannot_be_used_says_where_and_why(tmp_path, lines, message):
    path = table(tmp_path / "a.tsv", *lines)
    with pytest.raises(InputError, match=message) as caught:
        read_series(path)
    assert str(path) in str(caught.value)


def test_an_image_given_as_a_table_is_refused(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"\x1f\x8b\x08\xff\xfe")
    with pytest.raises(InputError, match="not a text table"):
        read_series(tmp_path / "a.tsv")


def test_a_series_that_was_not_fetched_says_so(tmp_path):
    (tmp_path / "a.tsv").write_text("/annex/objects/MD5E-s9--0.tsv")
    with pytest.raises(InputError, match="datalad get"):
        read_series(tmp_path / "a.tsv")


def test_confounds_keep_their_missing_first_row(tmp_path):
    path = table(tmp_path / "c.tsv", ["fd", "csf"], ["n/a", 1], [0.5, 2])
    confounds = read_confounds(path, 2)
    np.testing.assert_array_equal(confounds["fd"], [np.nan, 0.5])
    np.testing.assert_array_equal(confounds["csf"], [1, 2])


@pytest.mark.parametrize("n_volumes", [1, 3])
def test_confounds_of_another_length_than_the_image_are_refused(tmp_path, n_volumes):
    path = table(tmp_path / "c.tsv", ["fd"], ["n/a"], [0.5])
    with pytest.raises(InputError, match=f"2 rows but its image has {n_volumes} volumes"):
        read_confounds(path, n_volumes)


@pytest.mark.parametrize("version", ["20.1.0", "21.0.2", "24.1.1"])
def test_real_confounds_equal_what_pandas_reads(shared, version):
    folder = next((shared / "data" / "confounds").glob(f"fmriprep-{version}_*"))
    path = next(folder.glob("sub-*_desc-confounds_*.tsv"))
    expected = pd.read_csv(path, sep="\t", na_values="n/a")
    confounds = read_confounds(path, len(expected))
    assert list(confounds) == list(expected)
    for name, column in expected.items():
        np.testing.assert_allclose(confounds[name], column, rtol=1e-14)


def test_a_matrix_is_matched_by_name_not_by_position(tmp_path):
    path = table(
        tmp_path / "sub-01_stat-pearsoncorrelation_relmat.tsv",
        ["Node", "a", "b", "c"],
        ["c", 0.1, 0.2, 1],
        ["a", 1, "n/a", 0.1],
        ["b", "n/a", 1, 0.2],
    )
    connectome = read_relmat(path)
    assert (connectome.parcels, connectome.measure) == (("a", "b", "c"), "correlation")
    np.testing.assert_array_equal(
        connectome.matrix, [[1, np.nan, 0.1], [np.nan, 1, 0.2], [0.1, 0.2, 1]]
    )


def test_a_matrix_whose_rows_have_other_names_is_refused(tmp_path):
    path = table(tmp_path / "sub-01_relmat.tsv", ["Node", "a", "b"], ["a", 1, 0], ["c", 0, 1])
    with pytest.raises(InputError, match="different parcels"):
        read_relmat(path)


def test_the_written_matrix_reads_back_to_the_bit(written):
    files = written({"sub": "01", "task": "rest"})
    signal = read_series(files.timeseries).signal
    np.testing.assert_array_equal(read_relmat(files.relmat).matrix, np.corrcoef(signal.T))


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("sub-01_stat-pearsoncorrelation_relmat.tsv", "correlation"),
        ("sub-01_meas-PearsonCorrelation_relmat.tsv", "correlation"),
        ("sub-01_stat-partialcorrelation_relmat.tsv", "partial-correlation"),
        ("sub-01_stat-covariance_relmat.tsv", "covariance"),
        ("sub-01_stat-precision_relmat.tsv", "precision"),
        ("sub-01_stat-mutualinformation_relmat.tsv", "mutualinformation"),
    ],
)
def test_the_name_of_a_matrix_says_what_it_measures(tmp_path, name, measure):
    path = table(tmp_path / name, ["Node", "a"], ["a", 1])
    assert read_relmat(path).measure == measure


@pytest.mark.parametrize(
    ("sidecar", "fisher_z"),
    [(None, False), ('{"FisherZ": false}', False), ('{"FisherZ": true}', True), ("{}", False)],
)
def test_the_sidecar_of_a_matrix_says_whether_it_holds_fishers_z(tmp_path, sidecar, fisher_z):
    path = table(tmp_path / "sub-01_relmat.tsv", ["Node", "a"], ["a", "n/a"])
    if sidecar is not None:
        path.with_suffix(".json").write_text(sidecar)
    assert read_relmat(path).fisher_z is fisher_z


def test_the_closest_sidecar_wins_and_the_others_still_count(tmp_path):
    func = tmp_path / "sub-01" / "func"
    func.mkdir(parents=True)
    for path, content in {
        tmp_path / "bold.json": {"a": 0, "b": 0, "c": 0, "d": 0},
        tmp_path / "task-rest_bold.json": {"b": 1, "c": 1, "d": 1},
        tmp_path / "sub-01" / "sub-01_bold.json": {"c": 2, "d": 2},
        func / "sub-01_task-rest_bold.json": {"d": 3},
        tmp_path / "task-faces_bold.json": {"a": 9},
        tmp_path / "task-rest_mask.json": {"a": 9},
        func / "sub-01_task-rest_run-2_bold.json": {"a": 9},
    }.items():
        path.write_text(json.dumps(content))
    image = func / "sub-01_task-rest_desc-preproc_bold.nii.gz"
    assert read_sidecar(image, tmp_path) == {"a": 0, "b": 1, "c": 2, "d": 3}


def test_sidecars_above_the_dataset_do_not_count(tmp_path):
    (tmp_path / "bold.json").write_text('{"a": 1}')
    root = tmp_path / "dataset"
    root.mkdir()
    assert read_sidecar(root / "sub-01_task-rest_bold.nii.gz", root) == {}


def test_a_sidecar_that_is_a_list_is_refused(tmp_path):
    (tmp_path / "bold.json").write_text("[1]")
    with pytest.raises(InputError, match="not a JSON object"):
        read_sidecar(tmp_path / "sub-01_bold.nii.gz", tmp_path)


@pytest.mark.parametrize(
    "text", ['{"a":' * 50_000 + "1" + "}" * 50_000, '{"a": "\\ud800"}', '{"a": ' + "1" * 5000 + "}"]
)
def test_json_that_nobody_could_write_again_is_refused(tmp_path, text):
    (tmp_path / "bold.json").write_text(text)
    with pytest.raises(InputError, match="is not valid JSON"):
        read_sidecar(tmp_path / "sub-01_bold.nii.gz", tmp_path)


def test_a_character_of_two_halves_is_one(tmp_path):
    (tmp_path / "bold.json").write_text('{"a": "\\ud83e\\udde0"}')
    assert read_sidecar(tmp_path / "sub-01_bold.nii.gz", tmp_path) == {"a": "\U0001f9e0"}


def test_a_header_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "a_timeseries.tsv"
    path.write_bytes(b"P\xe9\tP1\n1\t2\n")
    with pytest.raises(InputError, match="not a text table"):
        read_parcel_names(path)


def test_a_matrix_of_one_column_is_refused(tmp_path):
    path = table(tmp_path / "a_stat-pearsoncorrelation_relmat.tsv", ["Node"], ["P1"])
    with pytest.raises(InputError, match="one column"):
        read_relmat(path)
