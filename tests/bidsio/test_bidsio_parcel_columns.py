"""Tables of parcels hold parcels alone: an index, a time or a nameless column is refused."""

import io

import numpy as np
import pandas as pd
import pytest

from fmmtc_bidsapp.bidsio.cohort.series import find_series
from fmmtc_bidsapp.bidsio.layout.query import Query
from fmmtc_bidsapp.bidsio.tables.parcel_columns import counter
from fmmtc_bidsapp.bidsio.tables.read_series import (
    check_series,
    read_matrix_names,
    read_relmat,
    read_series,
)
from fmmtc_bidsapp.errors import InputError


def noise(rows=60, columns=("a", "b", "c")):
    values = np.random.default_rng(5).normal(size=(rows, len(columns)))
    return pd.DataFrame(values, columns=list(columns))


def text_of(table, **options):
    out = io.StringIO()
    table.to_csv(out, sep="\t", **options)
    return out.getvalue()


def with_first(name, values):
    table = noise()
    table.insert(0, name, values)
    return text_of(table, index=False)


TR = 0.735
NO_PARCELS = {
    "the index that pandas writes": (text_of(noise()), "column 1 of 4 has no name"),
    "that index after another round": (
        text_of(noise().rename_axis("Unnamed: 0")),
        "column 1 of 4 has no name",
    ),
    "an index with a name": (with_first("n", range(60)), "'n' (0, 1, 2"),
    "an index that goes down": (with_first("left", range(60, 0, -1)), "'left' (60, 59"),
    "the time": (with_first("time", np.arange(60) * TR), "'time', which is not a parcel"),
    "the time, rounded": (with_first("seconds", np.round(np.arange(60) * TR, 2)), "'seconds' ("),
    "the time of retained volumes": (
        with_first("seconds", np.delete(np.arange(63) * TR, [5, 6, 30])),
        "'seconds' (",
    ),
    "a tab at the end of all lines": (
        text_of(noise(), index=False).replace("\n", "\t\n"),
        "column 4 of 4 has no name",
    ),
    "a name of blanks": (with_first("  ", 0.5), "column 1 of 4 has no name"),
    "a name twice": (text_of(noise(columns=("a", "b", "a")), index=False), "two columns"),
    "a run that is the same for all volumes": (
        with_first("run", 1),
        "'run', which is not a parcel",
    ),
    "volumes that were censored": (
        with_first("Censored", [0, 1] * 30),
        "'Censored', which is not a parcel",
    ),
    "head motion": (
        with_first("framewise_displacement", 0.25),
        "'framewise_displacement', which is not a parcel",
    ),
    "no header": (text_of(noise(), index=False, header=False), "no header"),
    "no header, whole numbers": (
        text_of((noise() * 1000).round().astype(int), index=False, header=False),
        "no header",
    ),
    "decimal commas": (text_of(noise(), index=False, decimal=","), "in column 'a'"),
    "thousands": (with_first("big", "1,024.5"), "in column 'big'"),
    "python's underscores": (with_first("big", "1_024"), "text instead of a number"),
    "text": (with_first("kind", "rest"), "in column 'kind'"),
}


@pytest.mark.parametrize("case", NO_PARCELS)
def test_a_series_with_a_column_that_is_no_parcel_is_refused_with_file_and_column(case, tmp_path):
    text, words = NO_PARCELS[case]
    path = tmp_path / "sub-01_task-rest_atlas-A_timeseries.tsv"
    path.write_text(text)
    for read in (read_series, check_series):
        with pytest.raises(InputError) as caught:
            read(path)
        assert path.name in str(caught.value)
        assert words in str(caught.value)


def test_such_a_series_is_left_out_before_anyone_is_read_and_the_others_stay(tmp_path):
    func = tmp_path / "sub-01" / "func"
    func.mkdir(parents=True)
    name = "sub-01_task-rest_run-{}_atlas-A_timeseries.tsv"
    (func / name.format(1)).write_text(text_of(noise()))
    (func / name.format(2)).write_text(text_of(noise(), index=False))
    (series,), (exclusion,) = find_series(tmp_path, Query((), (), (), ()), desc=None)
    assert series.path.name == name.format(2)
    assert name.format(1) in exclusion.reason
    assert "column 1 of 4 has no name" in exclusion.reason


def test_a_signal_that_drifts_and_one_that_is_smooth_are_parcels(tmp_path):
    rng = np.random.default_rng(0)
    time_s = np.arange(200) * 0.5
    drift = 1000 + 0.05 * time_s[:, None] + rng.normal(size=(200, 20))
    phases = rng.uniform(0, 2 * np.pi, 20)
    smooth = np.round(np.sin(2 * np.pi * 0.01 * time_s[:, None] + phases), 2)
    for signal in (drift, smooth):
        assert counter(signal) is None
        path = tmp_path / "a.tsv"
        table = pd.DataFrame(signal, columns=[f"P{i}" for i in range(20)])
        table.to_csv(path, sep="\t", index=False)
        check_series(path)
        np.testing.assert_array_equal(read_series(path).signal, signal)


def test_missing_and_constant_parcels_are_no_counters():
    signal = noise().to_numpy().copy()
    signal[:, 0], signal[:, 1] = np.nan, 3.5
    assert counter(signal) is None


def symmetric():
    return np.corrcoef(np.random.default_rng(2).normal(size=(4, 50)))


@pytest.mark.parametrize("names", [range(4), range(1, 5), list("abcd")])
def test_a_square_matrix_without_names_of_rows_has_them_in_the_order_of_its_columns(
    tmp_path, names
):
    path = tmp_path / "sub-01_task-rest_seg-A_meas-PearsonCorrelation_relmat.tsv"
    expected = pd.DataFrame(symmetric(), columns=names)
    expected.to_csv(path, sep="\t", index=False)
    found = read_relmat(path)
    assert found.parcels == tuple(map(str, names)) == read_matrix_names(path)
    np.testing.assert_allclose(found.matrix, expected.to_numpy(), rtol=1e-15)


def test_a_square_matrix_without_names_of_rows_that_is_not_symmetric_is_refused(tmp_path):
    path = tmp_path / "sub-01_relmat.tsv"
    shuffled = pd.DataFrame(symmetric()[[1, 0, 2, 3]], columns=list("abcd"))
    shuffled.to_csv(path, sep="\t", index=False)
    for read in (read_relmat, read_matrix_names):
        with pytest.raises(InputError, match="no column Node and is not symmetric"):
            read(path)


def test_a_matrix_with_an_index_beside_its_names_is_refused(tmp_path):
    path = tmp_path / "sub-01_relmat.tsv"
    table = pd.DataFrame(symmetric(), columns=list("abcd"))
    table.insert(0, "Node", list("abcd"))
    table.to_csv(path, sep="\t")
    for read in (read_relmat, read_matrix_names):
        with pytest.raises(InputError, match="the first column, '', has '0'"):
            read(path)


def test_a_matrix_without_a_header_is_refused(tmp_path):
    path = tmp_path / "sub-01_relmat.tsv"
    pd.DataFrame(symmetric()).to_csv(path, sep="\t", header=False, index=False)
    for read in (read_relmat, read_matrix_names):
        with pytest.raises(
            InputError, match=r"rows and columns have different parcels|has no header"
        ):
            read(path)
